"""The models, by name, and pretrained weights for them.

With `path` a file of weights (.npz, .safetensors, .h5) or the working directory of a
run, here a small ViT for 64 pixels and 5 classes in Google's format:

>>> import jax, jax.numpy as jnp
>>> from aplantida_jax import models
>>> from aplantida_jax.models.pretrained import describe
>>> origin = describe(path)
>>> origin.format, origin.image_size, origin.num_classes
('google_vit', 64, 5)

The module takes the settings that the weights were trained with, and may be for other
classes and another image size:

>>> module = models.create(
...     "vit_mini_patch8_64", num_classes=9, image_size=96, **origin.settings
... )
>>> images = jnp.zeros((1, 96, 96, 3))
>>> variables = module.init(jax.random.key(0), images)
>>> variables, report = models.load_pretrained(path, module, variables)
>>> report.resampled, report.new
(('params/pos_embedding',), ('params/head/bias', 'params/head/kernel'))

Images are RGB in 0..1, normalised as the weights expect:

>>> images = (images - jnp.array(origin.mean)) / jnp.array(origin.std)
>>> module.apply(variables, images).shape
(1, 9)
"""

from aplantida_jax.models.pretrained import load_pretrained
from aplantida_jax.models.registry import create

__all__ = ["create", "load_pretrained"]
