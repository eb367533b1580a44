"""The student, second half with its teachers: student_finetune that keeps the KL term.

    python -m aplantida_jax.main --config=configs/student_finetune_kl.py

Stages: train, evaluate, calibrate; export with `--config.export.run`. The same start,
images, rate and length as student_finetune, so that the two differ in the loss alone.

Online, not precomputed: a stored row is the teachers' answer to one picture, or to a
few crops with the strengths of the store, and here a quarter of the pictures is partly
erased and all are jittered harder. Teachers who are asked for a leaf that the student
is not shown teach it to guess; online they see what it sees, the erased part included.
Costs the teachers' forward pass in every step: with three ViT-B/16 at 384 pixels and
600,000 images 2.2 hours an epoch at the best on an RTX 3060 (by its TFLOP/s, see there
and for 12 GB student_distill.py), so these 10 epochs are one day or two.
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("student_finetune_kl", "train", variant)
    presets.student(config)
    presets.finetuning(config)
    config.distill.mode = "online"
    if variant == "demo":
        presets.demo_data(config)
        presets.demo_student(config)
        presets.demo_finetuning(config)
    if variant == "photos":
        presets.photos_data(config)
        presets.photos_student(config)
        presets.photos_finetuning(config)
    return config
