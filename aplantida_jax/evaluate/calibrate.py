"""Stage `calibrate`: temperature and thresholds, chosen on val, reported on test.

Writes `<workdir>/calibrate/`: calibration.json, reliability.png, risk_coverage.png.

    {run, checkpoint, region, label_map, class_mask, accuracy_target, notes[str],
     temperature, temperature_found, threshold | null, genus_threshold | null,
     best_available, genus_best_available   (rows of val; null when the rule found one)
     assured_threshold | null, left_under_threshold{images, accuracy, genus_accuracy},
     and on test: images, loss_*, brier_*, ece_*, mce_*, adaptive_ece_*,
     classwise_ece_* (each _before and _after the temperature), accuracy, coverage,
     genus_accuracy, each with its _interval, genus_coverage, not_conclusive_rate, aurc,
     threshold_table[{threshold, answered, coverage, accuracy, accuracy_interval}],
     risk_coverage[{coverage, risk}], reliability_before[...], reliability_after[...],
     vector_scaling | null {cross_validated_on_val{folds, penalty, temperature, vector,
     better_folds}, on_test{temperature, vector}}, each way {loss, ece, top1_accuracy},
     val{the same fields on val}, test{images}}

The thresholds are the smallest that reach the accuracy target on val, after the
temperature, with at least 20 answers; that of the genus is chosen on what the species'
leaves. Where none does, the threshold is null: the app must not answer a species (or a
genus), `best_available` says how near it came and `notes` why. `assured_threshold` is
the smallest whose accuracy on val is at least the target by its interval's lower end.
Vector scaling is measured, not shipped: see `vector_scaling.py`.
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
    calibration,
    calibration_plots,
    inference,
    outputs,
    plot_style,
    summary,
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
        depends_on=("calibrate", "input", "region"),
    )
    if job is None:
        return
    label_map = labels.read(paths.classes(config))
    if config.dry_run:
        _say_plan(split_paths, out_dir)
        return
    result = _calibrate(config, workdir, label_map, split_paths)
    files.write_json(paths.calibration(workdir), result)
    pictures = _draw(result, out_dir)
    _log(result)
    job.finish(
        outputs=[paths.calibration(workdir), *pictures],
        metrics={n: v for n, v in result.items() if isinstance(v, float | int)},
        label_map=label_map.fingerprint,
    )


def _calibrate(
    config: Any,
    workdir: Path,
    label_map: labels.LabelMap,
    split_paths: dict[str, Path],
) -> dict[str, Any]:
    """The content of `calibration.json`."""
    best = checkpoint.load_best(workdir, label_map)
    scored = {}
    for split, path in split_paths.items():
        found = inference.run(config, best, path, label_map)
        outputs.check_logits(found.logits, of=str(paths.best(workdir)))
        group = outputs.groups_of(path, found.image_id)
        scored[split] = Scored(found.image_id, found.label, found.logits, group)
    trained_on = best.info["region"]
    mask = summary.region_mask(label_map, trained_on)
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
    }


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
        grid=calibration.threshold_grid(low, high, step),
        genus_grid=calibration.threshold_grid(genus_low, genus_high, step),
        folds=options.vector_folds,
        penalty=options.vector_penalty,
    )


def _say_plan(split_paths: dict[str, Path], out_dir: Path) -> None:
    for split, path in split_paths.items():
        images = sum(1 for _ in records.read_photos(path, made_by="split"))
        logging.info("would run the model on the %d images of %s", images, split)
    logging.info("would choose temperature and thresholds into %s", out_dir)


def _log(result: dict[str, Any]) -> None:
    for note in result["notes"]:
        logging.warning("calibrate: %s", note)
    logging.info(
        "temperature %.3f: ECE on test %.4f -> %.4f, MCE %.4f -> %.4f",
        result["temperature"],
        result["ece_before"],
        result["ece_after"],
        result["mce_before"],
        result["mce_after"],
    )
    _log_vector_scaling(result["vector_scaling"])
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


def _log_vector_scaling(found: dict[str, Any] | None) -> None:
    if found is None:
        return
    judged = found["cross_validated_on_val"]
    logging.info(
        "vector scaling, cross-validated on val: NLL %.4f (temperature %.4f), better "
        "in %d of %d folds; on test %.4f (%.4f). It is not shipped",
        judged["vector"]["loss"],
        judged["temperature"]["loss"],
        judged["better_folds"],
        judged["folds"],
        found["on_test"]["vector"]["loss"],
        found["on_test"]["temperature"]["loss"],
    )


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
