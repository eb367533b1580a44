"""Teacher C: the rest of Europe, fine-tuned from the global teacher.

    python -m aplantida_jax.main --config=configs/teacher_eu_core.py

Expect the gain of the south-western teacher, on its own regions. Keeps the
global label map; classes of other regions are masked. 35 to 40 minutes an epoch on an
8 GB card with 20 thousand images.
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("teacher_eu_core", "train", variant)
    config.region = "EU_NORTH,EU_EAST"
    config.model.init_from = "teacher_global"
    config.train.update({"learning_rate": 2e-5, "epochs": 12})
    if variant == "demo":
        presets.demo_data(config)
        presets.demo_teacher(config)
        config.train.update({"learning_rate": 5e-4, "epochs": 8, "warmup_epochs": 1.0})
    return config
