"""Stage preview draws a figure from the real pipeline."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Dataset

from aplantida_jax import paths
from aplantida_jax.data import labels, preview
from aplantida_jax.data.image_source import open_images
from aplantida_jax.errors import UserError
from configs import presets


def columns_of(config):
    """Titles and pictures of the figure, without drawing it."""
    images = open_images(config)
    path = paths.split_file(config, "train")
    examples, photos = preview._choose(config, path, images)
    label_map = labels.read(paths.classes(config))
    crops = preview._crops(config, photos, examples.box)
    return crops, preview._network_sees(config, examples, images, label_map)


def test_the_figure_shows_photos_crops_and_samples(dataset: Dataset, tmp_path: Path):
    config = dataset.teacher()
    preview.run(config, tmp_path)
    path = paths.preview_dir(config) / "preview.png"
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


def test_without_augmentation_the_network_sees_the_smart_crop(dataset: Dataset):
    config = dataset.teacher()
    still = ("rotation", "blur", "brightness", "contrast", "saturation", "hue")
    config.augment.update(dict.fromkeys(still, 0.0))
    config.augment.update({"scale": (1.0, 1.0), "vertical_flip": 0.0})
    config.augment.horizontal_flip = 0.0
    (_, (_, smart)), seen = columns_of(config)
    assert [title for title, _ in seen] == ["augmented"] * 4
    crops = np.array(smart).astype(int)
    for _, pictures in seen:
        for row, picture in enumerate(pictures):
            differences = np.abs(crops - picture).mean(axis=(1, 2, 3))
            assert differences.argmin() == row
            assert differences[row] < 12  # resampled otherwise, of a noisy photo


def test_the_aggressive_preset_and_both_ways_of_mixing_are_seen(dataset: Dataset):
    config = dataset.teacher()
    presets.aggressive(config)
    config.augment.erasing = 1.0
    config.augment.mixup_probability = 0.5
    _, seen = columns_of(config)
    titles = [title for title, _ in seen]
    assert titles == ["augmented"] * 4 + ["mixup", "cutmix"]
    for _, pictures in seen[:4]:
        for picture in pictures:
            # Erasing leaves one colour where the photos are noise.
            colours = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)[1]
            assert colours.max() > 8


def test_a_photo_that_is_gone_is_not_shown(dataset: Dataset, tmp_path: Path):
    config = dataset.teacher()
    objects = sorted(paths.cache_dir(config).glob("objects/*/*/*"))
    for path in objects[5:]:
        path.unlink()
    (_, (_, smart)), seen = columns_of(config)
    assert 0 < len(smart) <= 5
    assert all(len(pictures) == len(smart) for _, pictures in seen)
    for path in objects[:5]:
        path.unlink()
    with pytest.raises(UserError, match="no photo of"):
        preview.run(config, tmp_path)
