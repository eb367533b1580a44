"""The one entry point: flags, logging, stage dispatch.

python -m aplantida_jax.main --config=configs/teacher_eu_sw.py[:demo]
    [--config.field=value ...] [--workdir=DIR] [--dry_run] [--device=cpu|gpu]
"""

import errno
import logging as std_logging
import os
import sys
import time
from pathlib import Path

from absl import flags, logging
from ml_collections import config_flags

from aplantida_jax import config as config_lib
from aplantida_jax import paths, stages
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
    try:
        config = config_lib.parse_flags(argv, _CONFIG, dry_run=_DRY_RUN)
        _set_up_process()
        run = stages.load(config.stage)
        config_lib.check(config)
        workdir = Path(_WORKDIR.value or paths.run_dir(config, config.name))
        start = time.monotonic()
        run(config, workdir)
        logging.info("%s: %.1f s", config.stage, time.monotonic() - start)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        print(f"error: {error}: mend that, then run this again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


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
