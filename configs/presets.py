"""Values that several experiments share: the student, the demo, the small collection.

The fields, with their meaning, are in `common.py`.
"""

from ml_collections import ConfigDict


def aggressive(config: ConfigDict) -> None:
    """The stronger augmentation that the plan fine-tunes with."""
    config.augment.update(
        {
            "scale": (0.4, 1.0),
            "rotation": 30.0,
            "brightness": 0.4,
            "contrast": 0.4,
            "saturation": 0.4,
            "blur": 0.2,
            "erasing": 0.25,
        }
    )


def student(config: ConfigDict) -> None:
    """MobileNetV2 at 224 pixels, as it ships."""
    config.model.update(
        {
            "name": "mobilenet_v2_1.0",
            "image_size": 224,
            "dropout": 0.2,
            "head_rank": 256,
        }
    )
    config.augment.blur_side = 224
    config.input.resize = 256
    config.train.update(
        {
            "batch_size": 128,
            "accumulate": 1,
            "optimizer": "adam",
            "weight_decay": 0.0,
            "label_smoothing": 0.0,
            "patience": 5,
        }
    )


def demo_data(config: ConfigDict) -> None:
    """Points a config at the generated plants, served from the loopback interface."""
    config.source.uri = f"{config.data_dir}/raw/plants.jsonl"
    config.dataset.min_images_per_species = 1
    config.dataset.hold_out = (
        *("Aurelina vespertina", "Umbrasela maculata", "Convelia lutea"),
        *("Liriastra violacea", "Nocturnia pendula"),
    )
    config.out_of_distribution.images_dir = f"{config.data_dir}/raw/unknown"
    config.download.cache_size_gb = 1.0
    config.download.requests_per_second = 1000.0
    config.download.shrink_short_side = 160
    # The drawn species are told apart by shades: a wide hue jitter makes them one.
    config.augment.update({"hue": 0.02, "saturation": 0.2})
    config.input.threads = 2
    config.eval.batch_size = 128


def demo_teacher(config: ConfigDict) -> None:
    """A ViT of 0.7 million parameters, from scratch, at 64 pixels."""
    config.model.update(
        {"name": "vit_mini_patch8_64", "image_size": 64, "dtype": "float32"}
    )
    config.model.dropout = 0.1
    config.input.resize = 72
    config.augment.update({"blur_side": 64, "mixup_probability": 0.0})
    config.train.update(
        {
            "batch_size": 64,
            "accumulate": 1,
            "epochs": 20,
            "learning_rate": 1e-3,
            "warmup_epochs": 2.0,
            "patience": 20,
            "log_every": 10,
        }
    )


def demo_student(config: ConfigDict) -> None:
    """MobileNetV2 0.35 at 64 pixels."""
    config.model.update(
        {
            "name": "mobilenet_v2_0.35",
            "image_size": 64,
            "dtype": "float32",
            "head_rank": 0,
            "dropout": 0.1,
        }
    )
    config.input.resize = 72
    config.augment.update({"blur_side": 64, "mixup_probability": 0.0})
    config.train.update({"batch_size": 32, "log_every": 20, "warmup_epochs": 1.0})


def photos_data(config: ConfigDict) -> None:
    """A small real collection: image URLs relative to the dump, one host, no limits."""
    config.dataset.min_images_per_species = 1
    config.download.cache_size_gb = 5.0
    config.download.requests_per_second = 1000.0
    config.download.shrink_short_side = 256
    config.split.regions = ()
    config.input.threads = 2
    config.combine.update({"teachers": ("teacher_photos",), "weights": (1.0,)})


def photos_teacher(config: ConfigDict) -> None:
    """MobileNetV2 1.0 from ImageNet weights: what a CPU can train in minutes."""
    photos_student(config)
    config.model.name = "mobilenet_v2_1.0"
    config.train.update({"batch_size": 32, "epochs": 6, "learning_rate": 3e-4})


def distillation(config: ConfigDict) -> None:
    """From soft labels that the teachers left, at the plan's rate."""
    config.distill.mode = "precomputed"
    config.train.update({"learning_rate": 1e-4, "epochs": 20, "warmup_epochs": 1.0})


def finetuning(config: ConfigDict) -> None:
    """From the distilled student, at the plan's rate, with stronger augmentation."""
    aggressive(config)
    config.model.init_from = "student_distill"
    config.train.update({"learning_rate": 5e-5, "epochs": 10, "warmup_epochs": 0.5})


def demo_finetuning(config: ConfigDict) -> None:
    """On top of `demo_student`."""
    config.train.update({"learning_rate": 3e-4, "epochs": 6, "patience": 6})


def photos_finetuning(config: ConfigDict) -> None:
    """On top of `photos_student`."""
    config.train.update({"learning_rate": 2e-4, "epochs": 4, "patience": 4})


def photos_student(config: ConfigDict) -> None:
    """MobileNetV2 0.35 from ImageNet weights, trained for a few CPU minutes."""
    student(config)
    config.model.update(
        {
            "name": "mobilenet_v2_0.35",
            "image_size": 128,
            "dtype": "float32",
            "head_rank": 0,
        }
    )
    # As the weights were trained: RGB scaled to -1..1.
    config.input.update({"resize": 144, "mean": (0.5,) * 3, "std": (0.5,) * 3})
    config.augment.update({"blur_side": 128, "mixup_probability": 0.0})
    config.train.update(
        {
            "batch_size": 64,
            "epochs": 8,
            "learning_rate": 1e-3,
            "warmup_epochs": 1.0,
            "log_every": 10,
            "patience": 8,
        }
    )
