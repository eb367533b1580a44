"""The training stage itself, fed from the network through the cache."""

import os
import shutil
import signal
import threading
import time

import pytest
from conftest import Dataset
from streamed_dataset import IMAGES, served

from aplantida_jax import config as configuration
from aplantida_jax import paths
from aplantida_jax.errors import UserError
from aplantida_jax.train import loop


def test_an_image_that_validation_lacks_ends_the_run(dataset: Dataset, server):
    config = served(dataset, server, {"train": IMAGES, "val": 23})
    server.images.clear()
    with pytest.raises(UserError, match="1 images of .*http_404"):
        loop.run(config, paths.run_dir(config, config.name))
    assert len(server.requests) == 1


def test_a_run_in_a_long_pause_saves_and_leaves_when_asked_and_goes_on(
    dataset: Dataset, server, caplog
):
    config = served(dataset, server, {"train": 12, "val": 20})
    config.download.pauses_s = (600.0,)
    workdir = paths.run_dir(config, config.name)

    def interrupt():
        while len(server.requests) < 20:
            time.sleep(0.01)
        server.throttle = 1
        while "training waits for the hosts" not in caplog.text:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with caplog.at_level("INFO", logger="absl"), pytest.raises(UserError) as error:
        loop.run(config, workdir)
    thread.join()
    assert error.value.exit_code == 143
    assert "is saved" in str(error.value)
    # Ten minutes later; the machine has been started anew.
    shutil.rmtree(paths.cache_dir(config) / "hosts")
    loop.run(config, workdir)
    assert len((workdir / "history.jsonl").read_text().splitlines()) == 2
    # What validation needs came before the first step; nothing was asked twice but
    # the image that met the pause.
    assert all("val" in path for _, path in server.requests[:4])
    asked = server.asked()
    assert sum(asked.values()) - len(asked) <= 1
    assert len(asked) > IMAGES // 2


def test_streaming_and_the_pack_exclude_each_other(dataset: Dataset):
    config = dataset.teacher()
    config.input.update({"stream": True, "read_from": "pack"})
    with pytest.raises(UserError, match=r"input\.stream") as error:
        configuration.check(config)
    assert error.value.exit_code == 2
