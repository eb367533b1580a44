"""Which GPUs the processes of one run would take: no two may take the same.

JAX takes all that CUDA_VISIBLE_DEVICES shows; two processes on one GPU run out of its
memory, or wait for each other for ever.
"""

import dataclasses
import os
import socket
from collections.abc import Mapping
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # hosts may share a name


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a process will compute on.

    Attributes:
        host: the machine.
        devices: e.g. "0,1", as CUDA_VISIBLE_DEVICES has them; "" is no GPU.
    """

    host: str
    devices: str

    @classmethod
    def of_this_process(cls) -> "Claim":
        """By the environment; JAX is not started."""
        boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        return cls(f"{socket.gethostname()} {boot}", visible(os.environ, Path("/dev")))


NOTHING = Claim("", "")


def visible(environment: Mapping[str, str], devices: Path) -> str:
    """The NVIDIA GPUs that JAX would take, "" for none.

    Args:
        environment: of the process.
        devices: directory of the device files, /dev.
    """
    if environment.get("JAX_PLATFORMS", "") == "cpu":
        return ""
    there = sorted(p.name[6:] for p in devices.glob("nvidia[0-9]*"))
    if not there:
        return ""
    return environment.get("CUDA_VISIBLE_DEVICES", ",".join(there))


def shared(claims: Mapping[int, Claim]) -> str:
    """Which two processes would take the same GPU, and how to mend it; "" for none."""
    taken: dict[tuple[str, str], int] = {}
    for process, claim in claims.items():
        for device in claim.devices.split(","):
            key = (claim.host, device.strip())
            other = taken.setdefault(key, process) if key[1] else process
            if other != process:
                return (
                    f"processes {other} and {process} are on one machine and both take "
                    f"its GPU {key[1]}: start each with a CUDA_VISIBLE_DEVICES of its "
                    "own, e.g. 0 and 1, or all with --device=cpu"
                )
    return ""
