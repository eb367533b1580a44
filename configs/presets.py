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
    config.augment.mixup_probability = 0.0
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
    config.augment.mixup_probability = 0.0
    config.train.update({"batch_size": 32, "log_every": 20, "warmup_epochs": 1.0})


def photos_data(config: ConfigDict) -> None:
    """A small real collection: image URLs relative to the dump, one host, no limits."""
    config.dataset.min_images_per_species = 1
    config.download.cache_size_gb = 5.0
    config.download.requests_per_second = 1000.0
    config.download.shrink_short_side = 256
    config.split.regions = ()
    config.input.threads = 2


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
    config.augment.mixup_probability = 0.0
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
