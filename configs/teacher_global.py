"""Teacher A: ViT-B/16 at 384 pixels on all plants.

    python -m aplantida_jax.main --config=configs/teacher_global.py \
        --config.model.pretrained=google/vit_base_patch16_384 \
        [--config.stage=fetch_weights]

Expect top-1 >= 70 %, top-5 >= 85 % on test. RTX 3060 class, batch 4 accumulated to 64;
the plan's 8 GB card took 70 to 80 minutes an epoch on 94 thousand images.
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("teacher_global", "train", variant)
    if variant == "demo":
        presets.demo_data(config)
        presets.demo_teacher(config)
    return config
