import os
import signal
import subprocess
import sys

import pytest

from aplantida_jax.train.interrupt import Interrupt

# A loop as `train/loop.py` has: steps until it is asked to stop, saves, then leaves.
LOOP = """
import pathlib, sys, time
from absl import logging
from aplantida_jax.errors import UserError
from aplantida_jax.train.interrupt import Interrupt

logging.use_absl_handler()
logging.set_verbosity("info")
try:
    with Interrupt() as interrupt:
        for step in range(10_000):
            if step == 1:
                print("ready", flush=True)
            time.sleep(0.01)
            if interrupt.requested:
                print("asked", flush=True)
                sys.stdin.readline()  # saving takes its time
                pathlib.Path(sys.argv[1]).write_text("whole")
                raise interrupt.error(f"step {step} is saved")
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_only_noted(number):
    with Interrupt() as interrupt:
        assert interrupt.requested == 0
        os.kill(os.getpid(), number)
        assert interrupt.requested == number


@pytest.mark.parametrize("number", SIGNALS)
def test_after_the_block_the_signals_are_what_they_were(number):
    before = signal.getsignal(number)
    with pytest.raises(RuntimeError), Interrupt():
        raise RuntimeError
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_the_error_names_the_signal_and_has_its_exit_code(number, code):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
    error = interrupt.error("step 7 is saved")
    assert error.exit_code == code
    assert str(error) == (
        f"stopped by {number.name}: step 7 is saved; "
        "run the same command again to go on"
    )


@pytest.mark.parametrize(
    "numbers", [SIGNALS[:1], SIGNALS[1:], SIGNALS, SIGNALS[:1] * 3]
)
def test_a_process_saves_and_leaves_however_often_it_is_asked(tmp_path, numbers):
    command = [sys.executable, "-c", LOOP, str(tmp_path / "saved")]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(numbers[0])
        assert process.stdout.readline() == "asked\n"
        for number in numbers[1:]:  # while it saves
            process.send_signal(number)
        _, said = process.communicate("\n", timeout=30)
    assert (tmp_path / "saved").read_text() == "whole"
    assert process.returncode in {128 + number for number in numbers}
    assert f"{numbers[0].name}: saving, then leaving" in said
    assert "is saved; run the same command again to go on" in said
    assert "Traceback" not in said
