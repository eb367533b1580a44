import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aplantida_jax.data.host_claims import _FORGOTTEN_S, Claims, Pause
from aplantida_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
HOST = "photos.example.org"


def test_one_at_a_time(tmp_path):
    one, two = Claims(tmp_path), Claims(tmp_path)
    assert one.claim(HOST) == Pause()
    assert two.claim(HOST) is None
    assert two.claim("other.example.org") == Pause()
    assert two.holder(HOST).startswith("process ")
    one.release(HOST)
    assert two.claim(HOST) == Pause()
    two.close()
    assert one.claim(HOST) == Pause()
    assert one.claim("other.example.org") == Pause()
    one.close()


def test_who_comes_next_goes_on_in_the_pause(tmp_path):
    now = [1000.0]
    one = Claims(tmp_path, clock=lambda: now[0])
    one.claim(HOST)
    one.note(HOST, Pause(60.0, 2))
    one.close()
    now[0] += 45
    two = Claims(tmp_path, clock=lambda: now[0])
    assert two.claim(HOST) == Pause(15.0, 2)
    two.close()
    now[0] += 60
    assert one.claim(HOST) == Pause(0.0, 2)
    one.close()
    now[0] += _FORGOTTEN_S + 1
    assert two.claim(HOST) == Pause()
    two.close()


def test_after_a_restart_of_the_machine_its_clock_says_nothing(tmp_path):
    claims = Claims(tmp_path)
    claims.claim(HOST)
    claims.note(HOST, Pause(60.0, 2))
    claims.close()
    (path,) = tmp_path.iterdir()
    state = json.loads(path.read_bytes())
    path.write_text(json.dumps(state | {"boot": "another"}))
    assert claims.claim(HOST) == Pause()
    claims.close()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[1]", b'{"paused_until": "x", "step": 1}', b"\xff\xfe"]
)
def test_a_damaged_note_counts_as_none(tmp_path, damage):
    claims = Claims(tmp_path)
    claims.claim(HOST)
    claims.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage)
    assert "process" in claims.holder(HOST)
    assert claims.claim(HOST) == Pause()
    claims.close()


def test_the_kernel_lets_go_of_what_a_killed_process_held(tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from aplantida_jax.data.host_claims import Claims, Pause\n"
        "claims = Claims(Path(sys.argv[1])); claims.claim(sys.argv[2])\n"
        "claims.note(sys.argv[2], Pause(50.0, 1)); print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), HOST],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    child.stdout.readline()
    claims = Claims(tmp_path)
    assert claims.claim(HOST) is None
    assert claims.holder(HOST) == f"process {child.pid}"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    pause = claims.claim(HOST)
    assert pause.step == 1
    assert 0 < pause.seconds <= 50
    claims.close()


def test_a_directory_that_cannot_be_made_names_the_option(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "hosts", Path("/proc/x/y")):
        with pytest.raises(UserError, match=r"--config\.download\.cache_dir"):
            Claims(place)


def test_without_a_directory_everything_is_free():
    one, two = Claims(None), Claims(None)
    assert one.claim(HOST) == two.claim(HOST) == Pause()
    one.note(HOST, Pause(9.0, 1))
    one.release(HOST)
    two.close()
