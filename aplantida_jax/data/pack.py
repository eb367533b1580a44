"""Stage pack: the splits' images from the cache into a few large files.

Optional: a few hundred files of `config.pack.shard_mb` are copied, backed up and read
with less ado than 741,533 small ones. The pack holds the images of all splits of all
plants, so those of every region; `aplantida_jax.data.packed` says what lies in
`<data_dir>/pack/`. With `--config.input.read_from=pack` every later stage sees the very
same pixels, unless `config.input.pack_short_side` made the images smaller.

The same splits and images give the same bytes. A finished shard stays when the stage
is killed, or runs again after the splits were made anew, as long as its images are the
same and its hash is right.
"""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.pack_shards import Packer, Shard, Wanted, not_cached
from aplantida_jax.data.packed import INDEX, SHARDS, STAGE
from aplantida_jax.errors import UserError


def run(config: Any, workdir: Path) -> None:
    """Packs the images of all splits."""
    del workdir  # the dataset belongs to no experiment
    out_dir = paths.pack_dir(config)
    job = manifest.begin(
        config,
        stage=STAGE,
        out_dir=out_dir,
        inputs=_inputs(config),
        depends_on=("pack", "input.pack_short_side")
        + ("download.jpeg_quality", "download.max_pixels"),
    )
    if job is None:
        return
    cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
    try:
        wanted, skipped = _wanted(config, cache)
        if config.dry_run:
            _log_plan(config, cache, len(wanted))
            return
        # What is half made anew is no pack.
        (out_dir / manifest.MANIFEST).unlink(missing_ok=True)
        shards = Packer(config, out_dir, cache, wanted).write()
    finally:
        cache.close()
    ids = np.array([int(image.image_id, 16) for image in wanted], "<u8")
    files.write_bytes(out_dir / INDEX, ids.tobytes())
    _remove_stale(out_dir, shards)
    _finish(config, job, shards, skipped)


def _inputs(config: Any) -> list[manifest.Input]:
    inputs = [manifest.Input(paths.classes(config), "export_dataset")]
    inputs += [
        manifest.Input(paths.split_file(config, s), "split") for s in paths.SPLITS
    ]
    if not config.split.cached_only:
        # Images that are still missing may have come since.
        inputs.append(manifest.Input(paths.download_index(config), "download"))
    return inputs


def _wanted(config: Any, cache: Cache) -> tuple[list[Wanted], int]:
    """The images of all splits, by id, and how many are not in the cache.

    Raises:
        UserError: an image of a split of cached images was evicted; or there is none.
    """
    split_files = [paths.split_file(config, split) for split in paths.SPLITS]
    found = [
        Wanted(photo.image_id, photo.sha256)
        for path in split_files
        for photo in records.read_photos(path, made_by="split")
    ]
    cached = set(cache.ids())
    wanted = sorted(
        (image for image in found if image.image_id in cached),
        key=lambda image: image.image_id,
    )
    missing = len(found) - len(wanted)
    if missing and config.split.cached_only:
        first = next(i.image_id for i in found if i.image_id not in cached)
        raise not_cached(f"{missing} images of the splits (first: {first}) are")
    if missing:
        logging.warning("%d images are not in the cache and left out", missing)
    if not wanted:
        raise UserError(
            f"there is nothing to pack: no image of {split_files[0].parent} is in "
            f"{cache.directory}; run the stages 'download' and 'split'"
        )
    return wanted, missing


def _log_plan(config: Any, cache: Cache, images: int) -> None:
    size = cache.size / max(1, len(cache)) * images
    side = config.input.pack_short_side
    where = next(p for p in paths.pack_dir(config).absolute().parents if p.exists())
    logging.info(
        "dry run: %d images, about %.2f GB in %d shards%s; the disk has %.1f GB free",
        images,
        size / 1e9,
        math.ceil(size / (config.pack.shard_mb * 1e6)),
        f" before they are made smaller, to {side} pixels" if side else "",
        shutil.disk_usage(where).free / 1e9,
    )


def _remove_stale(out_dir: Path, shards: Sequence[Shard]) -> None:
    """Shards of an earlier, larger pack."""
    current = {shard.name for shard in shards}
    for path in out_dir.glob("images-*.array_record"):
        if path.name not in current:
            path.unlink()


def _finish(
    config: Any, job: manifest.Job, shards: Sequence[Shard], skipped: int
) -> None:
    images = sum(shard.images for shard in shards)
    size = sum(shard.bytes for shard in shards)
    names = [INDEX, SHARDS, *(shard.name for shard in shards)]
    job.finish(
        outputs=[job.out_dir / name for name in names],
        metrics={
            "images": images,
            "skipped": skipped,
            "gb": round(size / 1e9, 3),
            "shards": len(shards),
            "short_side": config.input.pack_short_side,
        },
        label_map=labels.read(paths.classes(config)).fingerprint,
    )
    logging.info(
        "packed %d images, %.2f GB, %d shards", images, size / 1e9, len(shards)
    )
