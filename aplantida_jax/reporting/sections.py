"""Sections of the page about what was reached: criteria, confusions, data, export.

Each is a function from `Findings` to HTML, "" when there is nothing to tell.
"""

from collections.abc import Sequence
from typing import Any

from aplantida_jax.reporting.chart import Chart
from aplantida_jax.reporting.criterion import Criterion, in_unit
from aplantida_jax.reporting.findings import Findings
from aplantida_jax.reporting.markup import (
    badge,
    latin,
    percent,
    picture,
    section,
    table,
    text,
)
from aplantida_jax.reporting.thumbnails import Thumbnails, typical

_PAIRS = 6  # confused pairs shown
_PHOTOS = 3  # of each kind in a pair

_BADGES = {"met": "good", "not met": "bad", "not measured": "open"}


def criteria(rows: Sequence[Criterion]) -> str:
    cells = [
        [
            text(row.name),
            str(row.phase),
            f"<b>{text(row.measured_text())}</b>",
            f'<small class="interval">{text(row.interval_text())}</small>',
            text(row.target_text()),
            _badge(row),
            f"<small>{text(row.note)}</small>",
        ]
        for row in rows
    ]
    note = (
        '<p class="muted">Targets are those of the plan, for the full collection. '
        "“±” marks a verdict that the 95 % interval does not settle (over the labels "
        "alone: that p, corrected for all comparisons, does not). Phases: 0 data, 1 "
        "global teacher, 2 regional teachers, 3 soft labels, 4 student, 5 confidence, "
        "6 browser, 7 making it again.</p>"
    )
    head = ("criterion", "phase", "measured", "95 % interval", "target", "verdict", "")
    body = table(head, cells, numeric=(2, 3, 4), stacked=True)
    return section("criteria", "Criteria", note, body)


def _badge(row: Criterion) -> str:
    if not row.verdict:
        return ""
    unsure = " ±" if row.certain is False else ""
    return badge(row.verdict + unsure, _BADGES[row.verdict])


def confusions(found: Findings, thumbnails: Thumbnails) -> str:
    run = found.run(found.student)
    pairs = run.test["confusions"][:_PAIRS] if run and run.test else []
    if run is None or not pairs:
        return ""
    evaluation = run.workdir / "evaluate" / "test"
    cards = [_pair(pair, evaluation, thumbnails) for pair in pairs]
    return section(
        "confusions",
        "Most confused",
        '<div class="pairs">' + "".join(cards) + "</div>",
    )


def _pair(pair: dict[str, Any], evaluation: Any, thumbnails: Thumbnails) -> str:
    mistaken = pair["image_ids"][:_PHOTOS]
    examples = typical(evaluation, pair["predicted"], limit=_PHOTOS, beside=mistaken)
    true, answered = latin(pair["true_name"]), latin(pair["predicted_name"])
    strips = _strip(mistaken, f"{true}, mistaken", thumbnails)
    strips += _strip(examples, f"{answered}, recognised", thumbnails)
    times = "once" if pair["count"] == 1 else f"{pair['count']} times"
    return (
        f'<div class="pair"><p>{true} taken for {answered} {times}, '
        f"{percent(pair['share'], decimals=0)} of its photos</p>{strips}</div>"
    )


def _strip(image_ids: Sequence[str], caption: str, thumbnails: Thumbnails) -> str:
    uris = [uri for i in image_ids if (uri := thumbnails.uri(i)) is not None]
    if not uris:
        return ""
    # The caption says what they show.
    images = "".join(f'<img src="{uri}" alt="">' for uri in uris)
    return f'<div class="strip"><span>{caption}</span>{images}</div>'


def data(found: Findings, chart: Chart | None) -> str:
    rows = [
        [
            text(region.replace(",", ", ")) or "all plants",
            *(
                f"{stats['splits'][split]['images']:,}<br><small>"
                f"{stats['splits'][split]['classes']:,} classes</small>"
                for split in ("train", "val", "test")
            ),
            str(sum(stats["leakage"].values())),
        ]
        for region, stats in found.splits.items()
    ]
    if not rows and chart is None:
        return ""
    head = ("photos", "train", "val", "test", "leaks")
    body = table(head, rows, numeric=(1, 2, 3, 4))
    drawn = picture("classes", chart) if chart else ""
    return section("data", "Data", _audit(found.audit), body, drawn)


def _audit(audit: dict[str, Any] | None) -> str:
    """What the audit found, in a sentence or two."""
    if audit is None:
        return ""
    said = f"The audit saw {audit['photos']:,} photos"
    if audit["broken_url_rate"] is not None:
        said += f"; {percent(audit['broken_url_rate'])} of the URLs gave no picture"
    if pairs := audit["duplicates"]:
        said += (
            f"; {pairs['exact']:,} pairs are the same file, {pairs['near']:,} nearly"
        )
        apart = pairs["exact_of_different_classes"] + pairs["near_of_different_classes"]
        said += f", {apart:,} of them under two names"
    return f"<p>{said}.</p>"


def export(found: Findings, chart: Chart | None) -> str:
    validation = found.validation
    if validation is None:
        return ""
    rows = [
        [
            f"<b>{text(name)}</b>",
            f"{row['correlation']:.6f}",
            f"{row['max_abs_difference']:.3g}",
            percent(row["top1_agreement"]),
            str(row["threshold_flips"]),
            in_unit(row["bytes"] / 1e6, "MB") if "bytes" in row else "",
            in_unit(row["load_ms"], "ms") if "load_ms" in row else "",
            in_unit(row["median_ms"], "ms") if "median_ms" in row else "",
        ]
        for name, row in validation["variants"].items()
    ]
    head = ["model", "correlation", "max |Δlogit|", "same top-1", "threshold flips"]
    head += ["weights", "load", "one photo"]
    outcome = (
        badge("passed", "good") if validation["passed"] else badge("failed", "bad")
    )
    said = (
        f"<p>The exported models against JAX on {validation['images']} photos, in the "
        f"browser's {text(validation['backend'])} backend. {outcome}</p>"
    )
    body = table(head, rows, numeric=range(1, len(head)))
    return section(
        "export", "Export", said, body, picture("export", chart) if chart else ""
    )


def missing(found: Findings) -> str:
    if not found.missing:
        return ""
    rows = [
        [
            text(part.what),
            text(part.reason),
            f"<code>python -m aplantida_jax.main {text(part.command)}</code>",
        ]
        for part in found.missing
    ]
    head = ("what", "why", "how to make it")
    return section("missing", "Missing", table(head, rows, stacked=True))
