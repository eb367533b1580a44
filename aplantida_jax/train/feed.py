"""The batches that a run trains on, and where it is in their order."""

from typing import Any

from aplantida_jax import distributed
from aplantida_jax.data import pipeline
from aplantida_jax.data.image_source import Stopped
from aplantida_jax.train import replay, setup


class Feed:
    """The endless batches of a run's training set, this process's rows of them.

    Attributes:
        position: plain JSON, of the iterator after the last batch that was given out.
    """

    def __init__(self, config: Any, data: setup.Data):
        self._iterator = iter(
            pipeline.make_train(
                config,
                data.train,
                data.train_images,
                seed=config.seed,
                skipped=pipeline.Skipped(),
                shard=distributed.shard(),
                image_size=setup.rendered_size(config, data),
                extra=replay.look_up(data.soft_labels),
                recorded=replay.recorded(data.soft_labels),
            )
        )
        self.position: dict[str, Any] = self._iterator.get_state()

    def next(self) -> pipeline.Batch | None:
        """The next batch; None once the images' source was told to stop.

        A batch that was begun and not given out comes again after a restart.
        """
        try:
            batch = next(self._iterator)
        except Stopped:
            return None
        self.position = self._iterator.get_state()
        return batch

    def go_on_from(self, position: dict[str, Any]) -> None:
        """Gives out what came after `position` was taken."""
        self._iterator.set_state(position)
        self.position = position
