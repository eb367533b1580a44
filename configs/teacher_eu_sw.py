"""Teacher B: south-west Europe, fine-tuned from the global teacher.

    python -m aplantida_jax.main --config=configs/teacher_eu_sw.py

Expect top-1 >= 80 % on EU_SW, ten points more than the global teacher there. Keeps the
global label map; classes of other regions are masked. 35 to 40 minutes an epoch on an
8 GB card with 20 thousand images.
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("teacher_eu_sw", "train", variant)
    config.region = "EU_SW"
    config.model.init_from = "teacher_global"
    config.train.update({"learning_rate": 2e-5, "epochs": 12})
    if variant == "demo":
        presets.demo_data(config)
        presets.demo_teacher(config)
        config.train.update({"learning_rate": 5e-4, "epochs": 8, "warmup_epochs": 1.0})
    return config
