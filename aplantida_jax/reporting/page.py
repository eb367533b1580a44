"""The report as one HTML page that works from the disk, with no network.

Styles, charts and thumbnails are inside the file; there is no script. It follows the
reader's light or dark setting.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aplantida_jax.reporting import (
    confidence_sections,
    origin_sections,
    run_sections,
    sections,
    svg,
)
from aplantida_jax.reporting.chart import Chart
from aplantida_jax.reporting.criterion import Criterion
from aplantida_jax.reporting.findings import Findings
from aplantida_jax.reporting.headline import headline
from aplantida_jax.reporting.markup import folded, section, text
from aplantida_jax.reporting.thumbnails import Thumbnails

_VARIANTS = {
    "demo": "A demonstration on plants that the program draws itself. It shows that "
    "the pipeline works; its figures say nothing about real plants.",
    "photos": "A trial on a small collection of real photos; far fewer plants, and far "
    "less training, than the plan's targets are meant for.",
}
_NAVIGATION = {
    "criteria": "Criteria",
    "runs": "Runs",
    "comparison": "Compared",
    "places": "Where it is good",
    "calibration": "Confidence",
    "unknown": "What it cannot know",
    "confusions": "Most confused",
    "data": "Data",
    "soft_labels": "Soft labels",
    "export": "Export",
    "licences": "Licences",
    "missing": "Missing",
    "reproduction": "How to make it again",
    "manifest": "Manifest",
}


@dataclasses.dataclass(frozen=True)
class Edition:
    """Which report this is.

    Attributes:
        version: config.report.version.
        variant: config.variant.
        timestamp: when it was made, ISO 8601.
        seed: config.seed.
    """

    version: str
    variant: str
    timestamp: str
    seed: int


def build(
    found: Findings,
    edition: Edition,
    *,
    criteria: Sequence[Criterion],
    charts: Mapping[str, Chart],
    verdict: dict[str, Any],
    manifest_yaml: str,
    thumbnails: Thumbnails,
) -> str:
    """The page's HTML."""

    def pick(*names: str) -> dict[str, Chart]:
        return {name: charts[name] for name in names if name in charts}

    body = (
        sections.criteria(criteria),
        run_sections.runs(found, pick("learning", "runs")),
        run_sections.comparison(found, pick("differences")),
        run_sections.places(found, pick("regions", "bands")),
        confidence_sections.calibration(found, pick("reliability", "coverage")),
        confidence_sections.unknown(found, pick("unknown"), thumbnails),
        sections.confusions(found, thumbnails),
        sections.data(found, charts.get("classes")),
        run_sections.soft_labels(found),
        sections.export(found, charts.get("export")),
        origin_sections.licences(found, verdict),
        sections.missing(found),
        origin_sections.reproduction(found, edition.seed),
        _manifest(manifest_yaml),
    )
    header = _header(found, edition, headline(found, criteria, verdict))
    return _document(edition, header=header, body="".join(body))


def _manifest(manifest_yaml: str) -> str:
    """The plan's record; it is long, and so folded away."""
    record, _, settings = manifest_yaml.partition("\n  runs:\n")
    shown = [folded("Data, phases, environment", f"<pre>{text(record)}</pre>")]
    if settings:
        shown.append(folded("The settings of all runs", f"<pre>{text(settings)}</pre>"))
    said = "<p>TRAINING_MANIFEST_v*.yaml, beside this page, holds the same.</p>"
    return section("manifest", "Manifest", said, *shown)


def subtitle(found: Findings, version: str) -> str:
    """E.g. "aplantida 1.0 · student_finetune · 36 classes · label map 3fa2..."."""
    parts = [f"aplantida {version}", found.student]
    if found.label_map:
        parts.append(f"{len(found.label_map):,} classes")
        parts.append(f"label map {found.label_map.fingerprint[:12]}")
    return " · ".join(parts)


def _document(edition: Edition, *, header: str, body: str) -> str:
    title = f"aplantida {edition.version}: training report"
    footer = f"Made {edition.timestamp} by aplantida_jax."
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{css}{svg.styles()}</style></head><body>"
        f'<a class="skip" href="#criteria">To the criteria</a>'
        f"{header}{_navigation(body)}<main>{body}</main>"
        f"<footer>{text(footer)}</footer></body></html>\n"
    )


def _header(
    found: Findings, edition: Edition, figures: Sequence[tuple[str, str]]
) -> str:
    notice = _VARIANTS.get(edition.variant)
    return (
        "<header><h1>Training report</h1>"
        f'<p class="lead">{text(subtitle(found, edition.version))}</p>'
        + (f'<p class="notice">{text(notice)}</p>' if notice else "")
        + _tiles(figures)
        + "</header>"
    )


def _tiles(figures: Sequence[tuple[str, str]]) -> str:
    tiles = "".join(
        f'<div class="tile"><b>{text(value)}</b><span>{text(what)}</span></div>'
        for value, what in figures
    )
    return f'<div class="tiles">{tiles}</div>'


def _navigation(body: str) -> str:
    links = "".join(
        f'<a href="#{anchor}">{text(title)}</a>'
        for anchor, title in _NAVIGATION.items()
        if f'<section id="{anchor}">' in body
    )
    return f'<nav aria-label="Sections">{links}</nav>'
