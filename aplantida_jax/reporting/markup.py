"""HTML pieces of the report's page. In: plain text and numbers. Out: safe HTML strings.

Whatever may hold text from outside (names, notes, paths) goes through `text`.
"""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence

from aplantida_jax.reporting import svg
from aplantida_jax.reporting.chart import Chart


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
    stacked: bool = False,
) -> str:
    """A table of ready HTML cells; columns in `numeric` are set to the right.

    The first column heads its row. On a phone a table scrolls sideways under its first
    column, or, if `stacked`, each row becomes a card with the columns' names in it.
    """
    styles = [' class="number"' if i in numeric else "" for i in range(len(head))]
    header = "".join(
        f'<th scope="col"{s}>{text(h)}</th>' for h, s in zip(head, styles, strict=True)
    )
    body = "".join(_row(head, row, styles) for row in rows)
    said = f"<caption>{text(caption)}</caption>" if caption else ""
    label = text(caption or ", ".join(name for name in head[:3] if name))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f"<table{' class=stacked' if stacked else ''}>{said}"
        f"<thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(head: Sequence[str], row: Sequence[str], styles: Sequence[str]) -> str:
    first, *rest = row
    cells = "".join(
        f'<td{style} data-label="{text(name)}">{cell}</td>'
        for name, cell, style in zip(head[1:], rest, styles[1:], strict=True)
    )
    return f'<tr><th scope="row"{styles[0]}>{first}</th>{cells}</tr>'


def section(anchor: str, title: str, *content: str) -> str:
    return (
        f'<section id="{anchor}"><h2>{text(title)}</h2>'
        + "".join(content)
        + "</section>"
    )


def data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def picture(name: str, chart: Chart) -> str:
    """A chart in the page's colours, for wide and for narrow pages.

    Args:
        name: of letters and digits, unique in the page.
        chart: what to draw.
    """
    drawn = "".join(
        f'<div class="chart {shape}" role="img" aria-label="{text(chart.caption)}">'
        f"{svg.render(chart, size, name=name + shape)}</div>"
        for shape, size in zip(("wide", "narrow"), chart.sizes, strict=True)
    )
    return f"<figure>{drawn}<figcaption>{text(chart.caption)}</figcaption></figure>"


def pictures(charts: Mapping[str, Chart]) -> str:
    """Charts under headings of their own."""
    return "".join(
        f"<h3>{text(chart.title)}</h3>{picture(name, chart)}"
        for name, chart in charts.items()
    )


def folded(summary: str, *content: str) -> str:
    """What only some readers want to see: opened by a click, with no script."""
    return f"<details><summary>{text(summary)}</summary>{''.join(content)}</details>"


def badge(words: str, look: str = "") -> str:
    """A word with a coloured ground; `look` is "good", "bad", "open" or ""."""
    return f'<span class="badge {look}">{text(words)}</span>'
