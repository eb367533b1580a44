"""Stage download: photos.jsonl -> the cache, politely, and index.jsonl.

Fills the cache (`aplantida_jax.data.cache`) with what `photos.jsonl` and, where species
are held out, `held_out.jsonl` name and writes
`data/download/index.jsonl`, one `journal.Outcome` a line for each photo, sorted by
`image_id`. Every outcome goes into a journal beside the cache as it happens, so that a
rerun, also after kill -9, asks only for what is missing: images never asked for, lost
from the cache, or that failed in a way that may pass. 404 and 410 are not asked again.

Several downloads may share a cache: each host is asked by one of them at a time. A
cache that is too small is filled, not churned: what does not fit is not asked for.

The stage succeeds when it has asked for everything, whatever came of it; what failed
and why is in its last lines, in the index and in the manifest.
"""

import collections
import contextlib
import dataclasses
import fcntl
import functools
import heapq
import itertools
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax import directories, files, manifest, paths
from aplantida_jax.data import decode, origin, phash, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.cache_recovery import recover
from aplantida_jax.data.decode import BrokenImage
from aplantida_jax.data.download_estimate import Estimate, Plan
from aplantida_jax.data.examine import Rules, current
from aplantida_jax.data.fill import Filling, Item
from aplantida_jax.data.journal import OK, TEMPORARY, Journal, Outcome

_STAGE = "download"
# Why an image is not in the cache, when the cache's size is to blame.
_TOO_SMALL = ("cache_full", "cache_size", "not_in_cache")


def run(config: Any, workdir: Path) -> None:
    """Downloads what is missing and writes the index."""
    del workdir  # the dataset belongs to no experiment
    cache_dir = paths.cache_dir(config)
    if config.dry_run and not cache_dir.exists():
        Estimate(config, _plan(config, (), frozenset())).log()
        return
    if not config.dry_run:
        recover(cache_dir, _is_image)
    with contextlib.ExitStack() as stack:
        cache = Cache(cache_dir, config.download.cache_size_gb)
        stack.callback(cache.close)
        journal = Journal(cache_dir)
        stack.callback(journal.close)
        _download(config, cache, journal)


def _download(config: Any, cache: Cache, journal: Journal) -> None:
    filling = Filling(config, rules(config), cache, journal)
    plan = _plan(config, journal.outcomes(), frozenset(cache.ids()))
    estimate = Estimate(config, plan, cache, journal)
    if config.dry_run:
        estimate.log()
        return
    job = _begin(config, plan)
    if job is None:
        return
    journal.settle(kept_as(config))
    estimate.warn_if_too_large()
    spare_since = cache.use_now(plan.cached)
    report = filling.run(plan.todo, spare_since, estimate.mean_kept)
    this_run = {"seconds": round(report.seconds, 1), "hosts": report.by_host()}
    # Whoever shares the cache may end at the same moment.
    with (
        _alone(cache.directory / "index.lock"),
        directories.atomic_directory(paths.download_dir(config)) as work,
    ):
        index = work / "index.jsonl"
        metrics = {
            **_write_index(config, index, cache, journal),
            "this_run": this_run,
        }
        dataclasses.replace(job, out_dir=work).finish(outputs=[index], metrics=metrics)
    report.summarise()
    _summarise(metrics, cache)


def rules(config: Any) -> Rules:
    """What the configuration says of acceptable images."""
    download = config.download
    return Rules(
        max_bytes=download.max_bytes,
        max_pixels=download.max_pixels,
        min_side=config.dataset.min_image_side,
        shrink_short_side=download.shrink_short_side,
        jpeg_quality=download.jpeg_quality,
    )


def kept_as(config: Any) -> dict[str, Any]:
    """How images are kept, for `Journal.settle`."""
    names = ("shrink_short_side", "jpeg_quality")
    settings = {name: config.download[name] for name in names}
    return {**settings, "hash": phash.VERSION}


def _begin(config: Any, plan: Plan) -> manifest.Job | None:
    """The job; None when nothing is missing and the index says so."""
    begin = functools.partial(
        manifest.begin,
        config,
        stage=_STAGE,
        inputs=[manifest.Input(path, "export_dataset") for path in _lists(config)],
        depends_on=("download", "dataset"),
    )
    if not plan.todo and begin(out_dir=paths.download_dir(config)) is None:
        return None
    # In an empty directory there is always work to do.
    with tempfile.TemporaryDirectory() as nothing:
        return begin(out_dir=Path(nothing))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While the block runs no other process is in one on the same path."""
    with open(path, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_image(data: bytes) -> bool:
    """Could these bytes have been kept? Of what a lost index no longer vouches for."""
    try:
        return decode.header(data).whole
    except BrokenImage:
        return False


def _lists(config: Any) -> list[Path]:
    """The files that name what to fetch; none has a photo of another."""
    held_out = paths.held_out(config)
    return [paths.photos(config), *([held_out] if held_out.exists() else [])]


def _photos(
    config: Any, outcomes: Iterable[Outcome]
) -> Iterator[tuple[records.Photo, Outcome | None]]:
    """The photos, each with its outcome if there is one; both are by `image_id`."""
    known = iter(outcomes)
    outcome = next(known, None)
    lists = [records.read_photos(p, made_by="export_dataset") for p in _lists(config)]
    photos = heapq.merge(*lists, key=lambda photo: photo.image_id)
    for photo in photos:
        while outcome is not None and outcome.image_id < photo.image_id:
            outcome = next(known, None)
        is_its = outcome is not None and outcome.image_id == photo.image_id
        yield photo, outcome if is_its else None


def _plan(config: Any, outcomes: Iterable[Outcome], cached: frozenset[str]) -> Plan:
    """What to ask of which host, by `image_id`: in no order of the plants."""
    accept = rules(config)
    limit = config.download.limit if config.download.limit >= 0 else None
    todo: dict[str, list[Item]] = collections.defaultdict(list)
    present = []
    for photo, outcome in itertools.islice(_photos(config, outcomes), limit):
        is_cached = photo.image_id in cached
        if current(outcome, accept, cached=is_cached) is None:
            todo[origin.host_of(photo.url)].append((photo.image_id, photo.url))
        elif is_cached:
            present.append(photo.image_id)
    return Plan(dict(todo), present)


def _write_index(
    config: Any, path: Path, cache: Cache, journal: Journal
) -> dict[str, Any]:
    """One row a photo; returns the counts."""
    accept = rules(config)
    cached = frozenset(cache.ids())
    status: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    original_bytes = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal original_bytes
        for photo, earlier in _photos(config, journal.outcomes()):
            present = photo.image_id in cached
            outcome = current(earlier, accept, cached=present) or _missing(
                photo.image_id, earlier
            )
            status[outcome.status] += 1
            if outcome.status == OK:
                original_bytes += outcome.bytes
            else:
                reasons[f"{outcome.status}: {outcome.reason}"] += 1
            yield dataclasses.asdict(outcome)

    count = files.write_jsonl(path, rows())
    return {
        "photos": count,
        "status": dict(status),
        "reasons": dict(reasons.most_common()),
        "original_gb": round(original_bytes / 1e9, 3),
        "cache_gb": round(cache.size / 1e9, 3),
    }


def _missing(image_id: str, earlier: Outcome | None) -> Outcome:
    """The row of a photo that a further run would ask for."""
    if earlier is None:
        return Outcome(image_id, TEMPORARY, "not_asked")
    if earlier.status == TEMPORARY:
        return earlier
    return dataclasses.replace(earlier, status=TEMPORARY, reason="not_in_cache")


def _summarise(metrics: dict[str, Any], cache: Cache) -> None:
    status, reasons = metrics["status"], metrics["reasons"]
    logging.info(
        "%d of %d photos are in the cache (%.2f GB; %.2f GB as originals)",
        status.get(OK, 0),
        metrics["photos"],
        metrics["cache_gb"],
        metrics["original_gb"],
    )
    for reason, count in reasons.items():
        logging.info("%d %s", count, reason)
    unfit = sum(reasons.get(f"{TEMPORARY}: {why}", 0) for why in _TOO_SMALL)
    if unfit:
        logging.warning(
            "%d images do not fit, the cache's limit of %.1f GB is too small: raise "
            "--config.download.cache_size_gb and run stage 'download' again",
            unfit,
            cache.limit / 1e9,
        )
