"""A student straight from ImageNet weights, on a small collection of real photos.

    ./scripts/real_photos.sh DUMP.json WEIGHTS.safetensors

MobileNetV2 0.35 at 128 pixels, no teachers, no distillation: the check that the whole
pipeline holds on real photographs. About ten minutes on two CPU cores.
"""

from configs import common, presets


def get_config(variant: str = "photos"):
    config = common.base("student_photos", "train", variant or "photos")
    presets.photos_data(config)
    presets.photos_student(config)
    return config
