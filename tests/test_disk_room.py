import errno
import threading

import pytest

from aplantida_jax.data.disk_room import DiskRoom
from aplantida_jax.errors import UserError


class Disk:
    """A disk that is full for the first `tries`, with its own clock."""

    def __init__(self, tries: int, code: int = errno.ENOSPC):
        self.tries = tries
        self.code = code
        self.now = 0.0
        self.waited: list[float] = []
        self.room = DiskRoom(
            "/cache",
            retry_s=60.0,
            patience_s=600.0,
            clock=lambda: self.now,
            wait=self.wait,
        )

    def wait(self, event: threading.Event, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds

    def write(self) -> str:
        self.tries -= 1
        if self.tries >= 0:
            raise OSError(self.code, "no")
        return "written"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_it_tries_again_until_there_is_room(caplog, code):
    disk = Disk(3, code)
    assert disk.room.write(disk.write) == "written"
    assert disk.waited == [60.0] * 3
    assert caplog.text.count("is full: pausing") == 1


def test_patience_ends(caplog):
    disk = Disk(1000)
    with pytest.raises(UserError, match="the disk of /cache is full: make room"):
        disk.room.write(disk.write)
    assert disk.now == 600.0
    assert caplog.text.count("is full: pausing") == 1


def test_patience_starts_anew_once_there_was_room():
    disk = Disk(9)
    assert disk.room.write(disk.write) == "written"
    disk.tries = 9
    assert disk.room.write(disk.write) == "written"


def test_other_errors_are_not_waited_for():
    disk = Disk(1, errno.EIO)
    with pytest.raises(OSError, match="no"):
        disk.room.write(disk.write)
    assert disk.waited == []


def test_closing_ends_the_waiting_of_all_threads():
    room = DiskRoom("/cache", retry_s=60.0, patience_s=600.0)
    disk, ended = Disk(1000), []

    def write() -> None:
        with pytest.raises(UserError):
            room.write(disk.write)
        ended.append(True)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    room.close()
    for thread in threads:
        thread.join(timeout=5)
    assert len(ended) == 4
