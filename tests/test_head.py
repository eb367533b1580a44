"""The head that both families of models end in."""

import jax
import jax.numpy as jnp
import pytest
from tiny_vit import SIDE, tiny_vit

from aplantida_jax.train import state


@pytest.mark.parametrize("head_rank", [0, 2])
def test_all_its_products_are_float32_and_never_tf32(head_rank):
    """As the compiler is told, forwards and backwards: a GPU would choose TF32."""
    module = tiny_vit(dtype="bfloat16", head_rank=head_rank)
    variables = state.variable_shapes(module, image_size=SIDE)
    images = jax.ShapeDtypeStruct((2, SIDE, SIDE, 3), jnp.float32)

    def total(variables, images):
        return module.apply(variables, images).sum()

    text = jax.jit(jax.grad(total)).lower(variables, images).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    of_head = [line for line in products if "bf16" not in line]
    # By its input and by its kernel, and one more each where it is factorised.
    assert len(of_head) >= (2 if head_rank == 0 else 4)
    assert len(of_head) < len(products)
    assert all("HIGHEST" in line for line in of_head)
