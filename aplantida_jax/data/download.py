"""Stage download: photos.jsonl -> the cache, politely, and index.jsonl.

Fills the cache (`aplantida_jax.data.cache`) with what `photos.jsonl` names and writes
`data/download/index.jsonl`, one `journal.Outcome` a line for each photo, sorted by
`image_id`. Every outcome goes into a journal beside the cache as it happens, so that a
rerun, also after kill -9, asks only for what is missing: images never asked for, lost
from the cache, or that failed in a way that may pass. 404 and 410 are not asked again.

The stage succeeds when it has asked for everything, whatever came of it; what failed
and why is in its last lines, in the index and in the manifest.
"""

import collections
import contextlib
import dataclasses
import errno
import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
from absl import logging

from aplantida_jax import files, manifest, paths, progress
from aplantida_jax.data import fetch, origin, records
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.crawl import Crawl
from aplantida_jax.data.examine import Rules, current, examine
from aplantida_jax.data.fetch import Fetched
from aplantida_jax.data.journal import OK, TEMPORARY, Journal, Outcome
from aplantida_jax.data.origin import Origin
from aplantida_jax.data.schedule import Pace
from aplantida_jax.errors import UserError

_STAGE = "download"
_BATCH = 200  # outcomes that a crash may cost
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Where nothing is known yet: the mean original of the plan's collection, and a JPEG of
# quality 90 as bits per pixel of its square.
_MEAN_BYTES = 1.46e6
_JPEG_BYTES_PER_PIXEL = 0.4

Item = tuple[str, str]  # image id, URL


@dataclasses.dataclass(frozen=True)
class _Done:
    fetched: Fetched
    outcome: Outcome


def run(config: Any, workdir: Path) -> None:
    """Downloads what is missing and writes the index."""
    del workdir  # the dataset belongs to no experiment
    pace = origin.pace(config)
    cache_dir = paths.cache_dir(config)
    if config.dry_run and not cache_dir.exists():
        _estimate(config, _plan(config, {}, frozenset()), 0.0)
        return
    with contextlib.ExitStack() as stack:
        cache = Cache(cache_dir, config.download.cache_size_gb)
        stack.callback(cache.close)
        journal = Journal(cache_dir)
        stack.callback(journal.close)
        todo = _plan(config, _known(journal), frozenset(cache.ids()))
        if config.dry_run:
            _estimate(config, todo, journal.mean_bytes())
            return
        begin = functools.partial(
            manifest.begin,
            config,
            stage=_STAGE,
            inputs=[manifest.Input(paths.photos(config), "export_dataset")],
            depends_on=("download", "dataset"),
        )
        if not todo and begin(out_dir=paths.download_dir(config)) is None:
            return
        work = stack.enter_context(files.atomic_directory(paths.download_dir(config)))
        # In an empty directory there is always work to do.
        job = begin(out_dir=work)
        assert job is not None
        settings = ("shrink_short_side", "jpeg_quality")
        journal.settle({name: config.download[name] for name in settings})
        _fill(config, pace, todo, cache, journal)
        metrics = _write_index(config, work / "index.jsonl", cache, journal)
        _summarise(metrics, cache)
        job.finish(outputs=[work / "index.jsonl"], metrics=metrics)


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


def _known(journal: Journal) -> dict[str, Outcome]:
    return {outcome.image_id: outcome for outcome in journal.outcomes()}


def _plan(
    config: Any, known: dict[str, Outcome], cached: frozenset[str]
) -> dict[str, list[Item]]:
    """Host -> what to ask of it, by `image_id`: in no order of the plants."""
    accept = rules(config)
    limit = config.download.limit if config.download.limit >= 0 else None
    photos = records.read_photos(paths.photos(config), made_by="export_dataset")
    todo: dict[str, list[Item]] = collections.defaultdict(list)
    for photo in itertools.islice(photos, limit):
        outcome = known.get(photo.image_id)
        if current(outcome, accept, cached=photo.image_id in cached) is None:
            todo[origin.host_of(photo.url)].append((photo.image_id, photo.url))
    return dict(todo)


def _fill(
    config: Any,
    pace: Pace,
    todo: dict[str, list[Item]],
    cache: Cache,
    journal: Journal,
) -> None:
    # The threads of the crawl are the parallelism; OpenCV's own would only add to them.
    cv2.setNumThreads(1)
    one_each = [own[0][1] for own in todo.values()]
    with origin.opened(config, one_each) as source:
        crawl: Crawl[Item] = Crawl(
            functools.partial(_perform, source, cache, rules(config)),
            pace,
            retries=config.download.retries,
            abort=source.fetcher.close,
        )
        total = sum(map(len, todo.values()))
        done = progress.track(crawl.run(todo), total=total, what=_STAGE)
        try:
            _record(done, journal)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise UserError(
                f"the disk of {cache.directory} is full: make room and run stage "
                "'download' again, it goes on where it stopped"
            ) from None


def _record(done: Iterable[tuple[Item, _Done | None]], journal: Journal) -> None:
    """Writes the outcomes down as they come; also when it is interrupted."""
    pending: list[Outcome] = []
    try:
        for (image_id, _), result in done:
            unasked = Outcome(image_id, TEMPORARY, "host_given_up")
            pending.append(result.outcome if result else unasked)
            if len(pending) >= _BATCH:
                journal.record(pending)
                pending.clear()
    finally:
        journal.record(pending)


def _perform(source: Origin, cache: Cache, accept: Rules, item: Item) -> _Done:
    """In a thread: asks, examines, keeps."""
    image_id, url = item
    fetched = source.fetcher.fetch(source.url(url))
    outcome, data = examine(image_id, fetched, accept)
    if outcome.status == OK and not cache.put(image_id, data):
        outcome = dataclasses.replace(outcome, status=TEMPORARY, reason="cache_size")
    seen = dataclasses.replace(fetched, body=b"")
    if fetched.outcome == fetch.OK and outcome.reason == "html":
        seen = Fetched(fetch.BLOCKED, "html")
    if fetched.outcome == fetch.OK and outcome.reason == "truncated":
        lost = outcome.status == TEMPORARY
        seen = Fetched(fetch.TEMPORARY, "cut_off") if lost else seen
    return _Done(seen, outcome)


def _write_index(
    config: Any, path: Path, cache: Cache, journal: Journal
) -> dict[str, Any]:
    """One row a photo; returns the counts."""
    accept = rules(config)
    known, cached = _known(journal), frozenset(cache.ids())
    status: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    original_bytes = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal original_bytes
        made_by = "export_dataset"
        for photo in records.read_photos(paths.photos(config), made_by=made_by):
            earlier = known.get(photo.image_id)
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


def _estimate(config: Any, todo: dict[str, list[Item]], mean_bytes: float) -> None:
    """What a run would cost, for --dry_run."""
    count = sum(map(len, todo.values()))
    traffic = count * (mean_bytes or _MEAN_BYTES)
    side = config.download.shrink_short_side
    kept = (
        min(traffic, count * side * side * _JPEG_BYTES_PER_PIXEL) if side else traffic
    )
    slowest = max(map(len, todo.values()), default=0)
    logging.info(
        "dry run: %d images to ask of %d hosts: %.1f GB to transfer, %.1f GB to keep "
        "(limit %.1f GB), at least %.1f hours at %.1f requests/s per host",
        count,
        len(todo),
        traffic / 1e9,
        kept / 1e9,
        config.download.cache_size_gb,
        slowest / config.download.requests_per_second / 3600,
        config.download.requests_per_second,
    )


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
    lost = reasons.get(f"{TEMPORARY}: not_in_cache", 0)
    if lost:
        logging.warning(
            "%d images were evicted, the cache's limit of %.1f GB is too small: raise "
            "--config.download.cache_size_gb",
            lost,
            cache.limit / 1e9,
        )
