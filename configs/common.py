"""Every configuration field, once, with its meaning; experiments change values only.

Those of the dataset's stages are in `dataset_fields.py`.

Fields are locked after `get_config`: a misspelt override is an error with a suggestion.
Durations are in epochs or seconds, sizes in the unit that their name ends in.
"""

from ml_collections import ConfigDict

from configs import dataset_fields

VARIANTS = ("", "demo", "photos")


def base(name: str, stage: str, variant: str = "") -> ConfigDict:
    """The configuration that all experiments start from.

    Args:
        name: of the experiment; its working directory is `<runs_dir>/<name>`.
        stage: what `main` does when `--config.stage` is not given.
        variant: what follows the colon of `--config=...py:variant`: "" is full size,
            "demo" is the same experiment on generated plants, small enough for two CPU
            cores, "photos" keeps a trial on a small real collection apart.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant ':{variant}', there are {VARIANTS[1:]}")
    config = ConfigDict({"name": name, "stage": stage, "variant": variant})
    config.seed = 42
    config.dry_run = False  # set by --dry_run
    apart = f"/{variant}" if variant else ""
    config.data_dir = f"data{apart}"
    config.runs_dir = f"workdirs{apart}"
    config.dist_dir = f"dist{apart}"
    config.weights_dir = "data/weights"  # of fetch_weights; the same for all variants
    # Regions that the stage is about, e.g. "EU_NORTH,EU_EAST"; "" is all plants.
    config.region = ""
    config.update(dataset_fields.sections())
    config.model = _model()
    config.input = _input()
    config.augment = _augment()
    config.train = _train()
    config.distill = _distill()
    # "linear" is a logistic regression, "nearest_mean" the cosine to the class's mean.
    config.baseline = ConfigDict({"classifier": "nearest_mean"})
    config.predict = _predict()
    config.combine = _combine()
    config.eval = _eval()
    config.compare = _compare()
    config.calibrate = _calibrate()
    config.out_of_distribution = _out_of_distribution()
    config.export = _export()
    config.report = _report()
    return config


def _model() -> ConfigDict:
    return ConfigDict(
        {
            "name": "vit_base_patch16_384",
            "image_size": 384,
            "dropout": 0.3,  # before the head
            "dtype": "bfloat16",  # of the computation; parameters are float32
            # Trade time for memory in the backward pass; XLA undoes it on a CPU.
            "remat": False,
            "attention": "auto",  # of a ViT: "xla", "cudnn"; auto is cuDNN's if it can
            "drop_path": 0.0,  # probability of dropping a ViT's last block; 0 is off
            # Regex over parameter paths, e.g. ".": norms of a MobileNetV2 that keep
            # and use their statistics in training. Those that don't train do anyhow.
            "frozen_norms": "",
            "head_rank": 0,  # 0 is a dense head, else its factorisation's rank
            # Weights to start from, whatever their classes and image size: a file
            # (.npz, .safetensors, .h5), a run's working directory, or a published name
            # that stage fetch_weights gets, e.g. "google/vit_base_patch16_384". "" is
            # from scratch.
            "pretrained": "",
            # Their SPDX id; "" is what their origin says (see train/pretraining.py).
            "pretrained_licence": "",
            # Experiment whose best checkpoint to start from, e.g. "teacher_global": the
            # same network, label map and image size.
            "init_from": "",
        }
    )


def _input() -> ConfigDict:
    return ConfigDict(
        {
            "read_from": "cache",  # or "pack", which the optional stage pack makes
            # Training fetches what the cache lacks when its turn comes, as politely as
            # stage download; for splits made with split.cached_only=False. It decides
            # which images are seen, so it is part of a run's identity. Duplicates among
            # images that were never looked at cannot be kept out of val and test. Set
            # input.threads to what a host is asked at a time, and a few more.
            "stream": False,
            # Stage pack makes images smaller, to this short side; 0 keeps the cache's.
            "pack_short_side": 0,
            "resize": 448,  # short side before the crop, at evaluation
            # Evaluation sees the centre crop that the app sees, unless this is set.
            "eval_smart_crop": False,
            "threads": 4,  # that decode and warp
            "prefetch": 64,  # images decoded ahead
            "smart_crop": True,  # training: crop around what is salient first
            "mean": (0.485, 0.456, 0.406),  # of RGB in 0..1
            "std": (0.229, 0.224, 0.225),
        }
    )


def _augment() -> ConfigDict:
    """Training only; the plan's values."""
    return ConfigDict(
        {
            # Side of the random crop / side of the smart crop, or else the short side;
            # of uniform area. The plan's RandomCrop(384) after Resize(448) is always at
            # 0.857 of it, i.e. (0.857, 0.857): this range lies around that.
            "scale": (0.6, 1.0),
            "horizontal_flip": 0.5,  # probability
            "vertical_flip": 0.2,
            "rotation": 20.0,  # degrees, either way; corners show the picture mirrored
            "brightness": 0.3,
            "contrast": 0.3,
            "saturation": 0.3,
            "hue": 0.15,  # turns
            "blur": 0.1,  # probability
            "blur_sigma": (0.3, 1.2),  # standard deviation, in pixels of a picture of
            "blur_side": 384,  # so many a side, whatever size it is rendered at
            "erasing": 0.0,  # probability
            "erasing_area": (0.02, 0.33),  # share of the picture, before it is clipped
            "erasing_aspect": 0.3,  # height / width at least, and 1 / this at most
            "mixup_alpha": 1.0,  # of the beta distribution of weights; 0 is no mixup
            "cutmix_alpha": 1.2,
            "mixup_probability": 0.5,  # of either
            "cutmix_share": 0.5,  # of the mixed batches, while both alphas are above 0
        }
    )


def _train() -> ConfigDict:
    return ConfigDict(
        {
            "batch_size": 4,  # images on all devices together
            "accumulate": 16,  # batches per update
            "epochs": 10,
            "optimizer": "adamw",
            "learning_rate": 3e-5,
            "warmup_epochs": 2.0,
            "weight_decay": 0.05,  # on kernels only
            "clip_norm": 1.0,
            "label_smoothing": 0.1,
            "ema_decay": 0.0,  # 0 is off; evaluated and kept instead of the raw ones
            "layer_decay": 1.0,  # of the learning rate per block, from the head down
            "freeze": "",  # regex over parameter paths that do not train
            # Pairs of a regex over parameter paths and a factor of the learning rate,
            # e.g. (("^head", 10.0),); the first that matches counts, 0 freezes.
            "lr_multipliers": (),
            # How often a class is drawn. class_weights and logit_adjustment go by what
            # this leaves of the long tail, so that together nothing counts twice.
            "sampling": "uniform",
            # Of the cross-entropy, by the class's n images, with mean 1: "none",
            # "balanced" 1/n, "square_root" 1/sqrt(n), or "effective_number".
            "class_weights": "none",
            "class_weights_beta": 0.999,  # of "effective_number", Cui et al. 2019
            "logit_adjustment": 0.0,  # tau of Menon et al. 2021; 0 is off
            "patience": 3,  # epochs without a better one
            # What makes an epoch the best, on val; or "macro_recall", for the tail.
            "best_by": "top1_accuracy",
            "log_every": 50,  # steps
            "checkpoint_minutes": 15.0,  # between checkpoints inside a long epoch
            "keep_epochs": 2,  # past epochs' checkpoints, beside best and the last two
        }
    )


def _distill() -> ConfigDict:
    return ConfigDict(
        {
            # "precomputed" reads the combined soft labels; "online" runs the teachers
            # of `combine`, with its weights, on the very images that the student sees.
            "mode": "none",
            # Images that a device asks online teachers about at a time, to save memory:
            # a divisor of its share of train.batch_size. 0 is all of them.
            "teacher_batch_size": 0,
            "soft_labels": "combined",  # name of the store
            "temperature": 3.0,
            "kl_weight": 0.7,  # times T^2 KL(teacher || student)
            "ce_weight": 0.3,
        }
    )


def _predict() -> ConfigDict:
    return ConfigDict(
        {
            "split": "train",
            "top_k": 32,  # classes kept a row; the others share the rest of its mass
            # Random views of each image, drawn with `augment` and recorded: a student
            # in mode "precomputed" is shown these. 0 is the evaluation view alone.
            "views": 0,
            # Leaves the plan's dense.npz beside the store too: all logits, 4 bytes an
            # image and class, and twice that room while it is made. For views=0.
            "dense": False,
            # Such a file, of any origin, to take instead of running the teacher; ""
            # runs it. Its licence is model.pretrained_licence.
            "import_npz": "",
        }
    )


def _combine() -> ConfigDict:
    return ConfigDict(
        {
            "teachers": ("teacher_global", "teacher_eu_sw", "teacher_eu_core"),
            "weights": (0.4, 0.4, 0.2),  # renormalised where a teacher is absent
            "split": "train",
        }
    )


def _eval() -> ConfigDict:
    return ConfigDict(
        {
            "split": "test",
            "batch_size": 64,
            "bootstrap": 1000,  # resamples for the 95 % intervals
            "confusions": 20,  # most confused pairs to list
            # Weight of the country prior in log space; 0 reports without only.
            "country": "ES",
            "country_prior": 1.0,
        }
    )


def _compare() -> ConfigDict:
    return ConfigDict(
        {
            # Evaluated experiments, two or more; the first is the reference. "a+b+c" is
            # one way of training with several seeds, compared as the mean of its runs.
            "runs": ("teacher_global", "student_distill", "student_finetune"),
            "name": "",  # keeps it apart from others of the split; the report's is ""
        }
    )


def _calibrate() -> ConfigDict:
    return ConfigDict(
        {
            "bins": 15,  # of the reliability diagram and ECE
            "accuracy_target": 0.95,  # the threshold is the least that reaches it
            "threshold_range": (0.40, 0.95),
            "genus_threshold_range": (0.40, 0.99),
            "threshold_step": 0.01,
            # Vector scaling, measured beside the temperature: in so many folds of val,
            # -1 leaves it out (three minutes for 12,000 photos of 8,587 classes, of
            # which it takes 20,000 at most); its pull towards the temperature, a
            # constant that is not tuned.
            "vector_folds": 5,
            "vector_penalty": 30.0,
        }
    )


def _out_of_distribution() -> ConfigDict:
    return ConfigDict(
        {
            # A folder of pictures that show none of the plants, in a sub-folder for
            # each kind; "" has so many of each of nine kinds drawn, 0 none.
            "images_dir": "",
            "drawn": 24,
            "examples": 12,  # of wrong answers, the most certain, in the picture
        }
    )


def _export() -> ConfigDict:
    return ConfigDict(
        {
            "run": "student_finetune",  # experiment whose best checkpoint ships
            "name": "student",
            "version": "1.0",
            "weights": "uint8",  # what the app loads: float32, float16 or uint8
            "validation_images": 100,
            "backend": "wasm",  # of TensorFlow.js in validate_export
        }
    )


def _report() -> ConfigDict:
    return ConfigDict(
        {
            "version": "1.0",
            # Experiments that the report tells of, in this order.
            "runs": ("baseline", "teacher_global", "teacher_eu_sw", "teacher_eu_core")
            + ("student_distill", "student_finetune"),
        }
    )
