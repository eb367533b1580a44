"""Stage export_dataset: the collection -> photos.jsonl, classes.json.

Reads MongoDB or a dump (`aplantida_jax.data.source`) and writes into `data/export/`:

- `photos.jsonl`: one `records.Photo` a line, sorted by `image_id`;
- `classes.json`: the label map, of the classes that keep enough photos;
- `held_out.jsonl`, if species are held out: their photos, alike (see `hold_out`);
- `quarantine.jsonl`: the documents left out and why, images left out of others, and how
  many of a document's images another one has under another name;
- `schema.json`: fields, types, odd values, licences and sources as they came.

Documents read = exported + quarantined, exactly. The order of the documents does not
matter; where they disagree about an image, the strictest licence counts (`conflicts`).
All files appear at once, or what was there before stays.

A lost connection to the server costs nothing that was read (see `mongodb`). After its
own death the stage begins again: all of it takes half a minute at the plan's size, and
an export that went on a day later would hold a collection that never was.

A dump that has not changed is not exported again. A database is always read anew, since
nothing tells cheaply whether it has changed; when it has not, the files come out the
same, and the stages after this one still have nothing to do.
"""

import collections
import contextlib
import functools
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax import directories, files, manifest, paths, progress
from aplantida_jax.data import (
    conflicts,
    hold_out,
    labels,
    names,
    plant_document,
    source,
)
from aplantida_jax.data.hold_out import HoldOut
from aplantida_jax.data.plant_document import Filters, Unfit
from aplantida_jax.data.schema_report import SchemaReport
from aplantida_jax.data.staging import Counts, Staging
from aplantida_jax.errors import UserError

_STAGE = "export_dataset"


class Export:
    """Documents in, counts and files out."""

    def __init__(
        self, filters: Filters, min_images: int, held_out: HoldOut, directory: Path
    ):
        """`directory` is where what is gathered lies meanwhile."""
        self.filters = filters
        self._held_out = held_out
        self.schema = SchemaReport()
        self.staging = Staging(directory)
        self.read = 0
        self.images_read = 0
        self.rejected: collections.Counter[str] = collections.Counter()
        self._min_images = min_images

    def add(self, raw: source.RawDocument) -> None:
        """Takes one document, fit or not."""
        self.read += 1
        self.schema.add(raw.value)
        try:
            if raw.problem:
                raise Unfit("undecodable", raw.problem[:200])
            plant = plant_document.parse(raw.value, self.filters, self.schema)
        except Unfit as unfit:
            self.staging.add_unfit(plant_document.id_of(raw.value), raw.where, unfit)
            rejected, kept = unfit.rejected, 0
        else:
            self.staging.add(plant, raw.where)
            rejected, kept = plant.rejected, len(plant.images)
        self.rejected.update(rejected)
        self.images_read += kept + sum(rejected.values())

    def settle(self) -> tuple[labels.LabelMap, Counts]:
        """The label map, when all documents are in.

        Raises:
            UserError: no class is left.
        """
        label_map = self.staging.settle(self._min_images, self._held_out)
        self._held_out.warn(self.staging.held_out_species())
        counts = self.staging.counts()
        if counts.licence_conflicts:
            self.rejected[conflicts.LICENCE_CONFLICT] = counts.licence_conflicts
        if not len(label_map):
            raise UserError(
                f"no plant of {self.read} documents passes the filters (images "
                f"rejected: {dict(self.rejected) or 'none'}): see --config.dataset, "
                "e.g. min_images_per_species, licence_profile and hold_out_share"
            )
        return label_map, counts

    def metrics(self, counts: Counts, classes: int) -> dict[str, Any]:
        return {
            "documents_read": self.read,
            "documents_exported": counts.exported,
            "documents_quarantined": counts.quarantined,
            "classes": classes,
            "images_read": self.images_read,
            "photos": counts.photos,
            "held_out_species": counts.held_out_species,
            "held_out_photos": counts.held_out_photos,
            "duplicate_urls": counts.duplicate_urls,
            "urls_with_several_names": counts.urls_with_several_names,
            "images_in_rare_classes": counts.in_rare_classes,
            "images_rejected": dict(sorted(self.rejected.items())),
        }


def run(config: Any, workdir: Path) -> None:
    """Exports the collection that `config.source` names."""
    del workdir  # the dataset belongs to no experiment
    out_dir = paths.export_dir(config)
    begin = functools.partial(
        manifest.begin,
        config,
        stage=_STAGE,
        inputs=_inputs(config),
        depends_on=("source", "dataset"),
    )
    may_skip = not source.is_mongodb(config.source.uri)
    if may_skip and begin(out_dir=out_dir) is None:
        return
    if config.dry_run:
        with (
            tempfile.TemporaryDirectory() as scratch,
            _opened(config, Path(scratch)) as export,
        ):
            _gather(config, export)
        logging.info("dry run: nothing is written to %s", out_dir)
        return
    with directories.atomic_directory(out_dir) as work, _opened(config, work) as export:
        # In an empty directory there is always work to do.
        job = begin(out_dir=work)
        assert job is not None
        label_map, metrics = _gather(config, export)
        metrics["licences"] = _write(work, export, label_map, metrics)
        job.finish(
            outputs=sorted(work.iterdir()),
            metrics=metrics,
            label_map=label_map.fingerprint,
        )


@contextlib.contextmanager
def _opened(config: Any, directory: Path) -> Iterator[Export]:
    """An empty export that gathers in `directory`; a full disk is a UserError."""
    minimum = config.dataset.min_images_per_species
    try:
        dataset = config.dataset
        filters = _filters(config)
        held_out = hold_out.of(
            *(dataset.hold_out, dataset.hold_out_share, config.seed),
            rare=dataset.hold_out_rare,
            synonyms=filters.synonyms,
        )
        export = Export(filters, minimum, held_out, directory)
        with contextlib.closing(export.staging):
            yield export
    except sqlite3.OperationalError as error:
        raise UserError(
            f"{directory.parent}: {error}: make room there, then run this again"
        ) from None


def _inputs(config: Any) -> list[manifest.Input]:
    wanted = []
    if not source.is_mongodb(config.source.uri):
        how = "or give another --config.source.uri"
        dump = source.dump_file(config.source.uri)
        wanted.append(manifest.Input(dump, "demo_data", how))
    if config.dataset.synonyms:
        wanted.append(manifest.Input(Path(config.dataset.synonyms), "(your own file)"))
    return wanted


def _filters(config: Any) -> Filters:
    return Filters(
        licence_profile=config.dataset.licence_profile,
        min_side=config.dataset.min_image_side,
        sources=frozenset(config.dataset.sources),
        synonyms=_synonyms(config.dataset.synonyms),
        relative_urls=not source.is_mongodb(config.source.uri),
    )


def _synonyms(path: str) -> dict[str, str]:
    """{normalised synonym: accepted name}, chains followed to their end."""
    if not path:
        return {}
    table = files.read_json(Path(path), made_by="(your own file)")
    if not isinstance(table, dict):
        raise UserError(f'{path} must be a JSON object {{"synonym": "accepted name"}}')
    direct: dict[str, str] = {}
    for spelling, accepted in table.items():
        synonym, name = names.normalise(spelling), names.normalise(accepted)
        if not synonym or not name:
            raise UserError(f"{path} holds something that is not a Latin name")
        if direct.setdefault(synonym, name) != name:
            raise UserError(
                f"{path} gives '{synonym}' two accepted names, '{direct[synonym]}' and "
                f"'{name}': leave one"
            )
    direct = {synonym: name for synonym, name in direct.items() if synonym != name}
    for synonym in direct:
        seen = {synonym}
        while direct[synonym] in direct:
            if direct[synonym] in seen:
                raise UserError(f"{path} goes in a circle at '{direct[synonym]}'")
            seen.add(direct[synonym])
            direct[synonym] = direct[direct[synonym]]
    return direct


def _gather(config: Any, export: Export) -> tuple[labels.LabelMap, dict[str, Any]]:
    stream = source.documents(config.source)
    for raw in progress.track(stream, total=None, what=_STAGE, unit="documents"):
        export.add(raw)
    if not export.read:
        raise UserError(f"{source.describe(config.source.uri)} holds no documents")
    label_map, counts = export.settle()
    metrics = export.metrics(counts, len(label_map))
    _log(config, metrics)
    return label_map, metrics


def _write(
    work: Path, export: Export, label_map: labels.LabelMap, metrics: dict[str, Any]
) -> dict[str, int]:
    """Writes the files; returns photos by licence."""
    by_licence: collections.Counter[str] = collections.Counter()
    by_source: collections.Counter[str] = collections.Counter()

    def counted() -> Iterator[dict[str, Any]]:
        for photo in export.staging.photos(label_map):
            by_licence[photo["licence"]] += 1
            by_source[photo["source"]] += 1
            yield photo

    files.write_jsonl(work / "photos.jsonl", counted())
    labels.write(work / "classes.json", label_map)
    if metrics["held_out_species"]:
        rows = export.staging.held_out_photos()
        files.write_jsonl(work / "held_out.jsonl", rows)
    files.write_jsonl(work / "quarantine.jsonl", export.staging.quarantine())
    licences = dict(by_licence.most_common())
    summary = {
        **metrics,
        "licences": licences,
        "sources": dict(by_source.most_common()),
        "fields": export.schema.to_json(),
    }
    files.write_json(work / "schema.json", summary)
    return licences


def _log(config: Any, metrics: dict[str, Any]) -> None:
    logging.info(
        "%s: %d documents read, %d exported, %d quarantined",
        source.describe(config.source.uri),
        metrics["documents_read"],
        metrics["documents_exported"],
        metrics["documents_quarantined"],
    )
    if metrics["held_out_species"]:
        logging.info(
            "%d species are held out of training, with %d photos",
            metrics["held_out_species"],
            metrics["held_out_photos"],
        )
    logging.info(
        "%d images read: %d photos of %d classes; %d with an URL seen before, %d in "
        "classes with fewer than %d, rejected %s",
        metrics["images_read"],
        metrics["photos"],
        metrics["classes"],
        metrics["duplicate_urls"],
        metrics["images_in_rare_classes"],
        config.dataset.min_images_per_species,
        metrics["images_rejected"] or "none",
    )
