"""Our own checkpoints as pretrained weights, for other classes and other image sizes.

Takes the working directory of a run (its best checkpoint) or a checkpoint's directory,
`checkpoints/<step>` or the `model` in it. best.json says which network it is; its hash,
or that in checkpoint_hashes.json, is verified. Arrays have our own parameter paths,
with the collection in front: "params/blocks_0/norm1/scale".
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

from aplantida_jax import files
from aplantida_jax.errors import UserError
from aplantida_jax.models import foreign_names, formats, registry
from aplantida_jax.models.weight_files import Arrays

FORMAT = "aplantida_jax"
# Fields of the modules that weights were trained with, and need.
SETTINGS = ("padding", "bn_eps", "gelu")
_MADE_BY = "train"


def read(path: Path) -> tuple[Arrays, Any, dict[str, Any]]:
    """(arrays, the module that they are of, best.json of their run).

    Raises:
        UserError: no checkpoint of ours, damaged, or not what best.json says.
    """
    directory, info = _find(Path(path).resolve(), shown=path)
    module = registry.create(**info["model"])
    size = info["model"]["image_size"]
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    # Every checkpoint has batch_stats; a ViT's are empty.
    arguments = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
        {"batch_stats": {}, **shapes},
    )
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            tree = checkpointer.restore(directory, restore_args=arguments)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(
            f"{directory} is not the network of best.json: {error}"
        ) from None
    return traverse_util.flatten_dict(tree, sep="/"), module, info


def format_of(module: Any, info: dict[str, Any]) -> formats.Format:
    """The format whose names are our own."""
    settings = {
        name: getattr(module, name) for name in SETTINGS if hasattr(module, name)
    }
    return formats.Format(
        name=FORMAT,
        module=type(module),
        marks=(),
        head_bias="params/head/bias",
        settings=settings,
        mean=tuple(info["input"]["mean"]),
        std=tuple(info["input"]["std"]),
        image_size=lambda arrays: info["model"]["image_size"],
        table=lambda arrays, target: foreign_names.own(arrays),
    )


def _find(path: Path, *, shown: Path) -> tuple[Path, dict[str, Any]]:
    """The directory of the arrays, verified, and the best.json of its run."""
    if (path / "best.json").exists():
        info = files.read_json(path / "best.json", made_by=_MADE_BY)
        directory = path / info["checkpoint"]
        _verify(directory, directory, info["sha256"])
        return directory, info
    directory = path if path.name == "model" else path / "model"
    step = directory.parent
    workdir = step.parent.parent
    if not directory.is_dir() or not (workdir / "best.json").exists():
        raise UserError(
            f"{shown} is no checkpoint of a run: give the run's working directory, "
            "which has a best.json, or one of its checkpoints/<step>/model"
        )
    hashes = files.read_json(workdir / "checkpoint_hashes.json", made_by=_MADE_BY)
    _verify(directory, step, hashes.get(step.name))
    return directory, files.read_json(workdir / "best.json", made_by=_MADE_BY)


def _verify(directory: Path, hashed: Path, recorded: str | None) -> None:
    if not directory.is_dir() or files.sha256_tree(hashed) != recorded:
        raise UserError(
            f"{directory} is damaged, or was never finished: run stage 'train' again "
            "(it falls back to the best epoch whose checkpoint is whole)"
        )
