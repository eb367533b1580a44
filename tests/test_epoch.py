import numpy as np
import pytest

from aplantida_jax.errors import UserError
from aplantida_jax.train import epoch

SUMS = {"loss": 30.0, "top1": 6.0, "count": 20.0}


def test_the_record_by_hand():
    val = {"loss": 1.25, "top1_accuracy": 0.5}
    assert epoch.record(3, 120, SUMS, val, learning_rate=0.5) == {
        "epoch": 3,
        "step": 120,
        "train_loss": 1.5,
        "train_top1_accuracy": 0.3,
        "val_loss": 1.25,
        "val_top1_accuracy": 0.5,
        "learning_rate": 0.5,
    }


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_validation_that_is_not_finite_makes_no_record(loss: float):
    val = {"loss": loss, "top1_accuracy": 0.5}
    with pytest.raises(UserError, match=r"validation loss .*at step 120 .*rate 0\.5"):
        epoch.record(3, 120, SUMS, val, learning_rate=0.5)
