import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from aplantida_jax import web_server

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def site(tmp_path):
    root = tmp_path / "site"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_text("<p>inicio")
    (root / "sub" / "shard.bin").write_bytes(os.urandom(200_000))
    for name in ("a.js", "a.mjs", "a.wasm", "a.webmanifest", "a.json", "a.jpg"):
        (root / name).write_bytes(name.encode())
    (tmp_path / "secret.txt").write_text("secret")
    return root


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read(), answer.headers


def test_files_come_back_byte_for_byte(site):
    with web_server.serve(site) as url:
        assert get(f"{url}/sub/shard.bin")[0] == (site / "sub/shard.bin").read_bytes()
        assert get(f"{url}/")[0] == b"<p>inicio"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.js", "text/javascript"),
        ("a.mjs", "text/javascript"),
        ("a.wasm", "application/wasm"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.json", "application/json"),
        ("a.jpg", "image/jpeg"),
        ("index.html", "text/html"),
    ],
)
def test_content_types_are_those_that_a_browser_wants(site, name, content_type):
    with web_server.serve(site) as url:
        assert get(f"{url}/{name}")[1]["Content-Type"] == content_type


def test_the_headers_asked_for_are_on_every_answer(site):
    with web_server.serve(site, headers=web_server.CROSS_ORIGIN_ISOLATION) as url:
        for name, value in web_server.CROSS_ORIGIN_ISOLATION.items():
            assert get(f"{url}/a.js")[1][name] == value
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            get(f"{url}/nope")
        with caught.value as answer:
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/sub/../../secret.txt", "/%2e%2e/secret.txt"]
)
def test_nothing_outside_the_directory_is_served(site, path):
    with web_server.serve(site) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
            raw.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: raw.recv(65_536), b""))
    assert b" 404 " in answer.splitlines()[0]
    assert b"secret" not in answer


def test_it_listens_on_the_loopback_interface_and_then_no_more(site):
    with web_server.serve(site) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        assert host == "127.0.0.1"
        with contextlib.closing(socket.create_connection((host, int(port)))):
            pass
        with pytest.raises(OSError, match="refused|unreachable|timed out"):
            socket.create_connection(("127.0.0.2", int(port)), timeout=2)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_two_requests_do_not_wait_for_each_other(site):
    with web_server.serve(site) as url:
        port = int(url.rpartition(":")[2])
        with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as idle:
            idle.sendall(b"GET /a.js HTTP/1.0\r\n")  # and never the rest
            assert get(f"{url}/a.mjs")[0] == b"a.mjs"


def command(*arguments):
    return [sys.executable, "-m", "aplantida_jax.web_server", *map(str, arguments)]


@pytest.mark.parametrize(
    "arguments",
    [(), ("/nowhere",), (ROOT, "http"), (ROOT, "70000"), (ROOT, "-1"), (ROOT, 1, 2)],
)
def test_a_wrong_command_line_shows_the_right_one(arguments):
    done = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout.startswith("usage: python -m aplantida_jax.web_server DIRECTORY")
    assert done.stderr == ""


def test_a_port_in_use_is_one_line(site):
    with web_server.serve(site) as url:
        port = url.rpartition(":")[2]
        done = subprocess.run(
            command(site, port), cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert f"port {port}: " in done.stdout
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_it_quietly(site):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command(site, port),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
        assert get(f"http://127.0.0.1:{port}/a.js")[0] == b"a.js"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
