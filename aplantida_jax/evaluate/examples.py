"""Photos of an evaluation to show: of a species, recognised or taken for another."""

import dataclasses
from pathlib import Path

import numpy as np

from aplantida_jax.evaluate import metrics


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """What `outputs.py` keeps in predictions.npz; n photos.

    Attributes:
        image_id: uint64 [n].
        label: int32 [n].
        answer: int32 [n], the most probable class.
        probability: float32 [n], its probability.
    """

    image_id: np.ndarray
    label: np.ndarray
    answer: np.ndarray
    probability: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "Examples":
        """What the evaluation has just written."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(
                stored["image_id"],
                stored["label"],
                stored["top_class"][:, 0],
                stored["top_probability"][:, 0],
            )

    def typical(self, class_id: int, *, limit: int) -> list[str]:
        """Ids of photos of a species: recognised with most confidence, then others."""
        own = np.flatnonzero(self.label == class_id)
        right = self.answer[own] == class_id
        return self._ids(own[np.lexsort((-self.probability[own], ~right))][:limit])

    def missed(self, class_id: int, *, limit: int) -> list[str]:
        """Ids of photos of a species taken for another, the most confident first."""
        wrong = (self.label == class_id) & (self.answer != class_id)
        own = np.flatnonzero(wrong)
        return self._ids(own[np.argsort(-self.probability[own], kind="stable")][:limit])

    def taken_for(self, class_id: int) -> tuple[int, int] | None:
        """(class, times) that photos of a species are most often taken for, if any."""
        wrong = self.answer[(self.label == class_id) & (self.answer != class_id)]
        if len(wrong) == 0:
            return None
        classes, counts = np.unique(wrong, return_counts=True)
        return int(classes[counts.argmax()]), int(counts.max())

    def _ids(self, index: np.ndarray) -> list[str]:
        return [metrics.hex_id(i) for i in self.image_id[index]]
