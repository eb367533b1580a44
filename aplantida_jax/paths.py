"""Where everything lives: the one table of paths, derived from the configuration.

`data_dir` holds the dataset, `runs_dir/<experiment>` checkpoints, logs, metrics and
reports, `dist_dir` what ships. Every stage owns one directory with its `manifest.json`.
"""

from pathlib import Path
from typing import Any

Config = Any  # an ml_collections.ConfigDict; its fields: configs/common.py

SPLITS = ("train", "val", "test")


def export_dir(config: Config) -> Path:
    return Path(config.data_dir) / "export"


def photos(config: Config) -> Path:
    return export_dir(config) / "photos.jsonl"


def held_out(config: Config) -> Path:
    """Photos of species that nothing is trained on; there when some were held out."""
    return export_dir(config) / "held_out.jsonl"


def classes(config: Config) -> Path:
    """The label map."""
    return export_dir(config) / "classes.json"


def audit_dir(config: Config) -> Path:
    return Path(config.data_dir) / "audit"


def download_dir(config: Config) -> Path:
    return Path(config.data_dir) / "download"


def download_index(config: Config) -> Path:
    """What every image turned out to be: size, hashes, or the reason of its failure."""
    return download_dir(config) / "index.jsonl"


def cache_dir(config: Config) -> Path:
    return Path(config.download.cache_dir or Path(config.data_dir) / "cache")


def splits_dir(config: Config, region: str = "") -> Path:
    """`region` as in `config.region`: "" for all, else e.g. "EU_NORTH,EU_EAST"."""
    return Path(config.data_dir) / "splits" / (region_slug(region) or "all")


def split_file(config: Config, split: str, region: str = "") -> Path:
    """E.g. data/splits/eu_sw/dataset_eu_sw_train.jsonl."""
    slug = region_slug(region)
    name = f"dataset_{slug}_{split}.jsonl" if slug else f"dataset_{split}.jsonl"
    return splits_dir(config, region) / name


def split_stats(config: Config, region: str = "") -> Path:
    slug = region_slug(region)
    name = f"dataset_{slug}_stats.json" if slug else "dataset_stats.json"
    return splits_dir(config, region) / name


def preview_dir(config: Config) -> Path:
    """What the network of an experiment sees."""
    return Path(config.data_dir) / "preview" / config.name


def pack_dir(config: Config) -> Path:
    """The images of all splits, in few large files."""
    return Path(config.data_dir) / "pack"


def region_slug(region: str) -> str:
    """ "EU_NORTH,EU_EAST" -> "eu_north_eu_east"; the order given does not matter."""
    parts = sorted(part.strip().lower() for part in region.split(",") if part.strip())
    return "_".join(parts)


def run_dir(config: Config, name: str) -> Path:
    """The working directory of the experiment `name`."""
    return Path(config.runs_dir) / name


def best(workdir: Path) -> Path:
    """What a finished training run offers: its best checkpoint, described."""
    return Path(workdir) / "best.json"


def soft_labels(config: Config, name: str, split: str) -> Path:
    """The soft-label store of the teacher `name` (or "combined")."""
    return Path(config.data_dir) / "soft_labels" / name / split


def evaluation_dir(workdir: Path, split: str, region: str = "") -> Path:
    slug = region_slug(region)
    return Path(workdir) / "evaluate" / (f"{slug}_{split}" if slug else split)


def comparison_dir(config: Config, split: str, region: str = "") -> Path:
    """Of stage `compare`, beside the runs that it compares; apart if it has a name."""
    slug = region_slug(region)
    about = f"{slug}_{split}" if slug else split
    name = config.compare.name
    return Path(config.runs_dir) / "compare" / (f"{name}.{about}" if name else about)


def calibration(workdir: Path) -> Path:
    return Path(workdir) / "calibrate" / "calibration.json"


def out_of_distribution(workdir: Path) -> Path:
    """What a run says of plants and pictures that it cannot know."""
    return Path(workdir) / "out_of_distribution" / "out_of_distribution.json"


def saved_model_dir(config: Config) -> Path:
    return Path(config.dist_dir) / "saved_model" / config.export.name / _version(config)


def bundle_dir(config: Config) -> Path:
    """The model bundle that the app loads."""
    return Path(config.dist_dir) / "models" / config.export.name / _version(config)


def validation_dir(config: Config) -> Path:
    return Path(config.dist_dir) / "validation" / config.export.name / _version(config)


def pwa_dir(config: Config) -> Path:
    return Path(config.dist_dir) / "pwa"


def report_dir(config: Config) -> Path:
    return Path(config.runs_dir) / "report"


def _version(config: Config) -> str:
    return str(config.export.version)
