import os

import pytest

from aplantida_jax import quiet


def test_chatter_is_dropped_and_stderr_comes_back(capfd):
    with quiet.native_stderr():
        os.write(2, b"E0000 chatter\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def fail():
    with quiet.native_stderr():
        os.write(2, b"the reason\n")
        raise OSError("broken")


def test_what_was_said_before_a_failure_is_shown(capfd):
    with pytest.raises(OSError, match="broken"):
        fail()
    assert capfd.readouterr().err == "the reason\n"
