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
as a run.
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
    summary,
)
from aplantida_jax.evaluate.summary import Subject
from aplantida_jax.models.pretrained import describe
from aplantida_jax.train import pretraining, setup, state

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
    job = manifest.begin(
        config,
        stage="baseline",
        out_dir=out_dir,
        inputs=_inputs(config),
        depends_on=("baseline", "calibrate", "eval", "input", "model", "region"),
    )
    if job is None:
        return
    label_map = labels.read(paths.classes(config))
    if config.dry_run:
        for name in ("train", "val", split):
            path = paths.split_file(config, name, region)
            images = sum(1 for _ in records.read_photos(path, made_by="split"))
            logging.info("would compute features of %d images of %s", images, name)
        return
    image_id, label, logits = _answer(config, len(label_map))
    found, written = outputs.write(
        out_dir,
        _subject(config, label_map),
        image_id,
        label,
        logits,
        options=summary.options_of(config),
    )
    headline = {name: found[name] for name in outputs.HEADLINE}
    job.finish(outputs=written, metrics=headline, label_map=label_map.fingerprint)


def _inputs(config: Any) -> list[manifest.Input]:
    inputs = [manifest.Input(paths.classes(config), "export_dataset")]
    for split in sorted({"train", "val", config.eval.split}):
        path = paths.split_file(config, split, config.region)
        inputs.append(manifest.Input(path, "split"))
    if config.model.pretrained:
        inputs.append(pretraining.input_of(config))
    return inputs


def _answer(config: Any, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(image_id uint64 [n], label int32 [n], logits [n, classes]) of the split."""
    module, variables = _frozen(config, classes)
    pooled = inference.make_features(config, module)
    found = {
        split: inference.features(
            config, pooled, variables, paths.split_file(config, split, config.region)
        )
        for split in sorted({"train", "val", config.eval.split})
    }
    _, train_label, train = found["train"]
    _, val_label, val = found["val"]
    image_id, label, features = found[config.eval.split]
    if config.baseline.classifier == "linear":
        probe = linear_probe.choose(
            (train, train_label), (val, val_label), classes=classes
        )
        return image_id, label, probe.logits(features)
    nearest = NearestMean.fit(train, train_label, classes=classes)
    temperature, _ = calibration.fit_temperature(nearest.cosine(val), val_label)
    logging.info("temperature of the cosines, from val: %.3f", temperature)
    return image_id, label, nearest.cosine(features) / np.float32(temperature)


def _frozen(config: Any, classes: int) -> tuple[Any, Any]:
    """The network and its variables, pretrained or random."""
    module = models.create(**setup.model_fields(config, classes))
    variables = state.init_variables(
        module, image_size=config.model.image_size, seed=config.seed
    )
    if not config.model.pretrained:
        logging.warning("no model.pretrained: features of a random network")
        return module, variables
    path = pretraining.path_of(config)
    variables, _ = models.load_pretrained(path, module, variables)
    return module, variables


def _subject(config: Any, label_map: labels.LabelMap) -> Subject:
    options = config.model
    provenance: list[dict[str, Any]] = []
    if options.pretrained:
        origin = describe(pretraining.path_of(config))
        provenance = pretraining.provenance(config, origin)
    return Subject(
        run=config.name,
        model={
            "name": options.name,
            "image_size": options.image_size,
            "classifier": config.baseline.classifier,
        },
        weights=Path(options.pretrained).name if options.pretrained else RANDOM,
        split=config.eval.split,
        region=config.region,
        label_map=label_map,
        trained_on="",
        train_images=outputs.train_images(config, config.region, len(label_map)),
        provenance=provenance,
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; rows of zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(length, 1e-12)
