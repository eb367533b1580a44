import math
import subprocess
from pathlib import Path

import pytest
from misbehaving_server import MisbehavingServer
from small_collection import download_command, served_collection

from aplantida_jax import config as config_lib
from aplantida_jax.data.download_fields import BOUNDS
from aplantida_jax.errors import UserError
from configs import dataset

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def config():
    return dataset.get_config()


def refusal(config) -> str:
    with pytest.raises(UserError) as caught:
        config_lib.check(config)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_every_number_has_bounds(config):
    numbers = {
        name
        for name, value in config.download.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    assert set(BOUNDS) == numbers


@pytest.mark.parametrize("field", BOUNDS)
def test_what_is_out_of_bounds_is_refused_by_name(config, field):
    kind = type(config.download[field])
    bounds = BOUNDS[field]
    low = -2 if bounds.off == -1 else -1
    wrong = [kind(low), kind(bounds.most * 2), kind(-(10**9))]
    if kind is float:
        wrong += [math.nan, math.inf, -math.inf]
    for value in wrong:
        config.download[field] = value
        start = f"--config.download.{field}={value!r} is not possible"
        assert refusal(config).startswith(start)
    right = [kind(bounds.least), kind(bounds.most)]
    for value in [*right, *([] if bounds.off is None else [kind(bounds.off)])]:
        config.download[field] = value
        config_lib.check(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("requests_per_second", 0.0),
        ("concurrency", 0),
        ("parallel_hosts", 0),
        ("timeout_s", 0.0),
        ("cache_size_gb", 0.0),
        ("disk_retry_s", 0.0),  # would try without a rest
        ("max_bytes", 0),
        ("jpeg_quality", 0),
        ("shrink_short_side", 1),
        ("pauses_s", ()),
        ("pauses_s", ("a",)),
        ("pauses_s", (60.0, -5.0)),
        ("pauses_s", (0.0,)),
        ("pauses_s", (math.nan,)),
        ("pauses_s", (True,)),
        ("contact", "proyecto “Aplántida”"),
        ("contact", "Núñez"),
        ("contact", "me@example.org\r\nX-Other: 1"),
        ("user_agent", "a\x00b"),
        ("user_agent", "a\x7fb"),
    ],
)
def test_what_would_never_work_is_refused(config, field, value):
    config.download[field] = value
    assert f"--config.download.{field}=" in refusal(config)


def test_what_a_host_can_read_is_let_through(config):
    config.download.contact = "https://example.org/us?a=b (Ana, +34 600)"
    config_lib.check(config)


def test_the_command_line_is_refused_before_anything_is_asked(tmp_path):
    with MisbehavingServer() as server:
        config = served_collection(tmp_path, server, 2)
        config.download.shrink_short_side = -1
        done = subprocess.run(
            download_command(config), cwd=ROOT, capture_output=True, text=True
        )
        assert not server.requests
    assert done.returncode == 2
    assert "--config.download.shrink_short_side=-1 is not possible" in done.stderr
    assert "Traceback" not in done.stderr
