"""The student, first half: MobileNetV2 learns from the three teachers' soft labels.

    python -m aplantida_jax.main --config=configs/student_distill.py

Stages: train (needs predict of every teacher and combine), combine, evaluate. Loss:
0.7 T^2 KL(teacher || student) + 0.3 CE at T = 3. Expect val top-1 >= 70 %.

Online (Beyer et al. 2021) the teachers answer in the step, on the very images that the
student sees, mixup and CutMix included, and no store is read; patience pays, so:

    --config.distill.mode=online --config.train.epochs=300 --config.train.patience=300

The teachers only answer, but do so at their own size. --dry_run says the memory that
they take; asked in parts they need less, and say the same to float rounding:

    --config.distill.teacher_batch_size=8

And the time, an estimate that no such card has run: a ViT-B/16 at 384 pixels takes 111
GFLOP an image, so three of them for 600,000 images at 25 TFLOP/s, the most that an RTX
3060 has for bfloat16, 2.2 hours an epoch and likely twice that: these 300 epochs are a
month or two. Recorded views, --config.predict.views=V, cost V such epochs once.

`--config.distill.ce_weight=0` leaves the labels out of the loss. They still have a say:
an image's label picks which regional teachers are asked about it, and those of val pick
the best epoch; for none in the targets take teachers of all plants only. `:photos`
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
