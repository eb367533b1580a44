"""Run with three simulated devices: stage predict of a trained teacher on all of them.

    python tests/predict_on_devices.py ROOT VIEWS

ROOT is that of a dataset with a teacher, see `conftest.trained`. Prints JSON:
{"devices": N, "batch": rows of a batch, which 16 would not divide among}.
"""

import json
import sys
from pathlib import Path

import jax
from conftest import Dataset

from aplantida_jax import paths
from aplantida_jax.data import labels
from aplantida_jax.distill import predict
from aplantida_jax.evaluate import all_devices


def main(root: Path, views: int) -> None:
    config = Dataset(root, labels.LabelMap(())).teacher()
    config.predict.views = views
    predict.run(config, paths.run_dir(config, config.name))
    batch = all_devices.share_out(config).eval.batch_size
    print(json.dumps({"devices": jax.local_device_count(), "batch": batch}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
