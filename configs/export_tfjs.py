"""From the student's best checkpoint to the app: SavedModel, TensorFlow.js, PWA.

    python -m aplantida_jax.main --config=configs/export_tfjs.py

Stages: export_model, validate_export (headless Chromium), pwa. A few minutes, no GPU;
needs jax 0.7.1 (the version that pyproject.toml pins).
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("export_tfjs", "export_model", variant)
    presets.student(config)
    if variant == "demo":
        presets.demo_data(config)
        presets.demo_student(config)
    if variant == "photos":
        presets.photos_data(config)
        presets.photos_student(config)
        config.export.run = "student_photos"
        config.export.name = "student_photos"
    return config
