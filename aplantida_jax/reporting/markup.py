"""HTML pieces of the report's page. In: plain text and numbers. Out: safe HTML strings.

Whatever may hold text from outside (names, notes, paths) goes through `text`.
"""

import base64
import html
from collections.abc import Iterable, Sequence

from aplantida_jax.evaluate import plot_style
from aplantida_jax.reporting.charts import Chart


def text(value: object) -> str:
    return html.escape(str(value))


def latin(name: str) -> str:
    """A Latin name, as it is set: in italics."""
    return f"<i>{text(name)}</i>"


def percent(value: float | None, *, decimals: int = 1) -> str:
    return "—" if value is None else f"{100 * value:.{decimals}f}&thinsp;%"


def interval(ends: Sequence[float] | None) -> str:
    """A small "71.2 to 74.9" for shares."""
    if ends is None:
        return ""
    low, high = (f"{100 * end:.1f}" for end in ends)
    return f'<small class="interval">{low} to {high}</small>'


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Sequence[int] = (),
    caption: str = "",
) -> str:
    """A table of ready HTML cells; columns in `numeric` are set to the right."""
    styles = ['class="number"' if i in numeric else "" for i in range(len(head))]
    header = "".join(
        f"<th {s}>{text(h)}</th>" for h, s in zip(head, styles, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td {s}>{cell}</td>" for cell, s in zip(row, styles, strict=True))
        + "</tr>"
        for row in rows
    )
    said = f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{said}<thead><tr>{header}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def section(anchor: str, title: str, *content: str) -> str:
    return (
        f'<section id="{anchor}"><h2>{text(title)}</h2>'
        + "".join(content)
        + "</section>"
    )


def data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def picture(chart: Chart) -> str:
    """A chart for light and for dark pages, the one that fits being shown."""
    sources = {
        dark: data_uri(render(chart, dark=dark), "png") for dark in (False, True)
    }
    return (
        "<figure><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{sources[True]}">'
        f'<img src="{sources[False]}" alt="{text(chart.caption)}">'
        f"</picture><figcaption>{text(chart.caption)}</figcaption></figure>"
    )


def render(chart: Chart, *, dark: bool) -> bytes:
    """PNG bytes of a chart alone."""
    with plot_style.themed(dark=dark) as palette:
        figure = plot_style.new_figure(*chart.size)
        chart.draw(figure, palette)
        return plot_style.png(figure)
