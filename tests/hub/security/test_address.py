import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.security.address import (
    AddressDeniedError,
    HostUnknownError,
    Reach,
    judge,
    literal_loopback,
    resolved,
    system_resolver,
)

INSIDE = [
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "fd00::1",
    "fc00::1",
]
LOOPBACK = ["127.0.0.1", "127.255.255.254", "::1"]
NOBODY = [
    "0.0.0.0",
    "169.254.169.254",
    "192.0.0.9",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "2001::1",
    "64:ff9b:1::1",
    "100::1",
    "not an address",
    "2130706433",
    "0x7f.1",
    "017700000001",
    "127.1",
    "",
]
HIDDEN = [
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "2002:a9fe:a9fe::1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "::7f00:1",
    "::a9fe:a9fe",
    "::ffff:0.0.0.0",
]
WORLD = ["8.8.8.8", "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808", "::ffff:8.8.8.8"]


def reachable(address: str, reach: Reach) -> bool:
    try:
        judge(address, reach)
    except AddressDeniedError:
        return False
    return True


@pytest.mark.parametrize(
    ("addresses", "reaches"),
    [
        (WORLD, {Reach.WORLD, Reach.PRACTICE}),
        (INSIDE, {Reach.PRACTICE}),
        (LOOPBACK, {Reach.LOOPBACK}),
        (NOBODY, set()),
        (HIDDEN, set()),
    ],
    ids=["world", "inside", "loopback", "nobody", "hidden"],
)
def test_an_address_is_reached_by_those_who_may(addresses: list[str], reaches: set[Reach]) -> None:
    for address in addresses:
        assert {reach for reach in Reach if reachable(address, reach)} == reaches, address


@given(st.ip_addresses(v=4), st.sampled_from(Reach))
def test_an_address_inside_of_another_reaches_no_further(address: ipaddress.IPv4Address, reach: Reach) -> None:
    number = int(address)
    for hidden in (0xFFFF << 32 | number, 0x0064_FF9B << 96 | number, 0x2002 << 112 | number << 80):
        if reachable(str(ipaddress.IPv6Address(hidden)), reach):
            assert reachable(str(address), Reach.WORLD)


@pytest.mark.parametrize(
    ("host", "literal"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("localhost.evil.test", False),
        ("127.0.0.1.nip.io", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::ffff:127.0.0.1", False),
        ("", False),
    ],
)
def test_loopback_is_what_is_written_as_loopback(host: str, literal: bool) -> None:
    assert literal_loopback(host) is literal


class Resolver:
    """Answers every name with the same addresses, and remembers what it was asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.addresses


async def test_one_bad_address_spoils_the_name() -> None:
    with pytest.raises(AddressDeniedError):
        await resolved("evil.test", 443, Reach.WORLD, Resolver("8.8.8.8", "169.254.169.254"))
    found = await resolved("fine.test", 443, Reach.WORLD, Resolver("8.8.8.8", "8.8.8.8", "8.8.4.4"))
    assert [str(address) for address in found] == ["8.8.8.8", "8.8.4.4"]


async def test_a_name_without_an_address_is_unknown_for_now() -> None:
    async def failing(host: str, port: int) -> Sequence[str]:
        raise OSError(f"no {host} for {port}")

    for resolver in (Resolver(), failing):
        with pytest.raises(HostUnknownError) as caught:
            await resolved("gone.test", 443, Reach.WORLD, resolver)
        assert caught.value.retry


async def test_an_address_in_the_place_of_a_name_is_not_asked_for() -> None:
    resolver = Resolver("8.8.8.8")
    for written in ("127.0.0.1", "[::1]"):
        assert str((await resolved(written, 80, Reach.LOOPBACK, resolver))[0]) == written.strip("[]")
    with pytest.raises(AddressDeniedError):
        await resolved("127.0.0.1", 80, Reach.WORLD, resolver)
    assert resolver.asked == []


async def test_the_machines_resolver_knows_this_machine() -> None:
    assert set(await system_resolver("localhost", 80)) <= {"127.0.0.1", "::1"}
