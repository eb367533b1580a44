"""Stage train: the only training loop, for teachers, distillation and fine-tuning.

Reads the run's splits, label map, images and what it starts from; leaves in the working
directory checkpoints/, best.json, history.jsonl (a line an epoch), tensorboard/ and
manifest.json. A run that was stopped goes on at the step, with the order of the data
and the random numbers, where it was; its result is that of an undisturbed run.
"""

import copy
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from clu import parameter_overview

from aplantida_jax import files, manifest, paths
from aplantida_jax.data import pipeline
from aplantida_jax.errors import UserError
from aplantida_jax.train import checkpoint, optimizer, setup, state, step
from aplantida_jax.train.board import Board
from aplantida_jax.train.interrupt import Interrupt
from aplantida_jax.train.meter import Meter


def run(config: Any, workdir: Path) -> None:
    """Trains, or goes on training, or says that there's nothing to do."""
    job = manifest.begin(
        config,
        stage="train",
        out_dir=workdir,
        inputs=setup.inputs(config),
        depends_on=("model", "input", "augment", "train", "distill", "region"),
    )
    if job is None:
        return
    data = setup.load_data(config)
    schedule = setup.Schedule.of(config, len(data.train))
    logging.info(
        "%s: %d training and %d validation images, %d classes, %d steps of %d images",
        config.name,
        len(data.train),
        len(data.val),
        len(data.label_map),
        schedule.total_steps,
        config.train.batch_size,
    )
    if config.dry_run:
        return
    setup.set_aside_other_run(workdir, job.key)
    with checkpoint.Checkpoints(workdir) as checkpoints:
        loop = Loop(config, workdir, data, schedule, checkpoints, job.key)
        loop.fit()
    best = files.read_json(paths.best(workdir), made_by="train")
    job.finish(
        outputs=[
            paths.best(workdir),
            workdir / best["checkpoint"],
            workdir / "history.jsonl",
        ],
        metrics=loop.progress.best["metrics"],
        label_map=data.label_map.fingerprint,
    )


class Loop:
    """One run: built, restored, stepped to its end."""

    def __init__(
        self,
        config: Any,
        workdir: Path,
        data: setup.Data,
        schedule: setup.Schedule,
        checkpoints: checkpoint.Checkpoints,
        key: str,
    ):
        setup.use_compilation_cache(config)
        self.config, self.workdir, self.data = config, Path(workdir), data
        self.schedule, self.checkpoints = schedule, checkpoints
        self.module, variables, self.fields, ancestors = setup.initial_model(
            config, data.label_map
        )
        self.provenance = setup.provenance(config, data, ancestors)
        self.tx = optimizer.make(config.train, variables["params"])
        self.sharding, replicated = setup.shardings(config)
        fresh = state.create(variables, self.tx, ema_decay=config.train.ema_decay)
        self.state = jax.device_put(fresh, replicated)
        self.constants = jax.device_put(setup.constants(config, data), replicated)
        self.skipped = pipeline.Skipped()
        self.iterator = iter(
            pipeline.make_train(
                config,
                data.train,
                data.images,
                seed=config.seed,
                skipped=self.skipped,
                shard=(jax.process_index(), jax.process_count()),
                extra=setup.soft_label_lookup(data),
            )
        )
        self.progress = state.Progress(key, data.train.fingerprint)
        self._saved = self.progress
        self.train_step = step.make_train_step(self.module, self.tx, config)
        self.validation_step = step.make_validation_step(self.module, config)
        self._restore()

    def fit(self) -> None:
        """Steps to the end; saves and raises UserError when asked to stop."""
        config, per_epoch = self.config, self.schedule.steps_per_epoch
        if self.progress.step == 0:
            parameter_overview.log_parameter_overview(self.state.params)
        with Interrupt() as interrupt, Board(self.workdir / "tensorboard") as board:
            meter = Meter(config.train.batch_size)
            saved_at = time.monotonic()
            while not self.progress.finished:
                self._step(board, meter)
                self.checkpoints.poll()
                self._publish()
                if self.progress.step % config.train.log_every == 0:
                    self._log(board, meter)
                if self.progress.step % per_epoch == 0:
                    self._finish_epoch(board, meter)
                    saved_at = time.monotonic()
                minutes = (time.monotonic() - saved_at) / 60
                if interrupt.requested or minutes > config.train.checkpoint_minutes:
                    self._save(meter)
                    saved_at = time.monotonic()
                if interrupt.requested and not self.progress.finished:
                    self.checkpoints.commit()
                    raise interrupt.error(f"step {self.progress.step} is saved")
        self.checkpoints.commit()
        self._publish()

    def _step(self, board: Board, meter: Meter) -> None:
        """One batch; the device computes while the next one is fetched."""
        with meter.waiting():
            batch = next(self.iterator)
        if self.progress.step == 0:
            board.images("train/augmented", batch["image"][:16])
        update = self.progress.step // self.schedule.accumulate
        rate = optimizer.learning_rate(
            update,
            config=self.config.train,
            updates_per_epoch=self.schedule.steps_per_epoch / self.schedule.accumulate,
        )
        self.state, metrics = self.train_step(
            self.state,
            setup.shard_batch(batch, self.sharding),
            np.float32(rate),
            self.constants,
        )
        self.progress.step += 1
        meter.add(self.progress.step, rate, batch["image_id"], metrics)

    def _log(self, board: Board, meter: Meter) -> None:
        now = meter.flush()
        board.scalars(self.progress.step, {f"train/{k}": v for k, v in now.items()})
        logging.info(
            "step %d/%d: loss %.4f, %.1f images/s, %.0f %% waiting for data",
            self.progress.step,
            self.schedule.total_steps,
            now["loss"],
            now["images_per_second"],
            100 * now["data_wait"],
        )

    def _finish_epoch(self, board: Board, meter: Meter) -> None:
        """Validates, decides whether it is the best or the last, saves."""
        meter.flush()
        sums = jax.tree.map(float, self.state.sums)
        val = self._validate()
        epoch = len(self.progress.history) + 1
        record = {
            "epoch": epoch,
            "step": self.progress.step,
            "train_loss": sums["loss"] / sums["count"],
            "train_top1_accuracy": sums["top1"] / sums["count"],
            **{f"val_{name}": value for name, value in val.items()},
            "learning_rate": meter.last_rate,
        }
        self.progress.add_epoch(record, val)
        self.progress.finished = (
            self.progress.step >= self.schedule.total_steps
            or self.progress.epochs_without_better >= self.config.train.patience
        )
        zeros = jax.tree.map(lambda s: s * 0, self.state.sums)
        self.state = self.state.replace(sums=zeros)
        self._save(meter)
        speed = meter.epoch_speed()
        board.scalars(
            self.progress.step,
            {f"epoch/{name}": v for name, v in record.items()}
            | {"epoch/images_per_second": speed},
        )
        logging.info(
            "epoch %d: train loss %.4f, top-1 %.1f %%; val loss %.4f, top-1 %.1f %%, "
            "top-5 %.1f %%; %.1f images/s",
            epoch,
            record["train_loss"],
            100 * record["train_top1_accuracy"],
            val["loss"],
            100 * val["top1_accuracy"],
            100 * val["top5_accuracy"],
            speed,
        )

    def _validate(self) -> dict[str, float]:
        """Metrics of the evaluation variables over the whole validation split."""
        variables = state.evaluation_variables(self.state)
        totals = dict.fromkeys(("loss", "top1", "top5", "count"), 0.0)
        for batch in pipeline.evaluation_batches(
            self.config,
            self.data.val,
            self.data.images,
            image_size=self.config.model.image_size,
            resize=self.config.input.resize,
        ):
            sums = self.validation_step(
                variables, setup.shard_batch(batch, self.sharding), self.constants
            )
            for name, value in sums.items():
                totals[name] += float(value)
        return {
            "loss": totals["loss"] / totals["count"],
            "top1_accuracy": totals["top1"] / totals["count"],
            "top5_accuracy": totals["top5"] / totals["count"],
        }

    def _save(self, meter: Meter) -> None:
        """Starts a checkpoint; a state that is not finite never becomes one."""
        meter.flush()
        self.checkpoints.commit()
        self._publish()
        self.progress.iterator = self.iterator.get_state()
        self._saved = copy.deepcopy(self.progress)
        remembered = dataclasses.asdict(self._saved)
        self.checkpoints.save(self.progress.step, self.state, remembered)

    def _publish(self) -> None:
        """Writes history and best.json once their checkpoint is committed."""
        if self.checkpoints.take_committed():
            self._publish_saved()

    def _publish_saved(self) -> None:
        saved = self._saved
        lines = [json.dumps(record) + "\n" for record in saved.history]
        files.write_text(self.workdir / "history.jsonl", "".join(lines))
        recent = [record["step"] for record in saved.history]
        recent = recent[-self.config.train.keep_epochs :]
        if saved.best:
            recent.append(saved.best["step"])
            checkpoint.write_best(self.workdir, self._offer(saved), self.checkpoints)
        self.checkpoints.keep_only({saved.step, *recent})

    def _offer(self, saved: state.Progress) -> dict[str, Any]:
        """What others need to know of the best checkpoint, to load and judge it."""
        return {
            "name": self.config.name,
            **saved.best,
            "model": self.fields,
            "input": self.config.input.to_dict(),
            "region": self.config.region,
            "label_map": self.data.label_map.fingerprint,
            "provenance": self.provenance,
        }

    def _restore(self) -> None:
        restored = self.checkpoints.restore(self.state)
        while restored and not self._best_is_whole(restored[1]):
            # Training again from before it is the only way to have it back.
            self.checkpoints.forget_from(restored[1]["best"]["step"])
            restored = self.checkpoints.restore(self.state)
        if restored is None:
            return
        self.state, remembered = restored
        self.progress = state.Progress(**remembered)
        if self.progress.examples != self.data.train.fingerprint:
            raise UserError(
                f"the training split has changed under {self.workdir}: use another "
                "--workdir, or move that one away"
            )
        self.iterator.set_state(self.progress.iterator)
        logging.info("going on at step %d", self.progress.step)
        # The process may have died between the checkpoint and what describes it.
        self._saved = copy.deepcopy(self.progress)
        self._publish_saved()

    def _best_is_whole(self, remembered: checkpoint.Progress) -> bool:
        best = remembered["best"]
        return not best or self.checkpoints.is_whole(best["step"])
