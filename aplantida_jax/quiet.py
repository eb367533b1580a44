"""Native libraries that talk on stderr: heard only when something goes wrong.

TensorFlow's C++ side says "E0000 ... Unable to register cuDNN factory" and the like on
every start, whatever the log level, and a user would take it for a failure.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def native_stderr() -> Iterator[None]:
    """Keeps file descriptor 2 back; passes on what came when the block raises."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            kept.seek(0)
            os.write(saved, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
