"""Stage predict beside the bare forward pass of its teacher: images a second.

    python scripts/benchmark_predict.py [--model=NAME --batch=N --batches=N --views=V]

Photos of 512 x 683 pixels lie in a cache as JPEGs; the teacher has 8,587 classes and
random weights, which cost as much as trained ones. The forward pass repeats one batch
that lies on the device; the stage reads, decodes, crops, asks, cuts to the top 32,
packs and writes. Both in turns, after a batch each that compiles them; the median over
the rounds of (stage / forward) counts.

On a GPU decoding has the processor for itself. Without one it takes its time from the
forward pass, all the more of it the smaller the network. `--views` renders so many
views of each photo, which are the images then. Prints lines `name value goal`.
"""

import argparse
import dataclasses
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import benchmark_dataset
import jax
import numpy as np

from aplantida_jax import models, paths
from aplantida_jax.data import labels, pipeline
from aplantida_jax.data.image_source import open_images
from aplantida_jax.distill import store
from aplantida_jax.distill.labelling import Labelling
from aplantida_jax.distill.teacher import Teacher
from aplantida_jax.train import initial_model, state, step
from aplantida_jax.train.checkpoint import Best
from configs import teacher_global

CLASSES = 8_587


def main() -> None:
    options = _options()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as directory:
        config = _config(options, directory)
        photos = options.batch * options.batches // max(1, options.views)
        benchmark_dataset.write(
            config, classes=CLASSES, photos={"train": photos}, size=(512, 683)
        )
        bench = Bench(config, labels.read(paths.classes(config)))
        bench.predict(1)
        bench.forward(1)
        print(f"load_average {os.getloadavg()[0]:.1f} <0.5")
        rounds = [
            (bench.predict(options.batches), bench.forward(options.batches))
            for _ in range(options.rounds)
        ]
    stage, bare = (statistics.median(rates) for rates in zip(*rounds, strict=True))
    ratio = statistics.median(one / other for one, other in rounds)
    print(f"predict_images_per_s {stage:.2f} -")
    print(f"forward_images_per_s {bare:.2f} -")
    print(f"predict_of_forward {ratio:.3f} >=0.9")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="vit_base_patch16_384")
    parser.add_argument("--image_size", type=int, default=384)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=32)
    parser.add_argument("--views", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _config(options: argparse.Namespace, directory: str) -> Any:
    config = teacher_global.get_config()
    config.data_dir = directory
    config.model.update(
        {
            "name": options.model,
            "image_size": options.image_size,
            "dtype": options.dtype,
            "pretrained": "",
        }
    )
    config.input.resize = options.image_size * 7 // 6
    config.input.threads = os.cpu_count() or 1
    config.eval.batch_size = options.batch
    config.predict.views = options.views
    return config


class Bench:
    """A teacher with random weights, and what there is to ask it about."""

    def __init__(self, config: Any, label_map: labels.LabelMap):
        self._config, self._label_map = config, label_map
        fields = initial_model.fields(config, CLASSES, origin=None)
        module = models.create(**fields)
        variables = state.init_variables(
            module, image_size=config.model.image_size, seed=config.seed
        )
        about = {"region": "", "model": fields, "input": config.input.to_dict()}
        best = Best(module, variables, about)
        self._teacher = Teacher(
            best, label_map, top_k=config.predict.top_k, augment=config.augment
        )
        self._images = open_images(config)
        self._examples = pipeline.read_examples(
            config,
            paths.split_file(config, "train"),
            self._images,
            smart_crop=config.predict.views > 0,
        )
        self._forward = step.make_evaluation_step(module, config)
        side = config.model.image_size
        pixels = np.zeros((config.eval.batch_size, side, side, 3), np.uint8)
        self._on_device = jax.device_put((variables, pixels, np.ones(CLASSES, bool)))

    def predict(self, batches: int) -> float:
        """Images (views) a second of the stage, from its first read to its last."""
        each = max(1, self._config.predict.views)
        count = batches * self._config.eval.batch_size // each
        some = dataclasses.replace(
            self._examples,
            **{name: rows[:count] for name, rows in vars(self._examples).items()},
        )
        with tempfile.TemporaryDirectory() as directory:
            writer = store.Writer(
                Path(directory),
                k=self._config.predict.top_k,
                label_map=self._label_map,
                made_by="predict",
                key="",
                provenance=[],
                views={"count": each} if self._config.predict.views else None,
            )
            labelling = Labelling(
                *(self._config, self._teacher, writer, Path(directory)),
                images=len(some),
            )
            started = time.perf_counter()
            labelling.go_through(some, self._images)
            return len(some) * each / (time.perf_counter() - started)

    def forward(self, batches: int) -> float:
        """Images a second of the forward pass alone."""
        started = time.perf_counter()
        for _ in range(batches):
            answer = self._forward(*self._on_device)
        answer.block_until_ready()
        return batches * self._config.eval.batch_size / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
