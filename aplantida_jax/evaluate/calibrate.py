"""Stage `calibrate`: temperature and thresholds, chosen on val, reported on test.

Writes `<workdir>/calibrate/`: calibration.json, reliability.png, risk_coverage.png.

    {run, checkpoint, region, label_map, class_mask, accuracy_target, notes[str],
     temperature, temperature_found, threshold | null, genus_threshold | null,
     best_available, genus_best_available   (rows of val; null when the rule found one)
     assured_threshold | null, left_under_threshold{images, accuracy, genus_accuracy},
     and on test: images, loss_*, brier_*, ece_*, mce_*, adaptive_ece_*,
     classwise_ece_* (each _before and _after the temperature), accuracy, coverage,
     genus_accuracy, each with its _interval, genus_coverage, not_conclusive_rate, aurc,
     threshold_table[{threshold, answered, groups, coverage, accuracy,
     accuracy_interval}],
     risk_coverage[{coverage, risk}], reliability_before[...], reliability_after[...],
     bootstrap{resampled: "groups", groups, resamples, seed}, intervals{loss_before,
     loss_after, loss_change, ece_before, ece_after, ece_change, aurc},
     val{the same fields on val, but intervals}, test{images},
     vector_scaling | null (see `vector_verdict.assess`)}

The thresholds are the smallest that reach the accuracy target on val, after the
temperature, with at least 20 answers; that of the genus is chosen on what the species'
leaves. Where none does, the threshold is null: the app must not answer a species (or a
genus), `best_available` says how near it came and `notes` why. `assured_threshold` is
the smallest of which val proves that it reaches the target (see `thresholds.assured`);
a cautious user would put it there. Vector scaling is measured, not shipped; last of
all, when everything else is written.
"""

from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels, records
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import answers as answers_lib
from aplantida_jax.evaluate import (
    calibration_plots,
    inference,
    outputs,
    plot_style,
    summary,
    thresholds,
    vector_verdict,
)
from aplantida_jax.evaluate.decision import Rule, Scored, assess
from aplantida_jax.train import checkpoint


def run(config: Any, workdir: Path) -> None:
    out_dir = paths.calibration(workdir).parent
    split_paths = {
        split: paths.split_file(config, split, config.region)
        for split in ("val", "test")
    }
    job = manifest.begin(
        config,
        stage="calibrate",
        out_dir=out_dir,
        inputs=[
            manifest.Input(paths.classes(config), "export_dataset"),
            manifest.Input(paths.best(workdir), "train"),
            *(manifest.Input(path, "split") for path in split_paths.values()),
        ],
        depends_on=("calibrate", "eval.bootstrap", "input", "region"),
    )
    if job is None:
        return
    label_map = labels.read(paths.classes(config))
    if config.dry_run:
        _say_plan(split_paths, out_dir)
        return
    best = checkpoint.load_best(workdir, label_map)
    scored = _score(config, workdir, best, split_paths, label_map)
    mask = summary.region_mask(label_map, best.info["region"])
    result = _calibrate(config, best, label_map, scored, mask)
    files.write_json(paths.calibration(workdir), result)
    pictures = _draw(result, out_dir)
    _log(result)
    # Minutes at full size, and nothing rests on it: all else is written by now.
    result["vector_scaling"] = _try_vector_scaling(config, result, scored, mask)
    files.write_json(paths.calibration(workdir), result)
    job.finish(
        outputs=[paths.calibration(workdir), *pictures],
        metrics={n: v for n, v in result.items() if isinstance(v, float | int)},
        label_map=label_map.fingerprint,
    )


def _score(
    config: Any,
    workdir: Path,
    best: checkpoint.Best,
    split_paths: dict[str, Path],
    label_map: labels.LabelMap,
) -> dict[str, Scored]:
    scored = {}
    for split, path in split_paths.items():
        found = inference.run(config, best, path, label_map)
        outputs.check_logits(found.logits, of=str(paths.best(workdir)))
        group = outputs.groups_of(path, found.image_id)
        scored[split] = Scored(found.image_id, found.label, found.logits, group)
    return scored


def _calibrate(
    config: Any,
    best: checkpoint.Best,
    label_map: labels.LabelMap,
    scored: dict[str, Scored],
    mask: np.ndarray | None,
) -> dict[str, Any]:
    """The content of `calibration.json`; vector scaling is null as yet."""
    trained_on = best.info["region"]
    if mask is not None and not all(mask[s.label].all() for s in scored.values()):
        raise UserError(
            f"{best.info['name']} knows the plants of {trained_on} only, and can't be "
            f"calibrated on others: add --config.region={trained_on}"
        )
    return {
        "run": best.info["name"],
        "checkpoint": best.info["sha256"],
        "region": config.region,
        "label_map": label_map.fingerprint,
        "class_mask": summary.mask_note(trained_on, mask, scored["test"].label),
        **assess(scored["val"], scored["test"], rule=_rule(config, label_map, mask)),
        "vector_scaling": None,
    }


def _try_vector_scaling(
    config: Any,
    result: dict[str, Any],
    scored: dict[str, Scored],
    mask: np.ndarray | None,
) -> dict[str, Any] | None:
    """`vector_scaling` of `calibration.json`; None where it is not asked for."""
    options = config.calibrate
    if options.vector_folds < 0:
        return None
    found = vector_verdict.assess(
        scored["val"],
        scored["test"],
        temperature=result["temperature"],
        options=vector_verdict.Options(
            folds=options.vector_folds,
            penalty=options.vector_penalty,
            bins=options.bins,
            class_mask=mask,
            resamples=config.eval.bootstrap,
            seed=config.seed,
        ),
    )
    _log_vector_scaling(found)
    return found


def _rule(config: Any, label_map: labels.LabelMap, mask: np.ndarray | None) -> Rule:
    options = config.calibrate
    low, high = options.threshold_range
    genus_low, genus_high = options.genus_threshold_range
    step = options.threshold_step
    return Rule(
        genus_of=answers_lib.genera(label_map)[0],
        class_mask=mask,
        bins=options.bins,
        accuracy_target=options.accuracy_target,
        grid=thresholds.grid(low, high, step),
        genus_grid=thresholds.grid(genus_low, genus_high, step),
        resamples=config.eval.bootstrap,
        seed=config.seed,
    )


def _say_plan(split_paths: dict[str, Path], out_dir: Path) -> None:
    for split, path in split_paths.items():
        images = sum(1 for _ in records.read_photos(path, made_by="split"))
        logging.info("would run the model on the %d images of %s", images, split)
    logging.info("would choose temperature and thresholds into %s", out_dir)


def _log(result: dict[str, Any]) -> None:
    for note in result["notes"]:
        logging.warning("calibrate: %s", note)
    _log_temperature(result)
    for what, name in (("species", ""), ("genus", "genus_")):
        threshold, accuracy = result[f"{name}threshold"], result[f"{name}accuracy"]
        if threshold is None:
            logging.info("%s: no threshold reaches the target on val", what)
            continue
        logging.info(
            "%s: threshold %.2f answers %.1f %% of test, %s of them right",
            what,
            threshold,
            100 * result[f"{name}coverage"],
            "none" if accuracy is None else f"{accuracy:.1%}",
        )
    logging.info("no concluyente: %.1f %% of test", 100 * result["not_conclusive_rate"])


def _log_temperature(result: dict[str, Any]) -> None:
    logging.info(
        "temperature %.3f: ECE on test %.4f -> %.4f, MCE %.4f -> %.4f",
        result["temperature"],
        *(
            result[f"{error}_{when}"]
            for error in ("ece", "mce")
            for when in ("before", "after")
        ),
    )
    for error, name in (("ece", "ECE"), ("loss", "loss")):
        change = result[f"{error}_after"] - result[f"{error}_before"]
        if change > 0:
            ends = result["intervals"][f"{error}_change"]
            logging.warning(
                "calibrate: the temperature, chosen on val, makes the %s worse on test "
                "by %.4f%s",
                name,
                change,
                _spoken(ends),
            )


def _log_vector_scaling(found: dict[str, Any] | None) -> None:
    if found is None:
        logging.info("vector scaling: val has too few groups of photos to tell")
        return
    judged, on_test = found["cross_validated_on_val"], found["on_test"]
    logging.info(
        "vector scaling changes the NLL by %+.4f%s on val, cross-validated, and by "
        "%+.4f%s on test: it %s. It is not shipped",
        judged["loss_change"],
        _spoken(judged["loss_change_interval"]),
        on_test["loss_change"],
        _spoken(on_test["loss_change_interval"]),
        "helps on val" if judged["helps"] else "is not shown to help",
    )
    if not found["agree"]:
        logging.warning("vector scaling: val and test disagree on whether it helps")


def _spoken(ends: list[float] | None) -> str:
    return "" if ends is None else f" (95 %: {ends[0]:+.4f} to {ends[1]:+.4f})"


def _operating_point(row: dict[str, Any]) -> tuple[float, float] | None:
    """(coverage, risk) of the species that are answered; None where none is."""
    accuracy = row["accuracy"]
    return None if accuracy is None else (row["coverage"], 1 - accuracy)


def _draw(result: dict[str, Any], out_dir: Path) -> list[Path]:
    written = [out_dir / "reliability.png", out_dir / "risk_coverage.png"]
    with plot_style.themed() as palette:
        figure = plot_style.new_figure(8.2, 4.8)
        calibration_plots.reliability_pair(figure, palette, result)
        plot_style.save(figure, written[0])
        figure = plot_style.new_figure(5.2, 3.6)
        val = result["val"]
        curves = {"test": result["risk_coverage"], "val": val["risk_coverage"]}
        calibration_plots.risk_coverage(
            figure.subplots(),
            palette,
            curves,
            target_risk=1 - result["accuracy_target"],
            chosen={"test": _operating_point(result), "val": _operating_point(val)},
        )
        plot_style.save(figure, written[1])
    return written
