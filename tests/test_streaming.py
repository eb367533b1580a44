"""Training from the network through the cache, against a server that misbehaves."""

import contextlib
import threading
import time

import numpy as np
import pytest
from small_collection import cached, jpeg, served_collection

from aplantida_jax import files, paths
from aplantida_jax.data import download, pipeline, records, streaming, whole_split
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.image_source import Stopped, Unavailable, open_images
from aplantida_jax.data.journal import Journal
from aplantida_jax.data.streaming import Stream
from aplantida_jax.errors import UserError

COUNT = 24
GONE = ["image/gone.jpg", "status/410"]


@pytest.fixture
def config(tmp_path, server):
    """24 photos and two that are gone, as a training split; nothing is cached."""
    config = served_collection(tmp_path, server, COUNT, GONE)
    config.model.image_size = 32
    config.train.batch_size = 4
    config.input.threads = 4
    config.input.stream = True
    photos = list(records.read_photos(paths.photos(config), made_by="export_dataset"))
    for split in ("train", "val"):
        records.write_photos(paths.split_file(config, split), photos)
    return config


def photo_ids(config):
    """Image id -> path on the server."""
    path = paths.split_file(config, "train")
    photos = records.read_photos(path, made_by="split")
    return {p.image_id: "/" + p.url.split("/", 3)[3] for p in photos}


def fill(config, share=2):
    """Puts every second photo that exists into the cache, as a download would."""
    config.download.limit = (COUNT + len(GONE)) // share
    download.run(config, None)
    config.download.limit = -1


@contextlib.contextmanager
def streaming_of(config):
    cache = open_images(config)
    stream = Stream(config, paths.split_file(config, "train"), cache)
    yield stream
    stream.close()  # the cache stays: an iterator may still read ahead


def trainer(config, images, skipped=None):
    path = paths.split_file(config, "train")
    examples = pipeline.read_examples(config, path, images, smart_crop=False)
    made = pipeline.make_train(
        config, examples, images, seed=3, skipped=skipped or pipeline.Skipped()
    )
    return iter(made)


def seen(batches):
    return [int(number) for batch in batches for number in batch["image_id"]]


def test_a_half_empty_cache_is_filled_once_in_the_order_of_a_full_one(config, server):
    fill(config)
    there = len(cached(config))
    server.requests.clear()
    skipped = pipeline.Skipped()
    with streaming_of(config) as stream:
        iterator = trainer(config, stream, skipped)
        batches = [next(iterator) for _ in range(3 * COUNT // 4)]
        counts = stream.counts()
    asked = server.asked()
    assert set(asked.values()) == {1}  # each in one epoch of three, the gone ones too
    assert counts[streaming.OK] == COUNT - there
    assert sum(counts.values()) > counts[streaming.OK]
    assert set(counts) == {streaming.OK, "http_404", "http_410"}
    assert skipped.reasons["http_404"] > 1  # skipped in each epoch, asked for in one
    assert len(cached(config)) == COUNT
    plain = open_images(config)
    again = trainer(config, plain)
    for batch in batches:
        expected = next(again)
        for name, value in batch.items():
            np.testing.assert_array_equal(value, expected[name])


def test_what_streaming_found_a_download_does_not_ask_again(config, server):
    with streaming_of(config) as stream:
        iterator = trainer(config, stream)
        for _ in range(2 * COUNT // 4):
            next(iterator)
    server.requests.clear()
    download.run(config, None)
    assert server.asked() == {}
    with streaming_of(config) as stream:
        iterator = trainer(config, stream)
        assert len(set(seen(next(iterator) for _ in range(COUNT // 4)))) == COUNT
    assert server.asked() == {}


def test_a_pause_costs_its_images_of_the_moment_and_no_thread(config, server):
    fill(config)
    config.download.pauses_s = (600.0,)
    server.throttle = 1
    server.requests.clear()
    with streaming_of(config) as stream:
        iterator = trainer(config, stream)
        batches = [next(iterator) for _ in range(COUNT // 4)]
        counts = stream.counts()
    assert len(batches) == COUNT // 4
    assert counts["host_paused"] > 1
    # What was under way when the 429 came may still end.
    assert len(server.requests) <= config.input.threads
    # Nobody is told that the images are bad: the pause says nothing of them.
    journal = Journal(paths.cache_dir(config))
    assert all(o.reason != "http_429" for o in journal.outcomes())
    journal.close()
    # The pause outlives the process: whoever streams next is in it too.
    server.requests.clear()
    with streaming_of(config) as stream:
        there, gone = cached(config), [f"/{path}" for path in GONE]
        waits = [i for i, path in photo_ids(config).items() if path not in gone]
        one = next(i for i in waits if i not in there)
        with pytest.raises(Unavailable, match="host_paused"):
            stream.get(one)
    assert server.asked() == {}


def test_with_nothing_cached_training_waits_out_the_pauses(config, server):
    config.download.pauses_s = (0.3, 0.4)
    server.throttle = 2
    with streaming_of(config) as stream:
        iterator = trainer(config, stream)
        numbers = seen(next(iterator) for _ in range(COUNT))
        counts = stream.counts()
    assert len(set(numbers)) == COUNT
    assert counts["host_paused"] <= 64 + len(numbers)
    throttled, *_ = (when for when, _ in server.requests)
    # What was sent before the answer came, then nothing until the pause is over.
    late = [when - throttled for when, _ in server.requests if when > throttled + 0.1]
    assert min(late) >= 0.29


def test_two_runs_share_the_images_and_the_pace(config, server):
    config.download.requests_per_second = 40.0
    config.download.concurrency = 2
    numbers = {}

    def train(which):
        with streaming_of(config) as stream:
            iterator = trainer(config, stream)
            numbers[which] = seen(next(iterator) for _ in range(2 * COUNT // 4))

    threads = [threading.Thread(target=train, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(server.asked().values()) == {1}
    assert all(len(set(found)) == COUNT for found in numbers.values())
    times = [when for when, _ in server.requests]
    assert times[-1] - times[0] >= 0.9 * (len(times) - 1) / 40.0


def test_an_image_that_is_damaged_in_the_cache_is_fetched_again(config, server):
    fill(config, share=1)
    victim = sorted(paths.cache_dir(config).glob("objects/*/*/*"))[0]
    good = victim.read_bytes()
    victim.write_bytes(b"flipped" + good[7:])
    server.requests.clear()
    with streaming_of(config) as stream:
        assert stream.get(victim.name) == good
    assert server.asked() == {photo_ids(config)[victim.name]: 1}


def test_a_host_that_fails_is_asked_as_often_as_a_download_would(config, server):
    config.download.retries = 2
    server.fail = 99
    one = next(i for i, path in photo_ids(config).items() if path == "/image/0.jpg")
    with streaming_of(config) as stream:
        for _ in range(6):
            with pytest.raises(Unavailable, match="http_500"):
                stream.get(one)
    assert server.asked() == {"/image/0.jpg": 3}
    server.fail = 0  # the next run asks again
    with streaming_of(config) as stream:
        assert stream.get(one) is not None


def test_no_private_address_is_asked_unless_it_is_allowed(config, server):
    config.download.private_hosts = ()
    with (
        streaming_of(config) as stream,
        pytest.raises(Unavailable, match="refused_address"),
    ):
        stream.get(next(iter(photo_ids(config))))
    assert server.asked() == {}


def test_closing_ends_the_requests_and_the_waiting_of_all_threads(config, server):
    server.delay_s = 30.0
    config.download.concurrency = 1  # so that the others wait for their turn
    ends = []

    def get(stream, image_id):
        try:
            stream.get(image_id)
        except Stopped:
            ends.append(image_id)

    with streaming_of(config) as stream:
        ids = [i for i, path in photo_ids(config).items() if "image" in path][:3]
        threads = [threading.Thread(target=get, args=(stream, one)) for one in ids]
        for thread in threads:
            thread.start()
        while not server.requests:
            time.sleep(0.01)
        stream.close()
        for thread in threads:
            thread.join(timeout=10)
        assert not any(thread.is_alive() for thread in threads)
    assert sorted(ends) == sorted(ids)
    server.delay_s = 0.0
    with streaming_of(config) as stream:  # nothing is held against the image
        assert stream.get(ids[0]) is not None


def test_a_stream_of_images_kept_otherwise_is_refused(config):
    fill(config)
    config.download.shrink_short_side = 64
    cache = open_images(config)
    with pytest.raises(UserError, match="shrink_short_side"):
        Stream(config, paths.split_file(config, "train"), cache)
    cache.close()


def test_what_the_split_does_not_name_is_nowhere(config, server):
    with streaming_of(config) as stream:
        assert stream.get("0123456789abcdef") is None
    assert server.asked() == {}


def test_boxes_are_not_known_until_the_image_is_there(config):
    path = paths.split_file(config, "train")
    with streaming_of(config) as stream:
        cache = open_images(config)
        before = pipeline.read_examples(config, path, cache, smart_crop=True).box
        iterator = trainer(config, stream)
        for _ in range(2 * COUNT // 4):
            next(iterator)
        after = pipeline.read_examples(config, path, cache, smart_crop=True).box
        cache.close()
    assert np.isnan(before).all()
    assert 0 < (~np.isnan(after).any(axis=1)).sum() <= COUNT


def test_a_split_that_is_evaluated_is_fetched_whole_or_refused(config, server):
    fill(config)
    server.requests.clear()
    for _ in range(2):
        with pytest.raises(UserError, match=r"2 images .* \(1 http_4.*limit=0"):
            whole_split.complete(
                config, paths.split_file(config, "val"), open_images(config)
            )
        assert len(cached(config)) == COUNT
    assert set(server.asked().values()) == {1}
    # The download then knows, without asking, what the split must leave out.
    server.requests.clear()
    config.download.limit = 0
    download.run(config, None)
    gone = [row["status"] for row in rows(paths.download_index(config))]
    assert gone.count("permanent") == 2
    assert server.asked() == {}


def rows(path):
    return list(files.read_jsonl(path, made_by="download"))


def test_the_cache_is_too_small_for_all(config, server):
    config.download.cache_size_gb = 2e-5  # a few of them
    with streaming_of(config) as stream:
        iterator = trainer(config, stream)
        assert len(set(seen(next(iterator) for _ in range(COUNT // 4)))) == COUNT
    assert sum(map(len, cached(config).values())) <= 20_000
    assert Cache(paths.cache_dir(config), 1.0).size <= 20_000
    assert len(jpeg(0)) < 20_000
