"""Photos through TensorFlow.js in headless Chromium: pixels, logits and times.

The page is web/validate.html, with the modules that the app itself uses.
"""

import base64
import dataclasses
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aplantida_jax import web_server
from aplantida_jax.errors import UserError
from aplantida_jax.export import browser, web_files
from aplantida_jax.progress import track

BACKENDS = ("wasm", "cpu")


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What the browser made of n photos.

    Attributes:
        pixels: uint8 [n, size, size, 3], what its preprocessing gave.
        logits: float32 [n, classes] of each model.
        timings: {load_ms, first_ms, median_ms} of each model; the runs of all models
            are interleaved, so that whatever slows the machine slows all alike.
    """

    pixels: np.ndarray
    logits: dict[str, np.ndarray]
    timings: dict[str, dict[str, float]]


def check_ready(backend: str) -> None:
    """Raises UserError when there's no browser, no TensorFlow.js or no such backend."""
    if backend not in BACKENDS:
        raise UserError(
            f"--config.export.backend={backend}: stage 'validate_export' runs "
            + " or ".join(BACKENDS)
        )
    browser.find_chromium()
    list(web_files.vendor_files())


def classify(
    photos: Mapping[str, bytes],
    models: Mapping[str, Path],
    *,
    shape: Mapping[str, int],
    backend: str,
) -> Seen:
    """Runs every graph model on every photo.

    Args:
        photos: {name: bytes of an image file}; names become file names.
        models: {name: directory of a graph model}.
        shape: {"size", "resize"} of the bundle's input.
        backend: one of `BACKENDS`.

    Raises:
        UserError: what `check_ready` says.
        browser.PageError: the page reported errors.
    """
    check_ready(backend)
    with tempfile.TemporaryDirectory() as temporary:
        site = Path(temporary)
        web_files.install(web_files.VALIDATION, site)
        for name, directory in models.items():
            (site / name).symlink_to(directory.resolve(), target_is_directory=True)
        (site / "photos").mkdir()
        for name, data in photos.items():
            (site / "photos" / name).write_bytes(data)
        with (
            web_server.serve(site) as url,
            browser.open_page(f"{url}/validate.html") as page,
        ):
            return _drive(page, list(photos), list(models), shape, backend)


def _drive(
    page: Any,
    photos: list[str],
    models: list[str],
    shape: Mapping[str, int],
    backend: str,
) -> Seen:
    page.evaluate("(name) => validation.startBackend(name)", backend)
    size = shape["size"]
    started = {
        name: page.evaluate(
            "([name, size]) => validation.load(name, size)", [name, size]
        )
        for name in models
    }
    answers = []
    for index, photo in enumerate(track(photos, total=len(photos), what="browser")):
        # Each model is as often first, second and third.
        turn = index % len(models)
        order = models[turn:] + models[:turn]
        arguments = [f"photos/{photo}", dict(shape), order]
        answers.append(
            page.evaluate("(given) => validation.classify(...given)", arguments)
        )
    pixels = [_decode(answer["pixels"], np.uint8) for answer in answers]
    return Seen(
        pixels=np.stack(pixels).reshape(-1, size, size, 3),
        logits={
            name: np.stack([_decode(a["logits"][name], np.float32) for a in answers])
            for name in models
        },
        timings={
            name: {
                "load_ms": started[name]["load"],
                "first_ms": started[name]["first"],
                "median_ms": statistics.median(a["ms"][name] for a in answers),
            }
            for name in models
        },
    )


def _decode(text: str, dtype: Any) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)
