"""Several devices and several processes train the network that one of them would.

Each run is a real one: main, in processes of its own, on the small dataset's JPEGs.
"""

import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import Dataset
from training_processes import (
    config_of,
    finished,
    run_script,
    start,
    start_pair,
    wait_for,
)

from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint, loop


@pytest.fixture(scope="module")
def together(processes: Dataset) -> Path:
    """The working directory of an undisturbed run in two processes."""
    workdir = processes.root / "together"
    ends = [finished(process) for process in start_pair(processes.root, workdir)]
    assert [code for code, _ in ends] == [0, 0], ends
    assert ends[1][1] == ""  # the first speaks for all
    return workdir


def _parameters(processes: Dataset, workdir: Path) -> list[np.ndarray]:
    """Of the best epoch, BatchNorm's statistics included."""
    best = checkpoint.load_best(workdir, processes.label_map)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(best.variables)]


def _history(workdir: Path) -> list[dict[str, float]]:
    lines = (workdir / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _assert_alike(
    processes: Dataset, left: Path, right: Path, tolerance: float
) -> None:
    """The same curves and parameters, but for the order of floating-point sums."""
    for one, other in zip(_history(left), _history(right), strict=True):
        assert one == pytest.approx(other, rel=tolerance, abs=tolerance)
    pairs = zip(
        _parameters(processes, left), _parameters(processes, right), strict=True
    )
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_eight_devices_train_as_one_does(processes: Dataset, undisturbed: Path):
    workdir = processes.root / "eight"
    run = start(processes.root, workdir, devices=8)
    _assert_batch_norm_sees_the_batch_of_all_devices()  # meanwhile
    code, said = finished(run)
    assert code == 0, said
    _assert_alike(processes, undisturbed, workdir, 1e-5)


def _assert_batch_norm_sees_the_batch_of_all_devices() -> None:
    """Losses, moments, parameters and running statistics are those of one device."""
    script = Path(__file__).with_name("batch_norm_on_devices.py")
    code, out, said = run_script(script, devices=8)
    assert code == 0, said
    found = json.loads(out)
    one, eight = found["losses"]
    assert one == pytest.approx(eight, rel=1e-5)
    assert found["apart"] == pytest.approx(dict.fromkeys(found["apart"], 0), abs=1e-4)
    assert found["own"] > 0.1  # what it would be with each device's own statistics


def test_two_processes_train_as_one_does(
    processes: Dataset, undisturbed: Path, together: Path
):
    _assert_alike(processes, undisturbed, together, 1e-5)


def test_killed_or_stopped_in_one_process_all_end_and_go_on(
    processes: Dataset, together: Path
):
    """kill -9 and SIGTERM to one of two: the result is the undisturbed one's bits."""
    workdir = processes.root / "disturbed"
    often = "--config.train.checkpoint_minutes=0.0001"
    first, second = start_pair(processes.root, workdir, often)
    wait_for(first, "step 9/")
    second.kill()
    code, said = finished(first)
    assert code == 1
    assert "error: process 1 of 2 is gone (it died): start all of them again" in said
    finished(second)

    first, second = start_pair(processes.root, workdir, often)
    wait_for(first, "going on at step")
    wait_for(first, "step 14/")
    second.send_signal(signal.SIGTERM)
    ends = [finished(first), finished(second)]
    assert [code for code, _ in ends] == [143, 143], ends
    assert all("run the same command again" in said for _, said in ends)
    _assert_another_number_is_refused(processes, workdir)

    first, second = start_pair(processes.root, workdir)
    wait_for(first, "going on at step")
    assert [finished(first)[0], finished(second)[0]] == [0, 0]
    assert (together / "history.jsonl").read_text() == (
        workdir / "history.jsonl"
    ).read_text()
    pairs = zip(
        _parameters(processes, together), _parameters(processes, workdir), strict=True
    )
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)


def _assert_another_number_is_refused(processes: Dataset, workdir: Path) -> None:
    copy = shutil.copytree(workdir, processes.root / "another_number")
    config = config_of(processes.root)
    with pytest.raises(UserError, match="is of 2 process.es., not of 1: start as many"):
        loop.run(config, copy)
