"""The sections of an evaluation's page: from metrics.json to HTML ("" when empty)."""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from aplantida_jax.evaluate import share_plots
from aplantida_jax.evaluate.examples import Examples
from aplantida_jax.evaluate.plot_style import Palette
from aplantida_jax.reporting.chart import Chart
from aplantida_jax.reporting.markup import (
    badge,
    interval,
    latin,
    percent,
    picture,
    table,
    text,
)
from aplantida_jax.reporting.thumbnails import Thumbnails

_PAIRS = 12  # confused pairs shown
_PHOTOS = 3  # of each kind
_SPECIES = 15  # least recalled ones shown
_FIGURES = {
    "top1_accuracy": ("top-1", "the most probable species is right"),
    "top5_accuracy": ("top-5", "the right species is among the five most probable"),
    "macro_recall": ("macro recall", "mean over species of the share of photos found"),
    "genus_accuracy": ("genus", "the most probable genus is right"),
    "ece": ("ECE", "how far confidence is from accuracy, before calibration"),
}


def headline(found: dict[str, Any]) -> list[tuple[str, str]]:
    """(ready HTML, what it is): the key figures."""
    shown = ("top1_accuracy", "top5_accuracy", "macro_recall", "genus_accuracy")
    return [
        (
            percent(found[field]),
            f"{_FIGURES[field][0]}{_within(found['intervals'].get(field))}",
        )
        for field in shown
    ]


def mask_notice(found: dict[str, Any]) -> str:
    """That a regional model does not know all plants."""
    mask = found["class_mask"]
    if mask is None:
        return ""
    outside = (
        f" {mask['images_outside']:,} photos are of other plants and count as wrong."
        if mask["images_outside"]
        else ""
    )
    return (
        f'<p class="notice">It answers with the {mask["classes"]:,} of {mask["of"]:,} '
        f"classes of {text(mask['region'])} only.{outside}</p>"
    )


def figures(found: dict[str, Any]) -> str:
    rows = [
        [
            name,
            percent(found[field]) if field != "ece" else f"{found['ece']:.3f}",
            interval(found["intervals"].get(field))
            if field != "ece"
            else _nats(found["intervals"].get(field)),
            _muted(meaning),
        ]
        for field, (name, meaning) in _FIGURES.items()
    ]
    loss = found["loss"]
    rows.append(
        [
            "loss",
            "—" if loss is None else f"{loss:.3f}",
            _nats(found["intervals"].get("loss")),
            _muted("mean negative log-likelihood, nats"),
        ]
    )
    chance = found["chance_top1_accuracy"]
    rows.append(["chance", percent(chance, decimals=2), "", _muted("top-1 of a guess")])
    drawn = found["bootstrap"]
    said = (
        f'<p class="muted">Intervals are 95 %, from {drawn["resamples"]:,} resamples '
        f"of the {drawn['groups']:,} groups that the {found['images']:,} photos form: "
        "photos of one observation, and near duplicates, are drawn together.</p>"
    )
    head = ("figure", "measured", "95 % interval", "what it is")
    return table(head, rows, numeric=(1, 2), stacked=True) + said


def places(found: dict[str, Any]) -> str:
    """Per region, and with the country prior."""
    rows = [
        [
            text(region),
            f"{row['images']:,}",
            _share(row, "top1_accuracy"),
            _share(row, "top5_accuracy"),
            _share(row, "macro_recall"),
            _share(row, "masked_top1_accuracy"),
        ]
        for region, row in share_plots.with_images(found["per_region"]).items()
    ]
    if not rows:
        return ""
    head = ("region", "photos", "top-1", "top-5", "macro recall", "top-1, its own")
    note = (
        '<p class="muted">“Its own”: only the region’s plants may be answered, as if '
        "the user had said where they are.</p>"
    )
    caption = "Top-1 over the photos of each region's plants, with 95 % intervals."
    chart = _chart("Regions", caption, share_plots.regions, found)
    body = table(head, rows, numeric=range(1, len(head)), stacked=True)
    return picture("regions", chart) + body + note + _country(found["country"])


def tail(found: dict[str, Any]) -> str:
    rows = [
        [
            text(band.replace("_", " ")),
            _span(*row["train_images"]),
            f"{row['classes']:,}",
            f"{row['images']:,}",
            _share(row, "top1_accuracy"),
            _share(row, "top5_accuracy"),
            _share(row, "macro_recall"),
        ]
        for band, row in found["bands"].items()
    ]
    head = ["band", "training images", "species", "photos", "top-1", "top-5"]
    head.append("macro recall")
    caption = (
        "Accuracy by how many training images the species has, with 95 % intervals."
    )
    chart = _chart("The long tail", caption, share_plots.bands, found)
    body = table(head, rows, numeric=range(1, len(head)), stacked=True)
    return picture("bands", chart) + body


def confusions(
    found: dict[str, Any], examples: Examples, thumbnails: Thumbnails
) -> str:
    cards = [_pair(pair, examples, thumbnails) for pair in found["confusions"][:_PAIRS]]
    return f'<div class="pairs">{"".join(cards)}</div>' if cards else ""


def species(
    classes: Sequence[dict[str, Any]],
    found: dict[str, Any],
    examples: Examples,
    thumbnails: Thumbnails,
) -> str:
    """The species that are recalled least, with photos that were missed."""
    names = {row["class_id"]: row["latin_name"] for row in classes}
    names |= {pair["predicted"]: pair["predicted_name"] for pair in found["confusions"]}
    worst = [row for row in classes if row["recall"] < 1][:_SPECIES]
    rows = []
    for row in worst:
        missed = examples.missed(row["class_id"], limit=_PHOTOS)
        rows.append(
            [
                latin(row["latin_name"]),
                percent(row["recall"], decimals=0),
                interval(row["recall_interval"]),
                f"{row['images']:,}",
                f"{row['train_images']:,}",
                _taken_for(examples.taken_for(row["class_id"]), names),
                f'<div class="missed">{_images(missed, row["latin_name"], thumbnails)}'
                "</div>",
            ]
        )
    if not rows:
        return ""
    head = ["species", "recall", "95 % interval", "photos", "training images"]
    head += ["taken for", "missed"]
    note = (
        '<p class="muted">All species are in per_class.json. The intervals are '
        "Wilson's: of a few photos they say little.</p>"
    )
    return table(head, rows, numeric=(1, 2, 3, 4), stacked=True) + note


def _pair(pair: dict[str, Any], examples: Examples, thumbnails: Thumbnails) -> str:
    true, answered = latin(pair["true_name"]), latin(pair["predicted_name"])
    mistaken = pair["image_ids"][:_PHOTOS]
    others = [i for i in examples.typical(pair["true"], limit=6) if i not in mistaken]
    strips = (
        _strip(mistaken, f"{true}, taken for the other", thumbnails)
        + _strip(others[:_PHOTOS], f"{true}, other photos", thumbnails)
        + _strip(
            examples.typical(pair["predicted"], limit=_PHOTOS), answered, thumbnails
        )
    )
    times = "once" if pair["count"] == 1 else f"{pair['count']} times"
    genus = badge("same genus") if pair["same_genus"] else ""
    return (
        f'<div class="pair"><p><b>{true}</b> taken for <b>{answered}</b> {times}, '
        f"{percent(pair['share'], decimals=0)} of its photos, with a mean probability "
        f"of {percent(pair['mean_probability'], decimals=0)} {genus}</p>{strips}</div>"
    )


def _strip(image_ids: Sequence[str], caption: str, thumbnails: Thumbnails) -> str:
    images = _images(image_ids, "", thumbnails)
    return f'<div class="strip"><span>{caption}</span>{images}</div>' if images else ""


def _images(image_ids: Sequence[str], alt: str, thumbnails: Thumbnails) -> str:
    uris = [uri for i in image_ids if (uri := thumbnails.uri(i)) is not None]
    return "".join(f'<img src="{uri}" alt="{text(alt)}">' for uri in uris)


def _taken_for(found: tuple[int, int] | None, names: dict[int, str]) -> str:
    if found is None:
        return ""
    class_id, times = found
    name = latin(names[class_id]) if class_id in names else f"class {class_id}"
    return f"{name} <small>×&nbsp;{times}</small>"


def _country(country: dict[str, Any] | None) -> str:
    """With and without the soft prior."""
    if country is None:
        return ""
    code = text(country["code"])
    rows = [
        [
            f"{what} {code}",
            f"{row['images']:,}",
            _share(row["without_prior"], "top1_accuracy"),
            _share(row["with_prior"], "top1_accuracy"),
            _points(row["gain"]),
        ]
        for what, row in (
            ("plants known from", country["here"]),
            ("plants not known from", country["elsewhere"]),
        )
        if row["images"]
    ]
    head = ("photos of", "photos", "without prior", "with prior", "gain, points")
    said = (
        f'<p class="muted">Top-1 with a soft prior for the {country["classes"]:,} '
        f"species known from {code} (weight {country['prior_weight']:g}): what it "
        "gives who is there, and costs who is not.</p>"
    )
    return said + table(head, rows, numeric=(1, 2, 3, 4), stacked=True)


def _chart(
    title: str,
    caption: str,
    draw: Callable[[Axes, Palette, dict[str, Any]], None],
    found: dict[str, Any],
) -> Chart:
    def on_figure(figure: FigureBase, palette: Palette) -> None:
        draw(figure.subplots(), palette, found)

    return Chart(title, caption, 3.2, on_figure, 3.4)


def _muted(said: str) -> str:
    return f'<span class="muted">{text(said)}</span>'


def _share(row: dict[str, Any], field: str) -> str:
    return f"{percent(row[field])}<br>{interval(row['intervals'].get(field))}"


def _points(gain: dict[str, Any]) -> str:
    ends = gain["interval"]
    span = f"{100 * ends[0]:+.1f} to {100 * ends[1]:+.1f}" if ends else ""
    said = (
        f"<b>{100 * gain['top1_accuracy']:+.1f}</b><br>"
        f'<small class="interval">{span}</small>'
    )
    return said.replace("-", "−")  # a minus is as wide as the plus


def _within(ends: Sequence[float] | None) -> str:
    return f", {100 * ends[0]:.1f} to {100 * ends[1]:.1f}" if ends else ""


def _nats(ends: Sequence[float] | None) -> str:
    if ends is None:
        return ""
    return f'<small class="interval">{ends[0]:.3f} to {ends[1]:.3f}</small>'


def _span(low: int, high: int | None) -> str:
    return f"{low}+" if high is None else str(low) if low == high else f"{low}–{high}"
