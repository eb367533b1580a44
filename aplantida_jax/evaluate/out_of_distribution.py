"""Stage `out_of_distribution`: what the student says of plants it was never shown.

After `calibrate`, with its temperature and thresholds, it is asked about held-out
species (`dataset.hold_out`, `hold_out_share`, `hold_out_rare`) and about pictures that
show no plant, beside test, of which it knows every class. The pictures are those of
`out_of_distribution.images_dir`, or else they are drawn, `out_of_distribution.drawn` of
each kind. Writes `<workdir>/out_of_distribution/`: pictures/, if it drew them,
answered.png, the most certain wrong answers, and out_of_distribution.json:

    {run, checkpoint, region, label_map, temperature, threshold, genus_threshold,
     known{images, species, genus, not_conclusive},                          (of test)
     kinds{kind: {images, species, genus{..., right, wrong}, not_conclusive,
                  sampled{what, groups}, species_of_the_right_genus,
                  left_out{reason: images},
                  scores{confidence, max_logit, energy:
                         {auroc, auroc_interval, fpr_at_95_tpr, fpr_interval}}}},
     species[{latin_name, genus_known, images, species, genus_right, genus_wrong,
              taken_for{latin_name: images}}],
     wrong_answers[{kind, image_id, name, said, rank, confidence}], best_score}

Each of species, genus and not_conclusive is {count, share, interval}. The kinds are
held_out, held_out_known_genus and held_out_new_genus, pictures (all of the folder) and
one for each of its sub-folders, picture:<name>. A species is always the wrong answer, a
genus is right when it is the held-out species' own. An interval takes those pictures
together that were drawn together, `sampled`: whole species, whole kinds where there are
several, else pictures; of test, its groups; null where that is one. `best_score`
separates best from test over all unknown pictures; the app goes by the confidence.
"""

import shutil
from collections.abc import Container
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import decode, labels, records, transforms
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_source import ImageSource
from aplantida_jax.demo import unknown_pictures
from aplantida_jax.evaluate import (
    answered_sheet,
    answered_unknown,
    asking,
    detection,
    inference,
    plot_style,
    unknown_images,
)
from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate.answered_unknown import Said
from aplantida_jax.evaluate.asking import Model
from aplantida_jax.evaluate.intervals import Groups
from aplantida_jax.evaluate.unknown_images import Unknown

_STAGE = "out_of_distribution"
_PICTURE = "picture:"
_DRAWN = 256  # pixels, the short side of a picture that is drawn
_THUMBNAIL = 192  # pixels of a picture on the sheet


def run(config: Any, workdir: Path) -> None:
    """Asks, and writes what was answered; without anything to ask it says so."""
    folder = _folder(config)
    if not (folder or _draws(config) or paths.held_out(config).exists()):
        logging.warning(
            "%s: nothing to ask about: hold species out (--config.dataset) and export "
            "again, or leave --config.out_of_distribution.drawn above 0",
            _STAGE,
        )
        return
    out = paths.out_of_distribution(workdir)
    job = manifest.begin(
        config,
        stage=_STAGE,
        out_dir=out.parent,
        inputs=_inputs(config, workdir, folder),
        depends_on=(_STAGE, "input", "region", "split"),
    )
    if job is None:
        return
    if config.dry_run:
        _say_plan(config, folder, out.parent)
        return
    label_map = labels.read(paths.classes(config))
    model = Model.load(config, workdir, label_map)
    sheet = out.parent / "answered.png"
    with ExitStack() as opened:
        sources = _sources(config, folder or _drawn(config, out.parent), opened)
        result = _ask(config, model, sources)
        files.write_json(out, result)
        _draw(model, result["wrong_answers"], sources, config, sheet)
    _log(result)
    job.finish(
        outputs=[out, sheet],
        metrics={name: row["species"] for name, row in result["kinds"].items()},
        label_map=label_map.fingerprint,
    )


def _folder(config: Any) -> Path | None:
    directory = config.out_of_distribution.images_dir
    if not directory:
        return None
    unknown_images.kinds_in(Path(directory))  # or it says what is wrong
    return Path(directory)


def _draws(config: Any) -> bool:
    wanted = config.out_of_distribution
    return not wanted.images_dir and wanted.drawn > 0


def _drawn(config: Any, out_dir: Path) -> Path | None:
    """The folder with pictures of our own, drawn anew; None where none are wanted."""
    if not _draws(config):
        return None
    directory = out_dir / "pictures"
    if directory.exists():  # of another seed, or more of them
        shutil.rmtree(directory)
    unknown_pictures.write(
        directory,
        seed=config.seed,
        count=config.out_of_distribution.drawn,
        image_size=_DRAWN,
    )
    return directory


def _inputs(config: Any, workdir: Path, folder: Path | None) -> list[manifest.Input]:
    wanted = [
        manifest.Input(paths.classes(config), "export_dataset"),
        manifest.Input(paths.best(workdir), "train"),
        manifest.Input(paths.calibration(workdir), "calibrate"),
        manifest.Input(paths.split_file(config, "test", config.region), "split"),
    ]
    if paths.held_out(config).exists():
        wanted.append(manifest.Input(paths.held_out(config), "export_dataset"))
        wanted.append(manifest.Input(paths.download_index(config), "download"))
    if folder is not None:
        wanted.append(manifest.Input(folder, "(your own folder)"))
    return wanted


def _say_plan(config: Any, folder: Path | None, out_dir: Path) -> None:
    held_out = paths.held_out(config)
    if held_out.exists():
        count = sum(1 for _ in files.read_jsonl(held_out, made_by="export_dataset"))
        logging.info("would ask about %d photos of held-out species", count)
    if folder is not None:
        for kind, found in unknown_images.kinds_in(folder).items():
            logging.info("would ask about %d pictures of kind %s", len(found), kind)
    if _draws(config):
        logging.info(
            "would draw %d pictures of each of %d kinds without a plant",
            config.out_of_distribution.drawn,
            len(unknown_pictures.KINDS),
        )
    logging.info("would write into %s; about as long as stage 'evaluate'", out_dir)


_Source = tuple[str, list[Unknown], ImageSource]  # the name of all together


def _sources(config: Any, folder: Path | None, opened: ExitStack) -> list[_Source]:
    """What is asked about, and where its bytes are."""
    sources: list[_Source] = []
    held_out = unknown_images.held_out(config)
    if held_out is not None:
        cache = Cache(paths.cache_dir(config), config.download.cache_size_gb)
        opened.callback(cache.close)
        sources.append((held_out.kind, [held_out], cache))
    if folder is not None:
        kinds, images = unknown_images.pictures(config, folder)
        sources.append(("pictures", kinds, images))
    return sources


def _ask(config: Any, model: Model, sources: list[_Source]) -> dict[str, Any]:
    """The content of out_of_distribution.json."""
    test = paths.split_file(config, "test", config.region)
    known = model.said(inference.stream(config, model.best, test, model.label_map))
    rows = records.read_rows(test, made_by="split")  # in the same order
    known_groups = Groups.of(np.array([r["group_id"] or r["image_id"] for r in rows]))
    _, genus_names = answers_lib.genera(model.label_map)
    asked: dict[str, tuple[Unknown, Said]] = {}
    everything: list[tuple[Unknown, Said]] = []
    for name, kinds, images in sources:
        found = asking.ask(config, model, kinds, images, what=name)
        everything += found
        asked |= _named(name, found, model.genera)
    unknown = Said.together([said for _, said in everything])
    return {
        "run": model.best.info["name"],
        "checkpoint": model.best.info["sha256"],
        "region": config.region,
        "label_map": model.label_map.fingerprint,
        "temperature": model.calibration["temperature"],
        **model.thresholds,
        "known": answered_unknown.shares(known, known_groups),
        "kinds": {
            kind: answered_unknown.of_kind(
                *pair, known, known_groups, genus_names=genus_names
            )
            for kind, pair in asked.items()
        },
        **_lists(config, model, everything, genus_names),
        "best_score": detection.best_score(known.scores, unknown.scores),
    }


def _lists(
    config: Any,
    model: Model,
    everything: list[tuple[Unknown, Said]],
    genus_names: list[str],
) -> dict[str, Any]:
    """The rows of held-out species and of wrong answers."""
    names = [taxon.latin_name for taxon in model.label_map.taxa]
    return {
        "species": [
            row
            for unknown, said in everything
            if unknown.kind == answered_unknown.HELD_OUT
            for row in answered_unknown.by_species(
                unknown, said, names, genus_names, genera=model.genera
            )
        ],
        "wrong_answers": answered_unknown.wrong_answers(
            *(everything, names, genus_names),
            limit=config.out_of_distribution.examples,
        ),
    }


def _named(
    name: str, found: list[tuple[Unknown, Said]], genera: Container[str]
) -> dict[str, tuple[Unknown, Said]]:
    """The rows of a source: all of it, then its kinds."""
    if name == answered_unknown.HELD_OUT:
        (every, said), *_ = found
        parts = answered_unknown.by_genus_known(every, said, genera)
        return {name: (every, said), **parts}
    unknown = Unknown.together(name, [kind for kind, _ in found])
    rows = {name: (unknown, Said.together([said for _, said in found]))}
    return rows | {f"{_PICTURE}{u.kind}": (u, s) for u, s in found}


def _draw(
    model: Model,
    rows: list[dict[str, Any]],
    sources: list[_Source],
    config: Any,
    path: Path,
) -> None:
    """The contact sheet, of what the network saw."""
    resize = model.best.info["input"]["resize"] / model.best.info["model"]["image_size"]
    pictures = []
    for row in rows:
        found = (images.get(row["image_id"]) for _, _, images in sources)
        data = next((data for data in found if data is not None), None)
        if data is not None:
            image = decode.decode(data, max_pixels=config.download.max_pixels)
            view = transforms.evaluation_view(
                image, image_size=_THUMBNAIL, resize=round(resize * _THUMBNAIL)
            )
        pictures.append(None if data is None else view)
    with plot_style.themed() as palette:
        plot_style.save(answered_sheet.draw(rows, pictures, palette), path)


def _log(result: dict[str, Any]) -> None:
    rows = {"test (known)": result["known"], **result["kinds"]}
    logging.info("%-24s %7s %9s %7s %8s", "", "images", "species", "genus", "neither")
    for name, row in rows.items():
        if row["images"]:
            parts = (row[part]["share"] for part in ("species", "genus"))
            logging.info(
                "%-24s %7d %7.1f %% %5.1f %% %6.1f %%",
                *(name, row["images"], *(100 * share for share in parts)),
                100 * row["not_conclusive"]["share"],
            )
        for reason, count in row.get("left_out", {}).items():
            logging.info("%-24s %7d left out: %s", name, count, reason)
    logging.info("separates best from test: %s", result["best_score"])
