"""The benchmark of the input pipeline reports what it measured, and a dead peer."""

import importlib
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("benchmark_input")


def test_the_ratio_is_to_the_better_peer_with_and_without_the_devices_part(
    benchmark, capsys
):
    one = {"ours_500px": 1000.0, "ours_2048px": 200.0, "ours_store512": 500.0}
    one |= {"peer_500px_0_workers": 300.0, "peer_500px_2_workers": 400.0}
    one |= {"peer_2048px_0_workers": 100.0, "peer_2048px_2_workers": 50.0}
    benchmark.report([one, {name: 9 * rate for name, rate in one.items()}, one], 1.0)
    lines = capsys.readouterr().out.splitlines()
    assert "500px_ratio 2.50 >=3" in lines
    assert "2048px_ratio 2.00 >=2" in lines
    assert "store512_ratio 5.00 >=8" in lines  # beside the peer on the originals
    assert jax.devices()[0].platform == "cpu"
    # One image takes 1 ms here and 1 ms on the device, 2.5 ms there.
    assert "500px_ratio_with_device_work 1.25 -" in lines
    assert "device_augmentation_ms_an_image_on_cpu 1.00 -" in lines


def test_a_peer_that_dies_or_does_not_start_is_said_in_one_line(benchmark, tmp_path):
    (tmp_path / "500px").mkdir()
    # A Python whose own packages are not looked for: the peer lacks what it imports.
    lone = tmp_path / "python"
    lone.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    lone.chmod(0o755)
    peer = benchmark.Peer(str(lone), tmp_path)
    with pytest.raises(SystemExit) as ended:
        peer.measure("500px", 0)
    assert "code 1: ModuleNotFoundError: No module named" in str(ended.value)
    assert "\n" not in str(ended.value)
    with pytest.raises(SystemExit, match="peer does not start.*No such file"):
        benchmark.Peer(str(tmp_path / "nothing"), tmp_path)
