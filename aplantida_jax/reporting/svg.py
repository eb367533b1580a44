"""Charts as SVG inside a page: sharp at any size, in the colours of the page's theme.

A chart is drawn once, with the light palette; each of its colours becomes a CSS
variable that the page sets for light and for dark.
"""

import dataclasses
import io
import re
from collections.abc import Iterator
from typing import Any

import matplotlib

from aplantida_jax.evaluate import plot_style
from aplantida_jax.evaluate.plot_style import DARK, LIGHT, Palette
from aplantida_jax.reporting.chart import Chart

_FONTS = "'DejaVu Sans', Verdana, sans-serif"  # what it is laid out with, or as wide
_TINT = 0.45  # of the paper in a series' second colour


def render(chart: Chart, size: tuple[float, float], *, name: str) -> str:
    """An SVG element without size or title of its own.

    Args:
        chart: what to draw.
        size: inches, width and height.
        name: of letters and digits, unique in the page: the prefix of its ids.
    """
    with plot_style.themed() as palette, matplotlib.rc_context(_settings(name)):
        figure = plot_style.new_figure(*size)
        chart.draw(figure, palette)
        out = io.StringIO()
        figure.savefig(out, format="svg", dpi=72, metadata={"Date": None})
    return _inline(out.getvalue(), name)


def tint(colour: str, palette: Palette) -> str:
    """A lighter version of one of the palette's series, for a second round of them."""
    mixed = (
        round((1 - _TINT) * int(colour[i : i + 2], 16) + _TINT * int(paper, 16))
        for i, paper in ((i, palette.paper[i : i + 2]) for i in (1, 3, 5))
    )
    return "#" + "".join(f"{part:02x}" for part in mixed)


def styles() -> str:
    """CSS: the variables that the charts' colours are."""
    pairs = dict(_pairs())
    light = "".join(f"{_variable(c)}: {c};" for c in pairs)
    dark = "".join(f"{_variable(c)}: {other};" for c, other in pairs.items())
    return f":root {{{light}}} @media (prefers-color-scheme: dark) {{:root {{{dark}}}}}"


def _pairs() -> Iterator[tuple[str, str]]:
    """A colour of the light theme and what it is in the dark one."""
    for field in dataclasses.fields(Palette):
        ours, theirs = getattr(LIGHT, field.name), getattr(DARK, field.name)
        if field.name == "series":
            for one, other in zip(ours, theirs, strict=True):
                yield one, other
                yield tint(one, LIGHT), tint(other, DARK)
        elif ours.startswith("#"):
            yield ours, theirs


def _settings(name: str) -> dict[Any, Any]:
    # Text stays text, and equal charts are equal.
    return {"svg.fonttype": "none", "svg.hashsalt": name}


def _variable(colour: str) -> str:
    return f"--chart-{colour[1:]}"


def _inline(document: str, name: str) -> str:
    """A matplotlib SVG file as an element of a page that holds several."""
    body = document[document.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    # A rule for "*" would be the whole page's; page.css has it for charts.
    body = re.sub(r"<style.*?</style>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    view = re.search(r'viewBox="[^"]+"', body)
    assert view is not None  # matplotlib always writes one
    body = re.sub(r"<svg[^>]*>", f"<svg {view.group()}>", body, count=1)
    body = body.replace("xlink:href", "href").replace("'DejaVu Sans'", _FONTS)
    for colour in dict(_pairs()):
        body = body.replace(colour, f"var({_variable(colour)}, {colour})")
    # Whitespace between elements is a fifth of the file.
    return re.sub(r">\s+<", "><", body).strip()
