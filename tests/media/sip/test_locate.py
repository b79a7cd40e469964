"""Names of servers and what DNS makes of them, asked of a name server on loopback."""

import asyncio
import random
from collections import Counter

import pytest

from media.sip import locate
from media.sip.hop import Hop
from media.sip.locate import Locator, ordered
from tests.media.sip.names import Names, serving

ZONE = {
    ("_sip._udp.carrier.example", "SRV"): ["10 60 5070 a.carrier.example.", "20 0 5080 b.carrier.example."],
    ("_sips._tcp.carrier.example", "SRV"): ["10 0 5061 a.carrier.example."],
    ("_sip._udp.gone.example", "SRV"): ["0 0 0 ."],
    ("a.carrier.example", "A"): ["192.0.2.1", "192.0.2.2"],
    ("b.carrier.example", "AAAA"): ["2001:db8::1"],
    ("plain.example", "A"): ["192.0.2.9"],
}


def places(hops: list[Hop]) -> list[tuple[str, int]]:
    return [(hop.host, hop.port) for hop in hops]


async def found(names: Names, *asked: object, locator: Locator | None = None) -> list[Hop]:
    return await (locator or Locator([names.address])).locate(*asked)  # type: ignore[arg-type]


async def test_a_number_is_nobody_s_question() -> None:
    async with serving(ZONE) as names:
        assert await found(names, "192.0.2.7") == [Hop("192.0.2.7", 5060)]
        assert places(await found(names, "192.0.2.7", 5099, "tls")) == [("192.0.2.7", 5099)]
        assert names.asked == []


async def test_services_come_first_by_priority_each_with_all_its_addresses() -> None:
    async with serving(ZONE) as names:
        hops = await found(names, "carrier.example")
    assert sorted(places(hops[:2])) == [("192.0.2.1", 5070), ("192.0.2.2", 5070)]
    assert places(hops[2:]) == [("2001:db8::1", 5080)]


async def test_over_tls_another_service_is_meant_and_the_certificate_bears_the_name_asked_for() -> None:
    async with serving(ZONE) as names:
        hops = await found(names, "carrier.example", None, "tls")
    assert {(hop.port, hop.transport, hop.name) for hop in hops} == {(5061, "tls", "carrier.example")}


async def test_a_name_with_a_port_or_without_services_is_an_address() -> None:
    async with serving(ZONE) as names:
        assert places(await found(names, "plain.example")) == [("192.0.2.9", 5060)]
        names.asked.clear()
        assert places(await found(names, "plain.example", 5099)) == [("192.0.2.9", 5099)]
        assert names.asked == [("plain.example", "A")]


@pytest.mark.parametrize("host", ["gone.example", "nowhere.example"])
async def test_what_is_not_there_is_nowhere(host: str) -> None:
    async with serving(ZONE) as names:
        assert await found(names, host) == []


async def test_answers_are_kept_as_long_as_they_live() -> None:
    async with serving(ZONE) as names:
        locator = Locator([names.address])
        await found(names, "carrier.example", locator=locator)
        asked = len(names.asked)
        await found(names, "carrier.example", locator=locator)
        assert len(names.asked) == asked


async def test_while_dns_is_silent_the_last_answer_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(ZONE) as names:
        locator = Locator([names.address])
        known = await found(names, "plain.example", locator=locator)
        names.silent = True
        assert locator._resolver is not None
        locator._resolver.cache = None
        monkeypatch.setattr(locate, "LOOK_UP_S", 0.05)
        assert await found(names, "plain.example", locator=locator) == known
        assert await found(names, "carrier.example", locator=locator) == []


async def test_the_machine_s_own_names_count() -> None:
    assert places(await Locator().locate("localhost", 5060)) == [("127.0.0.1", 5060)]


async def test_a_target_that_is_gone_does_not_hide_the_others() -> None:
    zone = {("_sip._udp.carrier.example", "SRV"): ["10 0 5070 nowhere.invalid.", "20 0 5080 localhost."]}
    async with serving(zone) as names:
        locator = Locator([names.address])
        locator._asked()
        locator._nameservers = ()  # services from there, addresses from the machine itself
        assert places(await found(names, "carrier.example", locator=locator)) == [("127.0.0.1", 5080)]


async def test_a_target_that_dns_is_silent_of_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "LOOK_UP_S", 1.0)
    async with serving(ZONE) as names:
        names.mute = {"a.carrier.example"}
        assert places(await found(names, "carrier.example")) == [("2001:db8::1", 5080)]


async def test_a_known_server_is_used_while_it_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "LOOK_UP_S", 60)
    monkeypatch.setattr(locate, "KNOWN_S", 0.05)
    async with serving(ZONE) as names:
        locator = Locator([names.address])
        known = await found(names, "plain.example", locator=locator)
        locator._asked().cache = None
        names.silent = True
        asked = len(names.asked)
        async with asyncio.timeout(20):
            assert await found(names, "plain.example", locator=locator) == known
            while len(names.asked) == asked:  # noqa: ASYNC110 - the question is on its way
                await asyncio.sleep(0.005)
            asked = len(names.asked)
            assert await found(names, "plain.example", locator=locator) == known
            assert len(names.asked) == asked  # one look-up at a time


def test_equal_servers_share_calls_by_weight() -> None:
    records = [(10, 60, "a", 1), (10, 20, "b", 1), (10, 20, "c", 1), (5, 0, "first", 1)]
    chance = random.Random(4)
    orders = [ordered(records, chance) for _ in range(3000)]
    assert {order[0][2] for order in orders} == {"first"}
    assert all(len(set(order)) == 4 for order in orders)
    second = Counter(order[1][2] for order in orders)
    assert 0.55 < second["a"] / 3000 < 0.65
    assert 0.16 < second["b"] / 3000 < 0.24


def test_a_server_of_weight_zero_is_hardly_ever_first() -> None:
    chance = random.Random(4)
    firsts = Counter(ordered([(0, 0, "spare", 1), (0, 100, "main", 1)], chance)[0][2] for _ in range(2000))
    assert 0 < firsts["spare"] < 60
