"""What helps rare plants: one table of ways to train on a long tail.

    .venv/bin/python scripts/compare_long_tail.py [--seeds=3] [--only=WAY ...]
    .venv/bin/python scripts/compare_long_tail.py --data=photos --dump=DUMP.json \
        --small=MOBILENET_0.35_WEIGHTS

A class with one training photo has hardly a test photo: a split by groups leaves it
none. So the train split is thinned here to a long tail, as ImageNet-LT and CIFAR-LT are
(Liu et al. 2019, Cui et al. 2019), whatever a class had before, and the test split is
left whole: the rare classes are tested on as many photos as they have. --as_is leaves
the train split too. Ten to twenty minutes on two CPU cores; goes on when it is started
again.
"""

import dataclasses
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import comparison_runs
from comparison_runs import Place, run_name, share

from aplantida_jax import files
from aplantida_jax.data import records
from aplantida_jax.data.records import Photo

REFERENCE = "plain"
# Way -> (configuration, fields, the way that it goes on from).
WAYS: dict[str, tuple[str, tuple[str, ...], str]] = {
    REFERENCE: ("student_labels", (), ""),
    "square-root sampling": ("student_labels", ("train.sampling=square_root",), ""),
    "class-balanced sampling": (
        "student_labels",
        ("train.sampling=class_balanced",),
        "",
    ),
    "weights by effective number": (
        "student_labels",
        ("train.class_weights=effective_number",),
        "",
    ),
    "logit adjustment, tau 1": ("student_labels", ("train.logit_adjustment=1.0",), ""),
    "balanced softmax, head only": ("student_tail", (), REFERENCE),
}
BANDS = ("head", "mid", "tail", "one_shot")
_EPOCHS = {"demo": 30, "photos": 12}
_MOST = {"demo": 60, "photos": 100}  # photos of the class that keeps most
_ONE_SHOT = 0.25  # of the classes, about, are left with one photo


def main() -> None:
    parser = comparison_runs.arguments(__doc__)
    parser.add_argument("--as_is", action="store_true", help="do not thin the tail")
    options = parser.parse_args()
    place = comparison_runs.place_of(options, "long_tail")
    if not options.table:
        place.collection()
    if not options.as_is:
        place = thinned(place)
    unknown = set(options.only or ()) - set(WAYS)
    if unknown:
        raise SystemExit(f"no way {min(unknown)!r}; there are: {', '.join(WAYS)}")
    runs = {
        way: [run_name(way, seed) for seed in range(1, options.seeds + 1)]
        for way in WAYS
    }
    for way in () if options.table else WAYS:
        if not options.only or way in (REFERENCE, *options.only):
            train(place, way, runs[way], options)
    done = comparison_runs.finished(place, runs)
    found = comparison_runs.compared(place, done)
    pairs = {pair["run"]: pair for pair in found["pairs"] if pair["with_reference"]}
    rows = [comparison_runs.row_of(place, way, runs[way], found) for way in done]
    for row in rows:
        pair = pairs.get("+".join(row["runs"]))
        row["band_differences"] = pair and pair["bands"]
    say(place, rows)
    print(comparison_runs.save(place, rows, comparison=found))


def thinned(place: Place) -> Place:
    """The same collection with a train split that is a long tail by construction.

    Class number r of n, in an order that has nothing to do with its photos, keeps at
    most m^(1 - r/(n (1 - s))) of them, one at least: an exponential tail from m photos
    down to a share s of one-shot classes.
    """
    data_dir = place.data_dir / "thinned"
    whole = place.data_dir / "splits" / "all"
    target = data_dir / "splits" / "all"
    if not (target / "dataset_stats.json").exists():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copytree(
            place.data_dir / "export", data_dir / "export", dirs_exist_ok=True
        )
        for split in ("val", "test"):
            shutil.copy(whole / f"dataset_{split}.jsonl", target)
        photos = records.read_photos(whole / "dataset_train.jsonl", made_by="split")
        kept = _thin(list(photos), _MOST[place.data])
        records.write_photos(target / "dataset_train.jsonl", kept)
        stats = files.read_json(whole / "dataset_stats.json", made_by="split")
        stats["splits"]["train"] = {
            "images": len(kept),
            "classes": len({photo.class_id for photo in kept}),
            "licences": dict(Counter(photo.licence for photo in kept)),
        }
        files.write_json(target / "dataset_stats.json", stats)
    fields = (f"download.cache_dir={place.data_dir / 'cache'}",)
    return dataclasses.replace(
        place, name=f"{place.name}/thinned", fields=place.fields + fields
    )


def _thin(photos: Sequence[Photo], most: int) -> list[Photo]:
    """The photos that are kept, in the order of their ids, which are hashes."""
    by_class = defaultdict(list)
    for photo in photos:
        by_class[photo.class_id].append(photo)
    # By the hash of the first photo: as good as drawn, and always the same.
    order = sorted(by_class, key=lambda class_id: by_class[class_id][0].image_id)
    kept = []
    for rank, class_id in enumerate(order):
        share_left = max(0.0, 1 - rank / (len(order) * (1 - _ONE_SHOT)))
        kept += by_class[class_id][: max(1, round(most**share_left))]
    return sorted(kept, key=lambda photo: photo.image_id)


def train(place: Place, way: str, runs: Sequence[str], options: Any) -> None:
    """Trains and evaluates the students of a way, one for each seed."""
    config, fields, begins = WAYS[way]
    for seed, name in enumerate(runs, start=1):
        given = [f"seed={seed}", *fields]
        if begins:
            given.append(f"model.init_from={run_name(begins, seed)}")
        else:
            epochs = options.epochs or _EPOCHS[place.data]
            given += [f"train.epochs={epochs}", f"train.patience={epochs}"]
            if place.data == "photos":
                given.append(f"model.pretrained={options.small.resolve()}")
                # Files that state none are refused; nothing of this trial ships.
                given.append("model.pretrained_licence=Apache-2.0")
        if place.quick:
            given += ["train.epochs=1", "train.warmup_epochs=0.0"]
        print(f"{way}, seed {seed} ...", flush=True)
        place.trained(config, name, given)


def say(place: Place, rows: Sequence[Mapping[str, Any]]) -> None:
    """The table: recall over classes, by how many training photos they have."""
    bands = [band for band in BANDS if rows[0]["bands"].get(band, {}).get("images")]
    print(f"\n{'':28} {'top-1 %':>21} {'macro recall %':>21}", end="")
    print("".join(f" {band:>23}" for band in bands))
    for row in rows:
        intervals = row["intervals"]
        print(
            f"{row['way']:28} "
            f"{share(row['top1_accuracy'], intervals['top1_accuracy']):>21} "
            f"{share(row['macro_recall'], intervals['macro_recall']):>21}",
            end="",
        )
        for band in bands:
            print(f" {_band_cell(row, band):>23}", end="")
        print()
    counts = ", ".join(
        f"{band} {rows[0]['bands'][band]['classes']} classes, "
        f"{rows[0]['bands'][band]['images']} test photos"
        for band in bands
    )
    print(
        f"Bands by training photos: head 100 and more, mid 10 to 99, tail 2 to 9, "
        f"one_shot 1 ({counts}): recall over their classes and, in brackets, the "
        f"difference to {REFERENCE} in points. Means over the seeds; 95 % intervals "
        "over seeds and groups of photos."
    )


def _band_cell(row: Mapping[str, Any], band: str) -> str:
    """E.g. "41.2 (+3.0 to +9.1)": recall, and the interval of its gain."""
    recall = row["bands"][band]["macro_recall"]
    gains = (row["band_differences"] or {}).get(band)
    ends = gains and gains["differences"]["macro_recall"]["interval"]
    if ends is None:
        return share(recall, None)
    low, high = (f"{100 * end:+.1f}" for end in ends)
    return f"{100 * recall:.1f} ({low} to {high})"


if __name__ == "__main__":
    main()
