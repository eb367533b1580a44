"""Stage audit: what the dataset is worth -> audit.json, audit.html, a histogram.

Works before the download, then knowing only the documents and whether a sample of URLs
answers; and after it, then with broken images, sizes and duplicates. Every figure says
how many images it rests on.

`broken_url_rate` is that of the download or of the sample, whichever asked for more, or
null. A broken URL is one that gave no picture, for whatever reason.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import (
    audit_page,
    decode,
    image_figures,
    labels,
    licences,
    reachability,
    records,
    regions,
)
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_figures import ImageFigures, Pair
from aplantida_jax.data.journal import Outcome

_STAGE = "audit"
_THUMBNAIL = 160  # pixels of the short side


@dataclasses.dataclass(frozen=True)
class _Photos:
    """What one pass over `photos.jsonl` gives.

    Attributes:
        class_of: image id -> class id.
        per_class: int64 [classes]: photos.
        sample: URLs to ask, a random sample because photos come by their hash.
    """

    class_of: dict[str, int]
    per_class: np.ndarray
    sample: list[str]


def run(config: Any, workdir: Path) -> None:
    """Audits what stages export_dataset and, if it ran, download have left."""
    del workdir  # the dataset belongs to no experiment
    out_dir = paths.audit_dir(config)
    begin = functools.partial(
        manifest.begin,
        config,
        stage=_STAGE,
        inputs=_inputs(config),
        depends_on=("audit", "split", "source"),
    )
    if begin(out_dir=out_dir) is None:
        return
    label_map = labels.read(paths.classes(config))
    photos = _read_photos(config, len(label_map))
    if config.dry_run:
        logging.info(
            "dry run: would ask for %d URLs, at least %.2f hours at %.1f requests/s",
            len(photos.sample),
            len(photos.sample) / config.download.requests_per_second / 3600,
            config.download.requests_per_second,
        )
        return
    with files.atomic_directory(out_dir) as work:
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
    found = [manifest.Input(path, "export_dataset") for path in exported]
    if paths.download_index(config).exists():
        found.append(manifest.Input(paths.download_index(config), "download"))
    return found


def _schema(config: Any) -> Path:
    return paths.export_dir(config) / "schema.json"


def _read_photos(config: Any, classes: int) -> _Photos:
    limit = config.audit.sample_urls if config.audit.sample_urls >= 0 else None
    class_of: dict[str, int] = {}
    sample: list[str] = []
    per_class = np.zeros(classes, np.int64)
    made_by = "export_dataset"
    for photo in records.read_photos(paths.photos(config), made_by=made_by):
        class_of[photo.image_id] = photo.class_id
        per_class[photo.class_id] += 1
        if limit is None or len(sample) < limit:
            sample.append(photo.url)
    return _Photos(class_of, per_class, sample)


def _write(
    config: Any, work: Path, label_map: labels.LabelMap, photos: _Photos
) -> dict[str, Any]:
    """Writes the three files; returns what audit.json holds."""
    figures = _image_figures(config)
    duplicates: dict[str, Any] | None = None
    pairs: list[Pair] = []
    if figures is not None:
        distance = config.split.phash_distance
        duplicates, pairs = figures.duplicates(
            photos.class_of, distance, config.audit.thumbnails
        )
    urls = {
        "download": _of_download(figures),
        "sample": reachability.ask(config, photos.sample) if photos.sample else None,
    }
    audit = {
        "label_map": label_map.fingerprint,
        "photos": len(photos.class_of),
        "broken_url_rate": _broken_rate(urls),
        "urls": urls,
        "classes": _classes(photos.per_class),
        "images": figures.summary() if figures else None,
        "duplicates": duplicates,
        "licences": _licences(config),
        "regions": _regions(label_map, photos.per_class),
    }
    chart = audit_page.histogram(photos.per_class.tolist())
    files.write_bytes(work / "images_per_class.png", chart)
    files.write_json(work / "audit.json", audit)
    shown = _thumbnails(config, label_map, photos, pairs)
    files.write_text(work / "audit.html", audit_page.render(audit, chart, shown))
    _log(audit, paths.audit_dir(config))
    return audit


def _image_figures(config: Any) -> ImageFigures | None:
    if not paths.download_index(config).exists():
        return None
    rows = files.read_jsonl(paths.download_index(config), made_by="download")
    return image_figures.collect(Outcome(**row) for row in rows)


def _of_download(figures: ImageFigures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    reasons = figures.summary()["faults"]
    return {"asked": figures.asked, "broken": figures.broken, "reasons": reasons}


def _broken_rate(urls: dict[str, dict[str, Any] | None]) -> float | None:
    known = [found for found in urls.values() if found and found["asked"]]
    if not known:
        return None
    best = max(known, key=lambda found: found["asked"])
    return best["broken"] / best["asked"]


def _classes(per_class: np.ndarray) -> dict[str, Any]:
    return {
        "total": len(per_class),
        "median": float(np.median(per_class)),
        "mean": round(float(per_class.mean()), 2),
        "largest": int(per_class.max()),
        "with_1": int((per_class == 1).sum()),
        "with_2": int((per_class == 2).sum()),
    }


def _licences(config: Any) -> list[dict[str, Any]]:
    """Every spelling in the collection, what it means, and how many images have it."""
    schema = files.read_json(_schema(config), made_by="export_dataset")
    raw = schema["fields"].get("images[].license", {"values": {}})["values"]
    return [
        {"raw": text, "licence": licences.spdx(text), "images": count}
        for text, count in raw.items()
    ]


def _regions(label_map: labels.LabelMap, per_class: np.ndarray) -> dict[str, Any]:
    found: dict[str, dict[str, int]] = {}
    for region in regions.REGIONS:
        mask = np.array(label_map.in_regions((region,)))
        found[region] = _count(mask, per_class)
    nowhere = np.array([not taxon.regions for taxon in label_map.taxa])
    found["none of these"] = _count(nowhere, per_class)
    return found


def _count(mask: np.ndarray, per_class: np.ndarray) -> dict[str, int]:
    return {"classes": int(mask.sum()), "photos": int(per_class[mask].sum())}


def _thumbnails(
    config: Any, label_map: labels.LabelMap, photos: _Photos, pairs: list[Pair]
) -> list[audit_page.Shown]:
    if not pairs:
        return []
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    try:
        shown = []
        for pair in pairs:
            left, right = (_thumbnail(cache, i) for i in (pair.left, pair.right))
            names = dict.fromkeys(
                label_map.taxa[photos.class_of[i]].latin_name
                for i in (pair.left, pair.right)
            )
            how = "same bytes" if pair.exact else f"{pair.bits} bits apart"
            caption = f"{' / '.join(names)}: {how} ({pair.left}, {pair.right})"
            if left and right:
                shown.append(audit_page.Shown(left, right, caption))
        return shown
    finally:
        cache.close()


def _thumbnail(cache: Cache, image_id: str) -> bytes:
    """A small JPEG, b"" when the image is no longer in the cache."""
    data = cache.get(image_id)
    if data is None:
        return b""
    try:
        image = decode.decode(data, max_pixels=10**9, min_target_side=_THUMBNAIL)
    except decode.BrokenImage:
        return b""
    return decode.encode_jpeg(decode.shrink(image, _THUMBNAIL), 80)


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
