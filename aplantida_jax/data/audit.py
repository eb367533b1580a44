"""Stage audit: what the dataset is worth -> audit.json, audit.html, a histogram.

Works before the download, then knowing only the documents and whether a sample of URLs
answers; and after it, then with broken images, sizes and duplicates. Every figure says
how many images it rests on. A download of an earlier export counts as far as its images
are in this one.

`broken_url_rate` is that of the download or of the sample, whichever asked for more,
or null. A broken URL is one that gave no picture, for whatever reason. `label_errors`
lists pairs of photos that are the same, or nearly, under different names: of each pair,
one name is likely to be wrong.
"""

import functools
from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax import directories, files, manifest, paths
from aplantida_jax.data import (
    audit_chart,
    audit_figures,
    audit_page,
    audit_pairs,
    image_figures,
    labels,
    reachability,
    records,
)
from aplantida_jax.data.audit_figures import Photos
from aplantida_jax.data.image_figures import ImageFigures, Pair
from aplantida_jax.data.journal import Outcome

_STAGE = "audit"
_MOST_LISTED = 1000  # label errors in audit.json


def run(config: Any, workdir: Path) -> None:
    """Audits what stages export_dataset and, if it ran, download have left."""
    del workdir  # the dataset belongs to no experiment
    out_dir = paths.audit_dir(config)
    begin = functools.partial(
        manifest.begin,
        config,
        stage=_STAGE,
        inputs=_inputs(config),
        depends_on=("audit", "dataset", "split", "source"),
    )
    if begin(out_dir=out_dir) is None:
        return
    label_map = labels.read(paths.classes(config))
    photos = audit_figures.collect(
        records.read_rows(paths.photos(config), made_by="export_dataset"),
        len(label_map),
        config.audit.sample_urls,
    )
    if config.dry_run:
        logging.info(
            "dry run: would ask for %d URLs, at least %.2f hours at %.1f requests/s",
            len(photos.sample),
            len(photos.sample) / config.download.requests_per_second / 3600,
            config.download.requests_per_second,
        )
        return
    with directories.atomic_directory(out_dir) as work:
        # In an empty directory there is always work to do.
        job = begin(out_dir=work)
        assert job is not None
        audit = _write(config, work, label_map, photos)
        job.finish(
            outputs=sorted(work.iterdir()),
            metrics={k: audit[k] for k in ("broken_url_rate", "duplicates")},
            label_map=label_map.fingerprint,
        )


def _inputs(config: Any) -> list[manifest.Input]:
    exported = [paths.photos(config), paths.classes(config), _schema(config)]
    if paths.held_out(config).exists():
        exported.append(paths.held_out(config))
    found = [manifest.Input(path, "export_dataset") for path in exported]
    if paths.download_index(config).exists():
        found.append(manifest.Input(paths.download_index(config), "download"))
    return found


def _schema(config: Any) -> Path:
    return paths.export_dir(config) / "schema.json"


def _write(
    config: Any, work: Path, label_map: labels.LabelMap, photos: Photos
) -> dict[str, Any]:
    """Writes the three files; returns what audit.json holds."""
    audit, pairs = _audit(config, label_map, photos)
    counts = photos.per_class.tolist()
    charts = {dark: audit_chart.histogram(counts, dark=dark) for dark in (False, True)}
    files.write_bytes(work / "images_per_class.png", charts[False])
    files.write_json(work / "audit.json", audit)
    shown = audit_pairs.shown(config, pairs, label_map, photos.class_of)
    files.write_text(work / "audit.html", audit_page.render(audit, charts, shown))
    _log(audit, paths.audit_dir(config))
    return audit


def _audit(
    config: Any, label_map: labels.LabelMap, photos: Photos
) -> tuple[dict[str, Any], list[Pair]]:
    """What audit.json holds, and pairs of duplicates, those of two species first."""
    figures = _image_figures(config, photos)
    duplicates: dict[str, Any] | None = None
    pairs: list[Pair] = []
    if figures is not None:
        most = max(_MOST_LISTED, config.audit.thumbnails)
        distance = config.split.phash_distance
        duplicates, pairs = figures.duplicates(photos.class_of, distance, most)
    urls = {
        "download": _of_download(figures, photos.not_exported),
        "sample": reachability.ask(config, photos.sample) if photos.sample else None,
    }
    schema = files.read_json(_schema(config), made_by="export_dataset")
    errors = [pair for pair in pairs if not pair.same_class]
    return {
        "label_map": label_map.fingerprint,
        "photos": len(photos.class_of),
        "export": _export_metrics(config),
        "broken_url_rate": _broken_rate(urls),
        "urls": urls,
        "hosts": audit_figures.of_hosts(photos.hosts),
        "classes": audit_figures.of_classes(photos.per_class),
        "images": figures.summary() if figures else None,
        "duplicates": duplicates,
        "label_errors": audit_pairs.listed(config, errors, label_map, photos.class_of),
        "licence_profile": config.dataset.licence_profile,
        "licences": audit_figures.of_licences(schema, config.dataset.licence_profile),
        "credits": audit_figures.of_credits(photos.credits),
        "sources": dict(photos.sources.most_common()),
        "regions": audit_figures.of_regions(label_map, photos.per_class),
    }, pairs


def _image_figures(config: Any, photos: Photos) -> ImageFigures | None:
    if not paths.download_index(config).exists():
        return None
    rows = files.read_jsonl(paths.download_index(config), made_by="download")
    held_out = _held_out(config)  # downloaded too, but not what is audited
    wanted = (Outcome(**row) for row in rows if row["image_id"] not in held_out)
    return image_figures.collect(photos.outcomes(wanted))


def _held_out(config: Any) -> frozenset[str]:
    """Ids of the photos of species that are held out of training."""
    path = paths.held_out(config)
    if not path.exists():
        return frozenset()
    rows = records.read_rows(path, made_by="export_dataset")
    return frozenset(row["image_id"] for row in rows)


def _export_metrics(config: Any) -> dict[str, Any]:
    """What the export counted: documents and images, read, kept and refused."""
    exported = manifest.read(paths.export_dir(config), made_by="export_dataset")
    metrics: dict[str, Any] = exported["metrics"]
    return metrics


def _of_download(
    figures: ImageFigures | None, not_exported: int
) -> dict[str, Any] | None:
    if figures is None:
        return None
    return {
        "asked": figures.asked,
        "broken": figures.broken,
        "not_exported": not_exported,
        "reasons": figures.summary()["faults"],
    }


def _broken_rate(urls: dict[str, dict[str, Any] | None]) -> float | None:
    known = [found for found in urls.values() if found and found["asked"]]
    if not known:
        return None
    best = max(known, key=lambda found: found["asked"])
    return best["broken"] / best["asked"]


def _log(audit: dict[str, Any], out_dir: Path) -> None:
    rate = audit["broken_url_rate"]
    logging.info(
        "%d photos, %d classes; broken URLs: %s; duplicates: %s",
        audit["photos"],
        audit["classes"]["total"],
        "not known" if rate is None else f"{rate:.2%}",
        audit["duplicates"] or "not known before the download",
    )
    logging.info("see %s", out_dir / "audit.html")
