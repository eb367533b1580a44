"""Training runs, for real, that are asked to stop where it is awkward."""

import contextlib
import dataclasses
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import CLASSES, PER_CLASS, Dataset
from misbehaving_server import MisbehavingServer
from test_streaming_train import served
from training_processes import config_of, finished, start, wait_for

from aplantida_jax import paths
from aplantida_jax.data.image_source import ImageSource
from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint, loop, run_directory, setup
from aplantida_jax.train.interrupt import Interrupt


@dataclasses.dataclass(frozen=True, eq=False)
class Stopping:
    """Images of a run; the process is asked to stop after so many of validation."""

    images: ImageSource
    validation: frozenset[str]
    after: int
    remedy: str = ""
    given: Iterator[int] = dataclasses.field(default_factory=itertools.count)

    def get(self, image_id: str) -> bytes | None:
        if image_id in self.validation and next(self.given) >= self.after:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.images.get(image_id)


def _train(config: Any, workdir: Path, *, stop_after: int) -> None:
    """As `loop.run` does it, asked to stop after so many images of validation."""
    data = setup.load_data(config)
    validation = frozenset(f"{int(number):016x}" for number in data.val.image_id)
    images = Stopping(data.images, validation, stop_after)
    data = dataclasses.replace(data, images=images)
    schedule = setup.Schedule.of(config, len(data.train))
    with (
        Interrupt() as interrupt,
        contextlib.closing(data),
        checkpoint.Checkpoints(workdir) as checkpoints,
    ):
        run = loop.Loop(config, workdir, data, schedule, checkpoints, "0" * 64)
        run.fit(interrupt)


def _lines(workdir: Path) -> list[str]:
    return run_directory.history(workdir).read_text().splitlines()


def test_stopped_while_it_validates_it_equals_undisturbed(
    processes: Dataset, undisturbed: Path
):
    config = config_of(processes.root)
    workdir = processes.root / "stopped_in_validation"
    workdir.mkdir()
    images = CLASSES * PER_CLASS["val"]
    # In the first epoch, in the validation that the next start begins with, and in
    # that of the last epoch, of six steps like all.
    for after, step, lines in ((0, 6, 0), (0, 6, 0), (3 * images, 24, 3)):
        with pytest.raises(UserError, match=f"step {step} is saved") as caught:
            _train(config, workdir, stop_after=after)
        assert caught.value.exit_code == 143
        assert len(_lines(workdir)) == lines
    _train(config, workdir, stop_after=999)
    assert _lines(workdir) == _lines(undisturbed)
    assert _variables(processes, workdir) == _variables(processes, undisturbed)


def _variables(dataset: Dataset, workdir: Path) -> list[bytes]:
    best = checkpoint.load_best(workdir, dataset.label_map)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(best.variables)]


def test_asked_again_and_again_it_saves_and_leaves(processes: Dataset):
    workdir = processes.root / "asked_thrice"
    process = start(processes.root, workdir)
    wait_for(process, "step 2/")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    code, said = finished(process)
    assert code in (130, 143)
    assert "saving, then leaving" in said
    assert "is saved; run the same command again to go on" in said
    assert "Traceback" not in said
    assert any((workdir / "checkpoints").glob("[0-9]*"))


def test_asked_before_its_first_step_it_leaves(processes: Dataset):
    process = start(processes.root, processes.root / "asked_early")
    wait_for(process, "computing on cpu: 1 x ")
    process.send_signal(signal.SIGTERM)
    code, said = finished(process)
    assert code == 143
    assert "error: stopped by SIGTERM: " in said
    assert "Traceback" not in said


def test_stopped_while_it_streams_from_an_empty_cache_it_equals_undisturbed(
    dataset: Dataset, server: MisbehavingServer
):
    config = dataset.teacher()
    config.train.epochs = 1
    loop.run(config, dataset.root / "undisturbed")
    config = served(dataset, server, {"train": 0, "val": 99})
    config.train.epochs = 1
    config.download.requests_per_second = 200.0
    workdir = paths.run_dir(config, config.name)

    def stop() -> None:
        # In the second step or the third; far more than 1000 images are to come.
        while len(server.requests) < 40:
            time.sleep(0.01)
        server.delay_s = 0.2
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(UserError, match=r"step \d is saved") as caught:
        loop.run(config, workdir)
    thread.join()
    assert caught.value.exit_code == 143
    server.delay_s = 0.0
    loop.run(config, workdir)
    assert _lines(workdir) == _lines(dataset.root / "undisturbed")
