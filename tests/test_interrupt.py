"""What the signals do in a process; test_stopping.py has the runs that they stop."""

import os
import signal

import pytest

from aplantida_jax.errors import UserError
from aplantida_jax.train.interrupt import Interrupt

SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_where_nothing_is_to_be_saved_the_block_ends_at_once(number, code, capfd):
    def work() -> None:
        try:
            os.kill(os.getpid(), number)
        except Exception as error:  # as libraries do
            raise AssertionError from error

    with pytest.raises(UserError) as caught, Interrupt():
        work()
    assert caught.value.exit_code == code
    assert str(caught.value) == (
        f"stopped by {number.name}: no step was under way; "
        "run the same command again to go on"
    )
    assert capfd.readouterr().err == f"{number.name}: leaving\n"


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_deferred_signal_is_noted_and_ends_the_waiting(number, code, capfd):
    ended = []
    with Interrupt() as interrupt:
        with interrupt.deferred(lambda: ended.append(interrupt.requested)):
            assert interrupt.requested == 0
            for _ in range(2):  # twice is safe
                os.kill(os.getpid(), number)
            assert interrupt.requested == number
        assert ended == [number, number]
        error = interrupt.error("step 7 is saved")
    assert error.exit_code == code
    assert str(error) == (
        f"stopped by {number.name}: step 7 is saved; "
        "run the same command again to go on"
    )
    assert capfd.readouterr().err == 2 * f"{number.name}: saving, then leaving\n"


def test_after_the_deferred_block_a_signal_ends_at_once_again():
    interrupt = Interrupt()
    with pytest.raises(UserError), interrupt:
        _defer_then_kill(interrupt)


def _defer_then_kill(interrupt: Interrupt) -> None:
    with interrupt.deferred():
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [number for number, _ in SIGNALS])
def test_after_the_block_the_signals_are_what_they_were(number):
    before = signal.getsignal(number)
    with pytest.raises(RuntimeError), Interrupt():
        raise RuntimeError
    assert signal.getsignal(number) is before


def test_an_interrupt_that_is_not_ours_passes():
    with pytest.raises(KeyboardInterrupt), Interrupt():
        raise KeyboardInterrupt
