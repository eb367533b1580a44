"""The classifier head that both model families end in.

Pooled features [b, d] go through dropout to logits float32 [b, classes]. Parameters are

    head/kernel [d, classes], head/bias [classes]                  when head_rank is 0
    head_in/kernel [d, r], head/kernel [r, classes], head/bias     when head_rank is r

The factorised form is for many classes: 8,587 of them on 1,280 features are 11.0
million parameters dense and 2.5 million at rank 256; head_rank.py takes a trained head
from one form to the other. The head is always float32, and asks for it by name: left
alone, GPUs from Ampere on multiply float32 matrices in TF32, with 10 bits of mantissa.
bfloat16 logits near 16 are 1/16 apart, too coarse for distillation and calibration.
"""

from typing import Any

import flax.linen as nn
import jax
from jax import lax

_EXACT = lax.Precision.HIGHEST


class ClassifierHead(nn.Module):
    """Base of the models: `classify`, and the fields that it needs.

    Attributes:
        num_classes: length of the logits.
        dropout: probability of dropping a pooled feature in training.
        head_rank: 0 for a dense head, else the rank of its factorisation.
    """

    num_classes: int
    dropout: float = 0.0
    head_rank: int = 0

    def setup_head(self, kernel_init: Any) -> None:
        """Makes the layers; called in `setup` so that their names are top-level."""
        self.drop = nn.Dropout(self.dropout)
        if self.head_rank:
            self.head_in = nn.Dense(self.head_rank, use_bias=False, precision=_EXACT)
        self.head = nn.Dense(
            self.num_classes, kernel_init=kernel_init, precision=_EXACT
        )

    def classify(self, features: jax.Array, *, train: bool) -> jax.Array:
        features = self.drop(features, deterministic=not train)  # [b, d]
        if self.head_rank:
            features = self.head_in(features)  # [b, r]
        return self.head(features)  # [b, classes]
