"""Does distillation help, and which way: one table of students with paired intervals.

    .venv/bin/python scripts/compare_distillation.py [--seeds=2] [--only=WAY ...]
    .venv/bin/python scripts/compare_distillation.py --data=photos --dump=DUMP.json \
        --small=MOBILENET_0.35_WEIGHTS --large=MOBILENET_1.0_WEIGHTS

Every student of a block sees as many images, in the same order, with the same rate;
only what it learns from differs. All are compared with the student on the labels alone,
over the same test photos, resampling seeds and groups of photos together (stage
`compare`). Fine-tuned students have some epochs more, so labels are fine-tuned too.
Half an hour on two CPU cores; goes on when it is started again.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import comparison_runs
from comparison_runs import Place, run_name, share

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


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to train the student.

    Attributes:
        name: of the row.
        config: the experiment's file.
        fields: beside seed and length.
        begins: the way that it goes on from, "" for none.
        scratch: without weights from ImageNet.
    """

    name: str
    config: str
    fields: tuple[str, ...] = ()
    begins: str = ""
    scratch: bool = False


def ways(data: str) -> Iterator[Way]:
    """The rows of the table, each after the one that it goes on from."""
    yield from _from_teachers()
    again = ("train.warmup_epochs=0.5", *_SHORT[data])
    rank = f"model.head_rank={_RANK[data]}"
    yield Way("labels, fine-tuned", "student_finetune", begins=REFERENCE)
    yield Way("one view, fine-tuned", "student_finetune", begins="one view")
    yield Way("one view, fine-tuned with KL", "student_finetune_kl", begins="one view")
    yield Way("one view, longer", "student_distill", again, "one view")
    yield Way("factorised head", "student_distill", (rank,))
    yield Way(
        "factorised by SVD, longer", "student_distill", (rank, *again), "one view"
    )
    if data == "photos":
        for way in _from_teachers():
            if way.name in (REFERENCE, "one view", "online, mixup", "labels, mixup"):
                name = f"{way.name}, from scratch"
                yield dataclasses.replace(way, name=name, scratch=True)


def _from_teachers() -> Iterator[Way]:
    online, mixup = "distill.mode=online", "augment.mixup_probability=0.5"
    yield Way(REFERENCE, "student_labels")
    yield Way("labels, mixup", "student_labels", (mixup,))
    yield Way("one view", "student_distill")
    yield Way(f"{_VIEWS} views", "student_distill", ("distill.soft_labels=views",))
    yield Way("online", "student_distill", (online,))
    yield Way("online, mixup", "student_distill", (online, mixup))


def main() -> None:
    parser = comparison_runs.arguments(__doc__)
    parser.add_argument(
        "--large", type=Path, help="weights of MobileNetV2 1.0, for the teacher"
    )
    options = parser.parse_args()
    place = comparison_runs.place_of(options, "distillation")
    wanted = {way.name: way for way in ways(options.data)}
    runs = {
        name: [run_name(name, seed) for seed in range(1, options.seeds + 1)]
        for name in wanted
    }
    if not options.table:
        prepare(place, options.large)
        for name in _with_ancestors(wanted, options.only):
            train(place, wanted[name], runs[name], options)
    done = comparison_runs.finished(place, runs)
    found = comparison_runs.compared(place, done)
    rows = [comparison_runs.row_of(place, way, runs[way], found) for way in done]
    say(place, rows)
    print(comparison_runs.save(place, rows, comparison=found))


def prepare(place: Place, large: Path | None) -> None:
    """The collection, the teachers and their soft labels, of one and several views."""
    place.collection()
    names = _TEACHERS[place.data]
    for name in names:
        fields: tuple[str, ...] = ()
        if place.quick:
            fields = ("train.epochs=1", "train.batch_size=16")
        if place.data == "photos":
            if large is None:
                raise SystemExit("--data=photos needs --large=WEIGHTS for its teacher")
            fields += _weights(large)
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


def train(place: Place, way: Way, runs: Sequence[str], options: Any) -> None:
    """Trains and evaluates the students of a way, one for each seed."""
    for seed, name in enumerate(runs, start=1):
        fields = [f"seed={seed}", *way.fields]
        if way.begins:
            fields.append(f"model.init_from={run_name(way.begins, seed)}")
        else:
            epochs = options.epochs or _EPOCHS[place.data]
            fields += [f"train.epochs={epochs}", f"train.patience={epochs}"]
            if place.data == "photos" and not way.scratch:
                fields += _weights(options.small)
        if place.quick:
            fields += ["train.epochs=1", "train.warmup_epochs=0.0"]
            if any(field.startswith("model.head_rank") for field in way.fields):
                fields.append("model.head_rank=8")  # of so few classes
        print(f"{way.name}, seed {seed} ...", flush=True)
        place.trained(way.config, name, fields)


def _weights(file: Path) -> tuple[str, str]:
    # Files that state no licence are refused; nothing of this trial ships.
    return f"model.pretrained={file.resolve()}", "model.pretrained_licence=Apache-2.0"


def _with_ancestors(wanted: Mapping[str, Way], only: list[str] | None) -> list[str]:
    """The names asked for, with what they begin from and the reference; all if none."""
    if not only:
        return list(wanted)
    if unknown := sorted(set(only) - set(wanted)):
        raise SystemExit(f"no way {unknown[0]!r}; there are: {', '.join(wanted)}")
    needed = {REFERENCE, *only}
    needed |= {wanted[name].begins for name in needed} - {""}
    return [name for name in wanted if name in needed]


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
        f"{'min':>5} {'top-1 to labels, points':>24} {'p':>6}"
    )
    for row in rows:
        intervals, gap = (
            row["intervals"],
            (row["differences"] or {}).get("top1_accuracy"),
        )
        more = share(gap["difference"], gap["interval"], sign="+") if gap else ""
        print(
            f"{row['way']:30} "
            f"{share(row['top1_accuracy'], intervals['top1_accuracy']):>21} "
            f"{share(row['macro_recall'], intervals['macro_recall']):>21} "
            f"{row['ece']:6.3f} {row['megabytes']:6.2f} {row['minutes']:5.1f} "
            f"{more:>24} {'' if row['p'] is None else format(row['p'], '6.3f')}"
        )
    print(
        "Means over the seeds, 95 % intervals over seeds and groups of photos; MB are "
        "parameters and BatchNorm's statistics at 2 bytes (float16); min is the "
        "training alone, without what it goes on from; p is corrected by Holm."
    )


if __name__ == "__main__":
    main()
