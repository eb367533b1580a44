"""Where an export keeps what it gathers, and what it does when there is no room."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aplantida_jax.data.plant_document import Candidate, Plant
from aplantida_jax.data.staging import Staging

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 2_000  # of a file, in units of 1024 bytes


def plant(number: int, images: int) -> Plant:
    found = [
        Candidate(
            *(f"{number:08}{k:08}", f"https://example.org/{number}/{k}.jpg", "s"),
            *("CC0-1.0", "cc0", "a" * 100, "", 0, 0),
        )
        for k in range(images)
    ]
    return Plant(str(number), "Rosa canina", "", "", "", (), tuple(found), {}, ())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
def test_its_files_lie_where_it_was_told_and_have_no_names(tmp_path):
    directory = tmp_path / "it's here"
    directory.mkdir()
    staging = Staging(directory)
    for number in range(100):
        staging.add(plant(number, 200), "")
    staging.settle(1)
    links = [os.readlink(link) for link in open_files()]
    assert any(str(directory) in link and "(deleted)" in link for link in links)
    assert list(directory.iterdir()) == []
    assert staging.counts().photos == 20_000
    staging.close()
    assert not any(str(directory) in os.readlink(link) for link in open_files())


def open_files() -> list[str]:
    # The directory's own handle is closed again when the list is complete.
    found = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return [link for link in found if os.path.islink(link)]


@pytest.mark.parametrize("option", ["--nodry_run", "--dry_run"])
def test_no_room_for_it_is_one_line_and_exit_1(tmp_path, option):
    dump = tmp_path / "plants.jsonl"
    with open(dump, "w") as out:
        for number in range(100):
            images = [
                {"url": f"https://example.org/{number}/{k}.jpg", "license": "cc0"}
                for k in range(400)
            ]
            row = {"_id": number, "latinName": "Rosa canina", "images": images}
            out.write(json.dumps(row) + "\n")
    done = subprocess.run(
        [
            # A shell sets the limit: forking by hand is not safe beside other threads.
            *("bash", "-c", f'ulimit -f {LIMIT}; exec "$@"', "bash"),
            *(sys.executable, "-m", "aplantida_jax.main", option, "--log_level=error"),
            *("--config=configs/dataset.py", f"--config.source.uri={dump}"),
            f"--config.data_dir={tmp_path}/data",
        ],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    where = tmp_path if option == "--dry_run" else tmp_path / "data"
    assert done.stderr.startswith(f"error: {where}: ")
    assert "make room there" in done.stderr
    assert [path.name for path in tmp_path.glob("*/*")] == []
