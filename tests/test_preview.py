"""Stage preview draws a figure from the real pipeline."""

from pathlib import Path

import cv2
from conftest import Dataset

from aplantida_jax.data import preview


def test_the_figure_shows_photos_crops_and_samples(dataset: Dataset, tmp_path: Path):
    config = dataset.teacher()
    preview.run(config, tmp_path)
    path = Path(config.data_dir) / "preview" / "preview.png"
    figure = cv2.imread(str(path))
    assert figure is not None
    height, width = figure.shape[:2]
    assert width > 800
    assert height > 800
    # Not a blank sheet: the photos' reds, greens and blues are there.
    assert figure.reshape(-1, 3).std(axis=0).min() > 20
    before = path.read_bytes()
    preview.run(config, tmp_path)
    assert path.read_bytes() == before
