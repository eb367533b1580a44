"""Exports a collection of the plan's size from a database server, and times it.

    .venv/bin/python scripts/benchmark_export.py [--documents=900] [--uri=mongodb://...]

Fills the server (the one that the tests use, unless --uri names another) with 9,000
documents of 741,533 images, exports them in a process of its own, and prints lines
`name value goal`. The time is all of that process's, from its start to its end, and
contains the server's: FerretDB has no index to sort by and reads everything (4 GB of
memory) before it sends the first document. The memory printed is the exporting
process's alone.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from database import Database, Server, address, description, program  # noqa: E402

from aplantida_jax.demo import full_size  # noqa: E402

SEED = 42


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=full_size.DOCUMENTS)
    parser.add_argument("--uri", default=address(), help="a server of your own")
    options = parser.parse_args()
    if not options.uri and not program():
        sys.exit(
            "error: no database server: run scripts/install_mongo.sh, or use --uri"
        )
    sizes = sizes_for(options.documents)
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        uri = options.uri or stack.enter_context(running_server(root))
        database = Database(uri, f"aplantida_{uuid.uuid4().hex}")
        stack.callback(database.drop)
        database.fill(full_size.documents(sizes, options.documents, SEED))
        cost = run_export(root, database)
        metrics = json.loads((root / "export" / "manifest.json").read_text())["metrics"]
    print(f"server {'--uri' if options.uri else description()}")
    report(options.documents, int(sizes.sum()), cost, metrics)


def sizes_for(documents: int) -> np.ndarray:
    """Photos of every class of a collection with fewer documents but the same tail."""
    share = documents / full_size.DOCUMENTS
    return full_size.class_sizes(
        classes=round(full_size.CLASSES * share),
        photos=round(full_size.PHOTOS * share),
        one=round(full_size.ONE_PHOTO * share),
        two=round(full_size.TWO_PHOTOS * share),
    )


@contextlib.contextmanager
def running_server(root: Path) -> Iterator[str]:
    # FerretDB is written in Go, whose garbage collector need not hurry here.
    server = Server(root / "server", GOGC="400")
    try:
        yield server.uri
    finally:
        server.kill()


def run_export(root: Path, database: Database) -> tuple[float, float, float]:
    """Of the stage in its own process: wall seconds, CPU seconds, peak memory in GB."""
    command = [
        *(sys.executable, "-m", "aplantida_jax.main", "--config=configs/dataset.py"),
        *("--config.stage=export_dataset", f"--config.data_dir={root}"),
        *(f"--config.source.uri={database.uri}", "--log_level=warning"),
        f"--config.source.database={database.name}",
        "--config.dataset.min_images_per_species=1",
    ]
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("error: the export failed")
    processor = usage.ru_utime + usage.ru_stime
    return time.monotonic() - start, processor, usage.ru_maxrss * 1024 / 1e9


def report(
    documents: int,
    images: int,
    cost: tuple[float, float, float],
    metrics: dict[str, Any],
) -> None:
    seconds, processor, memory = cost
    read = metrics["documents_read"]
    settled = metrics["documents_exported"] + metrics["documents_quarantined"]
    print(f"export_seconds {seconds:.1f}")
    print(f"export_cpu_seconds {processor:.1f} (the server's own time is not in it)")
    print(f"export_records_per_second {images / seconds:.0f} >=20000")
    print(f"export_peak_memory_gb {memory:.2f} <=1")
    print(f"documents_read {read} {documents}")
    print(f"documents_exported_or_quarantined {settled} {documents}")
    print(f"photos {metrics['photos']} {images}")


if __name__ == "__main__":
    main()
