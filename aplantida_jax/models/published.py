"""Published weights that `fetch_weights` can get: where each is, and its licence.

A literal table. `model.pretrained` takes a name of it like a path, once the file is
there. SHA-256 is "" where we know of none that was published or that several
independent users agree on: then the host's own hash is compared, and what came is
recorded beside the file, so that a later change is noticed.

No entry needs timm's config.json: the normalisation of each is its format's.
Google's ViTs are those of Steiner et al. 2022 ("How to train your ViT?", augreg), as
timm and vit_jax name them; Keras' file names are those in keras.applications.
"""

import dataclasses
import difflib
from pathlib import Path

from aplantida_jax.errors import UserError

_AUGREG = "https://storage.googleapis.com/vit_models/augreg"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2"
_TIMM = "https://huggingface.co/timm"
_APACHE = "Apache-2.0"


@dataclasses.dataclass(frozen=True)
class Published:
    """One file of weights on the network.

    Attributes:
        name: as `model.pretrained` takes it.
        model: as `models.create` takes it.
        format: what it must turn out to be, see formats.py.
        image_size: side in pixels that it was trained on.
        num_classes: of its head; 0 has none.
        url: https.
        file: its name in `weights_dir`.
        licence: SPDX id.
        source: who trained it on what.
        sha256: of the file, "" where we know of none.
    """

    name: str
    model: str
    format: str
    image_size: int
    num_classes: int
    url: str
    file: str
    licence: str
    source: str
    sha256: str = ""


def _google(model: str, stem: str, *, classes: int, sha256: str = "") -> Published:
    """An augreg ViT; in21k files have the 21,843 classes of ImageNet-21k."""
    tag = "_in21k" if classes == 21843 else ""
    trained = "ImageNet-21k" + ("" if tag else ", fine-tuned on ImageNet-1k")
    return Published(
        name=f"google/{model}{tag}",
        model=model,
        format="google_vit",
        image_size=int(model.rpartition("_")[2]),
        num_classes=classes,
        url=f"{_AUGREG}/{stem}.npz",
        file=f"google_{model}{tag}.npz",
        licence=_APACHE,
        source=f"Google Research, vision_transformer (augreg), {trained}",
        sha256=sha256,
    )


def _keras(width: str, *, top: bool) -> Published:
    """A MobileNetV2 of Keras applications, trained at 224 pixels."""
    tail = "" if top else "_no_top"
    file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_224{tail}.h5"
    return Published(
        name=f"keras/mobilenet_v2_{width}{tail}",
        model=f"mobilenet_v2_{width}",
        format="keras_mobilenet_v2",
        image_size=224,
        num_classes=1000 if top else 0,
        url=f"{_KERAS}/{file}",
        file=file,
        licence=_APACHE,
        source="Keras applications, MobileNetV2, ImageNet-1k",
    )


def _timm(repository: str, model: str, *, image_size: int, classes: int) -> Published:
    """A release of timm on Hugging Face."""
    vit = model.startswith("vit")
    return Published(
        name=f"timm/{repository}",
        model=model,
        format="timm_vit" if vit else "timm_mobilenet_v2",
        image_size=image_size,
        num_classes=classes,
        url=f"{_TIMM}/{repository}/resolve/main/model.safetensors",
        file=f"timm_{repository}.safetensors",
        licence=_APACHE,
        source=f"timm, {repository}, ImageNet",
    )


_TI = "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
_S = "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0"
_B = "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0"
_03 = "--imagenet2012-steps_20k-lr_0.03-res"
_01 = "--imagenet2012-steps_20k-lr_0.01-res"

_ALL = (
    _google("vit_tiny_patch16_224", _TI, classes=21843),
    _google("vit_small_patch16_224", _S, classes=21843),
    _google("vit_base_patch16_224", _B, classes=21843),
    _google("vit_tiny_patch16_224", f"{_TI}{_03}_224", classes=1000),
    _google("vit_tiny_patch16_384", f"{_TI}{_03}_384", classes=1000),
    _google(
        "vit_small_patch16_224",
        f"{_S}{_03}_224",
        classes=1000,
        # Several unrelated public projects check their downloads against it.
        sha256="545815b4e770d2fa6ca4b3ccba7c16b035e474354e52d17ca197ea4efecbf4d3",
    ),
    _google("vit_small_patch16_384", f"{_S}{_03}_384", classes=1000),
    _google("vit_base_patch16_224", f"{_B}{_01}_224", classes=1000),
    _google("vit_base_patch16_384", f"{_B}{_01}_384", classes=1000),
    *(
        _timm(f"{model}.{tag}", model, image_size=size, classes=classes)
        for kind in ("tiny", "small", "base")
        for size, tag, classes in (
            (224, "augreg_in21k", 21843),
            (224, "augreg_in21k_ft_in1k", 1000),
            (384, "augreg_in21k_ft_in1k", 1000),
        )
        for model in (f"vit_{kind}_patch16_{size}",)
    ),
    *(
        _timm(repository, f"mobilenet_v2_{width}", image_size=224, classes=1000)
        for repository, width in (
            ("mobilenetv2_050.lamb_in1k", "0.5"),
            ("mobilenetv2_100.ra_in1k", "1.0"),
            ("mobilenetv2_140.ra_in1k", "1.4"),
        )
    ),
    *(
        _keras(width, top=top)
        for width in ("0.35", "0.5", "0.75", "1.0", "1.3", "1.4")
        for top in (True, False)
    ),
)
TABLE = {entry.name: entry for entry in _ALL}


def look_up(name: str) -> Published:
    """The entry called `name`.

    Raises:
        UserError: there is none; suggests one.
    """
    if name in TABLE:
        return TABLE[name]
    near = difflib.get_close_matches(name, TABLE, n=1, cutoff=0.3)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UserError(
        f"no published weights are called '{name}': {hint}Stage fetch_weights without "
        "--config.model.pretrained lists them",
        exit_code=2,
    )


def locate(reference: str, weights_dir: Path) -> Path:
    """The file or directory that `model.pretrained` means: a name here, or a path.

    Raises:
        UserError: it is not there; says which command fetches it, or what to get by
            hand and where to put it.
    """
    entry = TABLE.get(reference)
    if entry is None:
        return _existing(Path(reference))
    path = Path(weights_dir) / entry.file
    if not path.exists():
        raise UserError(
            f"the weights {entry.name} are not here yet: add "
            "--config.stage=fetch_weights to this command to fetch them, or get "
            f"{entry.url} on another machine, put it at {path} and run the same stage, "
            "which then asks no network"
        )
    return path


def _existing(path: Path) -> Path:
    if path.exists():
        return path
    near = difflib.get_close_matches(str(path), TABLE, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise UserError(
        f"{path} is missing: --config.model.pretrained takes a file of weights, the "
        "working directory of a run, or a published name (--config.stage=fetch_weights "
        f"without one lists them){hint}"
    )
