"""An evaluation as one HTML page: figures, places, the tail, mistakes with photos.

`index.html` beside metrics.json works from the disk with no network and no script, in
light and dark, wide and narrow; photos are thumbnails from the cache, as many as are
still there.
"""

import contextlib
from pathlib import Path
from typing import Any

from aplantida_jax import files
from aplantida_jax.evaluate import outputs, page_sections
from aplantida_jax.evaluate.examples import Examples
from aplantida_jax.reporting import markup, svg
from aplantida_jax.reporting.markup import text
from aplantida_jax.reporting.thumbnails import Thumbnails

PAGE = "index.html"
_STYLE = """
.missed { display: flex; gap: .3rem; }
.missed img { width: 3.4rem; height: 3.4rem; object-fit: cover; border-radius: .3rem; }
"""
_TITLES = {
    "figures": "Figures",
    "places": "Where it is good",
    "tail": "The long tail",
    "confusions": "Most confused",
    "species": "Least recalled",
}


def write(config: Any, out_dir: Path, found: dict[str, Any]) -> Path:
    """Writes the page of the evaluation in `out_dir`; returns its path.

    Args:
        config: names the cache.
        out_dir: with the other outputs of the evaluation.
        found: the content of its metrics.json.
    """
    rows = files.read_json(out_dir / outputs.PER_CLASS, made_by="evaluate")["classes"]
    examples = Examples.read(out_dir / outputs.PREDICTIONS)
    with contextlib.closing(Thumbnails(config)) as thumbnails:
        html = build(found, rows, examples, thumbnails)
    files.write_text(out_dir / PAGE, html)
    return out_dir / PAGE


def build(
    found: dict[str, Any],
    classes: list[dict[str, Any]],
    examples: Examples,
    thumbnails: Thumbnails,
) -> str:
    """The page's HTML; `classes` as in per_class.json."""
    sections = {
        "figures": page_sections.figures(found),
        "places": page_sections.places(found),
        "tail": page_sections.tail(found),
        "confusions": page_sections.confusions(found, examples, thumbnails),
        "species": page_sections.species(classes, found, examples, thumbnails),
    }
    there = {name: content for name, content in sections.items() if content}
    links = "".join(f'<a href="#{name}">{_TITLES[name]}</a>' for name in there)
    body = "".join(
        markup.section(name, _TITLES[name], content) for name, content in there.items()
    )
    css = Path(markup.__file__).with_name("page.css").read_text(encoding="utf-8")
    title = f"{found['run']} on {found['split']}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{css}{_STYLE}{svg.styles()}</style>"
        "</head><body>"
        '<a class="skip" href="#figures">To the figures</a>'
        f"{_header(found)}"
        f'<nav aria-label="Sections">{links}</nav><main>{body}</main>'
        f"<footer>Label map {found['label_map'][:12]}, made by aplantida_jax.</footer>"
        "</body></html>\n"
    )


def _header(found: dict[str, Any]) -> str:
    model = found["model"]
    about = [
        found["region"].replace(",", ", ") or "all plants",
        f"{found['images']:,} photos",
        f"{found['classes_in_split']:,} of {found['classes']:,} classes",
        f"{model['name']} at {model['image_size']} px",
        found["weights"],
    ]
    tiles = "".join(
        f'<div class="tile"><b>{value}</b><span>{text(what)}</span></div>'
        for value, what in page_sections.headline(found)
    )
    return (
        f"<header><h1>{text(found['run'])} on {text(found['split'])}</h1>"
        f'<p class="lead">{text(" · ".join(about))}</p>'
        f'{page_sections.mask_notice(found)}<div class="tiles">{tiles}</div></header>'
    )
