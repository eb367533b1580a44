"""Every configuration field, once, with its meaning; experiments change values only.

Fields are locked after `get_config`: a misspelt override is an error with a suggestion.
Durations are in epochs or seconds, sizes in the unit that their name ends in.
"""

from ml_collections import ConfigDict

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
    config = ConfigDict()
    config.name = name
    config.stage = stage
    config.variant = variant
    config.seed = 42
    config.dry_run = False  # set by --dry_run
    config.data_dir = "data"
    config.runs_dir = "workdirs"
    config.dist_dir = "dist"
    # Regions that the stage is about, e.g. "EU_NORTH,EU_EAST"; "" is all plants.
    config.region = ""
    config.source = _source()
    config.dataset = _dataset()
    config.audit = _audit()
    config.download = _download()
    config.split = _split()
    config.pack = _pack()
    config.demo = _demo()
    config.model = _model()
    config.input = _input()
    config.augment = _augment()
    config.train = _train()
    config.distill = _distill()
    config.predict = ConfigDict({"split": "train", "top_k": 32})
    config.combine = _combine()
    config.eval = _eval()
    config.calibrate = _calibrate()
    config.export = _export()
    config.report = _report()
    if variant:
        config.data_dir = f"data/{variant}"
        config.runs_dir = f"workdirs/{variant}"
        config.dist_dir = f"dist/{variant}"
    return config


def _source() -> ConfigDict:
    return ConfigDict(
        {
            # mongodb://[user:password@]host[:port]/, or a dump: a .json array, a .jsonl
            # / .json of Extended JSON lines (mongoexport), a .bson (mongodump).
            "uri": "mongodb://localhost:27017/",
            "database": "aplantida_db",
            "collection": "plants",
            "batch_size": 200,  # documents a read
            "fields": ("latinName", "commonName", "commonNameEn", "family", "images")
            + ("distribution",),
        }
    )


def _dataset() -> ConfigDict:
    return ConfigDict(
        {
            # A class with fewer passing images is left out of the label map.
            "min_images_per_species": 5,
            "min_image_side": 100,  # pixels; smaller images are left out
            # "production": CC0, public domain, CC-BY, CC-BY-SA; "experimental": any
            # licence that the table knows.
            "licence_profile": "production",
            "sources": (),  # values of images.source to keep; () keeps all
            "synonyms": "",  # JSON file {"synonym": "accepted name"}
        }
    )


def _audit() -> ConfigDict:
    return ConfigDict(
        {
            # URLs asked with HEAD (ranged GET where HEAD is refused); -1 asks all.
            "sample_urls": 500,
            "thumbnails": 12,  # of duplicate pairs, in the HTML page
        }
    )


def _download() -> ConfigDict:
    return ConfigDict(
        {
            "cache_dir": "",  # default: <data_dir>/cache
            "cache_size_gb": 220.0,
            # Hosts that may be asked, "*.example.com" for subdomains; () is any public.
            "allowed_hosts": (),
            # Private and loopback addresses are refused at every hop, unless listed.
            "private_hosts": (),
            "requests_per_second": 10.0,  # per host
            "concurrency": 8,  # requests under way per host
            # Hosts asked at a time; downloads that share a cache share out the hosts.
            "parallel_hosts": 8,
            "timeout_s": 60.0,  # wall clock for one image, redirects included
            # An answer that stays below this rate after the grace is given up.
            "least_bytes_per_second": 1000.0,
            "slow_grace_s": 10.0,
            "max_bytes": 40_000_000,  # of one body, after decompression
            "max_pixels": 100_000_000,  # refused by its header, before decoding
            "retries": 3,  # of temporary failures, per run
            # Pauses of a whole host after 429 or 503, one after another.
            "pauses_s": (60.0, 120.0, 300.0, 600.0),
            "max_retry_after_s": 3600.0,
            "user_agent": "aplantida_jax/0.1 (plant identifier)",
            "contact": "",  # mail or URL that a host's operator can write to
            "shrink_short_side": 512,  # pixels; 0 keeps originals
            "jpeg_quality": 90,
            # On a full disk everything waits, and tries again, until patience ends.
            "disk_retry_s": 60.0,
            "disk_patience_s": 21600.0,
            "limit": -1,  # images at most, -1 is all
        }
    )


def _split() -> ConfigDict:
    return ConfigDict(
        {
            # "grouped" never lets duplicates or an observation straddle splits;
            # "random" is the plan's failure, kept to show it.
            "method": "grouped",
            "fractions": (0.8, 0.1, 0.1),  # train, val, test of a class's groups
            "cached_only": True,  # leave out images that are not in the cache
            "phash_distance": 6,  # bits of 64; at most this far is a near duplicate
            # Region sets written beside the whole: one directory each.
            "regions": ("EU_SW", "EU_NORTH,EU_EAST"),
        }
    )


def _pack() -> ConfigDict:
    return ConfigDict({"shard_mb": 256.0})  # 10^6 bytes a file, about


def _demo() -> ConfigDict:
    """The generated collection of stage demo_data."""
    return ConfigDict({"species": 36, "images": 2400, "image_size": 224, "workers": 2})


def _model() -> ConfigDict:
    return ConfigDict(
        {
            "name": "vit_base_patch16_384",
            "image_size": 384,
            "dropout": 0.3,  # before the head
            "dtype": "bfloat16",  # of the computation; parameters are float32
            "remat": False,  # trade time for memory in the backward pass
            "head_rank": 0,  # 0 is a dense head, else its factorisation's rank
            # Foreign weights to start from (.npz, .safetensors); "" is from scratch.
            "pretrained": "",
            "pretrained_licence": "Apache-2.0",  # SPDX id of those weights
            # Experiment whose best checkpoint to start from, e.g. "teacher_global".
            "init_from": "",
        }
    )


def _input() -> ConfigDict:
    return ConfigDict(
        {
            "read_from": "cache",  # or "pack", which the optional stage pack makes
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
            "scale": (0.6, 1.0),  # side of the random crop / side of the smart crop
            "horizontal_flip": 0.5,  # probability
            "vertical_flip": 0.2,
            "rotation": 20.0,  # degrees, either way
            "brightness": 0.3,
            "contrast": 0.3,
            "saturation": 0.3,
            "hue": 0.15,  # turns
            "blur": 0.1,  # probability
            "erasing": 0.0,  # probability
            "mixup_alpha": 1.0,
            "cutmix_alpha": 1.2,
            "mixup_probability": 0.5,  # of either, each half of the time
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
            "sampling": "uniform",
            "logit_adjustment": 0.0,  # tau of Menon et al. 2021; 0 is off
            "patience": 3,  # epochs without a better val top1_accuracy
            "log_every": 50,  # steps
            "checkpoint_minutes": 15.0,  # between checkpoints inside a long epoch
            "keep_epochs": 2,  # checkpoints of past epochs kept beside best and last
        }
    )


def _distill() -> ConfigDict:
    return ConfigDict(
        {
            "mode": "none",  # "precomputed" reads the combined soft labels
            "soft_labels": "combined",  # name of the store
            "temperature": 3.0,
            "kl_weight": 0.7,  # times T^2 KL(teacher || student)
            "ce_weight": 0.3,
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


def _calibrate() -> ConfigDict:
    return ConfigDict(
        {
            "bins": 15,  # of the reliability diagram and ECE
            "accuracy_target": 0.95,  # the threshold is the least that reaches it
            "threshold_range": (0.40, 0.95),
            "threshold_step": 0.01,
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
