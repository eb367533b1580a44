"""The student, first half: MobileNetV2 learns from the three teachers' soft labels.

    python -m aplantida_jax.main --config=configs/student_distill.py

Stages: train (needs predict of every teacher and combine), combine, evaluate. Loss:
0.7 T^2 KL(teacher || student) + 0.3 CE at T = 3. Expect val top-1 >= 70 %.
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("student_distill", "train", variant)
    presets.student(config)
    config.distill.mode = "precomputed"
    config.train.update({"learning_rate": 1e-4, "epochs": 20, "warmup_epochs": 1.0})
    if variant == "demo":
        presets.demo_data(config)
        presets.demo_student(config)
        config.train.update({"learning_rate": 5e-3, "epochs": 30, "patience": 30})
    return config
