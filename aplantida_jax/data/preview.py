"""Stage preview: what the network really sees, from the real pipeline.

One figure, `<data_dir>/preview/<experiment>/preview.png`, a row per training photo: the
photo with its crops drawn in; the centre crop, which is what evaluation and the app
see; the smart crop; then what the first steps of training would be given, that is
batches of `pipeline.make_train` after the step's own augmentation on the device; and
the same batch with mixup and with cutmix, where the experiment mixes.
"""

import copy
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from absl import logging

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import crop_boxes, decode, labels, pipeline
from aplantida_jax.data.image_source import ImageSource, open_images
from aplantida_jax.data.labels import LabelMap
from aplantida_jax.data.smart_crop import CENTRE, Box
from aplantida_jax.data.transforms import centre_box, evaluation_view
from aplantida_jax.errors import UserError
from aplantida_jax.train import inputs

_ROWS = 8
_AUGMENTED = 4
_MOST_CANDIDATES = 512
_MIXES = ("mixup", "cutmix")

Column = tuple[str, list[np.ndarray]]  # its title, and a picture for each row


def run(config: Any, workdir: Path) -> None:
    """Draws the figure for a seeded choice of training photos."""
    del workdir  # it is looked at before there is one
    out_dir = paths.preview_dir(config)
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
    examples, photos = _choose(config, split_path, images)
    columns = [
        *_crops(config, photos, examples.box),
        *_network_sees(config, examples, images, label_map),
    ]
    figure = _draw(config, examples, photos, columns, label_map)
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


def _choose(
    config: Any, split_path: Path, images: ImageSource
) -> tuple[pipeline.Examples, list[np.ndarray]]:
    """Some photos that can be read, the smart crops furthest from the centre first."""
    everything = pipeline.read_examples(config, split_path, images, smart_crop=False)
    rng = np.random.default_rng(config.seed)
    some = rng.permutation(len(everything))[:_MOST_CANDIDATES]
    boxes = crop_boxes.kept(config, everything.image_id[some], images)
    there = ~np.isnan(boxes).any(axis=1)
    some, boxes = some[there], boxes[there]
    order = np.argsort(-np.abs(boxes[:, :2] - 0.5).max(axis=1), kind="stable")
    # Half of them as they come: a choice of the oddest alone would mislead.
    order = np.concatenate([order[: _ROWS // 2], np.sort(order[_ROWS // 2 :])])
    rows, photos = [], []
    for row in order:
        photo = _read(config, images, everything.image_id[some[row]])
        if photo is not None:
            rows.append(row)
            photos.append(photo)
        if len(rows) == _ROWS:
            break
    if not rows:
        raise UserError(f"no photo of {split_path} can be read: {images.remedy}")
    chosen = some[rows]
    return (
        pipeline.Examples(
            everything.image_id[chosen], everything.label[chosen], boxes[rows]
        ),
        photos,
    )


def _read(config: Any, images: ImageSource, image_id: np.uint64) -> np.ndarray | None:
    data = images.get(f"{int(image_id):016x}")
    try:
        most = config.download.max_pixels
        return None if data is None else decode.decode(data, max_pixels=most)
    except decode.BrokenImage:
        return None


def _crops(config: Any, photos: list[np.ndarray], boxes: np.ndarray) -> list[Column]:
    """What evaluation sees, and what training starts from."""
    sizes = {"image_size": config.model.image_size, "resize": config.input.resize}
    smart = zip(photos, (Box(*map(float, box)) for box in boxes), strict=True)
    return [
        ("centre crop", [evaluation_view(photo, **sizes) for photo in photos]),
        (
            "smart crop",
            [evaluation_view(photo, **sizes, box=box) for photo, box in smart],
        ),
    ]


def _network_sees(
    config: Any, examples: pipeline.Examples, images: ImageSource, label_map: LabelMap
) -> list[Column]:
    """The first batches of a training set of these photos, as the step makes them."""
    config = copy.deepcopy(config)
    config.train.update({"batch_size": len(examples), "sampling": "uniform"})
    config.distill.mode = "none"
    if not config.input.smart_crop:
        centre = np.array([CENTRE.x, CENTRE.y, CENTRE.side], np.float32)
        examples = pipeline.Examples(
            examples.image_id, examples.label, np.tile(centre, (len(examples), 1))
        )
    batches = pipeline.make_train(
        config, examples, images, seed=config.seed, skipped=pipeline.Skipped()
    )
    classes = len(label_map)
    constants = inputs.Constants(jnp.ones(classes, bool), jnp.zeros(classes))
    kinds = ["augmented"] * _AUGMENTED
    if config.augment.mixup_probability > 0:
        kinds += [kind for kind in _MIXES if config.augment[f"{kind}_alpha"] > 0]
    views = {kind: inputs.make_view(_mixing(config, kind)) for kind in set(kinds)}
    columns = []
    for step, (kind, batch) in enumerate(zip(kinds, batches, strict=False)):
        shown = {name: batch[name] for name in ("image", "label")}
        seen = dict(
            zip(
                batch["image_id"].tolist(),
                np.asarray(views[kind](step, shown, constants)),
                strict=True,
            )
        )
        columns.append((kind, [seen[int(number)] for number in examples.image_id]))
    return columns


def _mixing(config: Any, kind: str) -> Any:
    """The configuration with this way of mixing for certain, and no other."""
    config = copy.deepcopy(config)
    config.augment.mixup_probability = 1.0 if kind in _MIXES else 0.0
    for other in _MIXES:
        if other != kind:
            config.augment[f"{other}_alpha"] = 0.0
    return config


def _draw(
    config: Any,
    examples: pipeline.Examples,
    photos: list[np.ndarray],
    columns: list[Column],
    label_map: LabelMap,
) -> Any:
    figure, axes = plt.subplots(
        len(photos),
        1 + len(columns),
        figsize=(1.7 * (1 + len(columns)), 1.75 * len(photos)),
        squeeze=False,
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, title in zip(axes[0], ["photo", *(c[0] for c in columns)], strict=True):
        axis.set_title(title, fontsize=9)
    for row, photo in enumerate(photos):
        taxon = label_map.taxa[int(examples.label[row])]
        box = Box(*map(float, examples.box[row]))
        _draw_photo(config, axes[row, 0], photo, box, taxon.latin_name)
        for axis, (_, pictures) in zip(axes[row, 1:], columns, strict=True):
            axis.imshow(pictures[row])
    return figure


def _draw_photo(config: Any, axis: Any, photo: np.ndarray, box: Box, name: str) -> None:
    """The photo with the centre crop in white and the smart crop in orange."""
    height, width = photo.shape[:2]
    x, y, side = centre_box(
        width, height, image_size=config.model.image_size, resize=config.input.resize
    )
    smart = box.side * min(width, height)
    corner = box.x * width - smart / 2, box.y * height - smart / 2
    axis.imshow(photo)
    for (left, top), length, colour in (
        ((x, y), side, "white"),
        (corner, smart, "tab:orange"),
    ):
        axis.add_patch(
            plt.Rectangle((left, top), length, length, fill=False, color=colour, lw=1.5)
        )
    axis.text(0, height, name, fontsize=7, style="italic", va="top")
