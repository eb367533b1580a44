"""The processes of one training run: they meet, and learn at once when one is gone.

Process 0 listens at the address that all were started with. When all have come it
tells them where JAX's own coordination service will be: at the next port, so that a
firewall can let both through. The connections stay open and silent, so that the kernel
reports a death the moment it happens: JAX would notice after its heartbeat's patience,
and on a GPU the others would wait inside a collective.

On a connection there are lines of JSON: {process, processes, gpus}, answered by {jax}
or {error}; at the end {process, reason}, where no reason means that all went well.
"""

import contextlib
import dataclasses
import os
import socket
import sys
import threading
import time

from aplantida_jax import gpus
from aplantida_jax.errors import UserError
from aplantida_jax.link import Link

_MEETING_SECONDS = 300.0
_HELLO_SECONDS = 5.0  # a stranger that says nothing holds the meeting up so long
_NEWS_SECONDS = 2.0
_GRACE_SECONDS = 3.0  # to fail by oneself, and to say so, when another one has failed
_DIED = "it died"
_LONGEST_REASON = 500


@dataclasses.dataclass(frozen=True)
class Place:
    """A process's place in a run of several: where they meet, and which it is."""

    host: str
    port: int
    processes: int
    process: int

    @classmethod
    def of(
        cls, coordinator: str | None, processes: int | None, process: int | None
    ) -> "Place | None":
        """From the flags; None without any.

        Raises:
            UserError: some are missing or impossible; exit code 2.
        """
        if coordinator is None and processes is None and process is None:
            return None
        if coordinator is None or processes is None or process is None:
            raise _wrong(
                "--coordinator=HOST:PORT, --processes=N and --process=I belong "
                "together: give all three, or none for one process"
            )
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65535:
            raise _wrong(
                f"--coordinator={coordinator} is not HOST:PORT: an address of the "
                "machine of process 0, and a port that is free there with the next one"
            )
        if not 0 <= process < processes:
            raise _wrong(
                f"--process={process} of --processes={processes} is not possible: "
                "they are counted from 0"
            )
        return cls(host.strip("[]"), int(port), processes, process)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def jax_address(self) -> str:
        """Of JAX's own service: the next port."""
        return f"{_bracketed(self.host)}:{self.port + 1}"


class Peers:
    """The others, once all have met. Makes a thread for each connection."""

    def __init__(self, place: Place, links: dict[int, Link], jax_address: str):
        """`links` to all others for process 0, to process 0 for each of the others."""
        self.place, self.jax_address = place, jax_address
        self._links = links
        self._heard = {other: threading.Event() for other in links}
        self._parted = threading.Event()
        self._ending = threading.Lock()  # taken for good by what ends this process
        for other in links:
            threading.Thread(target=self._watch, args=(other,), daemon=True).start()

    def part(self, reason: str, exit_code: int) -> None:
        """Tells the others that this process ends; for a reason, it does so here."""
        self._ending.acquire()
        if reason:  # JAX's own way out would wait for the others for ever
            self._end(self.place.process, reason, exit_code)
        self._tell(self.place.process, "")
        self._parted.set()
        for other in self._links:
            self._close_if_done(other)

    def _watch(self, other: int) -> None:
        """Reads what process `other` says when it ends; nothing at all is a death."""
        line = self._links[other].read()
        self._heard[other].set()
        self._close_if_done(other)
        said = line or {"process": other, "reason": _DIED}
        if not said["reason"]:
            return
        if said["reason"] != _DIED:
            if self.place.process == 0:
                self._tell(said["process"], said["reason"])
            time.sleep(_GRACE_SECONDS)  # what stopped the other may stop us as well
        if not self._ending.acquire(blocking=False):
            return
        message = (
            f"error: process {said['process']} of {self.place.processes} is gone "
            f"({said['reason']}): start all of them again, they go on from the last "
            "checkpoint\n"
        )
        os.write(2, message.encode())
        self._end(said["process"], said["reason"], 1)

    def _close_if_done(self, other: int) -> None:
        """Whoever comes last, the other's word or our own, closes the connection."""
        if self._parted.is_set() and self._heard[other].is_set():
            self._links[other].close()

    def _end(self, process: int, reason: str, exit_code: int) -> None:
        self._tell(process, reason)
        if self.place.process == 0:
            # JAX aborts the others, with no word of ours, once its service is gone.
            deadline = time.monotonic() + 2 * _GRACE_SECONDS
            for heard in self._heard.values():
                heard.wait(max(0.0, deadline - time.monotonic()))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)

    def _tell(self, process: int, reason: str) -> None:
        for link in self._links.values():
            with contextlib.suppress(OSError):  # it is gone itself
                link.write({"process": process, "reason": reason[:_LONGEST_REASON]})


_met: Peers | None = None  # a process is in one run


def start(place: Place) -> Peers:
    """Meets the other processes of this one's run; see `meet`."""
    global _met
    _met = meet(place, claim=gpus.Claim.of_this_process())
    return _met


def are_met() -> bool:
    """Whether this process is one of several."""
    return _met is not None


def wait_for_news() -> None:
    """After an error that a death elsewhere may explain: if so, this ends here."""
    time.sleep(_NEWS_SECONDS)


def part(said: str, exit_code: int) -> None:
    """Ends a run of several processes; `said` is this one's last word, "" if well."""
    if _met is not None:
        last_line = said.strip().rpartition("\n")[2]
        _met.part(last_line.removeprefix("error: "), exit_code)


def meet(
    place: Place,
    *,
    timeout: float = _MEETING_SECONDS,
    claim: gpus.Claim = gpus.NOTHING,
) -> Peers:
    """Waits until all processes of a run have come, at most `timeout` seconds.

    `claim` is what this process will compute on.

    Raises:
        UserError: not all came, a port is taken, they were started differently, or two
            would share a GPU.
    """
    deadline = time.monotonic() + timeout
    if place.process == 0:
        return _receive(place, deadline, claim)
    return _come(place, deadline, claim)


def _receive(place: Place, deadline: float, claim: gpus.Claim) -> Peers:
    """Process 0's side of the meeting."""
    links: dict[int, Link] = {}
    claims = {0: claim}
    try:
        # The next port is only held, for JAX.
        with (
            _listen(place.host, place.port) as server,
            _listen(place.host, place.port + 1),
        ):
            while len(links) < place.processes - 1:
                server.settimeout(max(0.001, deadline - time.monotonic()))
                link = Link(server.accept()[0])
                process = _admit(place, link, links, claims)
                if process is not None:
                    links[process] = link
    except TimeoutError:
        missing = sorted(set(range(1, place.processes)) - set(links))
        raise _refuse_all(
            links, f"process {missing[0]} did not come to {place.address} in time"
        ) from None
    except OSError as error:
        raise UserError(
            f"--coordinator={place.address}: {error.strerror or error}: give an "
            "address of the machine of process 0, and a free port that is followed by "
            "a free one"
        ) from None
    for link in links.values():
        link.write({"jax": place.jax_address})
    return Peers(place, links, place.jax_address)


def _admit(
    place: Place, link: Link, links: dict[int, Link], claims: dict[int, gpus.Claim]
) -> int | None:
    """The process at the other end; None for what is no process of ours."""
    hello = link.read(timeout=_HELLO_SECONDS)
    if hello is None or not {"process", "processes", "gpus"} <= hello.keys():
        link.close()
        return None
    process, processes = hello["process"], hello["processes"]
    if processes != place.processes:
        reason = f"--processes is {processes} here and {place.processes} there"
    elif process in links or process == 0:
        reason = f"two processes have --process={process}"
    else:
        claims[process] = gpus.Claim(*hello["gpus"])
        reason = gpus.shared(claims)
        if not reason:
            return process
    raise _refuse_all({**links, -1: link}, reason)


def _come(place: Place, deadline: float, claim: gpus.Claim) -> Peers:
    """The side of the others: process 0 may start later than they."""
    while True:
        left = deadline - time.monotonic()
        try:
            link = Link(socket.create_connection((place.host, place.port), left))
            break
        except OSError as error:
            if time.monotonic() + 0.2 > deadline:
                raise UserError(
                    f"process 0 does not answer at {place.address} "
                    f"({error.strerror or error}): start it too, with the same "
                    "--coordinator"
                ) from None
            time.sleep(0.2)
    hello = {"process": place.process, "processes": place.processes}
    link.write({**hello, "gpus": dataclasses.astuple(claim)})
    answer = link.read(timeout=max(0.001, deadline - time.monotonic()))
    if answer is None or "jax" not in answer:
        link.close()
        reason = answer["error"] if answer else "it ended, or still waits for others"
        raise UserError(f"process 0 at {place.address} refuses: {reason}")
    return Peers(place, {0: link}, answer["jax"])


def _refuse_all(links: dict[int, Link], reason: str) -> UserError:
    """Tells all who have come that nothing comes of it."""
    for link in links.values():
        with contextlib.suppress(OSError):
            link.write({"error": reason})
        link.close()
    return UserError(f"the processes did not meet: {reason}")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _wrong(message: str) -> UserError:
    return UserError(message, exit_code=2)
