"""Where the pipeline takes images from: the cache, or the pack made of it."""

from typing import Any, Protocol

from aplantida_jax import paths
from aplantida_jax.data.cache import Cache
from aplantida_jax.data.packed import Pack


class Unavailable(Exception):
    """An image cannot be had now; `reason` is one word."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Stopped(Exception):
    """The source was told to stop: nothing is said of the image that was wanted."""


class ImageSource(Protocol):
    """What knows an image's file by its id; safe for several threads.

    Attributes:
        remedy: what to do about an image that is not there, for messages.
    """

    remedy: str

    def get(self, image_id: str) -> bytes | None:
        """The file's bytes, verified, or None when there is no such image.

        Raises:
            Unavailable: it is known why there is none; only `streaming.Stream` does.
            Stopped: it would have to be asked for, after `streaming.Stream.stop`.
        """


def open_images(config: Any) -> ImageSource:
    """Opens what `config.input.read_from` names.

    Raises:
        UserError: a damaged cache; a pack that is missing, damaged, or of other splits.
    """
    if config.input.read_from == "pack":
        pack = Pack(paths.pack_dir(config))
        pack.require_current(config)
        return pack
    return Cache(paths.cache_dir(config), config.download.cache_size_gb)
