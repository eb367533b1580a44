import ipaddress

import pytest

from aplantida_jax.data.addresses import Guard, Refused, is_public


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fc00::1", "fd12::1"),
        *("fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        # 127.0.0.1 and 10.0.0.1 inside NAT64, 6to4 and Teredo.
        *("64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::"),
        *("2001:0:1:1:1:1:80ff:fffe", "::7f00:1"),
    ],
)
def test_private_addresses(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "151.101.1.1", "2606:4700::1111", "::ffff:1.1.1.1"]
)
def test_public_addresses(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"]
    + ["::1", "::ffff:127.0.0.1", "0", "169.254.169.254"],
)
def test_no_spelling_of_a_private_host_passes(host):
    with pytest.raises(Refused, match="private address"):
        Guard().resolve(host, 80, 5.0)


def test_private_hosts_can_be_named():
    assert Guard(private_hosts=("127.0.0.1",)).resolve("127.0.0.1", 80, 5.0) == [
        "127.0.0.1"
    ]
    guard = Guard(private_hosts=("127.0.0.1:8080",))
    assert guard.resolve("127.0.0.1", 8080, 5.0) == ["127.0.0.1"]
    with pytest.raises(Refused):
        guard.resolve("127.0.0.1", 80, 5.0)


def test_only_allowed_hosts():
    guard = Guard(allowed_hosts=("1.1.1.1", "*.example.org"))
    assert guard.resolve("1.1.1.1", 443, 5.0) == ["1.1.1.1"]
    for host in ("8.8.8.8", "example.org", "evil-example.org", "example.org.evil.net"):
        with pytest.raises(Refused, match="allowed_hosts"):
            guard.resolve(host, 443, 5.0)
    assert guard._allows("photos.example.org")


@pytest.mark.parametrize("host", ["a" * 70 + ".org", "a..b"])
def test_what_is_no_host_name(host):
    with pytest.raises((Refused, OSError)):
        Guard().resolve(host, 80, 5.0)
