"""What `model.pretrained` names, and under which licences: one rule for all stages.

The licence of pretrained weights is

1. `model.pretrained_licence`, where the user states one (not for runs of ours);
2. of a published name, what published.py says;
3. of a run of ours, what its ancestors had, all of them;
4. of any other file, what it states itself, else "unknown".

Under the production profile weights that may not ship are refused before training
starts, and not by `export_model` days later.
"""

from pathlib import Path
from typing import Any

from aplantida_jax import manifest, paths
from aplantida_jax.data import licences
from aplantida_jax.errors import UserError
from aplantida_jax.models import fetch_weights, published
from aplantida_jax.models.origins import Opened, Origin, open_weights

Provenance = list[dict[str, Any]]


def path_of(config: Any) -> Path:
    """The file or directory of the weights.

    Raises:
        UserError: it is not there.
    """
    return published.locate(config.model.pretrained, Path(config.weights_dir))


def input_of(config: Any) -> manifest.Input:
    """The weights as an input of a stage; published ones as they were fetched.

    Raises:
        UserError: they are not there, never verified, or no longer what was fetched.
    """
    path = path_of(config)
    if entry := published.TABLE.get(config.model.pretrained):
        fetch_weights.verify(entry, path)
    if paths.best(path).exists():
        return manifest.Input(paths.best(path), "train", f"of {path}", finished=True)
    return manifest.Input(path, "fetch_weights")


def opened(config: Any) -> Opened | None:
    """The weights, read once for all that is made of them; None without any."""
    return open_weights(path_of(config)) if config.model.pretrained else None


def provenance(config: Any, origin: Origin) -> Provenance:
    """The ancestors that a model made from the weights inherits.

    Raises:
        UserError: a licence is stated for a run of ours, whose own are known.
    """
    stated = config.model.pretrained_licence
    if origin.ancestors:
        if stated:
            raise UserError(
                f"--config.model.pretrained_licence={stated} is for foreign weights: "
                f"{config.model.pretrained} is a run, whose licences are recorded",
                exit_code=2,
            )
        return list(origin.ancestors)
    entry = published.TABLE.get(config.model.pretrained)
    licence = stated or (entry.licence if entry else origin.licence)
    name = Path(path_of(config)).name
    return [{"name": name, "kind": "weights", "licences": [licence]}]


def require_licence(config: Any, ancestors: Provenance) -> None:
    """Raises UserError for weights that may not ship, in the production profile."""
    _, reasons = licences.verdict(ancestors)
    if config.dataset.licence_profile == "production" and reasons:
        raise UserError(
            f"what is made from {config.model.pretrained} may not ship: "
            f"{'; '.join(reasons)}. If you know the licence of the weights, give "
            "--config.model.pretrained_licence (e.g. Apache-2.0); for a trial that is "
            "not published, --config.dataset.licence_profile=experimental"
        )
