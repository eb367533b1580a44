"""What helps rare plants: one table of ways to train on a long tail.

    .venv/bin/python scripts/compare_long_tail.py [--seeds=2] [--only=WAY ...]
    .venv/bin/python scripts/compare_long_tail.py --data=photos --dump=DUMP.json \
        --small=MOBILENET_0.35_WEIGHTS

A class with one training photo has hardly a test photo: a split by groups leaves it
none. So the train split is thinned here to a long tail, as ImageNet-LT and CIFAR-LT are
(Liu et al. 2019, Cui et al. 2019), whatever a class had before, and the test split is
left whole: the rare classes are tested on as many photos as they have. --as_is leaves
the train split too. All ways choose their epoch by macro recall on val, and balanced
softmax, which trains the head some epochs more, is compared with a plain head that has
them too. Ten to twenty minutes on two CPU cores; goes on when it is started again.
"""

import dataclasses
import shutil
import textwrap
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import comparison_runs
import comparison_table
from comparison_runs import Place, Way, run_name
from comparison_table import gap, share

from aplantida_jax import files
from aplantida_jax.data import records
from aplantida_jax.data.records import Photo

REFERENCE = "plain"
# All choose their epoch alike, by what the table is about.
CHOICE = "train.best_by=macro_recall"


def _rebalanced(name: str, field: str) -> Way:
    return Way(name, "student_labels", (CHOICE, field), reference=REFERENCE)


WAYS = (
    Way(REFERENCE, "student_labels", (CHOICE,)),
    _rebalanced("square-root sampling", "train.sampling=square_root"),
    _rebalanced("class-balanced sampling", "train.sampling=class_balanced"),
    _rebalanced("weights by effective number", "train.class_weights=effective_number"),
    _rebalanced("logit adjustment, tau 1", "train.logit_adjustment=1.0"),
    # As long as balanced softmax, which is to be held against it.
    Way(
        "plain, head only longer",
        "student_tail",
        (CHOICE, "train.logit_adjustment=0.0"),
        begins=REFERENCE,
        reference=REFERENCE,
    ),
    Way(
        "balanced softmax, head only",
        "student_tail",
        (CHOICE,),
        begins=REFERENCE,
        reference="plain, head only longer",
    ),
)
BANDS = ("head", "mid", "tail", "one_shot")
_EPOCHS = {"demo": 30, "photos": 12}
_MOST = {"demo": 60, "photos": 100}  # photos of the class that keeps most
_ONE_SHOT = 0.25  # of the classes, about, are left with one photo


def main() -> None:
    parser = comparison_runs.arguments(__doc__)
    parser.add_argument("--as_is", action="store_true", help="do not thin the tail")
    options = parser.parse_args()
    place = comparison_runs.place_of(options, "long_tail")
    ways = {way.name: way for way in WAYS}
    wanted = comparison_runs.asked(ways, options.only, always=REFERENCE)
    if not options.table:
        place.collection()
    if not options.as_is:
        place = thinned(place, ready=options.table)
    runs = {
        way: [run_name(way, seed) for seed in range(1, options.seeds + 1)]
        for way in ways
    }
    for way in () if options.table else wanted:
        epochs = options.epochs or _EPOCHS[place.data]
        comparison_runs.train(
            place, ways[way], runs[way], epochs=epochs, weights=options.small
        )
    done = comparison_table.finished(place, runs)
    found = comparison_table.compared(place, done)
    rows = comparison_table.rows_of(place, WAYS, done, found)
    say(rows)
    print(comparison_table.save(place, rows, comparison=found))


def thinned(place: Place, *, ready: bool) -> Place:
    """The same collection with a train split that is a long tail by construction.

    Class number r of n, in an order that has nothing to do with its photos, keeps at
    most m^(1 - r/(n (1 - s))) of them, one at least: an exponential tail from m photos
    down to a share s of one-shot classes. Made anew when the whole one has changed.

    Args:
        place: of the whole collection.
        ready: take it as it is, to read what was trained on it.
    """
    whole = place.data_dir / "splits" / "all"
    data_dir = place.data_dir / "thinned"
    made_of = data_dir / "made_of.json"
    if not ready:
        sources = [place.data_dir / "export" / "classes.json", *whole.glob("dataset_*")]
        now = {path.name: files.sha256_file(path) for path in sorted(sources)}
        if not made_of.exists() or files.read_json(made_of, made_by="split") != now:
            _make_thinned(place, whole, data_dir)
            files.write_json(made_of, now)
    fields = (f"download.cache_dir={place.data_dir / 'cache'}",)
    return dataclasses.replace(
        place, name=f"{place.name}/thinned", fields=place.fields + fields
    )


def _make_thinned(place: Place, whole: Path, data_dir: Path) -> None:
    target = data_dir / "splits" / "all"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(place.data_dir / "export", data_dir / "export", dirs_exist_ok=True)
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


def say(rows: Sequence[Mapping[str, Any]]) -> None:
    """The tables: recall by how many training photos a class has, and differences."""
    bands = [band for band in BANDS if rows[0]["bands"].get(band, {}).get("images")]
    print(f"\n{'recall over classes, %':28} {'top-1 %':>21} {'all':>21}", end="")
    print("".join(f" {band:>8}" for band in bands))
    for row in rows:
        intervals = row["intervals"]
        cells = [
            f"{share(row[metric], intervals[metric]):>21}"
            for metric in ("top1_accuracy", "macro_recall")
        ]
        cells += [f"{share(row['bands'][b]['macro_recall'], None):>8}" for b in bands]
        print(f"{row['way']:28} {' '.join(cells)}")
    _say_differences(rows, bands)
    counts = ", ".join(
        f"{band} {rows[0]['bands'][band]['classes']} classes, "
        f"{rows[0]['bands'][band]['images']} test photos"
        for band in bands
    )
    note = (
        "Bands by training photos: head 100 and more, mid 10 to 99, tail 2 to 9, "
        f"one_shot 1 ({counts}). Means over the seeds; 95 % intervals over seeds and "
        "groups of photos, cut at 0 and 100 %; each is of its own difference, and none "
        "is corrected for there being so many. All choose their epoch by macro recall "
        "on val. Val and test are not thinned: the choice is made on a val that is "
        "better balanced than one of such a tail would be, and what favours rare "
        "classes can gain top-1 here, where a test split with the tail of the training "
        "photos would cost it some."
    )
    print("\n" + textwrap.fill(note, 88))


def _say_differences(rows: Sequence[Mapping[str, Any]], bands: Sequence[str]) -> None:
    heads = "".join(f" {band:>22}" for band in ("top-1", "all", *bands))
    print(f"\n{'difference, points':28} {'to':24}{heads}")
    for row in rows:
        if row["differences"] is None:
            continue
        cells = [gap(row["differences"], m) for m in ("top1_accuracy", "macro_recall")]
        for band in bands:
            found = row["band_differences"].get(band)
            cells.append(gap(found and found["differences"], "macro_recall"))
        told = "".join(f" {cell:>22}" for cell in cells)
        print(f"{row['way']:28} {row['reference']:24}{told}")


if __name__ == "__main__":
    main()
