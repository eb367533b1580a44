"""Sections of the page about the runs: what they reached, where, and by how much.

Each is a function from `Findings` to HTML, "" when there is nothing to tell.
"""

from collections.abc import Mapping
from typing import Any

from aplantida_jax.reporting.chart import Chart
from aplantida_jax.reporting.criterion import at
from aplantida_jax.reporting.findings import Findings, Run, SoftLabelStore
from aplantida_jax.reporting.markup import (
    badge,
    interval,
    percent,
    pictures,
    section,
    table,
    text,
)
from aplantida_jax.reporting.run_charts import short


def runs(found: Findings, charts: Mapping[str, Chart]) -> str:
    head = ["run", "model", "evaluated on", "epochs", "top-1 val", "top-1 test"]
    head += ["top-5 test", "macro recall", "genus", "ECE"]
    body = table(
        head,
        [_run_row(run) for run in found.runs],
        numeric=range(3, len(head)),
        stacked=True,
    )
    note = (
        '<p class="muted">Macro recall is the mean over classes; genus is the share of '
        "photos whose most probable genus is right. ECE is before calibration.</p>"
    )
    return section("runs", "Runs", body, note, pictures(charts))


def _run_row(run: Run) -> list[str]:
    test = run.test
    model = at(run.best, "model", "name") or at(test, "model", "name") or "—"
    where = "—"
    if test:
        where = f"{test['images']:,} photos"
        where += f" of {text(test['region'])}" if test["region"] else ""
    top1 = percent(at(test, "top1_accuracy"))
    return [
        f"<b>{text(run.name)}</b>" + _unfinished(run),
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


def _unfinished(run: Run) -> str:
    return f"<br>{badge('training not finished', 'open')}" if run.unfinished else ""


def _weights(test: dict[str, Any] | None) -> str:
    if test is None or test["weights"] != "random":
        return ""
    return "<br><small>random weights</small>"


def places(found: Findings, charts: Mapping[str, Chart]) -> str:
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
    if not charts:
        return ""
    return section("places", "Where it is good", pictures(charts), said)


def comparison(found: Findings, charts: Mapping[str, Chart]) -> str:
    """What stage compare found against its reference."""
    compared = found.comparison
    if compared is None:
        return ""
    reference = short(compared["reference"])
    rows = [
        _difference_row(pair) for pair in compared["pairs"] if pair["with_reference"]
    ]
    head = ("run", "top-1, points", "macro recall, points", "p", "better on test")
    body = table(head, rows, numeric=(1, 2, 3), stacked=True)
    notes = "".join(f"<p>{text(note)}</p>" for note in compared["notes"])
    said = (
        f'<p class="muted">Each run less <b>{text(reference)}</b>, on the same photos. '
        "Intervals are 95 %, drawn over groups of photos that belong together (and "
        "over seeds, where a way of training has several); p is corrected by Holm for "
        "as many comparisons as there are rows. An interval is of one comparison, p of "
        "all: where they disagree, p decides.</p>"
    )
    return section("comparison", "Compared", said, body, pictures(charts), notes)


def _difference_row(pair: dict[str, Any]) -> list[str]:
    p = pair["p_holm"]
    if not pair["significant"]:
        verdict = badge("no difference shown")
    elif pair["differences"]["top1_accuracy"]["difference"] > 0:
        verdict = badge("better", "good")
    else:
        verdict = badge("worse", "bad")
    partial = f"<br><small>on {pair['images']:,} photos</small>"
    return [
        text(short(pair["run"])) + (partial if pair["partial"] else ""),
        _difference(pair["differences"]["top1_accuracy"]),
        _difference(pair["differences"]["macro_recall"]),
        "—" if p is None else "&lt; 0.001" if p < 0.001 else f"{p:.3f}",
        verdict,
    ]


def _difference(row: dict[str, Any]) -> str:
    said = f"<b>{_points(row['difference'])}</b>"
    if row["interval"] is None:
        return said
    low, high = map(_points, row["interval"])
    return f'{said}<br><small class="interval">{low} to {high}</small>'


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def soft_labels(found: Findings) -> str:
    """The stores that the student learnt from."""
    if not found.soft_labels:
        return ""
    error = found.soft_label_error
    summed = "" if error is None else f" Rows sum to 1 within {error:.1g}."
    said = (
        '<p class="muted">What the teachers answered, as the most probable classes '
        "and the rest of the mass. The divergence is that of a row from the teacher's "
        "own answer (of a combined one, from the mixture of the teachers' rows), on "
        "average, in nats; and as the loss counts it: softened by the temperature, "
        f"times its square.{summed}</p>"
    )
    head = ["teacher", "rows", "views", "classes kept", "bytes a row", "of float32"]
    head += ["divergence", "in the loss"]
    rows = [_store_row(store) for store in found.soft_labels]
    body = table(head, rows, numeric=range(1, len(head)))
    return section("soft_labels", "Soft labels", said, body)


def _store_row(store: SoftLabelStore) -> list[str]:
    measured = store.made["metrics"]
    size = measured.get("bytes_per_row")
    dense = 4 * store.classes
    divergence = measured.get("kl_mean")
    softened = measured.get("kl_mean_at_temperature")
    return [
        text(store.name),
        f"{measured['rows']:,}",
        str(store.views["count"]) if store.views else "evaluation",
        f"{min(store.k, store.classes) if store.classes else store.k:,}",
        "—" if size is None else f"{size:,}",
        "—" if not (size and dense) else f"1/{dense / size:,.0f}",
        "—" if divergence is None else f"{divergence:.2g}",
        "—"
        if softened is None
        else f"{softened:.2g} at {measured['kl_temperature']:g}",
    ]
