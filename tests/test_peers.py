"""Processes meet, or say why not; when one of them ends, the others know."""

import concurrent.futures
import contextlib
import socket
import subprocess
import sys
import time

import pytest
from training_processes import free_port

from aplantida_jax import gpus, peers
from aplantida_jax.errors import UserError

# Meets as process argv[2] of argv[3] at port argv[1], says so, and does what it reads.
_MEMBER = """
import sys, time
from aplantida_jax import gpus, peers
port, process, processes = map(int, sys.argv[1:])
met = peers.meet(peers.Place("127.0.0.1", port, processes, process))
print("met", met.jax_address, flush=True)
reason = sys.stdin.readline().strip()
if reason != "wait":
    met.part(reason, 7)
    sys.exit(0)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("host:1", 2, None), "belong together"),
        ((None, 2, 0), "belong together"),
        (("host:1", None, 0), "belong together"),
        (("host", 2, 0), "is not HOST:PORT"),
        ((":1234", 2, 0), "is not HOST:PORT"),
        (("host:many", 2, 0), "is not HOST:PORT"),
        (("host:70000", 2, 0), "is not HOST:PORT"),
        (("host:65535", 2, 0), "free there with the next one"),
        (("host:1234", 2, 2), "--process=2 of --processes=2 is not possible"),
        (("host:1234", 2, -1), "counted from 0"),
        (("host:1234", 0, 0), "counted from 0"),
    ],
)
def test_flags_that_cannot_be_are_refused(flags, said):
    with pytest.raises(UserError, match=said) as raised:
        peers.Place.of(*flags)
    assert raised.value.exit_code == 2


def test_no_flags_are_no_company():
    assert peers.Place.of(None, None, None) is None


def test_an_address_with_colons_is_taken_in_brackets():
    place = peers.Place.of("[::1]:80", 2, 1)
    assert place == peers.Place("::1", 80, 2, 1)


def meet_all(*places, claims=()):
    """What came of it for each: Peers, or the message of the error."""

    def meet(place, claim):
        try:
            return peers.meet(place, timeout=5, claim=claim)
        except UserError as error:
            return str(error)

    claims = claims or [gpus.NOTHING] * len(places)
    with concurrent.futures.ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(meet, places, claims))


def place_of(port, process, processes=2):
    return peers.Place("127.0.0.1", port, processes, process)


def test_all_learn_one_address_of_jax():
    port = free_port()
    met = meet_all(*(place_of(port, i, 3) for i in (2, 0, 1)))
    assert len({one.jax_address for one in met}) == 1
    host, _, jax_port = met[0].jax_address.partition(":")
    assert host == "127.0.0.1"
    assert int(jax_port) == port + 1
    for one in met:
        one.part("", 0)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([(1, 3)], "--processes is 3 here and 2 there"),
        ([(1, 3), (1, 3)], "two processes have --process=1"),
    ],
)
def test_processes_started_differently_are_told_so(others, said):
    port = free_port()
    first = place_of(port, 0, 3 if len(others) == 2 else 2)
    ends = meet_all(first, *(place_of(port, *other) for other in others))
    assert ends[0] == f"the processes did not meet: {said}"
    assert any(end.endswith(f"refuses: {said}") for end in ends[1:])


@pytest.mark.parametrize("second", ["0", "1,0"])
def test_two_that_would_take_one_gpu_do_not_start(second):
    port = free_port()
    claims = [gpus.Claim("here", "0"), gpus.Claim("here", second)]
    for end in meet_all(place_of(port, 0), place_of(port, 1), claims=claims):
        assert "processes 0 and 1 are on one machine and both take its GPU 0" in end
        assert "CUDA_VISIBLE_DEVICES" in end


@pytest.mark.parametrize("other", [("here", "1"), ("there", "0"), ("here", "")])
def test_gpus_of_their_own_are_let_through(other):
    port = free_port()
    claims = [gpus.Claim("here", "0"), gpus.Claim(*other)]
    for one in meet_all(place_of(port, 0), place_of(port, 1), claims=claims):
        one.part("", 0)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, "0,1"),
        ({"CUDA_VISIBLE_DEVICES": "1"}, "1"),
        ({"CUDA_VISIBLE_DEVICES": ""}, ""),
        ({"JAX_PLATFORMS": "cpu"}, ""),
        ({"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": "GPU-ab12"}, "GPU-ab12"),
    ],
)
def test_visible_gpus_are_those_that_jax_would_take(tmp_path, environment, found):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "null"):
        (tmp_path / name).touch()
    assert gpus.visible(environment, tmp_path) == found
    assert gpus.visible({}, tmp_path / "nothing") == ""


def test_the_next_port_must_be_free_too():
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port + 1)),
        pytest.raises(UserError, match=f"127.0.0.1:{port}: .* followed by a free"),
    ):
        peers.meet(place_of(port, 0), timeout=0.4)


def test_the_first_says_who_did_not_come():
    port = free_port()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(meet_all, place_of(port, 1, 3))
        with pytest.raises(UserError, match="process 2 did not come to 127.0.0.1:"):
            peers.meet(place_of(port, 0, 3), timeout=0.7)
    assert "process 2 did not come" in other.result()[0]


def test_the_others_say_that_the_first_does_not_answer():
    with pytest.raises(UserError, match="process 0 does not answer at 127.0.0.1:"):
        peers.meet(place_of(free_port(), 1), timeout=0.4)


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}: .* a free port"):
            peers.meet(place_of(port, 0), timeout=0.4)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"a": 1}\n'])
def test_a_stranger_is_no_member(said):
    port = free_port()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(peers.meet, place_of(port, 0), timeout=5)
        with connect(port) as stranger:
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(100) == b""
        met = peers.meet(place_of(port, 1), timeout=5)
        assert met.jax_address == first.result().jax_address
    met.part("", 0)
    first.result().part("", 0)


def connect(port):
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=5)
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise AssertionError("nobody listens")


@pytest.fixture
def three():
    """Three processes that have met; each waits for a line."""
    port = str(free_port())
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-c", _MEMBER, port]
    members = [
        subprocess.Popen([*command, str(i), "3"], text=True, **pipes) for i in range(3)
    ]
    for member in members:
        assert member.stdout.readline().startswith("met ")
    yield members
    for member in members:
        member.kill()
        member.communicate()


def tell(member, line):
    member.stdin.write(f"{line}\n")
    member.stdin.flush()


def end_of(member):
    said = member.stderr.read()
    return member.wait(timeout=30), said


@pytest.mark.parametrize("dead", [0, 1])
def test_a_death_ends_the_others_with_a_line(three, dead):
    for member in three:
        tell(member, "wait")
    three[dead].kill()
    for member in three[:dead] + three[dead + 1 :]:
        code, said = end_of(member)
        assert code == 1
        assert said == (
            f"error: process {dead} of 3 is gone (it died): start all of them again, "
            "they go on from the last checkpoint\n"
        )


def test_an_error_in_one_is_known_to_all(three):
    for member in three[::2]:
        tell(member, "wait")
    tell(three[1], "the images are gone")
    assert end_of(three[1]) == (7, "")
    for member in three[::2]:
        code, said = end_of(member)
        assert code == 1
        assert "process 1 of 3 is gone (the images are gone)" in said


def test_one_that_has_finished_is_not_missed(three):
    tell(three[1], "")
    assert end_of(three[1]) == (0, "")
    for member in three[::2]:
        tell(member, "")
        assert end_of(member) == (0, "")


def test_a_reason_of_any_length_fits(three):
    for member in three[::2]:
        tell(member, "wait")
    tell(three[1], "é" * 5000)
    _, said = end_of(three[0])
    assert "(" + "é" * 100 in said
