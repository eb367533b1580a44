"""The runs whose best checkpoints are the teachers of an online distillation.

`combine.teachers` names them, with `combine.weights`; each answers with the classes of
the region that it was trained for.
"""

from typing import Any

import jax
import numpy as np

from aplantida_jax import manifest, paths
from aplantida_jax.data import regions
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint
from aplantida_jax.train.pretraining import Provenance
from aplantida_jax.train.teachers import Network, Teachers


def inputs(config: Any) -> list[manifest.Input]:
    """The teachers' best checkpoints, as a run's manifest names them."""
    return [
        manifest.Input(
            paths.best(paths.run_dir(config, name)),
            "train",
            f"--config=configs/{name}.py",
            finished=True,
        )
        for name in config.combine.teachers
    ]


def load(config: Any, label_map: LabelMap) -> tuple[Teachers, Provenance]:
    """The teachers of `config.combine` on the host, and the ancestors of the student.

    Raises:
        UserError: one is missing, damaged, or of another label map.
    """
    best = [
        checkpoint.load_best(paths.run_dir(config, name), label_map)
        for name in config.combine.teachers
    ]
    covers = [label_map.in_regions(regions.parse(b.info["region"])) for b in best]
    ancestors: Provenance = []
    for one in best:
        own = {"name": one.info["name"], "kind": "teacher", "licences": []}
        ancestors += [own, *one.info["provenance"]]
    found = Teachers(
        variables=tuple(jax.tree.map(np.asarray, one.variables) for one in best),
        covers=np.array(covers),
        weight=np.array(config.combine.weights, np.float32),
        networks=tuple(_network(one) for one in best),
    )
    return found, ancestors


def require(teachers: Teachers, label: np.ndarray) -> None:
    """Raises UserError unless each image has a teacher that applies to it."""
    alone = int((~teachers.covers.any(axis=0)[label]).sum())
    if alone:
        raise UserError(
            f"{alone} of the {len(label)} training images are of plants that grow in "
            "the region of none of --config.combine.teachers: add a teacher for all "
            "plants, or train with the --config.region of these"
        )


def _network(best: checkpoint.Best) -> Network:
    info = best.info
    mean, std = (tuple(map(float, info["input"][name])) for name in ("mean", "std"))
    return Network(best.module, info["model"]["image_size"], mean, std)
