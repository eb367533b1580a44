"""Stage preview: what the network really sees, from the real pipeline.

One figure, `<data_dir>/preview/preview.png`: a row per photo with the original and both
crops drawn in, the centre crop, the smart crop, and augmented training samples with the
device's colour jitter applied.
"""

from pathlib import Path
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from absl import logging

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import crop_boxes, decode, labels, pipeline
from aplantida_jax.data.image_source import ImageSource, open_images
from aplantida_jax.data.smart_crop import Box
from aplantida_jax.data.transforms import centre_box, draw_view, evaluation_view, render
from aplantida_jax.train import device_augment

_ROWS = 8
_AUGMENTED = 4
_MOST_CANDIDATES = 512


def run(config: Any, workdir: Path) -> None:
    """Draws the figure for a seeded choice of training photos."""
    del workdir
    out_dir = Path(config.data_dir) / "preview"
    split_path = paths.split_file(config, "train", config.region)
    job = manifest.begin(
        config,
        stage="preview",
        out_dir=out_dir,
        inputs=[
            manifest.Input(paths.classes(config), "export_dataset"),
            manifest.Input(split_path, "split"),
        ],
        depends_on=("model", "input", "augment", "region"),
    )
    if job is None:
        return
    if config.dry_run:
        logging.info("would draw %d photos of %s", _ROWS, split_path)
        return
    label_map = labels.read(paths.classes(config))
    images = open_images(config)
    examples = _choose(config, split_path, images)
    figure = _draw(config, examples, images, label_map)
    out = out_dir / "preview.png"
    with files.atomic_open(out) as sink:
        figure.savefig(sink, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    job.finish(
        outputs=[out],
        metrics={"photos": len(examples)},
        label_map=label_map.fingerprint,
    )
    logging.info("look at %s", out)


def _choose(config: Any, split_path: Path, images: ImageSource) -> pipeline.Examples:
    """A seeded choice of photos, with the smart-crop box furthest from the centre."""
    everything = pipeline.read_examples(config, split_path, images, smart_crop=False)
    rng = np.random.default_rng(config.seed)
    some = rng.permutation(len(everything))[:_MOST_CANDIDATES]
    boxes = crop_boxes.kept(config, everything.image_id[some], images)
    off_centre = np.abs(boxes[:, :2] - 0.5).max(axis=1)
    rows = np.argsort(-off_centre, kind="stable")[: _ROWS // 2]
    rows = np.concatenate([rows, np.setdiff1d(np.arange(len(some)), rows)])[:_ROWS]
    chosen = some[rows]
    return pipeline.Examples(
        everything.image_id[chosen], everything.label[chosen], boxes[rows]
    )


def _draw(
    config: Any,
    examples: pipeline.Examples,
    images: ImageSource,
    label_map: labels.LabelMap,
) -> Any:
    columns = 3 + _AUGMENTED
    figure, axes = plt.subplots(
        len(examples), columns, figsize=(1.7 * columns, 1.75 * len(examples))
    )
    axes = np.atleast_2d(axes)
    titles = ["photo", "centre crop", "smart crop"] + ["augmented"] * _AUGMENTED
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.axis("off")
    for row, axis in enumerate(axes):
        image_id = f"{int(examples.image_id[row]):016x}"
        data = images.get(image_id)
        if data is None:
            logging.warning("%s is not there any more", image_id)
            continue
        image = decode.decode(data, max_pixels=config.download.max_pixels)
        name = label_map.taxa[int(examples.label[row])].latin_name
        _draw_row(config, axis, image, Box(*map(float, examples.box[row])), name, row)
    return figure


def _draw_row(
    config: Any, axis: Any, image: np.ndarray, box: Box, name: str, row: int
) -> None:
    height, width = image.shape[:2]
    size, resize = config.model.image_size, config.input.resize
    x, y, side = centre_box(width, height, image_size=size, resize=resize)
    smart = box.side * min(width, height)
    corner = box.x * width - smart / 2, box.y * height - smart / 2
    axis[0].imshow(image)
    for (left, top), length, colour in (
        ((x, y), side, "white"),
        (corner, smart, "tab:orange"),
    ):
        axis[0].add_patch(
            plt.Rectangle((left, top), length, length, fill=False, color=colour, lw=1.5)
        )
    axis[0].text(0, height, name, fontsize=7, style="italic", va="top")
    axis[1].imshow(evaluation_view(image, image_size=size, resize=resize))
    axis[2].imshow(evaluation_view(image, image_size=size, resize=resize, box=box))
    rng = np.random.default_rng([config.seed, row])
    views = [
        draw_view(rng, box, config.augment, width=width, height=height)
        for _ in range(_AUGMENTED)
    ]
    batch = np.stack([render(image, view, image_size=size) for view in views])
    coloured = device_augment.augment(
        jax.random.key(row), device_augment.to_unit(batch), augment=config.augment
    )
    for cell, augmented in zip(axis[3:], np.asarray(coloured), strict=True):
        cell.imshow(augmented)
