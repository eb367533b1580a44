"""Sections of the page about confidence: calibration, and what it cannot know.

Each is a function from `Findings` to HTML, "" when there is nothing to tell.
"""

from collections.abc import Mapping
from typing import Any

from aplantida_jax.reporting import unknown_cards, unknown_chart
from aplantida_jax.reporting.chart import Chart
from aplantida_jax.reporting.findings import Findings
from aplantida_jax.reporting.markup import (
    badge,
    interval,
    percent,
    pictures,
    section,
    table,
    text,
)
from aplantida_jax.reporting.thumbnails import Thumbnails

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
    tried = fit.get("vector_scaling") or {}
    vector = tried.get("on_test", {}).get("vector", {})
    ends = fit.get("intervals", {})
    rows = []
    for name, field in _ERRORS:
        if f"{field}_before" not in fit:
            continue
        before, after = fit[f"{field}_before"], fit[f"{field}_after"]
        look = _look(ends.get(f"{field}_change"))
        rows.append(
            [
                name,
                _with_interval(f"{before:.4f}", ends.get(f"{field}_before")),
                _with_interval(f"<b>{after:.4f}</b>", ends.get(f"{field}_after")),
                _with_interval(
                    badge(_signed(after - before), look), ends.get(f"{field}_change")
                ),
                f"{vector[field]:.4f}" if field in vector else "—",
            ]
        )
    head = ["on test", "before", f"T = {fit['temperature']:.2f}", "change"]
    head.append("vector scaling")
    caption = (
        "Less is better, in every row; green or red where the 95 % interval of the "
        "change says so. "
    )
    caption += _of_vector(tried) if vector else ""
    shown = rows if vector else [row[:-1] for row in rows]
    head = head if vector else head[:-1]
    body = table(
        head, shown, numeric=range(1, len(head)), caption=caption, stacked=True
    )
    return body + _worse(fit)


def _worse(fit: dict[str, Any]) -> str:
    """Which errors the temperature, chosen on val, has not lessened on test."""
    names = [
        name
        for name, field in _ERRORS
        if f"{field}_before" in fit and fit[f"{field}_after"] > fit[f"{field}_before"]
    ]
    if not names:
        return ""
    said = f"The temperature, chosen on val, makes worse on test: {'; '.join(names)}."
    return f'<p class="notice">{said}</p>'


def _look(change: list[float] | None) -> str:
    if change is None or change[0] <= 0 <= change[1]:
        return ""
    return "good" if change[1] < 0 else "bad"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def _with_interval(cell: str, ends: list[float] | None) -> str:
    if ends is None:
        return cell
    low, high = (f"{end:.4f}".replace("-", "\N{MINUS SIGN}") for end in ends)
    return f'{cell}<br><small class="interval">{low} to {high}</small>'


def _of_vector(tried: Mapping[str, Any]) -> str:
    judged = tried["cross_validated_on_val"]
    verdict = "helps" if judged["helps"] else "is not shown to help"
    doubt = "" if tried["agree"] else " (on test the loss changes the other way)"
    return (
        f"Vector scaling, cross-validated on val, {verdict}{doubt}; it is not shipped."
    )


def _answers(fit: dict[str, Any]) -> str:
    """What the app does with a photo, by the thresholds."""
    rows = [
        [
            "species",
            _threshold(fit["threshold"]),
            percent(fit["coverage"]),
            percent(fit["accuracy"]),
            interval(fit["accuracy_interval"]),
        ],
        [
            "genus only",
            _threshold(fit["genus_threshold"]),
            percent(fit["genus_coverage"]),
            percent(fit["genus_accuracy"]),
            interval(fit.get("genus_accuracy_interval")),
        ],
        ["“no concluyente”", "", percent(fit["not_conclusive_rate"]), "", ""],
    ]
    head = ("the app answers", "from", "of test photos", "right", "95 % interval")
    assured = fit.get("assured_threshold")
    sure = [row for row in fit["threshold_table"] if row["threshold"] == assured]
    rows += [
        [
            "species, cautiously",
            _threshold(row["threshold"]),
            percent(row["coverage"]),
            percent(row["accuracy"]),
            interval(row["accuracy_interval"]),
        ]
        for row in sure
    ]
    target = percent(fit["accuracy_target"])
    caption = (
        f"Cautiously: from where val proves that {target} are right." if sure else ""
    )
    return table(head, rows, numeric=(1, 2, 3, 4), caption=caption, stacked=True)


def unknown(
    found: Findings, charts: Mapping[str, Chart], thumbnails: Thumbnails
) -> str:
    """Held-out species and pictures of no plant: how often it answers all the same.

    Args:
        found: everything.
        charts: of the section.
        thumbnails: of the photos that were held out.
    """
    asked = found.out_of_distribution
    if asked is None:
        return ""
    rows = [_unknown_row("test, as a measure", _known(found), None)]
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
        "from the test photos: 1 and 0 are perfect, 0.5 and 0.95 are chance. Photos of "
        "one species are answered alike, and so are pictures of one kind: the 95 % "
        "intervals go by species and by kinds, and of a single one there is none.</p>"
    )
    body = table(head, rows, numeric=range(1, len(head)), stacked=True)
    worst = unknown_cards.cards(found, thumbnails)
    return section(
        "unknown", "What it cannot know", said, pictures(charts), body, worst
    )


def _known(found: Findings) -> dict[str, Any]:
    """The row of test, with its genera right and wrong as calibration counted them."""
    assert found.out_of_distribution is not None
    known = found.out_of_distribution["known"]
    student = found.run(found.student)
    fit = student.calibration if student else None
    if fit is None or fit["genus_accuracy"] is None:
        return {**known}
    count = known["genus"]["count"]
    right = round(count * fit["genus_accuracy"])
    genus = {**known["genus"], "right": right, "wrong": count - right}
    return {**known, "genus": genus}


def _unknown_row(
    name: str, row: Mapping[str, Any], score: Mapping[str, Any] | None
) -> list[str]:
    genus = row["genus"]
    split = [genus.get(part) for part in ("right", "wrong")]
    return [
        text(name),
        f"{row['images']:,}{_sampled(row)}",
        f"{percent(row['species']['share'])}<br>{interval(row['species']['interval'])}",
        *("—" if n is None else percent(n / row["images"]) for n in split),
        percent(row["not_conclusive"]["share"]),
        _score(score, "auroc", "auroc_interval"),
        _score(score, "fpr_at_95_tpr", "fpr_interval"),
    ]


def _sampled(row: Mapping[str, Any]) -> str:
    """ "of 5 species", where pictures are not what was drawn."""
    sampled = row.get("sampled")
    if sampled is None or sampled["what"] == "pictures":
        return ""
    return f"<br><small>of {sampled['groups']:,} {text(sampled['what'])}</small>"


def _score(row: Mapping[str, Any] | None, field: str, ends: str) -> str:
    """A measure of how well known and unknown are told apart."""
    if row is None or row[field] is None:
        return "—"
    if row.get(ends) is None:
        return f"{row[field]:.3f}"
    low, high = row[ends]
    return (
        f'{row[field]:.3f}<br><small class="interval">{low:.2f} to {high:.2f}</small>'
    )


def _threshold(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
