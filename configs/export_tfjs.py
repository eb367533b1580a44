"""From the student's best checkpoint to the app: SavedModel, TensorFlow.js, PWA.

    python -m aplantida_jax.main --config=configs/export_tfjs.py

Stages: export_model, validate_export (headless Chromium), pwa. A few minutes, no GPU;
needs jax 0.7.1 (the version that pyproject.toml pins).
"""

from configs import common


def get_config(variant: str = ""):
    config = common.base("export_tfjs", "export_model", variant)
    common.student(config)
    if variant == "demo":
        common.demo_data(config)
        common.demo_student(config)
    if variant == "photos":
        common.photos_data(config)
        common.photos_student(config)
        config.export.run = "student_photos"
        config.export.name = "student_photos"
    return config
