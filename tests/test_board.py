"""TensorBoard events are written and can be read back."""

from pathlib import Path

import numpy as np

from aplantida_jax.train.board import Board


def test_scalars_and_images_reach_the_event_file(tmp_path: Path):
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util.tensor_util import make_ndarray

    with Board(tmp_path) as board:
        board.scalars(3, {"train/loss": 1.5})
        board.scalars(4, {"train/loss": 1.25})
        board.images("train/augmented", np.zeros((2, 8, 8, 3), np.uint8))
    found = event_accumulator.EventAccumulator(str(tmp_path), size_guidance={})
    found.Reload()
    tensors = found.Tensors("train/loss")
    assert [event.step for event in tensors] == [3, 4]
    values = [float(make_ndarray(event.tensor_proto)) for event in tensors]
    assert values == [1.5, 1.25]
    assert any("train/augmented" in tag for tag in found.Tags()["tensors"])
