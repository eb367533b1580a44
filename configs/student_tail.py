"""The long tail: the head of student_finetune once more, with balanced softmax.

    python -m aplantida_jax.main --config=configs/student_tail.py

Stages: train, evaluate, calibrate; export with `--config.export.run`. Everything but
the head is frozen, BatchNorm's statistics too: what is rare changes where it is
decided, and what was learnt to see stays (Kang et al. 2020, decoupled training).

Balanced softmax (Ren et al. 2020, theorem 1) trains softmax(logits + log n) for n the
images of each class; logit adjustment (Menon et al. 2021, eq. 10) with tau = 1 trains
softmax(logits + log n/N). The two are one: log N is the same for all classes, and
drops out of the softmax; n is at least 1. Answers come from the bare logits. Expect
rare classes to gain and top-1 to lose a little: the test set is as long-tailed as the
training set.
"""

from configs import common, presets


def get_config(variant: str = ""):
    config = common.base("student_tail", "train", variant)
    presets.student(config)
    config.model.init_from = "student_finetune"
    config.augment.mixup_probability = 0.0  # rare classes as they are
    config.train.update({"freeze": "^(?!head)", "logit_adjustment": 1.0})
    config.train.best_by = "macro_recall"
    config.train.update({"learning_rate": 1e-3, "epochs": 5, "warmup_epochs": 0.5})
    if variant == "demo":
        presets.demo_data(config)
        presets.demo_student(config)
        config.train.update({"epochs": 4, "patience": 4})
    if variant == "photos":
        presets.photos_data(config)
        presets.photos_student(config)
        config.train.update({"epochs": 4, "patience": 4})
    return config
