"""The models, by name, and foreign weights for them."""

from aplantida_jax.models.pretrained import load_pretrained
from aplantida_jax.models.registry import create

__all__ = ["create", "load_pretrained"]
