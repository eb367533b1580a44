"""The one entry point: flags, logging, stage dispatch.

python -m aplantida_jax.main --config=configs/teacher_eu_sw.py[:demo]
    [--config.field=value ...] [--workdir=DIR] [--dry_run] [--device=cpu|gpu]
    [--coordinator=HOST:PORT --processes=N --process=I]  (training in N processes, each
    with CUDA_VISIBLE_DEVICES of its own on one machine; PORT and PORT + 1 are used)
"""

import errno
import logging as std_logging
import os
import sys
import time
import traceback
from pathlib import Path

from absl import flags, logging
from ml_collections import config_flags

from aplantida_jax import config as config_lib
from aplantida_jax import paths, peers, stages
from aplantida_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment: a file in configs/, optionally with a variant (:demo)."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Checkpoints, logs, reports; default <config.runs_dir>/<name>."
)
_LOG_LEVEL = flags.DEFINE_enum(
    "log_level", "info", ["debug", "info", "warning", "error"], "Least level shown."
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Print what would be done (counts, disk, time); write nothing."
)
_DEVICE = flags.DEFINE_enum(
    "device", None, ["cpu", "gpu"], "Where JAX computes; default: what is there."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, where the others find it; JAX's is PORT + 1.",
)
_PROCESSES = flags.DEFINE_integer(
    "processes", None, "How many train together, each started with the same command."
)
_PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")
# No room, no rights, a file where a directory should be: what was written before stays.
_DISK_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS),
    *(errno.EEXIST, errno.ENOTDIR),
)


def main(argv: list[str]) -> int:
    """Runs one stage; returns the exit code."""
    if {"--help", "-h"} & set(argv[1:]):
        print(f"{__doc__}\nStages (--config.stage): {', '.join(stages.STAGES)}")
        return 0
    said, code = "", 0
    try:
        _run(argv)
    except UserError as error:
        said, code = f"error: {error}", error.exit_code
    except KeyboardInterrupt:
        said, code = "interrupted; run the same command again to go on", 130
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            said, code = f"error: {error}: mend that, then run this again", 1
        elif not peers.are_met():
            raise
        else:
            peers.wait_for_news()  # another process's death may be all there is to say
            said, code = traceback.format_exc(), 1
    if said:
        print(said, file=sys.stderr)
    peers.part(said, code)
    return code


def _run(argv: list[str]) -> None:
    config = config_lib.parse_flags(argv, _CONFIG, dry_run=_DRY_RUN)
    place = peers.Place.of(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    _set_up_process()
    run = stages.load(config.stage)
    stages.check_workdir(config.stage, _WORKDIR.value)
    config_lib.check(config)
    if place is not None:
        _join(place, config.stage)
    workdir = Path(_WORKDIR.value or paths.run_dir(config, config.name))
    start = time.monotonic()
    run(config, workdir)
    logging.info("%s: %.1f s", config.stage, time.monotonic() - start)


def _join(place: peers.Place, stage: str) -> None:
    """Makes this process one of several; the first speaks for all."""
    if stage != "train":
        raise UserError(
            f"stage '{stage}' runs in one process: leave --coordinator, --processes "
            "and --process out",
            exit_code=2,
        )
    from aplantida_jax import distributed  # starts JAX, which other stages never need

    distributed.join(peers.start(place))
    if place.process > 0:
        logging.set_verbosity(min(logging.get_verbosity(), logging.WARNING))


def _set_up_process() -> None:
    logging.use_absl_handler()
    logging.set_verbosity(_LOG_LEVEL.value)
    logging.get_absl_handler().setFormatter(
        std_logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S")
    )
    logging.get_absl_handler().addFilter(_is_ours)
    std_logging.getLogger("jax").setLevel(std_logging.WARNING)
    # TensorFlow's C++ start-up messages say nothing that a user can act on.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    if _DEVICE.value:
        os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda"}[_DEVICE.value]
    if _DEVICE.value == "gpu":
        config_lib.require_gpu()


def _is_ours(record: std_logging.LogRecord) -> bool:
    """Keeps libraries' chatter out of the log: their warnings pass, but for grain's.

    At its import grain warns that it cannot profile worker processes; we have none.
    """
    if "site-packages" not in record.pathname:
        return True
    return record.levelno >= std_logging.WARNING and "Grain" not in str(record.msg)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
