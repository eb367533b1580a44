"""Directories appear whole, and have one writer at a time."""

import subprocess
import sys

import pytest
from killed_child import kill_inside

from aplantida_jax import directories, files
from aplantida_jax.errors import UserError


def test_a_directory_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "out"
    for name in ("first", "second"):
        with directories.atomic_directory(path) as work:
            (work / name).write_text(name)
            assert not (path / name).exists()
        assert [p.name for p in path.iterdir()] == [name]
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_failed_directory_leaves_the_old_one(tmp_path):
    path = tmp_path / "out"
    files.write_text(path / "good", "")

    def fail():
        with directories.atomic_directory(path) as work:
            (work / "half").write_text("")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == [path]
    assert [p.name for p in path.iterdir()] == ["good"]


def test_a_killed_directory_leaves_the_old_one_and_the_next_sweeps(tmp_path):
    path = tmp_path / "out"
    files.write_text(path / "good", "")
    kill_inside(
        "with directories.atomic_directory(path / 'out') as work:\n"
        "    (work / 'half').write_text('')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n",
        tmp_path,
    )
    assert [p.name for p in path.iterdir()] == ["good"]
    assert len(list(tmp_path.iterdir())) == 2
    with directories.atomic_directory(path) as work:
        (work / "whole").write_text("")
    assert list(tmp_path.iterdir()) == [path]
    assert [p.name for p in path.iterdir()] == ["whole"]


def test_a_directory_that_a_killed_swap_took_away_comes_back(tmp_path):
    path = tmp_path / "out"
    files.write_text(tmp_path / ".out.old" / "good", "")

    def look():
        with directories.atomic_directory(path):
            assert [p.name for p in path.iterdir()] == ["good"]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        look()
    assert list(tmp_path.iterdir()) == [path]
    assert [p.name for p in path.iterdir()] == ["good"]


def test_a_linked_directory_is_replaced_where_it_lies(tmp_path):
    target = tmp_path / "disk" / "out"
    files.write_text(target / "old", "")
    link = tmp_path / "link"
    link.symlink_to(target)
    for name in ("first", "second"):
        with directories.atomic_directory(link) as work:
            (work / name).write_text("")
        assert link.is_symlink()
        assert [p.name for p in target.iterdir()] == [name]
    assert list(target.parent.iterdir()) == [target]


def test_a_file_is_not_replaced_by_a_directory(tmp_path):
    (tmp_path / "out").write_text("mine")
    with (
        pytest.raises(UserError, match="is a file where a directory belongs"),
        directories.atomic_directory(tmp_path / "out"),
    ):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_a_second_writer_of_a_directory_is_refused_and_takes_nothing_away(tmp_path):
    path = tmp_path / "out"
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from pathlib import Path\n"
            "from aplantida_jax import directories\n"
            "with directories.atomic_directory(Path(sys.argv[1])) as work:\n"
            "    (work / 'theirs').write_text('')\n"
            "    print('ready', flush=True)\n"
            "    sys.stdin.readline()\n",
            str(path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout.readline() == "ready\n"
        with (
            pytest.raises(UserError, match="another process is writing"),
            directories.atomic_directory(path),
        ):
            pass
        child.communicate("go on\n")
    assert child.returncode == 0
    assert [p.name for p in path.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [path]


def test_one_at_a_time_in_a_directory(tmp_path):
    with (
        directories.exclusive(tmp_path),
        pytest.raises(UserError, match="another process is writing"),
        directories.exclusive(tmp_path),
    ):
        pass
    with directories.exclusive(tmp_path):
        assert list(tmp_path.iterdir()) == []
