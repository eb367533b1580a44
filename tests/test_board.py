"""TensorBoard events are written and can be read back."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from aplantida_jax.train.board import Board

# Without scalars; says what is imported before and after the event file is opened.
_WITHOUT_SCALARS = """
import pathlib, sys
import numpy as np
from aplantida_jax.train.board import Board

with Board(pathlib.Path(sys.argv[1])) as board:
    board.images("train/augmented", np.zeros((2, 8, 8, 3), np.uint8))
    print("tensorflow" in sys.modules)
print("tensorflow" in sys.modules)
"""


def events(directory: Path):
    from tensorboard.backend.event_processing import event_accumulator

    everything = {event_accumulator.TENSORS: 0}
    found = event_accumulator.EventAccumulator(str(directory), everything)
    found.Reload()
    return found


def test_scalars_and_images_reach_the_event_file(tmp_path: Path):
    from tensorboard.util.tensor_util import make_ndarray

    with Board(tmp_path) as board:
        board.images("train/early", np.zeros((2, 8, 8, 3), np.uint8))
        board.scalars(3, {"train/loss": 1.5})
        board.scalars(4, {"train/loss": 1.25})
        board.images("train/late", np.zeros((2, 8, 8, 3), np.uint8))
    found = events(tmp_path)
    tensors = found.Tensors("train/loss")
    assert [event.step for event in tensors] == [3, 4]
    values = [float(make_ndarray(event.tensor_proto)) for event in tensors]
    assert values == [1.5, 1.25]
    assert {"train/early", "train/late"} <= set(found.Tags()["tensors"])


def test_tensorflow_is_imported_after_the_first_step_and_no_image_is_lost(
    tmp_path: Path,
):
    # A process of its own: this one has imported TensorFlow.
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_SCALARS, tmp_path],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["False", "True"], done.stderr
    assert "train/augmented" in events(tmp_path).Tags()["tensors"]


def test_what_was_recorded_after_the_checkpoint_is_replaced(tmp_path: Path):
    file = None
    for goes_on_from, steps in ((0, range(1, 8)), (4, range(5, 10))):
        with Board(tmp_path / "board", goes_on_from=goes_on_from) as board:
            for step in steps:
                board.scalars(step, {"train/loss": float(step)})
        (file,) = set((tmp_path / "board").iterdir()) - {file}
        with file.open("ab") as torn:
            torn.write(b"half a record")
    steps = [event.step for event in events(tmp_path / "board").Tensors("train/loss")]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_board_that_nobody_wrote_to_leaves_nothing(tmp_path: Path):
    with Board(tmp_path / "tensorboard"):
        pass
    assert list(tmp_path.iterdir()) == []
