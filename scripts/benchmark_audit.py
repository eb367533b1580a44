"""Audit and CREDITS of a collection of the plan's size: seconds, memory, bytes.

    python scripts/benchmark_audit.py [--photos=741533]

Writes what the stages before would leave, as `benchmark_split.py` does, runs the stage
in a fresh process without asking for URLs, and prints lines `name value goal`. Of the
photos 5 % are exact copies and 10 % near copies. CREDITS is made of the same photos,
with an author for every five of them.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmark_split

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import credits, records
from aplantida_jax.demo import full_size
from configs import dataset

_PHOTOS_OF_AN_AUTHOR = 5
# What the export would have counted of the licences; the last three are unknown.
_SPELLINGS = ("cc-by", "CC BY-SA 4.0", "CC0", "all rights reserved", "", "null")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=int, default=full_size.PHOTOS)
    photos = parser.parse_args().photos
    with tempfile.TemporaryDirectory() as directory:
        config = dataset.get_config()
        config.data_dir = directory
        benchmark_split.write_collection(config, photos)
        write_schema(config, photos)
        seconds, memory = run_audit(directory)
        audit = files.read_json(paths.audit_dir(config) / "audit.json", made_by="audit")
        page = paths.audit_dir(config) / "audit.html"
        print(f"photos {photos}")
        print(f"audit_seconds {seconds:.1f} <=120")
        print(f"audit_peak_memory_gb {memory:.2f} <=2")
        print(f"audit_page_mb {page.stat().st_size / 1e6:.2f} <=5")
        print(f"duplicate_pairs {pairs(audit)} >={photos // 10}")
        print_credits(config)


def write_schema(config: Any, photos: int) -> None:
    """The rest of what `export_dataset` leaves, and its manifest anew."""
    counts = {text: photos // len(_SPELLINGS) for text in _SPELLINGS}
    schema = paths.export_dir(config) / "schema.json"
    files.write_json(schema, {"fields": {"images[].license": {"values": counts}}})
    (paths.export_dir(config) / manifest.MANIFEST).unlink()
    job = manifest.begin(
        config,
        stage="export_dataset",
        out_dir=schema.parent,
        inputs=(),
        depends_on=(),
    )
    assert job is not None
    job.finish(
        outputs=[paths.photos(config), paths.classes(config), schema],
        metrics={
            "documents_read": full_size.DOCUMENTS,
            "documents_quarantined": full_size.DOCUMENTS - full_size.CLASSES,
            "images_read": 2 * photos,
        },
    )


def run_audit(data_dir: str) -> tuple[float, float]:
    """Seconds, and GB of resident memory at most, of the stage in its own process."""
    command = [
        *(sys.executable, "-m", "aplantida_jax.main", "--config=configs/dataset.py"),
        *("--config.stage=audit", "--config.audit.sample_urls=0"),
        f"--config.data_dir={data_dir}",
    ]
    started = time.perf_counter()
    subprocess.run(command, cwd=benchmark_split.ROOT, check=True)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return seconds, peak * 1024 / 1e9


def pairs(audit: dict[str, Any]) -> int:
    found = audit["duplicates"]
    return int(found["exact"] + found["near"])


def print_credits(config: Any) -> None:
    started = time.perf_counter()
    found = credits.of_photos(with_authors(paths.photos(config)))
    size = sum(len(line.encode()) for line in found.lines())
    seconds = time.perf_counter() - started
    print(f"credits_authors {found.authors()}")
    print(f"credits_mb {size / 1e6:.2f} <=20")
    print(f"credits_seconds {seconds:.1f} <=60")


def with_authors(path: Path) -> Iterator[dict[str, Any]]:
    """The photos, with so many authors as a collection by amateurs has."""
    for row in records.read_rows(path, made_by="export_dataset"):
        number = int(row["image_id"], 16)
        authors = full_size.PHOTOS // _PHOTOS_OF_AN_AUTHOR
        name = f"(c) Observer Surname {number % authors}, some rights reserved (CC BY)"
        yield {**row, "attribution": name}


if __name__ == "__main__":
    main()
