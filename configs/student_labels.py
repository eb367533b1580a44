"""The student on the labels alone: what distillation is measured against.

    python -m aplantida_jax.main --config=configs/student_labels.py

Stages: train, evaluate, compare. student_distill without its teachers: same network,
images, augmentation, rate and length, cross-entropy only. compare then says whether the
teachers helped, photo by photo. At full size it costs a student's training once more.
"""

from configs import student_distill


def get_config(variant: str = ""):
    config = student_distill.get_config(variant)
    config.name = "student_labels"
    config.distill.mode = "none"
    config.compare.runs = ("student_labels", "student_distill", "student_finetune")
    return config
