"""Inference over all devices: batches that divide, the next one asked for ahead."""

import jax
import pytest

from aplantida_jax.evaluate import all_devices
from configs import teacher_global


def test_the_next_batch_is_asked_about_before_an_answer_is_waited_for():
    happened = []

    def batches():
        for number in range(4):
            happened.append(f"read {number}")
            yield {"number": number}

    def ask(batch):
        happened.append(f"ask {batch['number']}")
        return 10 * batch["number"]

    for batch, answer in all_devices.answers(batches(), ask):
        assert answer == 10 * batch["number"]
        happened.append(f"use {batch['number']}")
    used = [word for word in happened if word.startswith("use")]
    assert used == [f"use {number}" for number in range(4)]
    for number in range(3):
        assert happened.index(f"ask {number + 1}") < happened.index(f"use {number}")
    assert list(all_devices.answers([], ask)) == []


@pytest.mark.parametrize("size", [1, 16])
def test_a_batch_divides_among_the_devices(size):
    config = teacher_global.get_config("demo")
    config.eval.batch_size = size
    found = all_devices.share_out(config).eval.batch_size
    count = jax.local_device_count()
    assert size <= found < size + count
    assert found % count == 0
    assert config.eval.batch_size == size  # the caller's stays as it was
