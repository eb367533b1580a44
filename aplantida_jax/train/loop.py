"""Stage train: the only training loop, for teachers, distillation and fine-tuning.

Reads the run's splits, label map, images and what it starts from; leaves in the working
directory checkpoints/, best.json, history.jsonl (a line an epoch), tensorboard/ and
manifest.json. A run that was stopped goes on at the step, with the order of the data
and the random numbers, where it was; its result is that of an undisturbed run.
"""

import contextlib
import copy
import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from clu import parameter_overview

from aplantida_jax import distributed, files, manifest, paths
from aplantida_jax.data import pipeline
from aplantida_jax.train import (
    checkpoint,
    epoch,
    inputs,
    optimizer,
    placement,
    run_directory,
    setup,
    state,
    step,
    validation,
)
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
    distributed.require_same(job.key if job else None)
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
    run_directory.set_aside_other_run(workdir, job.key)
    with contextlib.closing(data), checkpoint.Checkpoints(workdir) as checkpoints:
        loop = Loop(config, workdir, data, schedule, checkpoints, job.key)
        loop.fit()
    with distributed.first_then_all("the run is finished") as first:
        if first:
            _write_manifest(job, workdir, loop)


def _write_manifest(job: manifest.Job, workdir: Path, loop: "Loop") -> None:
    best = files.read_json(paths.best(workdir), made_by="train")
    job.finish(
        outputs=[
            paths.best(workdir),
            workdir / best["checkpoint"],
            run_directory.history(workdir),
        ],
        metrics=loop.progress.best["metrics"],
        label_map=loop.data.label_map.fingerprint,
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
        self.module, variables, fields, ancestors = setup.initial_model(
            config, data.label_map
        )
        self.about = setup.about(config, data, fields, ancestors)
        self.tx = optimizer.make(config.train, variables["params"])
        self.sharding, replicated = placement.shardings(config)
        fresh = state.create(variables, self.tx, ema_decay=config.train.ema_decay)
        self.state = placement.replicate(fresh, replicated)
        self.constants = placement.replicate(setup.constants(config, data), replicated)
        self.skipped = pipeline.Skipped()
        self.iterator = iter(
            pipeline.make_train(
                config,
                data.train,
                data.train_images,
                seed=config.seed,
                skipped=self.skipped,
                shard=distributed.shard(),
                extra=setup.soft_label_lookup(data),
            )
        )
        self.progress = state.Progress(key, data.train.fingerprint)
        self._saved, self._saved_at = copy.deepcopy(self.progress), time.monotonic()
        self.train_step = step.make_train_step(self.module, self.tx, config, replicated)
        self.validation_step = validation.make_step(self.module, config, replicated)
        self.view = inputs.make_view(config, replicated)
        self._restore()

    def fit(self) -> None:
        """Steps to the end; saves and raises UserError when asked to stop."""
        config, per_epoch = self.config, self.schedule.steps_per_epoch
        tensorboard = self.workdir / "tensorboard" if distributed.is_first() else None
        if self.progress.step == 0:
            parameter_overview.log_parameter_overview(self.state.params)
        with Interrupt(self.data.stop) as interrupt, Board(tensorboard) as board:
            meter = Meter(config.train.batch_size)
            self._saved_at = time.monotonic()
            while not self.progress.finished:
                self._step(board, meter)
                is_logged = self.progress.step % config.train.log_every == 0
                is_last = self.progress.step % per_epoch == 0
                if is_logged:
                    self._log(board, meter)
                if is_last:
                    self._finish_epoch(board, meter)
                # Several processes have to meet for it, which empties their queues.
                if is_logged or is_last or jax.process_count() == 1:
                    self._heed(interrupt, meter)
        self.checkpoints.commit()
        self._publish()

    def _heed(self, interrupt: Interrupt, meter: Meter) -> None:
        """Commits, saves or leaves: what one process has to, all of them do."""
        minutes = (time.monotonic() - self._saved_at) / 60
        signal_number, is_due, is_unwritten = distributed.highest(
            [
                interrupt.requested,
                minutes > self.config.train.checkpoint_minutes,
                not self.checkpoints.is_written(),
            ]
        )
        if not is_unwritten:
            self.checkpoints.commit()
            self._publish()
        if signal_number or is_due:
            self._save(meter)
        if signal_number and not self.progress.finished:
            self.checkpoints.commit()
            interrupt.requested = signal_number
            raise interrupt.error(f"step {self.progress.step} is saved")

    def _step(self, board: Board, meter: Meter) -> None:
        """One batch; the device computes while the next one is fetched."""
        with meter.waiting():
            batch = next(self.iterator)
        arrays = placement.shard_batch(batch, self.sharding)
        update = self.progress.step // self.schedule.accumulate
        rate = optimizer.learning_rate(
            update,
            config=self.config.train,
            updates_per_epoch=self.schedule.steps_per_epoch / self.schedule.accumulate,
        )
        self.state, metrics = self.train_step(
            self.state,
            arrays,
            np.float32(rate),
            self.constants,
        )
        if self.progress.step == 0:
            # A program of its own: compiled while the first step is under way.
            seen = self.view(np.int32(0), arrays, self.constants)
            board.images("train/augmented", np.asarray(seen[:16]))
        self.progress.step += 1
        meter.add(self.progress.step, rate, batch["image_id"], metrics)

    def _log(self, board: Board, meter: Meter) -> None:
        now = meter.flush()
        logging.info(
            "step %d/%d: loss %.4f, %.1f images/s, %.0f %% waiting for data",
            self.progress.step,
            self.schedule.total_steps,
            now["loss"],
            now["images_per_second"],
            100 * now["data_wait"],
        )
        board.scalars(self.progress.step, {f"train/{k}": v for k, v in now.items()})

    def _finish_epoch(self, board: Board, meter: Meter) -> None:
        """Validates, decides whether it is the best or the last, saves."""
        meter.flush()
        val = self._validate()
        record = epoch.record(
            len(self.progress.history) + 1,
            self.progress.step,
            jax.tree.map(float, self.state.sums),
            val,
            learning_rate=meter.last_rate,
        )
        self.progress.add_epoch(record, val)
        self.progress.finished = (
            self.progress.step >= self.schedule.total_steps
            or self.progress.epochs_without_better >= self.config.train.patience
        )
        zeros = jax.tree.map(lambda s: s * 0, self.state.sums)
        self.state = self.state.replace(sums=zeros)
        self._save(meter)
        speed = meter.epoch_speed()
        epoch.say(record, speed)
        scalars = {**record, "images_per_second": speed}
        board.scalars(self.progress.step, {f"epoch/{k}": v for k, v in scalars.items()})

    def _validate(self) -> dict[str, float]:
        """Metrics of the evaluation variables over the whole validation split."""
        variables = state.evaluation_variables(self.state)
        totals: Any = None
        for batch in pipeline.evaluation_batches(
            self.config,
            self.data.val,
            self.data.images,
            image_size=self.config.model.image_size,
            resize=self.config.input.resize,
            shard=distributed.shard(),
        ):
            sums = self.validation_step(
                variables, placement.shard_batch(batch, self.sharding), self.constants
            )
            totals = jax.tree.map(np.add, totals, sums) if totals else sums
        return validation.summary(totals, self.data.label_map)

    def _save(self, meter: Meter) -> None:
        """Starts a checkpoint; a state that is not finite never becomes one."""
        meter.flush()
        self._saved_at = time.monotonic()
        if self._saved.step == self.progress.step:
            return
        self.checkpoints.commit()
        self._publish()
        self.progress.iterator = distributed.gather(self.iterator.get_state())
        self._saved = copy.deepcopy(self.progress)
        remembered = dataclasses.asdict(self._saved)
        self.checkpoints.save(self.progress.step, self.state, remembered)

    def _publish(self) -> None:
        """Writes history and best.json once their checkpoint is committed."""
        if self.checkpoints.take_committed():
            self._publish_saved()

    def _publish_saved(self) -> None:
        saved, options = self._saved, self.config.train
        if distributed.is_first():
            run_directory.publish(self.workdir, saved, self.about, self.checkpoints)
        steps = [record["step"] for record in saved.history][-options.keep_epochs :]
        if saved.best:
            steps.append(saved.best["step"])
        self.checkpoints.keep_only({saved.step, *steps})

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
        run_directory.check(self.workdir, self.progress, self.data.train.fingerprint)
        self.iterator.set_state(self.progress.iterator[jax.process_index()])
        logging.info("going on at step %d", self.progress.step)
        # The process may have died between the checkpoint and what describes it.
        self._saved = copy.deepcopy(self.progress)
        self._publish_saved()

    def _best_is_whole(self, remembered: checkpoint.Progress) -> bool:
        best = remembered["best"]
        return not best or self.checkpoints.is_whole(best["step"])
