"""Does distillation help, and which way: one table of students with paired intervals.

    .venv/bin/python scripts/compare_distillation.py [--seeds=2] [--only=WAY ...]
    .venv/bin/python scripts/compare_distillation.py --data=photos --dump=DUMP.json \
        --small=MOBILENET_0.35_WEIGHTS --large=MOBILENET_1.0_WEIGHTS

Each student has a reference of its own, which saw as many images, in the same order,
with the same augmentation, rate and first weights: only what it learnt from differs
(or, of a factorised head, the head). So the labels alone are trained with mixup,
longer, fine-tuned and from scratch too. Both answer the same test photos; seeds and
groups of photos are resampled together (stage `compare`), and p is corrected for
exactly the pairs of the table. Half an hour on two CPU cores; goes on when it is
started again.
"""

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import comparison_runs
import comparison_table
from comparison_runs import Place, Way, run_name
from comparison_table import gap, share

REFERENCE = "labels"
_VIEWS = 4
_TEACHERS = {
    "demo": ("teacher_global", "teacher_eu_sw", "teacher_eu_core"),
    "photos": ("teacher_photos",),
}
_EPOCHS = {"demo": 12, "photos": 8}
_RANK = {"demo": 16, "photos": 32}
# A rate that goes on from a trained student, as presets.py fine-tunes with.
_SHORT = {
    "demo": ("train.learning_rate=3e-4", "train.epochs=6"),
    "photos": ("train.learning_rate=2e-4", "train.epochs=4"),
}


def ways(data: str) -> Iterator[Way]:
    """The rows of the table, each after its reference and the one that it begins from.

    Of a block that is trained alike, the labels alone come first.
    """
    yield from _from_teachers()
    rank = f"model.head_rank={_RANK[data]}"
    yield Way("factorised head", "student_distill", (rank,), reference="one view")
    tuned, tuned_kl = "student_finetune", "student_finetune_kl"
    labels = "labels, fine-tuned"
    yield Way(labels, tuned, (), REFERENCE)
    yield Way("one view, fine-tuned", tuned, (), "one view", labels)
    yield Way("one view, fine-tuned with KL", tuned_kl, (), "one view", labels)
    again = ("train.warmup_epochs=0.5", *_SHORT[data])
    labels, dense = "labels, longer", "one view, longer"
    yield Way(labels, "student_labels", again, REFERENCE)
    yield Way(dense, "student_distill", again, "one view", labels)
    svd, fields = "factorised by SVD, longer", (rank, *again)
    yield Way(svd, "student_distill", fields, "one view", dense)
    if data == "photos":
        for way in _from_teachers():
            if way.name in (REFERENCE, "one view", "online, mixup", "labels, mixup"):
                yield dataclasses.replace(
                    way,
                    name=_from_scratch(way.name),
                    reference=_from_scratch(way.reference),
                    scratch=True,
                )


def _from_scratch(name: str) -> str:
    return name and f"{name}, from scratch"


def _from_teachers() -> Iterator[Way]:
    student, online = "student_distill", "distill.mode=online"
    mixup, views = "augment.mixup_probability=0.5", "distill.soft_labels=views"
    yield Way(REFERENCE, "student_labels")
    yield Way("one view", student, reference=REFERENCE)
    yield Way(f"{_VIEWS} views", student, (views,), reference=REFERENCE)
    yield Way("online", student, (online,), reference=REFERENCE)
    yield Way("labels, mixup", "student_labels", (mixup,))
    yield Way("online, mixup", student, (online, mixup), reference="labels, mixup")


def main() -> None:
    parser = comparison_runs.arguments(__doc__)
    parser.add_argument(
        "--large", type=Path, help="weights of MobileNetV2 1.0, for the teacher"
    )
    options = parser.parse_args()
    place = comparison_runs.place_of(options, "distillation")
    told = list(ways(options.data))
    all_ways = {way.name: way for way in told}
    wanted = comparison_runs.asked(all_ways, options.only, always=REFERENCE)
    runs = {
        name: [run_name(name, seed) for seed in range(1, options.seeds + 1)]
        for name in all_ways
    }
    if not options.table:
        prepare(place, options.large)
    for name in () if options.table else wanted:
        epochs = options.epochs or _EPOCHS[place.data]
        comparison_runs.train(
            place, all_ways[name], runs[name], epochs=epochs, weights=options.small
        )
    done = comparison_table.finished(place, runs)
    found = comparison_table.compared(place, done)
    rows = comparison_table.rows_of(place, told, done, found)
    say(place, rows)
    print(comparison_table.save(place, rows, comparison=found))


def prepare(place: Place, large: Path | None) -> None:
    """The collection, the teachers and their soft labels, of one and several views."""
    place.collection()
    names = _TEACHERS[place.data]
    for name in names:
        fields: tuple[str, ...] = ()
        if place.quick:
            fields = ("train.epochs=1", "train.batch_size=16")
        if large is not None:
            fields += comparison_runs.pretrained(large)
        print(f"{name} ...", flush=True)
        place.stage(name, "train", fields)
        place.stage(name, "evaluate", fields)
        place.stage(name, "predict", fields)
        views = (*fields, f"name={name}_views", f"predict.views={_VIEWS}")
        place.stage(name, "predict", views, of=name)
    place.stage("student_distill", "combine")
    several = tuple(f"{name}_views" for name in names)
    views = (f"combine.teachers={several!r}", "distill.soft_labels=views")
    place.stage("student_distill", "combine", views)


def say(place: Place, rows: Sequence[Mapping[str, Any]]) -> None:
    """The table, after the teachers."""
    for name in _TEACHERS[place.data]:
        slug = {"teacher_eu_sw": "EU_SW", "teacher_eu_core": "EU_NORTH,EU_EAST"}
        found = place.evaluation(name, slug.get(name, ""))
        own = f" on {found['region']}" if found["region"] else ""
        interval = found["intervals"]["top1_accuracy"]
        print(f"{name}{own}: top-1 {share(found['top1_accuracy'], interval)} %")
    print(
        f"\n{'student':30} {'top-1 %':>21} {'macro recall %':>21} {'ECE':>6} {'MB':>6} "
        f"{'min':>5} {'top-1, points':>21} to {'':20} {'p':>6}"
    )
    for row in rows:
        intervals, minutes = row["intervals"], row["minutes"]
        print(
            f"{row['way']:30} "
            f"{share(row['top1_accuracy'], intervals['top1_accuracy']):>21} "
            f"{share(row['macro_recall'], intervals['macro_recall']):>21} "
            f"{row['ece']:6.3f} {row['megabytes']:6.2f} "
            f"{'—' if minutes is None else format(minutes, '.1f'):>5} " + _against(row)
        )
    pairs = sum(row["p"] is not None for row in rows)
    note = (
        "Means over the seeds; 95 % intervals over seeds and groups of photos, cut at "
        "0 and 100 %. They are about students of these teachers, which were trained "
        "once, with one seed: other teachers may teach more or less. A difference is "
        "to the student beside it, which was trained alike but for what it learnt "
        f"from; p is corrected by Holm for these {pairs} pairs, an interval for none. "
        "MB are parameters and BatchNorm's statistics at 2 bytes (float16); min is the "
        "training at its steady pace, without compilation and without what it goes on "
        "from."
    )
    print("\n" + textwrap.fill(note, 88))


def _against(row: Mapping[str, Any]) -> str:
    """The row's difference to its reference, and its p."""
    if not row["reference"]:
        return ""
    if row["p"] is None:
        return f"{'':>21} to {row['reference']}, which is not finished"
    more = gap(row["differences"], "top1_accuracy")
    return f"{more:>21} to {row['reference']:20} {row['p']:6.3f}"


if __name__ == "__main__":
    main()
