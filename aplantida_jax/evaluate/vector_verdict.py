"""Does vector scaling help? Cross-validated on val, and once more seen on test.

The folds never part a group of photos that resemble each other. The verdict is a paired
difference of losses on photos that neither way was fitted to, with its 95 % interval by
bootstrap over groups (the fits count as given): it helps where that lies below 0.

Beside the logits nothing of their size is made: each photo leaves three numbers.
"""

import dataclasses
from typing import Any

import numpy as np

from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate import calibration, intervals, vector_scaling
from aplantida_jax.evaluate.decision import Scored
from aplantida_jax.evaluate.intervals import Groups
from aplantida_jax.evaluate.vector_scaling import Scaling
from aplantida_jax.progress import track

# Of val, by whole groups: 5 folds of 8,587 classes then take minutes, not an hour.
_MOST_IMAGES = 20_000
_CHUNK = 4_000_000  # logits at a time: 32 MB as float64


@dataclasses.dataclass(frozen=True, eq=False)
class Options:
    """How it is judged; see `config.calibrate`."""

    folds: int  # 2 or more; groups go to them in the order of their keys, by turns
    penalty: float  # of `vector_scaling.fit`
    bins: int  # of the ECE
    class_mask: np.ndarray | None = None  # bool [classes]
    resamples: int = 1000  # of the bootstrap
    seed: int = 0


def assess(
    val: Scored, test: Scored, *, temperature: float, options: Options
) -> dict[str, Any] | None:
    """`vector_scaling` of calibration.json; None where val has too few groups.

    Args:
        val, test: the splits; test is only described.
        temperature: as fitted on val, which vector scaling starts from.
        options: see `Options`.

    Returns:
        {cross_validated_on_val: see `cross_validate`, on_test: {temperature, vector,
        loss_change, loss_change_interval}, agree}: whether val and test tell the same
        sign of the change.
    """
    judged = cross_validate(val, options)
    if judged is None:
        return None
    fitted = vector_scaling.fit(
        val.logits,
        val.label,
        temperature=temperature,
        penalty=options.penalty,
        class_mask=options.class_mask,
        only=_sample(_group(val), options.seed),
    )
    plain = Scaling.of_temperature(temperature, val.logits.shape[1])
    everything = np.arange(len(test.label))
    told = np.stack([_score(test, everything, s, options) for s in (plain, fitted)])
    on_test = _compare(told, _group(test), options)
    agree = (judged["loss_change"] < 0) == (on_test["loss_change"] < 0)
    return {"cross_validated_on_val": judged, "on_test": on_test, "agree": agree}


def cross_validate(val: Scored, options: Options) -> dict[str, Any] | None:
    """Both ways on photos that neither saw; None with fewer groups than folds.

    Returns:
        {folds, penalty, images, temperature, vector, better_folds, loss_change,
        loss_change_interval, helps}: both ways as {loss, ece, top1_accuracy}; the
        number of folds in which vector scaling has the lower loss; the loss of vector
        scaling - that of the temperature; whether its interval lies below 0, None
        without one.
    """
    images = _sample(_group(val), options.seed)
    keys, number = np.unique(_group(val)[images], return_inverse=True)
    if len(keys) < options.folds:
        return None
    told = np.zeros((2, 3, len(images)))
    better = 0
    for fold in track(
        range(options.folds), total=options.folds, what="vector scaling", unit="folds"
    ):
        out = number % options.folds == fold
        ways = _fitted(val, images[~out], options)
        for way, scaling in enumerate(ways):
            told[way][:, out] = _score(val, images[out], scaling, options)
        better += bool(told[1, 0, out].mean() < told[0, 0, out].mean())
    found = _compare(told, _group(val)[images], options)
    ends = found["loss_change_interval"]
    return {
        "folds": options.folds,
        "penalty": options.penalty,
        "images": len(images),
        **found,
        "better_folds": better,
        "helps": None if ends is None else ends[1] < 0,
    }


def _group(scored: Scored) -> np.ndarray:
    return scored.image_id if scored.group is None else scored.group


def _sample(group: np.ndarray, seed: int) -> np.ndarray:
    """Positions, ascending, of at most 20,000 images: whole groups, drawn by chance."""
    if len(group) <= _MOST_IMAGES:
        return np.arange(len(group))
    groups = Groups.of(group)
    order = np.random.default_rng(seed).permutation(groups.count)
    size = np.bincount(groups.of_image, minlength=groups.count)
    taken = order[np.cumsum(size[order]) <= _MOST_IMAGES]
    return np.flatnonzero(np.isin(groups.of_image, taken))


def _fitted(
    val: Scored, images: np.ndarray, options: Options
) -> tuple[Scaling, Scaling]:
    """(temperature, vector scaling) as fitted to these images."""
    common: dict[str, Any] = {"class_mask": options.class_mask, "only": images}
    temperature, found = calibration.fit_temperature(val.logits, val.label, **common)
    temperature = temperature if found else 1.0
    vector = vector_scaling.fit(
        val.logits,
        val.label,
        temperature=temperature,
        penalty=options.penalty,
        **common,
    )
    return Scaling.of_temperature(temperature, val.logits.shape[1]), vector


def _score(
    scored: Scored, images: np.ndarray, scaling: Scaling, options: Options
) -> np.ndarray:
    """float64 [3, m]: NLL, confidence and whether it is right (1 or 0) of images."""
    told = np.zeros((3, len(images)))
    step = max(1, _CHUNK // scored.logits.shape[1])
    for start in range(0, len(images), step):
        rows = images[start : start + step]
        for part, log_probability in answers_lib.log_probabilities(
            scaling.of(scored.logits[rows]), class_mask=options.class_mask
        ):
            own = scored.label[rows[part]]
            columns = told[:, start : start + step][:, part]
            columns[0] = -log_probability[np.arange(len(own)), own]
            columns[1] = np.exp(log_probability.max(axis=1))
            columns[2] = log_probability.argmax(axis=1) == own
    return told


def _compare(told: np.ndarray, group: np.ndarray, options: Options) -> dict[str, Any]:
    """Both ways in sum, and the paired change of the loss.

    `told` is [2, 3, m]: of the temperature and of vector scaling, as `_score` has them.
    """
    groups = Groups.of(group)
    change = told[1, 0] - told[0, 0]
    drawn = intervals.bootstrap(
        {"loss": intervals.mean_of(change, groups)},
        groups,
        resamples=options.resamples,
        seed=options.seed,
    )
    return {
        "temperature": _sum_up(told[0], options.bins),
        "vector": _sum_up(told[1], options.bins),
        "loss_change": float(change.mean()),
        "loss_change_interval": drawn["loss"],
    }


def _sum_up(told: np.ndarray, bins: int) -> dict[str, float]:
    loss, confidence, correct = told
    table = calibration.reliability(confidence, correct, bins=bins)
    return {
        "loss": float(loss.mean()),
        "ece": float(table.ece or 0.0),
        "top1_accuracy": float(correct.mean()),
    }
