"""Stage split: leak-proof train, val and test sets, for all plants and for regions.

The unit is the group, not the image: exact duplicates, near duplicates (mirrored ones
too) and photos of one observation stay together (`aplantida_jax.data.duplicates`), and
groups are placed by their hash (`aplantida_jax.data.assignment`). Writes, for all
plants and for each of `config.split.regions`,

    data/splits/<all or region>/dataset_[region_]{train,val,test}.jsonl
    data/splits/<all or region>/dataset_[region_]stats.json

A region's sets are those photos of the whole sets whose plant grows there, so no photo
is in train here and in test there. All sets replace those of before at once, after they
were read back and nothing of one split was found in another; else the stage fails and
leaves what was there. `method="random"` places single images and ignores all rules: it
exists to show what that does, and only reports its leaks.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import directories, files, manifest, paths
from aplantida_jax.data import labels, placement, regions
from aplantida_jax.data.assignment import SPLITS
from aplantida_jax.data.leakage import Written
from aplantida_jax.data.placement import Placed
from aplantida_jax.errors import UserError

_STAGE = "split"


def run(config: Any, workdir: Path) -> None:
    """Writes the sets of all plants and of every region."""
    del workdir  # the dataset belongs to no experiment
    begin = functools.partial(
        manifest.begin,
        config,
        stage=_STAGE,
        inputs=[
            manifest.Input(paths.photos(config), "export_dataset"),
            manifest.Input(paths.classes(config), "export_dataset"),
            manifest.Input(paths.download_index(config), "download"),
        ],
        depends_on=("split",),
    )
    wanted = _wanted(config)
    # Up to the first with work: its hashes of the inputs are those of the others.
    jobs = (begin(out_dir=paths.splits_dir(config, region)) for region in wanted)
    job = next(filter(None, jobs), None)
    if job is None:
        return
    placed = placement.place(config)
    if config.dry_run:
        _log_plan(placed)
        return
    # One directory for all regions: never are there those of two splits together.
    with directories.atomic_directory(paths.splits_dir(config).parent) as work:
        region_dirs = {
            region: work / paths.splits_dir(config, region).name for region in wanted
        }
        for directory in region_dirs.values():
            directory.mkdir()
        _write(config, placed, region_dirs)
        for region, directory in region_dirs.items():
            _finish(config, region, dataclasses.replace(job, out_dir=directory), placed)


def _wanted(config: Any) -> list[str]:
    """The regions to write sets of, "" for all plants, each once."""
    by_slug = {"": ""}
    for region in (*config.split.regions, config.region):
        unknown = set(regions.parse(region)) - set(regions.REGIONS)
        if unknown:
            raise UserError(
                f"--config.split.regions names {sorted(unknown)[0]}; the regions are "
                + ", ".join(regions.REGIONS),
                exit_code=2,
            )
        by_slug.setdefault(paths.region_slug(region), region)
    return list(by_slug.values())


def _write(config: Any, placed: Placed, work: dict[str, Path]) -> None:
    """One pass over the photos, into all files of all regions."""
    with contextlib.ExitStack() as stack:
        writers = {
            (region, split): stack.enter_context(
                files.jsonl_writer(
                    directory / paths.split_file(config, split, region).name
                )
            )
            for region, directory in work.items()
            for split in SPLITS
        }
        touches = {region: set(regions.parse(region)) for region in work}

        @functools.cache
        def into(split: str, own: tuple[str, ...]) -> list[Callable[[bytes], None]]:
            return [
                writers[region, split]
                for region, wanted in touches.items()
                if not wanted or wanted.intersection(own)
            ]

        for split, row in placed.rows(config):
            line = files.to_line(row)
            for add in into(split, tuple(row["regions"])):
                add(line)


def _finish(config: Any, region: str, job: manifest.Job, placed: Placed) -> None:
    """Reads a region's sets back, writes their statistics and manifest.

    Raises:
        UserError: something is in two splits.
    """
    label_map = labels.read(paths.classes(config))
    work = job.out_dir
    written = Written(
        {s: work / paths.split_file(config, s, region).name for s in SPLITS}
    )
    stats = {
        "label_map": label_map.fingerprint,
        "region": region,
        "method": config.split.method,
        **written.summary(),
        "leakage": written.leakage(config.split.phash_distance),
        "classes_with_unmet_rule": placed.unmet,
        "left_out": placed.taken.left_out,
    }
    if config.split.method == "grouped":
        _refuse_leaks(region, stats)
    files.write_json(work / paths.split_stats(config, region).name, stats)
    _log(region, stats)
    job.finish(
        outputs=sorted(work.iterdir()),
        metrics={key: stats[key] for key in ("splits", "classes", "leakage")},
        label_map=label_map.fingerprint,
    )


def _refuse_leaks(region: str, stats: dict[str, Any]) -> None:
    classes = stats["classes"]
    unlearnt = classes["in_val_not_train"] + classes["in_test_not_train"]
    if any(stats["leakage"].values()) or unlearnt:
        raise UserError(
            f"the split of {region or 'all plants'} leaks ({stats['leakage']}; "
            f"{unlearnt} classes not in train), a fault of this program: nothing was "
            "written"
        )


def _log_plan(placed: Placed) -> None:
    counts = np.bincount(placed.split, minlength=len(SPLITS)).tolist()
    logging.info(
        "dry run: %s of %d photos, %d groups; left out: %s",
        dict(zip(SPLITS, counts, strict=True)),
        len(placed.taken.image_id),
        len(np.unique(placed.group)),
        placed.taken.left_out or "none",
    )


def _log(region: str, stats: dict[str, Any]) -> None:
    sizes = {
        split: f"{row['images']} photos of {row['classes']} classes"
        for split, row in stats["splits"].items()
    }
    logging.info(
        "%s: %s; largest group %d photos; leaks %s",
        region or "all",
        sizes,
        stats["groups"]["largest"],
        stats["leakage"],
    )
