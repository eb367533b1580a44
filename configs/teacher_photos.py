"""The one teacher of a small real collection: MobileNetV2 1.0 from ImageNet weights.

    python -m aplantida_jax.main --config=configs/teacher_photos.py \
        --config.source.uri=DUMP.json --config.model.pretrained=WEIGHTS.safetensors

Stages: train, evaluate, predict. 128 pixels; on 1,500 photos about four minutes on two
CPU cores. What student_distill.py:photos and student_finetune_kl.py:photos learn from.
"""

from configs import common, presets


def get_config(variant: str = "photos"):
    config = common.base("teacher_photos", "train", variant or "photos")
    presets.photos_data(config)
    presets.photos_teacher(config)
    return config
