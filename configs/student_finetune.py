"""The student, second half: cross-entropy on the true labels, stronger augmentation.

    python -m aplantida_jax.main --config=configs/student_finetune.py

Stages: train, evaluate, calibrate. Starts from the best checkpoint of student_distill.
Expect global top-1 >= 75 %, top-5 >= 90 %, Spain >= 88 % (the plan's targets).
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("student_finetune", "train", variant)
    presets.student(config)
    presets.aggressive(config)
    config.model.init_from = "student_distill"
    config.train.update({"learning_rate": 5e-5, "epochs": 10, "warmup_epochs": 0.5})
    if variant == "demo":
        presets.demo_data(config)
        presets.demo_student(config)
        config.train.update({"learning_rate": 3e-4, "epochs": 6, "patience": 6})
    return config
