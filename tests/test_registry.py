"""Names and settings of models, and what is said about wrong ones."""

import pytest

from aplantida_jax.errors import UserError
from aplantida_jax.models import create, registry


@pytest.mark.parametrize("name", registry.NAMES)
def test_every_name_makes_a_module(name):
    module = create(
        name,
        num_classes=9,
        image_size=96,
        dropout=0.1,
        dtype="bfloat16",
        remat=True,
        head_rank=4,
    )
    assert (module.num_classes, module.dropout, module.head_rank) == (9, 0.1, 4)
    assert (module.dtype, module.remat) == ("bfloat16", True)


def test_names_tell_their_size():
    for name in registry.NAMES:
        module = create(name, num_classes=2)
        if name.startswith("vit"):
            assert name.endswith(f"_patch{module.patch}_{module.image_size}")
        else:
            assert name == f"mobilenet_v2_{module.width}"


def test_misspelt_name_gets_a_suggestion():
    with pytest.raises(UserError, match="did you mean 'vit_base_patch16_384'"):
        create("vit_base_patch_384", num_classes=2)


@pytest.mark.parametrize("size", [0, 40, 100])
def test_image_size_must_be_a_multiple_of_the_patch(size):
    with pytest.raises(UserError, match=f"image_size {size} is not a multiple of 16"):
        create("vit_tiny_patch16_224", num_classes=2, image_size=size)


def test_image_too_small_for_mobilenet():
    with pytest.raises(UserError, match="image_size 16 is less than 32"):
        create("mobilenet_v2_1.0", num_classes=2, image_size=16)


@pytest.mark.parametrize(
    ("field", "value"),
    [("dtype", "float16"), ("padding", "same"), ("depthwise", "fast")],
)
def test_wrong_choice(field, value):
    with pytest.raises(UserError, match=f"{field} is '{value}', but must be one of"):
        create("mobilenet_v2_1.0", num_classes=2, **{field: value})


def test_setting_of_another_kind_of_model():
    with pytest.raises(UserError, match="mobilenet_v2_1.0 has no setting gelu"):
        create("mobilenet_v2_1.0", num_classes=2, gelu="tanh")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("num_classes", 0), ("num_classes", -3), ("num_classes", 2.5)),
        *(("dropout", 2.0), ("dropout", 1.0), ("dropout", -0.1)),
        *(("drop_path", 1.5), ("drop_path", float("nan"))),
        *(("head_rank", -1), ("head_rank", "4"), ("depth", 0), ("heads", 0)),
    ],
)
def test_a_number_that_makes_no_network(field, value):
    fields = {"num_classes": 2, field: value}
    with pytest.raises(
        UserError, match=f"{field} is {value!r}, but must be a .*number from"
    ):
        create("vit_mini_patch8_64", **fields)


@pytest.mark.parametrize("heads", [5, 256])
def test_width_must_be_a_multiple_of_the_heads(heads):
    with pytest.raises(UserError, match=f"width 128 is not a multiple of {heads} head"):
        create("vit_mini_patch8_64", num_classes=2, heads=heads)


def test_a_width_that_is_no_multiplier():
    with pytest.raises(UserError, match="width -1.0 must be"):
        create("mobilenet_v2_1.0", num_classes=2, width=-1.0)
