"""The audit as one HTML file that needs nothing else, and its histogram.

Every figure says on how many images it rests.
"""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem;
       padding: 1.5rem; color: #1f2a24; background: #fff; }
h1 { margin: 0 0 .25rem; } h2 { margin: 2.5rem 0 .5rem; font-size: 1.2rem; }
p.note { color: #5d6a62; margin: .25rem 0 .75rem; }
table { border-collapse: collapse; } td, th { padding: .25rem .9rem .25rem 0;
text-align: left; border-bottom: 1px solid #e3e8e4; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; } .pairs { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 18rem; } figure div { display: flex; gap: .25rem; }
figure img { width: 8.8rem; height: 8.8rem; object-fit: cover; border-radius: 4px; }
figcaption { font-size: .85rem; color: #5d6a62; } .bad { color: #b0352c; }
@media (prefers-color-scheme: dark) { body { background: #151b18; color: #e6ece8; }
  td, th { border-color: #2f3a34; } p.note, figcaption { color: #98a59d; }
  .bad { color: #ef8078; } img.chart { filter: invert(.88) hue-rotate(180deg); } }
"""
_BINS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


class Shown(NamedTuple):
    """A pair of pictures: JPEG bytes, and what to say below."""

    left: bytes
    right: bytes
    caption: str


def histogram(counts: Sequence[int]) -> bytes:
    """PNG: how many classes have how many images."""
    edges = [*_BINS, float("inf")]
    bars = [
        sum(low <= count < high for count in counts)
        for low, high in zip(_BINS, edges[1:], strict=True)
    ]
    names = [
        f"{low}+" if high == float("inf") else _interval(low, int(high) - 1)
        for low, high in zip(_BINS, edges[1:], strict=True)
    ]
    figure = Figure(figsize=(8, 3.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.bar(names, bars, color="#1b7f5c")
    axes.bar_label(drawn, fontsize=8)
    axes.set(xlabel="images of a class", ylabel="classes")
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def render(audit: Mapping[str, Any], chart: bytes, pairs: Sequence[Shown]) -> str:
    """The page; `audit` is what `audit.json` holds."""
    classes = audit["classes"]
    body = [
        "<h1>Audit of the dataset</h1>",
        f'<p class="note">{audit["photos"]:,} photos of {classes["total"]:,} classes '
        f"· label map {_text(audit['label_map'][:12])}</p>",
        _section("Images per class", _classes(classes, chart)),
        _section("URLs", _urls(audit["urls"], audit["broken_url_rate"])),
        _section("Images", _images(audit["images"])),
        _section("Duplicates", _duplicates(audit["duplicates"], pairs)),
        _section("Licences", _licences(audit["licences"])),
        _section("Regions", _regions(audit["regions"])),
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Audit of the dataset</title><style>{_STYLE}</style>"
        + "\n".join(body)
        + "</html>\n"
    )


def _interval(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}\u2013{high}"


def _text(value: object) -> str:
    return html.escape(str(value))


def _section(title: str, content: str) -> str:
    return f"<h2>{_text(title)}</h2>\n{content}"


def _note(sentence: str) -> str:
    return f'<p class="note">{_text(sentence)}</p>'


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Numbers are set to the right, by the type of the cells."""

    def cell(value: Any) -> str:
        if isinstance(value, int | float):
            return f'<td class="n">{value:,}</td>'
        return f"<td>{_text(value)}</td>"

    lines = [f"<tr>{''.join(map(cell, row))}</tr>" for row in rows]
    names = "".join(f"<th>{_text(name)}</th>" for name in head)
    return f"<table><tr>{names}</tr>{''.join(lines)}</table>" if lines else ""


def _inline(data: bytes, kind: str, **attributes: str) -> str:
    extra = "".join(f' {name}="{_text(v)}"' for name, v in attributes.items())
    encoded = base64.b64encode(data).decode()
    return f'<img src="data:image/{kind};base64,{encoded}"{extra}>'


def _classes(classes: Mapping[str, Any], chart: bytes) -> str:
    said = (
        f"Median {classes['median']:g}, mean {classes['mean']:g}, largest "
        f"{classes['largest']:,}; {classes['with_1']:,} classes have one image, "
        f"{classes['with_2']:,} have two. Rests on photos.jsonl."
    )
    alt = "How many classes have how many images"
    return _note(said) + _inline(chart, "png", alt=alt, **{"class": "chart"})


def _urls(urls: Mapping[str, Any], rate: float | None) -> str:
    parts = []
    if rate is not None:
        mark = ' class="bad"' if rate >= 0.05 else ""
        parts.append(f"<p><b{mark}>{rate:.1%}</b> broken (target: under 5 %)</p>")
    for name, sentence in (
        ("download", "asked for by stage download, and decoded"),
        ("sample", "asked for just now, without their bodies"),
    ):
        found = urls[name]
        if found is None or not found["asked"]:
            parts.append(_note(f"No URLs were {sentence}."))
            continue
        parts.append(_note(f"{found['asked']:,} URLs {sentence}:"))
        rows = [("fine", found["asked"] - found["broken"]), *found["reasons"].items()]
        parts.append(_table(("answer", "URLs"), rows))
    return "".join(parts)


def _images(images: Mapping[str, Any] | None) -> str:
    if images is None:
        return _note("Nothing is known before stage download.")
    sides = images["short_side_percentiles"]
    said = (
        f"Rests on {images['downloaded']:,} downloaded images. Short side: smallest "
        f"{sides['0']:,}, median {sides['50']:,}, largest {sides['100']:,} pixels."
    )
    rows = [
        ("turned upright by their EXIF orientation", images["exif_turned"]),
        ("with an impossible EXIF orientation", images["exif_impossible"]),
        ("that show an even surface", images["featureless"]),
    ]
    faults = _table(("fault", "images"), images["faults"].items())
    return _note(said) + _table(("images", "number"), rows) + faults


def _duplicates(found: Mapping[str, Any] | None, pairs: Sequence[Shown]) -> str:
    if found is None:
        return _note("Nothing is known before stage download.")
    said = (
        f"Rests on {found['images']:,} downloaded images, which form "
        f"{found['groups']:,} groups, the largest of {found['largest_group']:,}. Near: "
        f"perceptual hashes differ in at most {found['distance']} of 64 bits. Pairs of "
        "different species are photos under two names: one of them is wrong."
    )
    rows = [
        ("same bytes", found["exact"], found["exact_of_different_classes"]),
        ("near duplicates", found["near"], found["near_of_different_classes"]),
    ]
    figures = [
        f"<figure><div>{_inline(pair.left, 'jpeg', alt='')}"
        f"{_inline(pair.right, 'jpeg', alt='')}</div>"
        f"<figcaption>{_text(pair.caption)}</figcaption></figure>"
        for pair in pairs
    ]
    table = _table(("pairs", "number", "of different species"), rows)
    return _note(said) + table + f'<p></p><div class="pairs">{"".join(figures)}</div>'


def _licences(licences: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (row["raw"] or "(empty)", row["licence"] or "unknown: denied", row["images"])
        for row in licences
    ]
    said = "Every image of the collection, as its document says."
    return _note(said) + _table(("as written", "licence", "images"), rows)


def _regions(regions: Mapping[str, Mapping[str, int]]) -> str:
    rows = [(name, row["classes"], row["photos"]) for name, row in regions.items()]
    said = "A plant belongs to every region that its countries touch."
    return _note(said) + _table(("region", "classes", "photos"), rows)
