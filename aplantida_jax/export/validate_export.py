"""Stage `validate_export`: does the exported model say what the trained one says?

Real photos go, as the bytes of their files, through

    JAX           the flax model, unfolded, in float32: the reference
    SavedModel    TensorFlow, on the same pixels
    browser       TensorFlow.js in headless Chromium, in every precision; it decodes and
                  prepares the photos itself, with the app's own preprocess.js

and dist/validation/<name>/<version>/validation.json tells how far they are apart:

    {passed, shipped, backend, images, splits, pixels{...}, variants{<name>: {...}}}

with what `parity.compare` says of each variant and, for those of the browser, their
bytes, files{name: sha256}, load_ms, first_ms, median_ms. The stage fails, and `pwa`
refuses, unless SavedModel, float32 and the precision that ships are within the limits.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import labels
from aplantida_jax.errors import UserError
from aplantida_jax.export import (
    browser,
    browser_run,
    bundle,
    export_model,
    parity,
    reference,
    tfjs,
)


def run(config: Any, workdir: Path) -> None:
    """Compares, writes validation.json, and raises UserError when it does not pass."""
    job = manifest.begin(
        config,
        stage="validate_export",
        out_dir=paths.validation_dir(config),
        inputs=_inputs(config),
        depends_on=("export",),
    )
    if job is None:
        return
    metadata = bundle.read(paths.bundle_dir(config))
    _check_shipped(config, metadata)
    # Before the work that would be lost without a browser.
    browser_run.check_ready(config.export.backend)
    if config.dry_run:
        _say_plan(config)
        return
    result = validate(config, metadata)
    path = job.out_dir / bundle.VALIDATION
    files.write_json(path, result)
    _log(result)
    # A failure stays undone: the stage must not have "nothing to do" the next time.
    require_passed(result, path)
    job.finish(
        outputs=[path],
        metrics={"passed": result["passed"], "images": result["images"]},
        label_map=metadata["label_map"],
    )


def validate(config: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """All of the comparison; returns what validation.json holds."""
    from aplantida_jax.train import checkpoint

    photos, splits = reference.read_photos(config, config.export.validation_images)
    shape = metadata["input"]
    pixels = reference.pixels_of(
        photos.values(), shape=shape, max_pixels=config.download.max_pixels
    )
    best = checkpoint.load_best(
        paths.run_dir(config, config.export.run), labels.read(paths.classes(config))
    )
    expected = reference.flax_logits(best.module, best.variables, best.info, pixels)
    saved_model = paths.saved_model_dir(config)
    logits = {"saved_model": reference.saved_model_logits(saved_model, pixels)}
    directories = {p: bundle.variants_dir(config) / p for p in tfjs.PRECISIONS}
    seen = browser_run.classify(
        photos, directories, shape=shape, backend=config.export.backend
    )
    logits.update(seen.logits)
    return {
        "shipped": metadata["weights"],
        "backend": config.export.backend,
        "images": len(photos),
        "splits": splits,
        "pixels": _compare_pixels(pixels, seen.pixels),
        **_judge(expected, logits, seen, metadata, directories),
    }


def require_passed(result: Mapping[str, Any], path: Path) -> None:
    """Raises UserError when what ships is outside of the limits."""
    if result["passed"]:
        return
    reasons = [
        f"{name}: {'; '.join(result['variants'][name]['failures'])}"
        for name in _deciding(result["shipped"])
        if result["variants"][name]["failures"]
    ]
    raise UserError(
        f"the exported model differs from the trained one ({' | '.join(reasons)}); "
        f"see {path}. If only {result['shipped']} fails, ship another precision with "
        "--config.export.weights=float16 and run 'export_model' and this stage again"
    )


def _check_shipped(config: Any, metadata: Mapping[str, Any]) -> None:
    if metadata["weights"] != config.export.weights:
        raise UserError(
            f"{paths.bundle_dir(config)} holds {metadata['weights']} weights, and "
            f"config.export.weights={config.export.weights}: run stage 'export_model'"
        )


def _deciding(shipped: str) -> list[str]:
    return list(dict.fromkeys(("saved_model", "float32", shipped)))


def _judge(
    expected: np.ndarray,
    logits: Mapping[str, np.ndarray],
    seen: browser_run.Seen,
    metadata: Mapping[str, Any],
    directories: Mapping[str, Path],
) -> dict[str, Any]:
    """{passed, variants} of validation.json."""
    calibration = metadata["calibration"]
    variants = {}
    for name, values in logits.items():
        metrics = parity.compare(
            expected,
            values,
            temperature=calibration["temperature"],
            threshold=calibration["threshold"],
        )
        failures = parity.failures(name, metrics, len(expected))
        variants[name] = {**metrics, "passed": not failures, "failures": failures}
    for name, directory in directories.items():
        variants[name] |= {
            "bytes": files.size_of(directory),
            "files": {p.name: files.sha256_file(p) for p in directory.iterdir()},
            **seen.timings[name],
        }
    deciding = _deciding(metadata["weights"])
    passed = all(variants[name]["passed"] for name in deciding)
    return {"passed": passed, "variants": variants}


def _compare_pixels(python: np.ndarray, browser_pixels: np.ndarray) -> dict[str, Any]:
    """How the browser's decoding and preprocessing differ from ours."""
    difference = np.abs(python.astype(np.int16) - browser_pixels)
    return {
        "values": difference.size,
        "different": int((difference > 0).sum()),
        "max_difference": int(difference.max()),
        "images_different": int((difference > 0).any(axis=(1, 2, 3)).sum()),
    }


def _inputs(config: Any) -> list[manifest.Input]:
    run_dir = paths.run_dir(config, config.export.run)
    return [
        manifest.Input(paths.bundle_dir(config) / bundle.METADATA, "export_model"),
        *export_model.saved_model_inputs(config),
        *(export_model.variant_input(config, p) for p in tfjs.PRECISIONS),
        manifest.Input(paths.classes(config), "export_dataset"),
        manifest.Input(paths.best(run_dir), "train"),
        *(
            manifest.Input(paths.split_file(config, s), "split")
            for s in reference.SPLITS
        ),
    ]


def _say_plan(config: Any) -> None:
    logging.info(
        "would run %d photos through JAX, the SavedModel and TensorFlow.js (%s, in "
        "%s), and write %s; under a minute",
        config.export.validation_images,
        config.export.backend,
        browser.find_chromium(),
        paths.validation_dir(config) / bundle.VALIDATION,
    )


def _log(result: Mapping[str, Any]) -> None:
    pixels = result["pixels"]
    logging.info(
        "%d photos (%s); pixels in the browser: %d of %d values differ, by %d at most",
        result["images"],
        ", ".join(f"{n} of {split}" for split, n in result["splits"].items()),
        pixels["different"],
        pixels["values"],
        pixels["max_difference"],
    )
    for line in table(result).splitlines():
        logging.info("%s", line)
    logging.info(
        "%d photos can show an agreement of %.1f %%, and no higher (95 %% interval); "
        "99.9 %% takes %d",
        result["images"],
        100 * 0.05 ** (1 / result["images"]),
        parity.images_needed(0.999),
    )


def table(result: Mapping[str, Any]) -> str:
    """The variants as text, one a line."""
    head = (
        f"{'':12} {'max|d|':>8} {'mean|d|':>8} {'corr.':>8} {'top-1':>7} {'ties':>4} "
        f"{'flips':>5} {'MB':>6} {'load':>6} {'first':>6} {'median ms':>9}"
    )
    lines = [head]
    for name, m in result["variants"].items():
        line = (
            f"{name:12} {m['max_abs_difference']:8.5f} {m['mean_abs_difference']:8.5f} "
            f"{m['correlation']:8.6f} {m['top1_agreement']:7.1%} {m['ties']:4d} "
            f"{m['threshold_flips']:5d} "
        )
        if "bytes" in m:
            line += (
                f"{m['bytes'] / 1e6:6.2f} {m['load_ms']:6.0f} {m['first_ms']:6.0f} "
                f"{m['median_ms']:9.1f}"
            )
        lines.append(f"{line}  {'passed' if m['passed'] else 'FAILED'}")
    return "\n".join(lines)
