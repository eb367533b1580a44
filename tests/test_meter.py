import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aplantida_jax.errors import UserError
from aplantida_jax.train.meter import Meter

IDS = np.array([0xAB, 0xFFFF_0000_FFFF_0000, 3, 4, 5], np.uint64)


def metrics(loss, grad_norm=1.0, *, is_finite=True):
    numbers = {"loss": jnp.float32(loss), "grad_norm": jnp.float32(grad_norm)}
    return {**numbers, "is_finite": jnp.bool_(is_finite)}


@jax.jit
def slow_step(state):
    """A step that takes a while, on a device that works beside the host."""
    state = jax.lax.fori_loop(0, 40, lambda _, s: jnp.tanh(s @ s), state)
    norm = jnp.linalg.norm(state)
    return state, {"loss": norm, "grad_norm": norm, "is_finite": jnp.bool_(True)}


def test_a_flush_sums_up_the_steps_since_the_last():
    meter = Meter(batch_size=8)
    for at, (loss, norm) in enumerate([(1.0, 2.0), (2.0, 4.0), (6.0, 0.0)], start=1):
        meter.add(at, 0.1 * at, IDS, metrics(loss, norm))
    first = meter.flush()
    assert first["loss"] == pytest.approx(3.0)
    assert first["grad_norm"] == pytest.approx(2.0)
    assert first["learning_rate"] == pytest.approx(0.3)
    assert first["images_per_second"] > 0
    assert meter.flush() is first  # nothing new
    meter.add(4, 0.5, IDS, metrics(10.0))
    assert meter.flush()["loss"] == pytest.approx(10.0)


def test_the_rates_are_those_of_the_clock():
    start = time.monotonic()
    meter = Meter(batch_size=30)
    with meter.waiting():
        time.sleep(0.05)
    meter.add(1, 0.1, IDS, metrics(1.0))
    meter.add(2, 0.1, IDS, metrics(1.0))
    found = meter.flush()
    elapsed = time.monotonic() - start
    assert found["images_per_second"] >= 60 / elapsed
    assert found["images_per_second"] <= 60 / 0.05
    assert found["data_wait"] >= 0.05 / elapsed
    assert found["data_wait"] <= 1
    speed = meter.epoch_speed()
    assert 60 / (time.monotonic() - start) <= speed <= 60 / 0.05
    assert meter.epoch_speed() == 0  # no image since


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["loss", "grad_norm"])
def test_what_is_not_finite_stops_with_step_rate_and_images(bad, field):
    meter = Meter(batch_size=5)
    meter.add(41, 1e-3, IDS[::-1], metrics(1.0))
    meter.add(42, 2.5e-4, IDS, {**metrics(1.0), field: jnp.float32(bad)})
    meter.add(43, 9e-9, IDS[::-1], metrics(np.nan))
    with pytest.raises(UserError) as caught:
        meter.flush()
    said = str(caught.value)
    assert "not finite at step 42 (learning rate 0.00025," in said
    assert "images 00000000000000ab, ffff0000ffff0000, " in said
    assert "the last good checkpoint is kept" in said
    assert "--config.train.learning_rate" in said
    assert caught.value.exit_code == 1


def test_an_update_that_overflows_stops_with_step_rate_and_images():
    meter = Meter(batch_size=5)
    meter.add(7, 1e-3, IDS, metrics(1.0, is_finite=False))
    with pytest.raises(UserError, match=r"network is not finite at step 7 .*images 0"):
        meter.flush()


def test_the_host_is_two_steps_ahead_and_waiting_is_what_the_device_waits():
    state, found = jax.block_until_ready(slow_step(jnp.eye(400)))
    start = time.monotonic()
    jax.block_until_ready(slow_step(state))
    seconds = time.monotonic() - start
    meter, given = Meter(batch_size=5), []
    for at in range(1, 11):
        with meter.waiting():
            assert all(earlier["loss"].is_ready() for earlier in given[:-1])
            # The device is busy meanwhile: it waits for the first batch alone.
            time.sleep(seconds / 2)
        state, found = slow_step(state)
        given.append(found)
        meter.add(at, 0.1, IDS, found)
    assert meter.flush()["data_wait"] < 0.25


def test_before_any_step_there_is_nothing_to_say():
    assert Meter(batch_size=5).flush() == {}
