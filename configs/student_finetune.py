"""The student, second half: cross-entropy on the true labels, stronger augmentation.

    python -m aplantida_jax.main --config=configs/student_finetune.py

Stages: train, evaluate, calibrate. Starts from the best checkpoint of student_distill.
Expect global top-1 >= 75 %, top-5 >= 90 %, Spain >= 88 % (the plan's targets). Labels
alone can undo what the teachers taught: student_finetune_kl.py keeps them at hand.

A factorised head from the trained dense one: `--config.model.head_rank=R`, by SVD.
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("student_finetune", "train", variant)
    presets.student(config)
    presets.finetuning(config)
    if variant == "demo":
        presets.demo_data(config)
        presets.demo_student(config)
        presets.demo_finetuning(config)
    if variant == "photos":
        presets.photos_data(config)
        presets.photos_student(config)
        presets.photos_finetuning(config)
    return config
