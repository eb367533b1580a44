import os
import pty
import subprocess
import sys
import termios

import pytest

from aplantida_jax import progress

SCRIPT = """
import time
from absl import logging
from aplantida_jax.progress import track
logging.use_absl_handler()
logging.set_verbosity("info")
items = track({items}, total={total}, what="cutting", unit="leaves", every_seconds=0.01)
for item in items:
    time.sleep(0.02)
"""


def run(items, total, *, stderr):
    script = SCRIPT.format(items=items, total=total)
    subprocess.run([sys.executable, "-c", script], check=True, stderr=stderr)


@pytest.mark.parametrize("total", [5, None])
def test_items_pass_unchanged_and_lazily(total):
    taken = []

    def source():
        for i in range(5):
            taken.append(i)
            yield i

    tracked = progress.track(source(), total=total, what="x")
    assert next(tracked) == 0
    assert taken == [0]
    assert list(tracked) == [1, 2, 3, 4]


@pytest.mark.parametrize(("total", "said"), [(4, "2/4 leaves, "), (None, "2 leaves, ")])
def test_a_log_gets_lines_with_rate_and_time_left(tmp_path, total, said):
    with open(tmp_path / "log", "wb") as log:
        run("range(4)", total, stderr=log)
    text = (tmp_path / "log").read_text()
    assert "\r" not in text
    lines = [line for line in text.splitlines() if "cutting: " in line]
    assert len(lines) == 4
    line = next(line for line in lines if said in line)
    rate = float(line.split(said)[1].split("/s")[0])
    assert 0 < rate <= 50  # 20 ms an item at least
    assert line.endswith(" s left") == (total is not None)


def test_a_terminal_gets_a_bar():
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    termios.tcsetwinsize(theirs, (24, 80))
    run("range(8)", 8, stderr=theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(theirs)
    os.close(ours)
    assert "cutting:" in shown
    assert "0/8" in shown
    assert "leaves/s" in shown
    assert "\r" in shown
    assert "INFO" not in shown


def test_rate_and_time_left_are_those_of_the_items_done():
    line = progress._line("download", "images", 30, 120, 10.0)
    assert line == "download: 30/120 images, 3.0/s, 30 s left"
    assert progress._line("audit", "rows", 5, None, 2.0) == "audit: 5 rows, 2.5/s"
