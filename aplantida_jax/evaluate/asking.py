"""Asks a run, with its calibration, about pictures that are in no split."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import files, paths
from aplantida_jax.data import labels
from aplantida_jax.data.image_source import ImageSource
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate import inference, outputs, summary
from aplantida_jax.evaluate.answered_unknown import Said
from aplantida_jax.evaluate.unknown_images import Unknown
from aplantida_jax.train import checkpoint


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """The run that is asked, with its calibration."""

    best: checkpoint.Best
    label_map: labels.LabelMap
    calibration: dict[str, Any]
    class_mask: np.ndarray | None

    @classmethod
    def load(cls, config: Any, workdir: Path, label_map: labels.LabelMap) -> "Model":
        """Raises UserError where the calibration is of another model or region."""
        best = checkpoint.load_best(workdir, label_map)
        path = paths.calibration(workdir)
        calibration = files.read_json(path, made_by="calibrate")
        found = (calibration.get("checkpoint"), calibration.get("region"))
        if found != (best.info["sha256"], config.region):
            region = config.region or "all plants"
            raise UserError(
                f"{path} was made for another checkpoint or region than the best one "
                f"on {region}: run stage 'calibrate' again"
            )
        mask = summary.region_mask(label_map, best.info["region"])
        return cls(best, label_map, calibration, mask)

    @property
    def thresholds(self) -> dict[str, float | None]:
        """The options of `calibration.decide`."""
        return {n: self.calibration[n] for n in ("threshold", "genus_threshold")}

    @property
    def genera(self) -> frozenset[str]:
        """Those that it can answer: of a regional model, its region's."""
        taxa = np.array([taxon.genus for taxon in self.label_map.taxa], object)
        return frozenset(taxa if self.class_mask is None else taxa[self.class_mask])

    def said(self, chunks: Iterable[inference.Predictions]) -> Said:
        """What the app would say; no more than a chunk's logits are kept.

        Of unknown pictures the label counts for nothing.
        """
        nothing = inference.Predictions(
            np.zeros(0, np.uint64),
            np.zeros(0, np.int32),
            np.zeros((0, len(self.label_map)), np.float32),
        )
        return Said.together(
            [self._said(c) for c in itertools.chain([nothing], chunks)]
        )

    def _said(self, found: inference.Predictions) -> Said:
        logits = found.logits
        outputs.check_logits(logits, of=self.best.info["name"])
        answers = answers_lib.judge(
            found.image_id,
            found.label,
            logits,
            genus_of=answers_lib.genera(self.label_map)[0],
            temperature=self.calibration["temperature"],
            class_mask=self.class_mask,
        )
        return Said.of(answers, logits, self.thresholds, self.class_mask)


def ask(
    config: Any,
    model: Model,
    kinds: Sequence[Unknown],
    images: ImageSource,
    *,
    what: str,
) -> list[tuple[Unknown, Said]]:
    """What is said of the pictures of each kind; all are asked about in one pass."""
    ids = np.concatenate([unknown.ids for unknown in kinds])
    said = model.said(
        inference.of_pictures(
            config, model.best, ids, images, model.label_map, what=what
        )
    )
    ends = np.cumsum([len(unknown) for unknown in kinds])
    parts = np.split(np.arange(len(ids)), ends[:-1])
    return [(u, said.at(part)) for u, part in zip(kinds, parts, strict=True)]
