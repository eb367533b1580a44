"""The student, first half: MobileNetV2 learns from the three teachers' soft labels.

    python -m aplantida_jax.main --config=configs/student_distill.py

Stages: train (needs predict of every teacher and combine), combine, evaluate. Loss:
0.7 T^2 KL(teacher || student) + 0.3 CE at T = 3. Expect val top-1 >= 70 %.

Online (Beyer et al. 2021) the teachers answer in the step, on the very images that the
student sees, mixup and CutMix included, and no store is read; patience pays, so:

    --config.distill.mode=online --config.train.epochs=300 --config.train.patience=300

The teachers only answer, but do so at their own size. Where 12 GB are too little for
them and the student's 128 images, an update of the same images in parts:

    --config.train.batch_size=32 --config.train.accumulate=4

`--config.distill.ce_weight=0` learns without labels, from the teachers alone. `:photos`
has one teacher, teacher_photos, and takes the weights to start from on the command
line: `--config.model.pretrained=FILE`, or "" from scratch.
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("student_distill", "train", variant)
    presets.student(config)
    presets.distillation(config)
    if variant == "demo":
        presets.demo_data(config)
        presets.demo_student(config)
        config.train.update({"learning_rate": 5e-3, "epochs": 30, "patience": 30})
    if variant == "photos":
        presets.photos_data(config)
        presets.photos_student(config)
    return config
