"""Stage `baseline`: a frozen network and a simple classifier, the floor to beat.

Pooled features of `config.model.name`, with the weights of `config.model.pretrained`
(foreign ones, or a run of ours) and no training. `config.baseline.classifier` says what
answers from them:

- "nearest_mean": each class is the mean of its training features (Mensink et al. 2013,
  nearest class mean; centred and scaled to unit length, hence cosine). The answer for a
  photo is softmax(cosine / T), where T minimises the loss on val so that `loss` and
  `ece` mean something;
- "linear": a logistic regression, see linear_probe.py.

Without pretrained weights the features are those of a random network, and the JSON says
`"weights": "random"`.

Writes `<workdir>/evaluate/<split>/` like stage `evaluate`, so that the report treats it
as a run, and the features to `<workdir>/features/`, for the next classifier and for a
run that was stopped.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import manifest, models, paths
from aplantida_jax.data import labels, records
from aplantida_jax.evaluate import (
    calibration,
    inference,
    linear_probe,
    outputs,
    page,
    summary,
)
from aplantida_jax.evaluate.summary import Subject
from aplantida_jax.models.origins import Opened
from aplantida_jax.train import initial_model, pretraining, state

RANDOM = "random"


@dataclasses.dataclass(frozen=True, eq=False)
class NearestMean:
    """Classifies features by the cosine to each class's mean.

    Attributes:
        centre: float32 [d], mean of all training features.
        direction: float32 [classes, d], unit length; zero for a class without images.
    """

    centre: np.ndarray
    direction: np.ndarray

    @classmethod
    def fit(
        cls, features: np.ndarray, label: np.ndarray, *, classes: int
    ) -> "NearestMean":
        """From training features [n, d] and labels [n]."""
        centre = features.mean(axis=0)
        total = np.zeros((classes, features.shape[1]), np.float32)
        np.add.at(total, label, _unit(features - centre))
        return cls(centre, _unit(total))

    def cosine(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, classes], -1 to 1; -1 for classes without training images."""
        found = _unit(features - self.centre) @ self.direction.T
        empty = ~self.direction.any(axis=1)
        found[:, empty] = -1.0
        return found


def run(config: Any, workdir: Path) -> None:
    split, region = config.eval.split, config.region
    out_dir = paths.evaluation_dir(workdir, split, region)
    weights = [pretraining.input_of(config)] if config.model.pretrained else []
    splits = {
        name: manifest.Input(paths.split_file(config, name, region), "split")
        for name in sorted({"train", "val", split})
    }
    classes = manifest.Input(paths.classes(config), "export_dataset")
    job = manifest.begin(
        config,
        stage="baseline",
        out_dir=out_dir,
        inputs=[classes, *splits.values(), *weights],
        depends_on=("baseline", "calibrate.bins", "eval", "input", "model", "region"),
    )
    if job is None:
        return
    label_map = labels.read(paths.classes(config))
    if config.dry_run:
        _log_plan(splits)
        return
    opened = pretraining.opened(config)
    frozen, kept = _Frozen(config, opened, label_map), workdir / "features"
    found = {n: frozen.features(kept, part, weights) for n, part in splits.items()}
    logits, fit = _answer(config, found, len(label_map))
    image_id = found[split].image_id
    metrics, written = outputs.write(
        out_dir,
        _subject(config, label_map, opened, fit),
        image_id,
        found[split].label,
        logits,
        group=outputs.groups_of(splits[split].path, image_id),
        options=summary.options_of(config),
    )
    written.append(page.write(config, out_dir, metrics))
    headline = {name: metrics[name] for name in outputs.HEADLINE}
    job.finish(outputs=written, metrics=headline, label_map=label_map.fingerprint)


def _log_plan(splits: dict[str, manifest.Input]) -> None:
    for name, source in splits.items():
        images = sum(1 for _ in records.read_photos(source.path, made_by="split"))
        logging.info("would compute features of %d images of %s", images, name)


class _Frozen:
    """A network that answers with its pooled features, and keeps them on the disk."""

    def __init__(self, config: Any, opened: Opened | None, label_map: labels.LabelMap):
        """With the weights `opened`, or random ones."""
        self._label_map = label_map.fingerprint
        origin = opened.origin if opened else None
        fields = initial_model.fields(config, len(label_map), origin=origin)
        module = models.create(**fields)
        self._config = config
        self._variables = state.init_variables(
            module, image_size=config.model.image_size, seed=config.seed
        )
        if opened is None:
            logging.warning("no model.pretrained: features of a random network")
        else:
            loaded = models.load_pretrained(opened, module, self._variables)
            self._variables = loaded[0]
        self._pooled = inference.make_features(config, module)

    def features(
        self, directory: Path, split: manifest.Input, weights: list[manifest.Input]
    ) -> inference.Features:
        """Of a split; those of an earlier run that still hold are read again.

        Writes `<directory>/<region>_<split>/{features.npz, manifest.json}`, hashed and
        verified like any output, so that a stop costs one split at most. 593,000 photos
        and 1,280 features are 3 GB.
        """
        out_dir = directory / f"{split.path.parent.name}_{split.path.stem}"
        path = out_dir / "features.npz"
        job = manifest.begin(
            self._config,
            stage="baseline_features",
            out_dir=out_dir,
            inputs=[split, *weights],
            depends_on=("input", "model"),
        )
        if job is None:
            return inference.Features.read(path)
        found = inference.features(
            self._config, self._pooled, self._variables, split.path
        )
        found.write(path)
        metrics = {"images": len(found.label)}
        job.finish(outputs=[path], metrics=metrics, label_map=self._label_map)
        return found


def _answer(
    config: Any, found: dict[str, inference.Features], classes: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """(logits [n, classes] of the evaluated split, what to say of the classifier)."""
    train, val = found["train"], found["val"]
    features = found[config.eval.split].features
    if config.baseline.classifier == "linear":
        probe = linear_probe.choose(
            (train.features, train.label), (val.features, val.label), classes=classes
        )
        return probe.logits(features), probe.summary()
    nearest = NearestMean.fit(train.features, train.label, classes=classes)
    temperature, _ = calibration.fit_temperature(
        nearest.cosine(val.features), val.label
    )
    logging.info("temperature of the cosines, from val: %.3f", temperature)
    logits = nearest.cosine(features) / np.float32(temperature)
    return logits, {"temperature": float(temperature)}


def _subject(
    config: Any,
    label_map: labels.LabelMap,
    opened: Opened | None,
    fit: dict[str, Any],
) -> Subject:
    options = config.model
    return Subject(
        run=config.name,
        model={
            "name": options.name,
            "image_size": options.image_size,
            "classifier": config.baseline.classifier,
            **fit,
        },
        weights=Path(options.pretrained).name if opened else RANDOM,
        split=config.eval.split,
        region=config.region,
        label_map=label_map,
        trained_on="",
        train_images=outputs.train_images(config, config.region, len(label_map)),
        provenance=pretraining.provenance(config, opened.origin) if opened else [],
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; rows of zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(length, 1e-12)
