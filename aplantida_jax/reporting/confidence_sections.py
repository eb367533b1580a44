"""Sections of the page about confidence: calibration, and what it cannot know.

Each is a function from `Findings` to HTML, "" when there is nothing to tell.
"""

from collections.abc import Mapping
from typing import Any

from aplantida_jax.reporting import unknown_chart
from aplantida_jax.reporting.chart import Chart
from aplantida_jax.reporting.findings import Findings
from aplantida_jax.reporting.markup import (
    badge,
    data_uri,
    interval,
    percent,
    pictures,
    section,
    table,
    text,
)

_ERRORS = (
    ("ECE, 15 bins of equal width", "ece"),
    ("ECE, bins of equal mass", "adaptive_ece"),
    ("ECE per class", "classwise_ece"),
    ("largest gap of a bin (MCE)", "mce"),
    ("Brier score", "brier"),
    ("loss, nats", "loss"),
)


def calibration(found: Findings, charts: Mapping[str, Chart]) -> str:
    student = found.run(found.student)
    fit = student.calibration if student else None
    if fit is None:
        return ""
    items = "".join(f"<li>{text(_sentence(note))}</li>" for note in fit["notes"])
    notes = f'<ul class="notice">{items}</ul>' if items else ""
    return section(
        "calibration",
        "Confidence",
        notes,
        _answers(fit),
        _errors(fit),
        pictures(charts),
    )


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


def _errors(fit: dict[str, Any]) -> str:
    """Calibration errors on test, before and after, and vector scaling beside."""
    vector = (fit.get("vector_scaling") or {}).get("on_test", {}).get("vector", {})
    rows = []
    for name, field in _ERRORS:
        if f"{field}_before" not in fit:
            continue
        before, after = fit[f"{field}_before"], fit[f"{field}_after"]
        look = "good" if after < before else ""
        rows.append(
            [
                name,
                f"{before:.4f}",
                f"<b>{after:.4f}</b>",
                badge(f"{after - before:+.4f}", look),
                f"{vector[field]:.4f}" if field in vector else "—",
            ]
        )
    head = ["on test", "before", f"T = {fit['temperature']:.2f}", "change"]
    head.append("vector scaling")
    caption = "Less is better, in every row. Vector scaling is measured, not shipped."
    shown = rows if vector else [row[:-1] for row in rows]
    head = head if vector else head[:-1]
    return table(head, shown, numeric=range(1, len(head)), caption=caption)


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
            interval(fit.get("genus_accuracy_interval")),
        ],
        ["“no concluyente”", "", percent(fit["not_conclusive_rate"]), "", ""],
    ]
    head = ("the app answers", "from", "of test photos", "right", "95 % interval")
    return table(head, rows, numeric=(1, 2, 3, 4))


def unknown(found: Findings, charts: Mapping[str, Chart], sheet: bytes | None) -> str:
    """Held-out species and pictures of no plant: how often it answers all the same.

    Args:
        found: everything.
        charts: of the section.
        sheet: PNG of the most certain wrong answers, if there is one.
    """
    asked = found.out_of_distribution
    if asked is None:
        return ""
    rows = [_unknown_row("test, as a measure", asked["known"], None)]
    rows += [
        _unknown_row(unknown_chart.name_of(kind), row, row["scores"]["confidence"])
        for kind, row in asked["kinds"].items()
        if row["images"]
    ]
    head = ["asked about", "pictures", "a species", "right genus", "wrong genus"]
    head += ["“no concluyente”", "AUROC", "FPR at 95 % TPR"]
    said = (
        '<p class="muted">Species that nothing was trained on, and pictures of no '
        "plant, by the thresholds that the app uses. A species is always wrong there; "
        "a genus may be right. AUROC and FPR say how well confidence alone tells them "
        "from the test photos: 1 and 0 are perfect, 0.5 and 0.95 are chance.</p>"
    )
    body = table(head, rows, numeric=range(1, len(head)))
    drawn = _sheet(sheet) if sheet else ""
    return section(
        "unknown", "What it cannot know", said, pictures(charts), body, drawn
    )


def _unknown_row(
    name: str, row: Mapping[str, Any], score: Mapping[str, float] | None
) -> list[str]:
    genus = row["genus"]
    split = [genus.get(part) for part in ("right", "wrong")]
    return [
        text(name),
        f"{row['images']:,}",
        f"{percent(row['species']['share'])}<br>{interval(row['species']['interval'])}",
        *("—" if n is None else percent(n / row["images"]) for n in split),
        percent(row["not_conclusive"]["share"]),
        *(
            "—" if score is None or score[field] is None else f"{score[field]:.3f}"
            for field in ("auroc", "fpr_at_95_tpr")
        ),
    ]


def _sheet(png: bytes) -> str:
    words = "Pictures that it could not know and answered with most confidence."
    return (
        f'<h3>Most certain and wrong</h3><figure><img src="{data_uri(png, "png")}" '
        f'alt="{words}"><figcaption>{words}</figcaption></figure>'
    )
