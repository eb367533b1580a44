"""The floor: a pretrained MobileNetV2 without any fine-tuning.

    python -m aplantida_jax.main --config=configs/baseline.py \
        --config.model.pretrained=keras/mobilenet_v2_1.0_no_top \
        [--config.stage=fetch_weights] [--config.baseline.classifier=linear]

Features of the frozen network, classified by the nearest class mean or by a logistic
regression. The plan expects 30 to 40 % top-1. `:demo` has no weights to load: random
features, a true floor.
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("baseline", "baseline", variant)
    config.model.update(
        {"name": "mobilenet_v2_1.0", "image_size": 224, "dtype": "float32"}
    )
    config.input.resize = 256
    if variant == "demo":
        presets.demo_data(config)
        presets.demo_student(config)
    if variant == "photos":
        presets.photos_data(config)
        presets.photos_student(config)
    return config
