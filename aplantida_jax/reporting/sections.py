"""The sections of the report's page, each from `Findings` to HTML ("" when empty)."""

from collections.abc import Sequence
from typing import Any

from aplantida_jax.reporting.charts import Chart
from aplantida_jax.reporting.criterion import Criterion, at, in_unit
from aplantida_jax.reporting.findings import Findings, Run
from aplantida_jax.reporting.markup import (
    interval,
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
            str(row.phase),
            text(row.name),
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
        "“±” marks a verdict that the 95 % interval does not settle.</p>"
    )
    head = ("phase", "criterion", "measured", "95 % interval", "target", "", "")
    body = table(head, cells, numeric=(2, 3, 4))
    return section("criteria", "Criteria", note, body)


def _badge(row: Criterion) -> str:
    if not row.verdict:
        return ""
    unsure = " ±" if row.certain is False else ""
    return f'<span class="badge {_BADGES[row.verdict]}">{row.verdict}{unsure}</span>'


def runs(found: Findings, chart: Chart | None) -> str:
    head = ["run", "model", "evaluated on", "epochs", "top-1 val", "top-1 test"]
    head += ["top-5 test", "macro recall", "genus", "ECE"]
    body = table(
        head, [_run_row(run) for run in found.runs], numeric=range(3, len(head))
    )
    note = (
        '<p class="muted">Macro recall is the mean over classes; genus is the share of '
        "photos whose most probable genus is right. ECE is before calibration.</p>"
    )
    return section("runs", "Runs", body, note, picture(chart) if chart else "")


def _run_row(run: Run) -> list[str]:
    test = run.test
    model = at(run.best, "model", "name") or at(test, "model", "name") or "—"
    where = "—"
    if test:
        where = f"{test['images']:,} photos"
        where += f" of {text(test['region'])}" if test["region"] else ""
    top1 = percent(at(test, "top1_accuracy"))
    return [
        f"<b>{text(run.name)}</b>",
        text(model) + _weights(test),
        where,
        str(len(run.history) or "—"),
        percent(at(run.best, "metrics", "top1_accuracy")),
        f"{top1}<br>{interval(at(test, 'intervals', 'top1_accuracy'))}",
        percent(at(test, "top5_accuracy")),
        percent(at(test, "macro_recall")),
        percent(at(test, "genus_accuracy")),
        "—" if test is None else f"{test['ece']:.3f}",
    ]


def _weights(test: dict[str, Any] | None) -> str:
    if test is None or test["weights"] != "random":
        return ""
    return "<br><small>random weights</small>"


def places(found: Findings, charts: Sequence[Chart]) -> str:
    student = found.run(found.student)
    country = at(student.test if student else None, "country")
    said = ""
    if country and country["here"]["images"]:
        here, away = country["here"], country["elsewhere"]
        said = (
            f"<p>With the soft prior for {text(country['code'])} "
            f"({country['classes']} species known from there), top-1 on their "
            f"{here['images']:,} photos goes from "
            f"{percent(here['without_prior']['top1_accuracy'])} to "
            f"<b>{percent(here['with_prior']['top1_accuracy'])}</b>; on the "
            f"{away['images']:,} photos of other plants from "
            f"{percent(away['without_prior']['top1_accuracy'])} to "
            f"{percent(away['with_prior']['top1_accuracy'])}.</p>"
        )
    drawn = "".join(f"<h3>{text(c.title)}</h3>{picture(c)}" for c in charts)
    return section("places", "Where it is good", drawn, said) if drawn else ""


def calibration(found: Findings, charts: Sequence[Chart]) -> str:
    student = found.run(found.student)
    fit = student.calibration if student else None
    if fit is None:
        return ""
    notes = "".join(f'<p class="notice">{text(note)}</p>' for note in fit["notes"])
    rows = [
        [name, f"{fit[f'{field}_before']:.4f}", f"<b>{fit[f'{field}_after']:.4f}</b>"]
        for name, field in (
            ("ECE, 15 bins of equal width", "ece"),
            ("ECE, bins of equal mass", "adaptive_ece"),
            ("ECE per class", "classwise_ece"),
            ("largest gap of a bin (MCE)", "mce"),
            ("loss, nats", "loss"),
        )
    ]
    errors = table(
        ("on test", "before", f"T = {fit['temperature']:.2f}"), rows, numeric=(1, 2)
    )
    drawn = "".join(f"<h3>{text(c.title)}</h3>{picture(c)}" for c in charts)
    return section("calibration", "Confidence", notes, _answers(fit), errors, drawn)


def _answers(fit: dict[str, Any]) -> str:
    """What the app does with a photo, by the thresholds."""

    def cell(value: float | None) -> str:
        return "none" if value is None else f"{value:.2f}"

    rows = [
        [
            "species",
            cell(fit["threshold"]),
            percent(fit["coverage"]),
            percent(fit["accuracy"]),
            interval(fit["accuracy_interval"]),
        ],
        [
            "genus only",
            cell(fit["genus_threshold"]),
            percent(fit["genus_coverage"]),
            percent(fit["genus_accuracy"]),
            "",
        ],
        ["“no concluyente”", "", percent(fit["not_conclusive_rate"]), "", ""],
    ]
    head = ("the app answers", "from", "of test photos", "right", "95 % interval")
    return table(head, rows, numeric=(1, 2, 3, 4))


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
    examples = typical(evaluation, pair["predicted"], limit=_PHOTOS)
    true, answered = latin(pair["true_name"]), latin(pair["predicted_name"])
    strips = _strip(pair["image_ids"][:_PHOTOS], f"{true}, mistaken", thumbnails)
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
    drawn = picture(chart) if chart else ""
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
    head += ["size", "load", "one photo"]
    outcome = "passed" if validation["passed"] else "failed"
    said = (
        f"<p>The exported models against JAX on {validation['images']} photos, in the "
        f"browser's {text(validation['backend'])} backend: <b>{outcome}</b>.</p>"
    )
    body = table(head, rows, numeric=range(1, len(head)))
    return section("export", "Export", said, body, picture(chart) if chart else "")


def licences(verdict: dict[str, Any]) -> str:
    if not verdict["provenance"]:
        return ""
    if verdict["publishable"]:
        said = '<p><span class="badge good">may ship</span> Nothing taints it.</p>'
    else:
        reasons = "".join(f"<li>{text(reason)}</li>" for reason in verdict["reasons"])
        said = f'<p><span class="badge bad">may not ship</span></p><ul>{reasons}</ul>'
    rows = [
        [text(row["kind"]), text(row["name"]), text(", ".join(row["licences"]) or "—")]
        for row in verdict["provenance"]
    ]
    head = ("ancestor", "name", "licences")
    caption = f"What {verdict['run']} was made from."
    return section("licences", "Licences", said, table(head, rows, caption=caption))


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
    return section("missing", "Missing", table(head, rows))
