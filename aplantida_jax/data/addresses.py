"""Which hosts may be asked, and at which addresses they may be reached.

The guard against requests that end inside the user's own network: names are resolved
here, once, and the caller connects to the very addresses that were checked, so that a
name which resolves differently a moment later gains nothing.
"""

import dataclasses
import ipaddress
from collections.abc import Callable

from aplantida_jax.data.resolver import Resolver

_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: IPv4 in the last 32 bits

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refused(Exception):
    """The host, or one of its addresses, may not be asked."""


@dataclasses.dataclass(frozen=True)
class Guard:
    """The policy.

    Attributes:
        allowed_hosts: "example.com", or "*.example.com" for its subdomains; () allows
            every host with public addresses.
        private_hosts: "host" or "host:port" that may have any address.
        resolver: where addresses come from; what it remembers is checked each time.
    """

    allowed_hosts: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()
    resolver: Resolver = dataclasses.field(default_factory=Resolver)

    def resolve(
        self,
        host: str,
        port: int,
        timeout_s: float,
        stopped: Callable[[], bool] = lambda: False,
    ) -> list[str]:
        """The addresses to connect to, in the order in which they are to be tried.

        Raises:
            Refused: the host is not allowed, or one of its addresses is not public.
            OSError: the name cannot be resolved, or not within `timeout_s`, or not
                before `stopped` said so.
        """
        private = host in self.private_hosts or f"{host}:{port}" in self.private_hosts
        if not private and not self._allows(host):
            raise Refused(f"host {host} is not in download.allowed_hosts")
        try:
            addresses = self.resolver.resolve(host, port, timeout_s, stopped)
        except UnicodeError:  # a label that is empty or too long
            raise Refused(f"host {host!r} is not a host name") from None
        for address in addresses:
            if not private and not is_public(ipaddress.ip_address(address)):
                raise Refused(f"host {host} has the private address {address}")
        return addresses

    def _allows(self, host: str) -> bool:
        return not self.allowed_hosts or any(
            host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
            for pattern in self.allowed_hosts
        )


def is_public(address: Address) -> bool:
    """Is it an address of the Internet, also when unwrapped from IPv6?"""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo:
            inner = address.teredo[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast
