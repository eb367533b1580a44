"""The dataset: export, download, audit, split.

    python -m aplantida_jax.main --config=configs/dataset.py \
        --config.source.uri=mongodb://localhost:27017/ --config.stage=export_dataset

Stages: export_dataset, download, audit, split, preview (and demo_data with `:demo`).
Full size: export about a minute; download days, at what the host allows (it stops and
resumes at will); split under a minute. Needs about 80 GB with images shrunk on arrival.
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("dataset", "export_dataset", variant)
    if variant == "demo":
        presets.demo_data(config)
    if variant == "photos":
        presets.photos_data(config)
    return config
