"""Sections of the page about where it comes from: licences, and how to make it again.

Each is a function from `Findings` to HTML, "" when there is nothing to tell.
"""

import re
from collections.abc import Sequence
from typing import Any

from aplantida_jax.data import licences as licences_lib
from aplantida_jax.reporting import lineage, stage_records
from aplantida_jax.reporting.findings import Findings
from aplantida_jax.reporting.lineage import Ancestor
from aplantida_jax.reporting.markup import badge, folded, section, table, text
from aplantida_jax.reporting.stage_records import StageRecord

_SHOWN_VERSIONS = ("python", "jax", "flax", "optax", "orbax-checkpoint", "grain")
_COMMIT = 12  # digits shown


def licences(found: Findings, verdict: dict[str, Any]) -> str:
    """The verdict, and the tree of what the student was made from."""
    if not verdict["provenance"]:
        return ""
    if verdict["publishable"]:
        said = f"<p>{badge('may ship', 'good')} Nothing taints it.</p>"
    else:
        reasons = "".join(f"<li>{text(reason)}</li>" for reason in verdict["reasons"])
        said = f"<p>{badge('may not ship', 'bad')}</p><ul>{reasons}</ul>"
    run = found.run(verdict["run"])
    assert run is not None  # its best checkpoint has told the provenance
    root = lineage.tree(run.workdir, run.name, found.records, verdict["provenance"])
    chain = f'<ul class="tree">{_branch(root)}</ul>'
    note = (
        '<p class="muted">What it was made from; a licence that does not admit '
        "publication taints all that stands above it.</p>"
    )
    return section("licences", "Licences", said, note, chain)


def _branch(node: Ancestor) -> str:
    below = "".join(_branch(child) for child in node.ancestors)
    marks = "".join(
        badge(licence, "" if _admitted(node.kind, licence) else "bad")
        for licence in node.licences
    )
    told = ' <span class="muted">(as above)</span>' if node.again else ""
    return (
        f"<li><small>{text(node.kind)}</small> <b>{text(node.name)}</b>{told} {marks}"
        + (f"<ul>{below}</ul>" if below else "")
        + "</li>"
    )


def _admitted(kind: str, licence: str) -> bool:
    if kind == "photos":
        return licences_lib.allowed(licence, "production")
    return licence in licences_lib.WEIGHT_LICENCES


def reproduction(found: Findings, seed: int) -> str:
    """Commit, machine, versions and the commands, in the order in which they ran."""
    records = found.records
    if not records:
        return ""
    commands = "\n".join(
        f"python -m aplantida_jax.main {record.arguments}"
        for record in records
        if record.arguments
    )
    how = (
        "<p>Run <code>./scripts/setup.sh</code>, then the commands below in their "
        "order, or <code>./scripts/reproduce_full_pipeline.sh</code>.</p>"
    )
    stages = table(
        ("stage", "left in", "started", "seconds", "commit", "seed", "device"),
        [_stage_row(record) for record in records],
        numeric=(3,),
    )
    return section(
        "reproduction",
        "How to make it again",
        _state(records),
        _facts(records, seed),
        how,
        folded(f"{len(records)} commands", f"<pre>{text(commands)}</pre>"),
        folded(f"{len(records)} stages and their manifests", stages),
    )


def _state(records: Sequence[StageRecord]) -> str:
    """Is there a commit that made all of it?"""
    commits = stage_records.values(records, "git_commit")
    if len(commits) == 1 and re.fullmatch("[0-9a-f]{7,}", commits[0]):
        said = "Check it out: on the same machine its stages give the same figures."
        return f"<p>{badge('one commit made it all', 'good')} {said}</p>"
    if len(commits) > 1:
        what = f"made from {len(commits)} states of the code"
    else:
        what = "made from code that is no commit"
    said = "It can't be made again as it is: commit, then run the pipeline anew."
    return f"<p>{badge(what, 'bad')} {said}</p>"


def _facts(records: Sequence[StageRecord], seed: int) -> str:
    return table(
        ("", "what the stages recorded"),
        [
            ["commit", _several(records, "git_commit", _COMMIT)],
            ["computed on", _several(records, "device")],
            [
                "seed",
                f"{seed} for the report; {_several(records, 'seed')} in the stages",
            ],
            ["versions", _versions(records)],
            ["same seed, same metrics", _repeats(records)],
        ],
    )


def _stage_row(record: StageRecord) -> list[str]:
    content = record.content
    return [
        f"<b>{text(record.stage)}</b>",
        f"<code>{text(record.where)}</code>",
        text(str(content["started"])[:16].replace("T", " ")),
        f"{record.seconds:,.0f}",
        f"<code>{text(_short_commit(content.get('git_commit', '')))}</code>",
        text(content.get("seed", "")),
        text(content.get("device", "")),
    ]


def _several(records: Sequence[StageRecord], field: str, digits: int = 0) -> str:
    found = stage_records.values(records, field)
    if digits:
        found = list(dict.fromkeys(_short_commit(value) for value in found))
    return text("; ".join(found) or "—")


def _short_commit(commit: str) -> str:
    """ "6e1f...(40 digits)-dirty" -> "6e1f0c3a9b21-dirty"."""
    digits, dash, dirty = str(commit).partition("-")
    return f"{digits[:_COMMIT]}{dash}{dirty}"


def _versions(records: Sequence[StageRecord]) -> str:
    found = []
    for package in _SHOWN_VERSIONS:
        said = [record.content.get("versions", {}).get(package) for record in records]
        known = dict.fromkeys(version for version in said if version)
        found.append(f"{package} {' and '.join(known) or 'unknown'}")
    return text(", ".join(found))


def _repeats(records: Sequence[StageRecord]) -> str:
    found = stage_records.repeats(records)
    if not found:
        return (
            "not tried here: train a run a second time with another "
            "<code>--workdir</code> beside it, and this report compares the two"
        )
    lines = [
        f"<code>{text(r.first)}</code> and <code>{text(r.second)}</code>: weights "
        f"{'equal, bit for bit' if r.same_weights else 'differ'}, metrics differ by "
        f"{r.difference:.2g} at most"
        for r in found
    ]
    return "<br>".join(lines)
