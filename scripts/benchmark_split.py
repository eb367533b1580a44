"""Split of a collection of the plan's size: seconds, memory, leaks (P7).

    python scripts/benchmark_split.py [--photos=741533]

Writes photos, label map and download index into a temporary directory as the stages
before would, runs the stage in a fresh process and prints lines `name value goal`. Of
the photos 5 % are exact copies of others and 10 % near copies (1 to 6 bits apart);
observations hold two photos on average. What a photo costs follows its number, so that
--photos makes a smaller run of the same kind.

For comparison, the plan's own splits, of unknown time: the random one left 186 classes
of val out of train; the stratified one (118,126 records for 62,821 cached files) never
looked for duplicates, so that its leaks are not known.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels, records, regions
from aplantida_jax.demo import full_size
from configs import dataset

ROOT = Path(__file__).resolve().parents[1]
EXACT, NEAR = 0.05, 0.10  # of all photos
SEED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=int, default=full_size.PHOTOS)
    photos = parser.parse_args().photos
    with tempfile.TemporaryDirectory() as directory:
        config = dataset.get_config()
        config.data_dir = directory
        write_collection(config, photos)
        seconds, processor, memory = run_split(directory)
        stats = files.read_json(paths.split_stats(config), made_by="split")
    print(f"photos {photos} {full_size.PHOTOS}")
    print(f"split_seconds {seconds:.1f} <=60")
    print(f"split_processor_seconds {processor:.1f} -")
    print(f"split_peak_memory_gb {memory:.2f} <=2")
    print(f"leaks {sum(stats['leakage'].values())} 0")
    unlearnt = stats["classes"]["in_val_not_train"]
    print(f"val_classes_not_in_train {unlearnt} 0")
    print(f"largest_group_photos {stats['groups']['largest']} -")


def write_collection(config: Any, photos: int) -> None:
    """What `export_dataset` and `download` leave, with their manifests."""
    share = photos / full_size.PHOTOS
    sizes = full_size.class_sizes(
        classes=round(full_size.CLASSES * share),
        photos=photos,
        one=round(full_size.ONE_PHOTO * share),
        two=round(full_size.TWO_PHOTOS * share),
    )
    generator = np.random.default_rng(SEED)
    taxa: list[labels.Taxon] = []
    found: list[tuple[records.Photo, dict[str, Any]]] = []
    for document in full_size.documents(sizes, len(sizes), SEED):
        taxa.append(taxon(len(taxa), document))
        found.extend(photos_of(document, taxa[-1], generator))
    found.sort(key=lambda pair: pair[0].image_id)
    records.write_photos(paths.photos(config), (photo for photo, _ in found))
    labels.write(paths.classes(config), labels.LabelMap(tuple(taxa)))
    finish(config, "export_dataset", [paths.photos(config), paths.classes(config)])
    files.write_jsonl(paths.download_index(config), (row for _, row in found))
    finish(config, "download", [paths.download_index(config)])


def taxon(class_id: int, document: dict[str, Any]) -> labels.Taxon:
    name = document["latinName"]
    countries = tuple(sorted(document["distribution"]["countries"]))
    touched = regions.regions_of(countries)
    genus = name.split()[0]
    return labels.Taxon(class_id, name, name, name, genus, "", countries, touched)


def photos_of(
    document: dict[str, Any], of: labels.Taxon, generator: np.random.Generator
) -> Iterator[tuple[records.Photo, dict[str, Any]]]:
    """Every photo of a document with its row of the index.

    Copies are of an earlier photo of the class and, as what comes from a second source,
    belong to no observation.
    """
    images = document["images"]
    looks = generator.integers(0, 1 << 64, len(images), np.uint64).tolist()
    kinds = generator.random(len(images)).tolist()
    originals: list[int] = []
    for number, (image, kind) in enumerate(zip(images, kinds, strict=True)):
        content = number
        copied = bool(originals) and kind < EXACT + NEAR
        if not copied:
            originals.append(number)
        else:
            earlier = originals[int(generator.integers(len(originals)))]
            looks[number] = looks[earlier]
            if kind < EXACT:
                content = earlier
            else:
                looks[number] ^= some_bits(generator)
        observation = "" if copied else image["observationId"]
        photo = photo_of(document, of, image, observation)
        yield photo, index_row(photo, f"{of.class_id}/{content}", looks[number])


def some_bits(generator: np.random.Generator) -> int:
    """1 to 6 of 64 bits set."""
    count = int(generator.integers(1, 7))
    return sum(1 << bit for bit in generator.choice(64, count, False).tolist())


def photo_of(
    document: dict[str, Any], of: labels.Taxon, image: dict[str, Any], observation: str
) -> records.Photo:
    return records.Photo(
        image_id=records.image_id_of(image["url"]),
        plant_id=str(document["_id"]),
        latin_name=of.latin_name,
        class_id=of.class_id,
        url=image["url"],
        source=image["source"],
        licence="CC-BY-4.0",
        licence_raw=image["license"],
        attribution=image["attribution"],
        countries=of.countries,
        regions=of.regions,
        observation=observation,
    )


def index_row(photo: records.Photo, content: str, look: int) -> dict[str, Any]:
    return {
        "image_id": photo.image_id,
        "status": "ok",
        "reason": "",
        "width": 1024,
        "height": 768,
        "bytes": 250_000,
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "phash": f"{look:016x}",
        "orientation": 1,
    }


def finish(config: Any, stage: str, outputs: list[Path]) -> None:
    """The manifest that the stage would leave beside its outputs."""
    out_dir = outputs[0].parent
    job = manifest.begin(config, stage=stage, out_dir=out_dir, inputs=(), depends_on=())
    assert job is not None
    job.finish(outputs=outputs, metrics={})


def run_split(data_dir: str) -> tuple[float, float, float]:
    """Seconds, those of the processor, and GB of resident memory at most.

    Of the stage in a process of its own, its start included.
    """
    command = [
        *(sys.executable, "-m", "aplantida_jax.main", "--config=configs/dataset.py"),
        *("--config.stage=split", f"--config.data_dir={data_dir}"),
    ]
    started = time.perf_counter()
    child = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"the split ended with exit code {child.returncode}")
    processor = usage.ru_utime + usage.ru_stime
    return seconds, processor, usage.ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
