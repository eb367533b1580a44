"""Stage `compare`: differences between evaluated runs, and which of them are real.

Reads `predictions.npz` of every run of `config.compare.runs` on `config.eval.split` of
`config.region`; the first run is the reference. "a+b+c" stands for one way of training
with several seeds, told of as the mean of its runs. Writes
`<runs_dir>/compare/<split>/` (`<region>_<split>/` for a region, `<name>.<split>/` with
`config.compare.name`, so that another comparison of the split can stay):

comparison.json    see below
comparison.png     every difference with its interval

    {split, region, label_map, classes, reference,
     bootstrap{resampled: "groups", resamples, seed},
     runs[{name, members[str], trained_on[str], images, groups,
           top1_accuracy, top5_accuracy, macro_recall,
           intervals{metric: [low, high] | null},
           by_member{metric: [a value per member]}}],
     pairs[{reference, run, with_reference, images, groups, partial, test,
            differences{metric: {difference, interval | null}},
            seeds{standard_deviation, degrees_of_freedom} | null,
            mcnemar{only_reference, only_run, p} | null,
            p, p_holm | null, p_holm_all, significant,
            bands{band: {images, classes, differences{...}}},
            per_region{region: {images, classes, differences{...}}}}],
     significant[{better, worse, difference, p, test}], notes[str]}

`pairs` are those against the reference first, then all others; a difference is run
minus reference, so that above 0 the run is better. Shares are 0 to 1, intervals 95 %.
`partial` says that not all photos were answered by both (a regional run beside a global
one): everything in the pair is then about the photos that both answered. `p` belongs to
top-1, `test` says how it was found (see `comparison.py`), `seeds` how far apart runs
of a way lie in it, pooled over the ways (null between two single runs, of whose other
seeds nothing is claimed). `p_holm` is corrected for the family of pairs with the
reference (null for other pairs), `p_holm_all` for all pairs; `significant` is p_holm <
0.05 with the reference, p_holm_all < 0.05 otherwise.
"""

from pathlib import Path
from typing import Any

from absl import logging

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels
from aplantida_jax.errors import UserError
from aplantida_jax.evaluate import (
    answered,
    comparison,
    comparison_plots,
    outputs,
    plot_style,
)
from aplantida_jax.evaluate.measures import METRICS, Measures

COMPARISON = "comparison.json"


def run(config: Any, workdir: Path) -> None:
    del workdir  # a comparison belongs to no run
    if config.eval.bootstrap < 2:
        raise UserError("compare needs resamples: set --config.eval.bootstrap=1000")
    out_dir = paths.comparison_dir(config, config.eval.split, config.region)
    contenders = answered.contenders_of(config)
    train = paths.split_file(config, "train", config.region)
    job = manifest.begin(
        config,
        stage="compare",
        out_dir=out_dir,
        inputs=[
            manifest.Input(paths.classes(config), "export_dataset"),
            manifest.Input(train, "split"),
            *answered.inputs(config, contenders),
        ],
        depends_on=("compare", "eval", "region"),
    )
    if job is None:
        return
    label_map = labels.read(paths.classes(config))
    sides = answered.read(config, contenders, label_map)
    if config.dry_run:
        logging.info("would compare %d runs into %s", len(sides), out_dir)
        return
    found = _compare(config, label_map, sides)
    _say_replaced(out_dir / COMPARISON, found)
    written = [out_dir / COMPARISON, out_dir / "comparison.png"]
    files.write_json(written[0], found)
    with plot_style.themed() as palette:
        figure = plot_style.new_figure(*comparison_plots.size(found))
        comparison_plots.forest(figure, palette, found)
        plot_style.save(figure, written[1])
    log_table(found)
    summary = {"pairs": len(found["pairs"]), "significant": len(found["significant"])}
    job.finish(outputs=written, metrics=summary, label_map=label_map.fingerprint)


def _say_replaced(path: Path, found: dict[str, Any]) -> None:
    """Another comparison of the same split goes; this says how to keep both."""
    if not path.exists():
        return
    try:
        earlier = files.read_json(path, made_by="compare")
        before = [row["name"] for row in earlier["runs"]]
    except (UserError, KeyError, TypeError):
        return  # damaged: nothing that one would keep
    if before != [row["name"] for row in found["runs"]]:
        logging.warning(
            "%s is replaced, which compared %s; to keep both, give one a name with "
            "--config.compare.name",
            path,
            ", ".join(before),
        )


def _compare(config: Any, label_map: labels.LabelMap, sides: Any) -> dict[str, Any]:
    """The content of `comparison.json`."""
    resamples, seed = config.eval.bootstrap, config.seed
    images = outputs.train_images(config, config.region, len(label_map))
    measures = Measures(label_map, images, resamples=resamples, seed=seed)
    return {
        "split": config.eval.split,
        "region": config.region,
        "label_map": label_map.fingerprint,
        "classes": len(label_map),
        "bootstrap": {"resampled": "groups", "resamples": resamples, "seed": seed},
        **comparison.table(sides, measures),
    }


def log_table(found: dict[str, Any]) -> None:
    """The comparison on the console."""
    where = f"{found['split']}, {found['region'] or 'all plants'}"
    logging.info("top-1, top-5 and macro recall on %s, %%", where)
    for row in found["runs"]:
        shares = "  ".join(_share(row, metric) for metric in METRICS)
        logging.info("  %-34s %s  of %d images", row["name"], shares, row["images"])
    logging.info("differences in points (95 %), p of top-1, the same by Holm")
    for pair in found["pairs"]:
        steps = "  ".join(_step(pair["differences"][metric]) for metric in METRICS)
        star = "significant" if pair["significant"] else ""
        name = f"{pair['run']} - {pair['reference']}"
        p = comparison.corrected(pair)
        logging.info("  %-34s %s  p %.2g  %.2g %s", name, steps, pair["p"], p, star)
    for note in found["notes"]:
        logging.info("note: %s", note)
    for row in found["significant"]:
        logging.info(
            "%s is better than %s by %.1f points of top-1 (p %.2g)%s",
            row["better"],
            row["worse"],
            100 * row["difference"],
            row["p"],
            ", as trained once each" if row["test"] == comparison.BY_GROUP else "",
        )
    if not found["significant"]:
        logging.info("no difference in top-1 is significant")


def _share(row: dict[str, Any], metric: str) -> str:
    ends = row["intervals"][metric]
    span = f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else ""
    return f"{100 * row[metric]:5.1f}{span}"


def _step(found: dict[str, Any]) -> str:
    ends = found["interval"]
    span = f" ({100 * ends[0]:+.1f} to {100 * ends[1]:+.1f})" if ends else ""
    return f"{100 * found['difference']:+5.1f}{span}"
