"""One training step: images/s, TFLOP/s, share of the device's peak, and peak memory.

    .venv/bin/python scripts/benchmark_train_step.py
    .venv/bin/python scripts/benchmark_train_step.py --only=vit_base_patch16_384 \\
        --dtype=bfloat16 --batch=64 --steps=20
    .venv/bin/python scripts/benchmark_train_step.py --memory_gb=12

The step is the training loop's own, with the configuration of `teacher_global` and
`student_finetune`: augmentation and mixup on the device, forward, backward, AdamW or
Adam. The photos are random and lie on the device, so that nothing waits for data. Each
case (float32 and bfloat16, without and with remat) has a process of its own.

FLOPs are the model's, not the machine's: three times a forward pass, for the backward
pass costs twice the forward one; what remat computes again is time, not work (model
FLOPs utilization, Chowdhery et al. 2022, PaLM, appendix B). A ViT's forward pass is
counted from its shapes, matrix products only; a MobileNetV2's is XLA's count.

Peak memory is what XLA planned for the compiled step (arguments, outputs and scratch),
and what the device's allocator saw where it tells. `--memory_gb` adds the largest batch
that fits: a second compilation at twice the batch tells what an image costs.

Prints `name value goal` lines. P11's goal, 45 % of the bfloat16 peak for ViT-B/16 at
384 pixels, applies to a GPU of the table below.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from typing import Any

# Dense bfloat16 with float32 accumulation, TFLOP/s, from the makers' data sheets;
# GeForce: 512 FLOPs per SM and clock at the boost clock. A name counts where it ends
# there: "L4" is no L40S, and "RTX 3060" neither a Ti nor a laptop's.
_PEAK_TFLOPS = {
    "H200": 989.4,
    "H100 PCIe": 756.4,
    "H100": 989.4,
    "A100": 311.9,
    "L4": 121.0,
    "RTX 4090": 165.2,
    "RTX 4060 Ti": 44.1,
    "RTX 4060": 30.2,
    "RTX 3090": 71.2,
    "RTX 3080": 59.5,
    "RTX 3070": 40.6,
    "RTX 3060 Ti": 32.4,
    "RTX 3060 Laptop": 21.9,
    "RTX 3060": 25.5,
}
_OTHER_CHIP = r"[\w.]| (Ti|SUPER|D|Laptop|Max-Q|Mobile|PCIe|NVL)\b"
_GOALS = {"vit_base_patch16_384_bfloat16": ">=45"}  # percent of peak
_DEFAULT_BATCH = {  # (on a CPU, on a GPU)
    "vit_base_patch16_384": (2, 64),
    "mobilenet_v2_1.0": (16, 256),
}
_CLASSES = 8587


def main() -> None:
    options = _options()
    if options.case:
        print(json.dumps(measure(options)))
        return
    for model in _DEFAULT_BATCH:
        for dtype in ("float32", "bfloat16"):
            for remat in (False, True):
                wanted = options.only in ("", model) and options.dtype in ("", dtype)
                if wanted:
                    _report(model, dtype, remat, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="one model's name")
    parser.add_argument("--dtype", default="", choices=("", "float32", "bfloat16"))
    parser.add_argument("--batch", type=int, default=0, help="images; 0: by device")
    parser.add_argument("--steps", type=int, default=0, help="timed; 0: by device")
    parser.add_argument("--memory_gb", type=float, default=0.0, help="of a device")
    parser.add_argument("--remat", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--case", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _report(model: str, dtype: str, remat: bool, options: argparse.Namespace) -> None:
    """Measures a case in a process of its own and prints its lines."""
    command = [sys.executable, __file__, "--case", f"--only={model}"]
    command += [f"--dtype={dtype}", f"--batch={options.batch}"]
    command += [f"--steps={options.steps}", f"--memory_gb={options.memory_gb}"]
    command += ["--remat"] if remat else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    case = f"{model}_{dtype}{'_remat' if remat else ''}"
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        print(f"{case}_images_per_second failed -  ({reason[0][:300]})", flush=True)
        return
    found = json.loads(done.stdout.splitlines()[-1])
    about = {name: found.pop(name) for name in ("device", "jax", "batch", "attention")}
    print(f"  {case}: " + ", ".join(f"{name} {value}" for name, value in about.items()))
    if (peak := peak_tflops(about["device"])) and dtype == "bfloat16":
        found["percent_of_peak"] = 100 * found["tflops"] / peak
    for name, value in found.items():
        goal = _GOALS.get(f"{model}_{dtype}", "-") if name == "percent_of_peak" else "-"
        print(f"{case}_{name} {value:.4g} {goal}", flush=True)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one case; compiles and runs in this process."""
    import jax

    device = jax.devices()[0]
    on_gpu = device.platform == "gpu"
    batch_size = options.batch or _DEFAULT_BATCH[options.only][on_gpu]
    steps = options.steps or (20 if on_gpu else 3)
    config = _config(options, batch_size)
    module, train_step, arguments = _problem(config, batch_size)
    started = time.perf_counter()
    compiled = train_step.lower(*arguments).compile()
    compile_s = time.perf_counter() - started
    state, *others = arguments
    del arguments
    for _ in range(2):
        state, metrics = compiled(state, *others)
    jax.block_until_ready(metrics)
    started = time.perf_counter()
    for _ in range(steps):
        state, metrics = compiled(state, *others)
    jax.block_until_ready(metrics)
    seconds = (time.perf_counter() - started) / steps
    flops = 3 * _forward_flops(module, config.model.image_size)
    found = {
        "device": device.device_kind,
        "jax": jax.__version__,
        "batch": batch_size,
        "attention": _attention(module),
        "images_per_second": batch_size / seconds,
        "tflops": flops * batch_size / seconds / 1e12,
        "planned_memory_gb": _planned_bytes(compiled) / 1e9,
        "compile_seconds": compile_s,
    }
    if stats := device.memory_stats():
        found["peak_memory_gb"] = stats["peak_bytes_in_use"] / 1e9
    if options.memory_gb:
        found["largest_batch"] = _largest_batch(options, batch_size, compiled)
    return found


def peak_tflops(device: str) -> float:
    """Of a device by the name that JAX gives it; 0 for one that is not in the table."""
    for name, peak in _PEAK_TFLOPS.items():
        if re.search(rf"\b{name}(?!{_OTHER_CHIP})", device):
            return peak
    return 0.0


def _attention(module: Any) -> str:
    """What computes it here, whatever was asked for; "-" where there is none."""
    from aplantida_jax.models import attention

    if not hasattr(module, "attention"):
        return "-"
    return attention.choose(
        module.attention,
        attention.Device.current(),
        dtype=module.dtype,
        head_width=module.width // module.heads,
    )


def _config(options: argparse.Namespace, batch_size: int) -> Any:
    """The experiment's own configuration, from scratch, without accumulation."""
    from configs import student_finetune, teacher_global

    experiment = teacher_global if "vit" in options.only else student_finetune
    config = experiment.get_config()
    config.model.name = options.only
    config.model.dtype, config.model.remat = options.dtype, options.remat
    config.model.init_from = ""
    config.train.batch_size, config.train.accumulate = batch_size, 1
    return config


def _problem(config: Any, batch_size: int) -> tuple[Any, Any, tuple[Any, ...]]:
    """Module, compiled step, and the step's arguments on the device."""
    import jax
    import numpy as np

    from aplantida_jax import models
    from aplantida_jax.train import initial_model, optimizer, state, step

    size = config.model.image_size
    module = models.create(**initial_model.fields(config, _CLASSES, origin=None))
    variables = state.init_variables(module, image_size=size, seed=config.seed)
    tx = optimizer.make(config.train, variables["params"])
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (batch_size, size, size, 3), dtype=np.uint8),
        "label": rng.integers(0, _CLASSES, batch_size).astype(np.int32),
    }
    constants = step.Constants(
        class_mask=np.ones(_CLASSES, bool),
        log_prior=np.full(_CLASSES, -np.log(_CLASSES), np.float32),
        class_weight=None,
    )
    initial = state.create(variables, tx, ema_decay=config.train.ema_decay)
    arguments = (initial, batch, np.float32(1e-5), constants)
    train_step = step.make_train_step(module, tx, config)
    return module, train_step, jax.device_put(arguments)


def _planned_bytes(compiled: Any) -> int:
    """Arguments, outputs and scratch; the donated state is counted once."""
    plan = compiled.memory_analysis()
    both = plan.argument_size_in_bytes + plan.output_size_in_bytes
    return both + plan.temp_size_in_bytes - plan.alias_size_in_bytes


def _largest_batch(options: argparse.Namespace, size: int, compiled: Any) -> int:
    """Images a batch within `memory_gb`, by the plans for `size` and for twice it."""
    _, train_step, arguments = _problem(_config(options, 2 * size), 2 * size)
    double = _planned_bytes(train_step.lower(*arguments).compile())
    single = _planned_bytes(compiled)
    per_image = (double - single) / size
    fixed = single - per_image * size
    return max(0, int((options.memory_gb * 1e9 - fixed) // per_image))


def _forward_flops(module: Any, size: int) -> float:
    """Of one image."""
    import jax

    from aplantida_jax.models.vit import VisionTransformer
    from aplantida_jax.train import state

    if isinstance(module, VisionTransformer):
        return 2.0 * _vit_multiply_adds(module, size)
    # The same network in the form whose operations are counted once.
    module = module.clone(depthwise="convolution", dtype="float32")
    shapes = state.variable_shapes(module, image_size=size)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jax.numpy.float32)
    return jax.jit(module.apply).lower(shapes, image).cost_analysis()["flops"]


def _vit_multiply_adds(module: Any, size: int) -> int:
    """Of a forward pass: 55.5 G for ViT-B/16 at 384 pixels."""
    patches, width = (size // module.patch) ** 2, module.width
    tokens = patches + 1
    embedding = patches * 3 * module.patch**2 * width
    projections = 4 * tokens * width**2  # query, key, value, out
    scores = 2 * tokens**2 * width  # query times key, weights times value
    mlp = 2 * tokens * width * module.mlp_dim
    head = width * module.num_classes
    return embedding + module.depth * (projections + scores + mlp) + head


if __name__ == "__main__":
    main()
