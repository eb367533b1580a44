"""What training carries from step to step, and the order of its initialisation.

Resume from the newest whole checkpoint, else `init_from` (an experiment of ours), else
`pretrained` (foreign weights), else from scratch: `loop` asks in this order.
"""

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aplantida_jax.errors import UserError
from aplantida_jax.train.optimizer import Optimizer


@dataclasses.dataclass
class Progress:
    """What the loop remembers between epochs; plain JSON, kept in every checkpoint.

    Attributes:
        key: of the run's manifest: its configuration and inputs.
        step: batches done.
        iterator: state of the grain iterator of every process.
        examples: fingerprint of the training set that the iterator's state belongs to.
        best: {"epoch", "step", "metrics"} of the best epoch so far, {} before.
        history: a record an epoch.
        finished: early stopping or the last epoch has been reached.
    """

    key: str
    examples: str
    step: int = 0
    iterator: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    best: dict[str, Any] = dataclasses.field(default_factory=dict)
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    finished: bool = False

    @classmethod
    def from_json(cls, remembered: dict[str, Any], *, where: Path) -> "Progress":
        """What a checkpoint remembers.

        Raises:
            UserError: it is of another version of this program.
        """
        other = remembered.keys() ^ {field.name for field in dataclasses.fields(cls)}
        if other:
            raise UserError(
                f"the checkpoints in {where} are of another version of this program "
                f"(they differ in {', '.join(sorted(other))}): go on with that one, or "
                "use another --workdir"
            )
        return cls(**remembered)

    def add_epoch(
        self, record: dict[str, Any], val: dict[str, float], *, by: str
    ) -> None:
        """Remembers an epoch, and whether it is the best so far, by a metric of val."""
        self.history.append(record)
        if not self.best or val[by] > self.best["metrics"][by]:
            epoch = len(self.history)
            self.best = {"epoch": epoch, "step": self.step, "metrics": val}

    def choose_best(self, steps: Collection[int], *, by: str) -> None:
        """Takes the best of the epochs that ended at `steps`; none when there is none.

        For when the weights of the best are lost: the next epoch is then the best.
        """
        kept = [record for record in self.history if record["step"] in steps]
        self.best = {}
        if kept:
            record = max(kept, key=lambda record: record[f"val_{by}"])
            metrics = {
                name.removeprefix("val_"): value
                for name, value in record.items()
                if name.startswith("val_")
            }
            self.best = {name: record[name] for name in ("epoch", "step")}
            self.best["metrics"] = metrics

    @property
    def epochs_without_better(self) -> int:
        return len(self.history) - self.best["epoch"] if self.best else 0


class TrainState(flax.struct.PyTreeNode):
    """A pytree; everything that makes the next step what it is.

    Attributes:
        step: int32, batches seen.
        params, batch_stats: the network; batch_stats is {} for a ViT.
        ema: moving average of the variables, {params, batch_stats}, {} when off.
        opt_state: of `optimizer.Optimizer`.
        sums: float32 scalars over the epoch so far: loss, top1, count.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    ema: Any
    opt_state: Any
    sums: dict[str, jax.Array]


def create(variables: Any, tx: Optimizer, *, ema_decay: float) -> TrainState:
    """A state at step 0 from a module's variables."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    raw = {"params": params, "batch_stats": batch_stats}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        # A copy: the step donates its input, and a buffer can be donated once.
        ema=jax.tree.map(jnp.copy, raw) if ema_decay else {},
        opt_state=jax.jit(tx.init)(params),
        sums=zero_sums(),
    )


def zero_sums() -> dict[str, jax.Array]:
    # Three buffers, not one thrice: see the donation above.
    return {name: jnp.zeros((), jnp.float32) for name in ("loss", "top1", "count")}


def evaluation_variables(state: TrainState) -> dict[str, Any]:
    """The variables to evaluate and keep: the average when there is one."""
    return state.ema or {"params": state.params, "batch_stats": state.batch_stats}


def training_variables(state: TrainState) -> dict[str, Any]:
    """The rest of the state, which evaluation does not need."""
    return {
        "step": state.step,
        "opt_state": state.opt_state,
        "sums": state.sums,
        # Beside an average, the raw network is a tree of its own.
        "params": state.params if state.ema else {},
        "batch_stats": state.batch_stats if state.ema else {},
    }


def init_variables(module: Any, *, image_size: int, seed: int) -> Any:
    """Random variables, compiled as one function (fast, and the same anywhere)."""
    return jax.jit(_init(module, image_size))(jax.random.key(seed))


def variable_shapes(module: Any, *, image_size: int) -> Any:
    """The variables as `jax.ShapeDtypeStruct`s; computes nothing."""
    return jax.eval_shape(_init(module, image_size), jax.random.key(0))


def _init(module: Any, image_size: int) -> Callable[[jax.Array], Any]:
    def init(rng: jax.Array) -> Any:
        images = jnp.zeros((1, image_size, image_size, 3), jnp.float32)
        return module.init(rng, images, train=False)

    return init


def take_over(shapes: Any, source: Any, *, name: str) -> Any:
    """The variables of another experiment, checked against this one's shapes.

    A ViT has no batch_stats, but its checkpoints carry them, empty: they are dropped.

    Raises:
        UserError: the networks differ; names the first paths that do.
    """
    wanted, found = _sizes(shapes), _sizes(source)
    wrong = sorted(
        path
        for path in wanted.keys() | found.keys()
        if wanted.get(path) != found.get(path)
    )
    if wrong:
        raise UserError(
            f"--config.model.init_from={name} is another network: {len(wrong)} "
            f"parameters differ, e.g. {', '.join(wrong[:3])}; use the same model.name "
            "and image_size in both"
        )
    return {name: jax.tree.map(jnp.asarray, source[name]) for name in shapes}


def _sizes(variables: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}
