"""HTML pieces of the audit's page, and its style. In: text and numbers. Out: safe HTML.

A `str` cell is text from outside and is escaped; `Markup` is HTML that is ready.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

_SHORT = 20  # characters of a cell that is not broken

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --raised: #f4f7f5; --ink: #1f2a24;
  --muted: #5d6a62; --line: #dfe6e1; --accent: #1b7f5c; --bad: #a3322b;
  --bad-paper: #fbe9e6; }
@media (prefers-color-scheme: dark) { :root { --paper: #151b18; --raised: #1d2521;
  --ink: #e6ece8; --muted: #9aa79f; --line: #2f3a34; --accent: #4fc49a;
  --bad: #f5a199; --bad-paper: #3a2220; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 4rem;
  background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 2rem; line-height: 1.15; letter-spacing: -.02em; }
h2 { margin: 0 0 .4rem; font-size: 1.25rem; letter-spacing: -.01em; }
h3 { margin: 1.6rem 0 .4rem; font-size: 1rem; }
section { margin-top: 2.2rem; padding-top: 1.6rem; border-top: 1px solid var(--line); }
p { margin: .3rem 0 .8rem; max-width: 46rem; }
.note, figcaption { color: var(--muted); }
code { font-size: .85em; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 1rem 0 0;
  font-size: .9rem; } a { color: var(--accent); }
.cards { display: grid; gap: .75rem; margin-top: 1.6rem;
  grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
.card { background: var(--raised); border-radius: .6rem; padding: .8rem 1rem; }
.card b { display: block; font-size: 1.5rem; line-height: 1.25; }
.card span { color: var(--muted); font-size: .85rem; line-height: 1.3;
  display: block; } .card.bad { background: var(--bad-paper); }
.card.bad b, .bad { color: var(--bad); }
ul.findings { margin: 1.4rem 0 0; padding: .9rem 1.2rem .9rem 2.2rem;
  background: var(--raised); border-left: 4px solid var(--accent);
  border-radius: .3rem; } ul.findings li { margin: .2rem 0; }
.scroll { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: collapse; font-size: .92rem; }
td, th { padding: .3rem 1.4rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 500; }
th, td.n, td.short { white-space: nowrap; } td.long { min-width: 11rem; }
.chart { overflow-x: auto; margin-bottom: 1rem; } .chart img { min-width: 34rem; }
td code { display: inline-block; min-width: min(16rem, 40vw); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td:last-child, th:last-child { padding-right: 0; }
img { display: block; max-width: 100%; height: auto; }
.pairs { display: grid; gap: 1.4rem 1.2rem; margin-top: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
.pairs figure { margin: 0; } .pair { display: grid; gap: .3rem;
  grid-template-columns: 1fr 1fr; }
.pair img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: .35rem; }
.pair span { font-size: .85rem; line-height: 1.3; }
figcaption { font-size: .78rem; margin-top: .2rem; overflow-wrap: anywhere; }
details { margin: .4rem 0 1rem; } summary { cursor: pointer; color: var(--accent); }
@media print { nav { display: none; } details { display: block; } }
"""


class Markup(str):
    """HTML that needs no escaping."""


def text(value: object) -> Markup:
    return Markup(html.escape(str(value)))


def latin(name: str) -> Markup:
    """A Latin name, as it is set: in italics."""
    return Markup(f"<i>{text(name)}</i>")


def code(value: str) -> Markup:
    """Somebody's spelling, to the letter."""
    return Markup(f"<code>{text(value)}</code>")


def percent(part: float, whole: float) -> str:
    """ "4.2 %", "" of nothing; a share that is not zero is never written as zero."""
    if not whole:
        return ""
    share = 100 * part / whole
    return "< 0.1 %" if 0 < share < 0.05 else f"{share:.1f} %"


def paragraph(sentence: str) -> str:
    return f'<p class="note">{text(sentence)}</p>'


def section(anchor: str, title: str, *content: str) -> str:
    body = "\n".join(content)
    return f'<section id="{anchor}"><h2>{text(title)}</h2>\n{body}</section>'


def subsection(title: str, *content: str) -> str:
    return f"<h3>{text(title)}</h3>\n" + "\n".join(content)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table, "" without rows; numbers and columns of numbers are set to the right."""
    listed = [list(row) for row in rows]
    if not listed:
        return ""
    right = [isinstance(value, int | float) for value in listed[0]]
    names = "".join(
        f'<th class="n">{text(name)}</th>' if number else f"<th>{text(name)}</th>"
        for name, number in zip(head, right, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row, right))}</tr>" for row in listed)
    return f'<div class="scroll"><table><tr>{names}</tr>{body}</table></div>'


def _cell(value: Any, right: bool) -> str:
    if isinstance(value, int | float):
        value = f"{value:,}"
    shown = value if isinstance(value, Markup) else text(value)
    kind = "n" if right else "short" if len(value) <= _SHORT else "long"
    return f'<td class="{kind}">{shown}</td>'


def folded(rows: Sequence[Any], most: int) -> tuple[Sequence[Any], int]:
    """The first `most` rows, and how many there are beyond them."""
    return rows[:most], max(0, len(rows) - most)


def card(value: str, label: str, *, bad: bool = False) -> str:
    kind = "card bad" if bad else "card"
    return f'<div class="{kind}"><b>{text(value)}</b><span>{text(label)}</span></div>'


def image(data: bytes, kind: str, alt: str) -> str:
    return f'<img src="{uri(data, kind)}" alt="{text(alt)}">'


def uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
