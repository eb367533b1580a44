"""Stage `fetch_weights`: from a real server to a file that is what it says."""

import dataclasses
import hashlib
import io
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from file_server import FileServer
from tiny_vit import MINI, google_arrays

from aplantida_jax.errors import UserError
from aplantida_jax.models import fetch_weights, published
from aplantida_jax.models.fetch_weights import fetch
from aplantida_jax.models.large_file import Limits
from configs import teacher_global

QUICK = Limits(wait_s=0.01, read_s=2.0, tries=4)


def weights(**changes):
    arrays = google_arrays(**{**MINI, **changes})
    packed = io.BytesIO()
    np.savez(packed, **{name: array.astype("f4") for name, array in arrays.items()})
    return packed.getvalue()


BODY = weights()
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def host():
    with FileServer(BODY) as server:
        yield server


@pytest.fixture
def entry(host):
    return published.Published(
        name="test/mini",
        model="vit_mini_patch8_64",
        format="google_vit",
        image_size=64,
        num_classes=5,
        url=host.url,
        file="mini.npz",
        licence="Apache-2.0",
        source="this test",
    )


def record(path):
    return json.loads(path.with_name(f"{path.name}.json").read_text())


def test_a_file_is_fetched_verified_and_recorded(host, entry, tmp_path):
    host.headers = {"X-Goog-Hash": host.google_hash()}
    path = fetch(entry, tmp_path, QUICK)
    assert path.read_bytes() == BODY
    found = record(path)
    assert found["sha256"] == SHA256
    assert found["verified_by"] == ["md5"]
    assert (found["licence"], found["url"]) == ("Apache-2.0", host.url)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mini.npz", "mini.npz.json"]


def test_a_rerun_asks_nothing_and_says_so(host, entry, tmp_path, caplog):
    fetch(entry, tmp_path, QUICK)
    asked = len(host.asked)
    with caplog.at_level("INFO", logger="absl"):
        fetch(entry, tmp_path, QUICK)
    assert "nothing to do" in caplog.text
    assert len(host.asked) == asked


def test_a_cut_and_a_pause_on_the_way_cost_nothing(host, entry, tmp_path):
    host.faults = ["cut", 503, "cut"]
    assert fetch(entry, tmp_path, QUICK).read_bytes() == BODY


def test_killed_in_the_middle_it_goes_on(host, entry, tmp_path):
    host.faults = ["slow"]
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from aplantida_jax.models.large_file import Limits, download\n"
        "print('ready', flush=True)\n"
        "download(sys.argv[1], Path(sys.argv[2]), Limits(read_s=9.0))\n"
    )
    part = tmp_path / "mini.npz.part"
    with subprocess.Popen(
        [sys.executable, "-c", code, host.url, str(part)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        while not host.asked:  # it has begun
            assert process.poll() is None
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert fetch(entry, tmp_path, QUICK).read_bytes() == BODY


@pytest.mark.parametrize(
    "header", [{"X-Linked-ETag": f'"{"0" * 64}"'}, {"X-Goog-Hash": "md5=AAAA"}]
)
def test_what_is_not_what_its_host_says_is_not_kept(host, entry, tmp_path, header):
    host.headers = header
    with pytest.raises(UserError, match="but its host sends"):
        fetch(entry, tmp_path, QUICK)
    assert not list(tmp_path.iterdir())


def test_the_tables_hash_counts(entry, tmp_path):
    right = dataclasses.replace(entry, sha256=SHA256)
    assert record(fetch(right, tmp_path / "a", QUICK))["verified_by"] == ["sha256"]
    wrong = dataclasses.replace(entry, sha256="0" * 64)
    with pytest.raises(UserError, match="but the table says 000"):
        fetch(wrong, tmp_path / "b", QUICK)


def test_a_file_that_changed_since_the_first_fetch_is_noticed(host, entry, tmp_path):
    path = fetch(entry, tmp_path, QUICK)
    path.unlink()
    host.body = BODY + b"\0"
    with pytest.raises(UserError, match=r"mini.npz.json of an earlier fetch"):
        fetch(entry, tmp_path, QUICK)
    assert not path.exists()


def test_bytes_that_rot_on_the_disk_are_noticed(entry, tmp_path):
    path = fetch(entry, tmp_path, QUICK)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="the record beside it says; remove that file"):
        fetch(entry, tmp_path, QUICK)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>moved</html>", "neither .npz nor"),
        (BODY[:-100], "damaged"),
        (weights(classes=7), r"is not test/mini: .*7\) instead of .*5\)"),
        (weights(depth=3), "has nothing for params/blocks_3"),
    ],
    ids=["page", "truncated", "other classes", "other depth"],
)
def test_another_file_than_the_table_says_is_not_kept(
    host, entry, tmp_path, body, message
):
    host.body = body
    with pytest.raises(UserError, match=message):
        fetch(entry, tmp_path, QUICK)
    assert not list(tmp_path.iterdir())


def test_a_file_put_there_by_hand_is_taken_in(host, entry, tmp_path):
    (tmp_path / entry.file).write_bytes(BODY)
    with pytest.raises(UserError, match="was put there by hand"):
        fetch_weights.verify(entry, tmp_path / entry.file)
    path = fetch(entry, tmp_path, QUICK)
    assert record(path)["verified_by"] == ["its structure only"]
    fetch_weights.verify(entry, path)
    assert not host.asked


def test_a_wrong_file_put_there_by_hand_stays_but_is_refused(entry, tmp_path):
    (tmp_path / entry.file).write_bytes(weights(classes=7))
    with pytest.raises(UserError, match="is not test/mini"):
        fetch(entry, tmp_path, QUICK)
    assert (tmp_path / entry.file).exists()


def test_the_layout_of_a_published_vit_is_that_of_our_model(tmp_path):
    path = tmp_path / "vit.npz"
    tiny = {"patch": 16, "width": 192, "heads": 3, "mlp": 768, "depth": 12}
    path.write_bytes(weights(**tiny, tokens=1 + 24 * 24, classes=1000))
    fetch_weights.check(published.TABLE["google/vit_tiny_patch16_384"], path)
    with pytest.raises(UserError, match="is not google/vit_tiny_patch16_224"):
        fetch_weights.check(published.TABLE["google/vit_tiny_patch16_224"], path)
    with pytest.raises(UserError, match="does not fit the model"):
        fetch_weights.check(published.TABLE["google/vit_small_patch16_384"], path)


@pytest.fixture
def config(tmp_path):
    config = teacher_global.get_config()
    config.weights_dir = str(tmp_path / "weights")
    config.model.pretrained = "google/vit_base_patch16_384"
    return config


def test_a_dry_run_names_the_address_and_writes_nothing(config, tmp_path, caplog):
    config.dry_run = True
    with caplog.at_level("INFO", logger="absl"):
        fetch_weights.run(config, tmp_path)
    assert "would be fetched from https://storage.googleapis.com/" in caplog.text
    assert not list(tmp_path.iterdir())


def test_without_a_name_all_are_listed(config, tmp_path, caplog):
    config.model.pretrained = ""
    with (
        caplog.at_level("INFO", logger="absl"),
        pytest.raises(UserError, match="one of the names above"),
    ):
        fetch_weights.run(config, tmp_path)
    assert all(name in caplog.text for name in published.TABLE)


def test_an_unknown_name_gets_a_suggestion(config, tmp_path):
    config.model.pretrained = "google/vit_base_16_384"
    with pytest.raises(UserError, match="mean 'google/vit_base_patch16_384'") as caught:
        fetch_weights.run(config, tmp_path)
    assert caught.value.exit_code == 2
