"""Stage `demo_data`: writes the invented collection, a dump and its images.

    <data_dir>/raw/plants.jsonl    one document a line, Extended JSON (relaxed)
    <data_dir>/raw/images/         the pictures; URLs in the dump are relative to it
    <data_dir>/raw/unknown/        pictures without a plant, a folder a kind
    <data_dir>/raw/facts.json      what is in there: faults, duplicates, counts

The same arguments give the same bytes, whatever the number of workers and however often
it was interrupted.
"""

import contextlib
import functools
import hashlib
import json
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any

import cv2
from absl import logging

from aplantida_jax import files, manifest, progress
from aplantida_jax.demo import unknown_pictures
from aplantida_jax.demo.collection import Picture
from aplantida_jax.demo.documents import Collection, collect
from aplantida_jax.demo.render import render
from aplantida_jax.demo.species import SPECIES
from aplantida_jax.errors import UserError

DUMP, FACTS, IMAGES, UNKNOWN = "plants.jsonl", "facts.json", "images", "unknown"
_Item = tuple[str, Picture]  # file name, what it shows
_Write = Callable[[_Item], None]

_STAGE = "demo_data"
_LEAST_IMAGES = 8  # per species, on average; below, the long tail has no room
# Measured at 224 px, for the estimate of a dry run.
_BYTES_PER_PIXEL, _SECONDS_PER_PIXEL = 0.2, 1.5e-7


def run(config: Any, workdir: Path) -> None:
    """Stage `demo_data`: generates the collection under `<data_dir>/raw`."""
    del workdir  # the collection belongs to the data, not to an experiment
    demo = config.demo
    out_dir = Path(config.data_dir) / "raw"
    if config.dry_run:
        pixels = demo.images * demo.image_size**2 * 1.2
        logging.info(
            "demo_data: %d images of %d species into %s, about %.0f MB, %.0f s",
            *(demo.images, demo.species, out_dir, pixels * _BYTES_PER_PIXEL / 1e6),
            pixels * _SECONDS_PER_PIXEL / max(demo.workers, 1),
        )
        return
    job = manifest.begin(
        config, stage=_STAGE, out_dir=out_dir, inputs=(), depends_on=("demo",)
    )
    if job is None:
        return
    facts = generate(
        out_dir,
        seed=config.seed,
        species=demo.species,
        images=demo.images,
        image_size=demo.image_size,
        workers=demo.workers,
        held_out=demo.held_out,
    )
    unknown_pictures.write(
        out_dir / UNKNOWN,
        seed=config.seed,
        count=demo.unknown,
        image_size=demo.image_size,
    )
    job.finish(
        outputs=[out_dir / name for name in (DUMP, FACTS, IMAGES, UNKNOWN)],
        metrics={name: facts[name] for name in ("species", "images", "documents")},
    )


def generate(
    out_dir: Path,
    *,
    seed: int,
    species: int,
    images: int,
    image_size: int,
    workers: int,
    held_out: int = 0,
) -> dict[str, Any]:
    """Writes the collection, or what is missing of it; returns the facts.

    Args:
        out_dir: gets the dump, its images and the facts.
        seed: of everything.
        species: how many of `species.SPECIES`, from the first.
        images: how many images their usable documents hold together.
        image_size: typical short side in pixels.
        workers: processes; 1 draws in this one.
        held_out: how many of `held_out_species.HELD_OUT` beside them.

    Raises:
        UserError: impossible numbers; a dump of another origin is in the way.
    """
    _check(out_dir, species, images, image_size)
    numbers = {"species": species, "images": images, "image_size": image_size}
    collection = collect(seed=seed, held_out=held_out, **numbers)
    _write_pictures(out_dir / IMAGES, collection, seed, image_size, workers)
    dump = "".join(
        json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"
        for document in collection.documents
    ).encode()
    facts = {**collection.facts, "dump_sha256": hashlib.sha256(dump).hexdigest()}
    # The dump comes last: where there is one without facts, it is not ours.
    files.write_json(out_dir / FACTS, facts)
    files.write_bytes(out_dir / DUMP, dump)
    return facts


def _check(out_dir: Path, species: int, images: int, image_size: int) -> None:
    if not 1 <= species <= len(SPECIES):
        raise UserError(
            f"config.demo.species={species} must be from 1 to {len(SPECIES)}",
            exit_code=2,
        )
    if images < _LEAST_IMAGES * species:
        raise UserError(
            f"config.demo.images={images} is too few for {species} species: "
            f"at least {_LEAST_IMAGES * species}",
            exit_code=2,
        )
    if image_size < 32:
        raise UserError(
            f"config.demo.image_size={image_size} must be at least 32", exit_code=2
        )
    if (out_dir / DUMP).exists() and not (out_dir / FACTS).exists():
        raise UserError(
            f"{out_dir / DUMP} was not made by stage '{_STAGE}' and would be "
            "overwritten: move it away or set another config.data_dir"
        )


def _write_pictures(
    directory: Path, collection: Collection, seed: int, image_size: int, workers: int
) -> None:
    """Draws the pictures that are not there yet."""
    directory.mkdir(parents=True, exist_ok=True)
    files.sweep_temporary(directory)
    present = {path.name for path in directory.iterdir()}
    wanted = {
        name: picture
        for name, picture in collection.pictures.items()
        if picture.fault != "missing"
    }
    todo = [item for item in wanted.items() if item[0] not in present]
    if not todo:
        logging.info("%s: all %d pictures are there", _STAGE, len(wanted))
        return
    logging.info("%s: %d of %d pictures to draw", _STAGE, len(todo), len(wanted))
    write = functools.partial(_write_picture, directory, seed, image_size)
    for _ in progress.track(_map(write, todo, workers), total=len(todo), what=_STAGE):
        pass


def _map(write: _Write, todo: list[_Item], workers: int) -> Iterable[None]:
    return _map_in_processes(write, todo, workers) if workers > 1 else map(write, todo)


def _map_in_processes(write: _Write, todo: list[_Item], workers: int) -> Iterator[None]:
    """Calls `write` on every item in `workers` processes; yields as they are done.

    Raises:
        UserError: a process was killed.
        Exception: what `write` raised in a process.
    """
    # Spawned, not forked: JAX's threads in this process would not survive a fork.
    context = multiprocessing.get_context("spawn")
    running: dict[Any, Any] = {}  # where a process reports -> the process
    try:
        for first in range(workers):
            reader, writer = context.Pipe(duplex=False)
            arguments = (write, todo[first::workers], writer)
            running[reader] = context.Process(target=_work, args=arguments, daemon=True)
            running[reader].start()
            writer.close()  # ours, so that the pipe ends with the process
        while running:
            for ready in connection.wait(list(running)):
                if _is_done(ready, running[ready]):
                    del running[ready]
                else:
                    yield
    finally:
        for process in running.values():
            process.terminate()


def _is_done(reader: Any, process: Any) -> bool:
    """Takes a message: None for a picture, or an exception. True after the last."""
    try:
        error = reader.recv()
    except EOFError:
        process.join()
        if process.exitcode == 0:
            return True
        raise UserError(
            "a process that drew pictures was killed (out of memory?): run the same "
            "command again to go on, or with --config.demo.workers=1"
        ) from None
    if error is not None:
        raise error
    return False


def _work(write: _Write, share: list[_Item], writer: Any) -> None:
    """One process: says None for every picture. Ends when nobody listens any more."""
    cv2.setNumThreads(1)
    # Ctrl-C reaches every process; the main one stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        for item in share:
            try:
                write(item)
            except Exception as error:
                writer.send(error)
                return
            writer.send(None)


def _write_picture(directory: Path, seed: int, image_size: int, item: _Item) -> None:
    name, picture = item
    files.write_bytes(directory / name, render(name, picture, seed, image_size))
