"""Calls to the outside: which trunk and which of its servers takes one, and when another stands in."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hub.demo.ports import free_port
from media.sip import client_transaction, locate
from media.sip.locate import Locator
from media.sip.message import Request, Response
from media.sip.status import Cause
from media.sip.transport import Limits
from media.trunk import trunks as module
from tests.media.sip.names import serving
from tests.media.sip.peer import Conduct, Peer, answering, challenging, peer, saying, silent
from tests.media.trunk.house import ACCOUNT, LOGIN, house, named, peers, practice, trunk


@contextmanager
def dropping_tcp(address: tuple[str, int]) -> Iterator[None]:
    """Let nobody connect to an address: those who come wait in vain, as behind a firewall that drops what they send."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(address)
        listener.listen(0)
        first.connect(address)  # there is no room for a second
        yield


async def test_a_call_rings_and_is_answered_under_the_practice_s_number() -> None:
    async with (
        peers(challenging(LOGIN, answering, status=407)) as (carrier,),
        house(practice(trunk("carrier", carrier, **ACCOUNT))) as built,
    ):
        call, name = await built.reach("carrier")
        assert call is not None
        assert call.answered.result() is not None
        assert (name, built.progress) == ("carrier", [180])
        invite = carrier.of("INVITE")[1]
        assert "algorithm=SHA-256" in invite.headers["Proxy-Authorization"][0]
        assert invite.headers["P-Asserted-Identity"] == ["<sip:+12125550100@carrier.example;user=phone>"]
        assert invite.from_tag
        assert "+12125550100@carrier.example" in invite.headers["From"][0]
        call.bye()
        await carrier.until(1, "BYE")


@pytest.mark.parametrize("first", [saying(503), saying(408)])
async def test_a_server_that_is_busy_is_passed_over(first: Conduct) -> None:
    async with peers(first, answering) as (busy, spare), house(practice(trunk("carrier", busy, spare))) as built:
        call, _ = await built.reach("carrier")
        assert call is not None
        assert call.answered.result() is not None
        assert (len(busy.of("INVITE")), len(spare.of("INVITE"))) == (1, 1)
        call, _ = await built.reach("carrier")
        assert (len(busy.of("INVITE")), len(spare.of("INVITE"))) == (1, 2)


async def test_a_silent_server_that_wakes_late_is_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.2)
    async with (
        peers(silent, answering) as (late, spare),
        house(practice(trunk("first", late), trunk("second", spare))) as built,
    ):
        call, name = await built.reach("first", "second")
        assert call is not None
        assert name == "second"
        (invite,) = late.of("INVITE")
        late.conduct = saying(200)
        late.say(invite.respond(180, to_tag="late", headers={"Contact": ["<sip:far@127.0.0.1>"]}))
        await late.until(1, "CANCEL")
        assert call.ended.done() is False
        assert built.progress == [180]


async def test_a_server_that_asks_for_a_password_and_says_nothing_more_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 1.0)
    async with (
        peers(challenging(LOGIN, silent, status=407), answering) as (mute, spare),
        house(practice(trunk("first", mute, **ACCOUNT), trunk("second", spare))) as built,
    ):
        call, name = await built.reach("first", "second")
        assert call is not None
        assert call.answered.result() is not None
        assert name == "second"
        assert "Proxy-Authorization" in mute.of("INVITE")[1].headers
        assert [state.up for state in built.trunks.states] == [False, True]


async def test_a_call_too_large_for_a_datagram_waits_for_tcp_and_then_goes_to_the_same_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 1.0)
    monkeypatch.setattr(client_transaction, "CONNECT_S", 1.0)
    async with peer(answering, free_port()) as first, peers(answering) as (spare,):
        table = trunk("carrier", first, spare)
        with dropping_tcp(first.address):
            async with house(practice(table), limits=Limits(connect_seconds=1.0)) as built:
                call, _ = await built.reach("carrier", headers={"Subject": "y" * 1300})
                assert call is not None
                assert call.answered.result() is not None
                assert (len(first.of("INVITE")), len(spare.of("INVITE"))) == (1, 0)


async def test_what_rang_is_never_rung_again_elsewhere() -> None:
    def rings_then_fails(_peer: Peer, request: Request) -> list[Response]:
        if request.method != "INVITE":
            return []
        return [request.respond(180, to_tag="a"), request.respond(503, to_tag="a")]

    async with (
        peers(rings_then_fails, answering) as (first, spare),
        house(practice(trunk("carrier", first, spare))) as built,
    ):
        call, _ = await built.reach("carrier")
        assert call is not None
        assert call.ended.result() is Cause.FAILED
        assert spare.of("INVITE") == []


@pytest.mark.parametrize(("status", "cause"), [(486, Cause.BUSY), (404, Cause.UNREACHABLE), (403, Cause.DENIED)])
async def test_a_refusal_of_the_far_end_is_the_answer(status: int, cause: Cause) -> None:
    async with (
        peers(saying(status), answering) as (first, spare),
        house(practice(trunk("carrier", first, spare))) as built,
    ):
        call, _ = await built.reach("carrier")
        assert call is not None
        assert (call.status, call.ended.result()) == (status, cause)
        assert spare.of("INVITE") == []


async def test_a_call_for_help_takes_no_refusal_but_a_busy_line() -> None:
    async with (
        peers(saying(403), saying(404), answering) as (first, second, third),
        house(practice(trunk("one", first, second), trunk("three", third))) as built,
    ):
        call, name = await built.reach("one", "three", insistent=True)
        assert call is not None
        assert call.answered.result() is not None
        assert name == "three"


async def test_a_caller_who_hangs_up_stops_the_ringing() -> None:
    def rings(_peer: Peer, request: Request) -> list[Response]:
        return [request.respond(180 if request.method == "INVITE" else 200, to_tag="a")]

    async with peers(rings) as (carrier,), house(practice(trunk("carrier", carrier))) as built:
        task = asyncio.create_task(built.reach("carrier"))
        await carrier.until(1, "INVITE")
        async with asyncio.timeout(20):
            await built.rung.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await carrier.until(1, "CANCEL")


async def test_without_a_server_nobody_is_called() -> None:
    async with house(practice()) as built:
        assert await built.reach("carrier") == (None, "")


# Servers that DNS finds


async def test_servers_found_by_dns_stand_in_for_each_other() -> None:
    async with peers(saying(503), answering) as (first, spare):
        records = [f"{place} 0 {each.address[1]} here.example." for place, each in enumerate([first, spare])]
        zone = {("_sip._udp.carrier.example", "SRV"): records, ("here.example", "A"): ["127.0.0.1"]}
        policy = practice(named("carrier", "carrier.example"))
        async with serving(zone) as names, house(policy, Locator([names.address])) as built:
            call, _ = await built.reach("carrier")
            assert call is not None
            assert call.answered.result() is not None
            assert (len(first.of("INVITE")), len(spare.of("INVITE"))) == (1, 1)


async def test_while_dns_is_silent_a_call_goes_to_the_servers_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "LOOK_UP_S", 60)
    monkeypatch.setattr("media.trunk.way.FOUND_S", 0.1)
    async with serving({}) as names, peers(answering) as (numbered,):
        names.silent = True
        policy = practice(trunk("numbered", numbered), named("name", "carrier.example", "other.example"))
        async with house(policy, Locator([names.address])) as built:
            for order in (["numbered", "name"], ["name", "numbered"]):
                call, name = await built.reach(*order)
                assert call is not None
                assert call.answered.result() is not None
                assert name == "numbered"


async def test_a_server_that_dns_names_late_is_tried_after_those_that_were_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("media.trunk.way.FOUND_S", 0.0)
    async with peers(saying(503), answering) as (busy, late):
        zone = {("here.example", "A"): ["127.0.0.1"]}
        async with serving(zone) as names:
            policy = practice(named("name", f"here.example:{late.address[1]}"), trunk("numbered", busy))
            async with house(policy, Locator([names.address])) as built:
                call, name = await built.reach("name", "numbered")
                assert call is not None
                assert call.answered.result() is not None
                assert name == "name"
                assert len(busy.of("INVITE")) == 1
