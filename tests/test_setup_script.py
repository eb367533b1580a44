import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "setup.sh"


@pytest.mark.parametrize("options", [["--Dev"], ["dev"], ["--dev", "--extra=cuda12"]])
def test_an_option_that_it_does_not_know_is_refused(tmp_path, options):
    # A copy, so that nothing of this checkout is touched if it goes on.
    (tmp_path / "scripts").mkdir()
    copy = shutil.copy(SCRIPT, tmp_path / "scripts")
    done = subprocess.run([copy, *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"error: unknown option {options[-1]}; there is --dev\n"
    assert [path.name for path in tmp_path.iterdir()] == ["scripts"]
