"""A child process that is killed in the middle of a block."""

import signal
import subprocess
import sys
from pathlib import Path


def kill_inside(code: str, path: Path) -> None:
    """Runs code that says "ready" and waits, and kills it with SIGKILL there.

    The code has `directories`, `files`, and `path` at hand.
    """
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from aplantida_jax import directories, files\n"
        f"path = Path(sys.argv[1])\n{code}"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
