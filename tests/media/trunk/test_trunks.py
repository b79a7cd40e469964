"""Trunks that register, are watched, and stand in for each other; the carriers are sockets on loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import pytest

from hub.settings import Practice, load
from media.offer import offer_audio
from media.sip import client_transaction, locate
from media.sip.admission import TrunkTable
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.locate import Locator
from media.sip.message import Request, Response
from media.sip.outgoing import Outgoing
from media.sip.status import Cause
from media.sip.transport import Limits
from media.trunk import trunks as module
from media.trunk.carrier import TrunkState
from media.trunk.trunks import Trunks, Wish
from tests.media.sip.names import serving
from tests.media.sip.peer import Conduct, Peer, answering, challenging, peer, saying, silent
from tests.media.sip.test_registrar import Phones

LOGIN = ("u100", "hush", "carrier.example")
NUMBER = "+12125550123"


def practice(*tables: str) -> Practice:
    return load('[practice]\nname = "Harbor"\ntimezone = "America/New_York"\n' + "".join(tables))


def trunk(name: str, *peers: Peer, **more: object) -> str:
    servers = ", ".join(f'"{each.address[0]}:{each.address[1]}"' for each in peers)
    given = {"keepalive_seconds": 0} | more
    lines = "".join(f"{key} = {value}\n" for key, value in given.items())
    return f'[[trunk]]\nname = "{name}"\nhosts = ["192.0.2.{len(name)}"]\nservers = [{servers}]\n{lines}'


ACCOUNT = {"username": '"u100"', "password": '"env:CARRIER"', "domain": '"carrier.example"'}


class House:
    """An endpoint with trunks whose policy a test may change."""

    def __init__(self, endpoint: Endpoint, policy: Practice, locator: Locator | None) -> None:
        self.policy = policy
        self.said: list[tuple[str, bool, str]] = []
        self.changed = asyncio.Event()
        self.endpoint = endpoint
        self.trunks = Trunks(endpoint, lambda: self.policy, {"env:CARRIER": "hush"}.__getitem__, locator)
        self.trunks.on_state = self._hear
        self.progress: list[int] = []
        self.rung = asyncio.Event()

    def _hear(self, state: TrunkState) -> None:
        self.said.append((state.name, state.up, state.code))
        self.changed.set()

    async def states(self, count: int) -> list[tuple[str, bool, str]]:
        async with asyncio.timeout(10):
            while len(self.said) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.said

    async def reach(self, *names: str, **more: Any) -> tuple[Outgoing | None, str]:
        wish = Wish(NUMBER, "+12125550100", offer_audio(("127.0.0.1", 30_000)), **more)
        async with asyncio.timeout(10):
            return await self.trunks.reach(names, wish, self._ring)

    def _ring(self, status: int, _early: object) -> None:
        self.progress.append(status)
        self.rung.set()


@asynccontextmanager
async def house(policy: Practice, locator: Locator | None = None, limits: Limits | None = None) -> AsyncIterator[House]:
    listeners = [Hop("127.0.0.1", 0), Hop("127.0.0.1", 0, "tcp")]
    endpoint = Endpoint(listeners, credentials=lambda _: None, trunks=TrunkTable({}), limits=limits)
    await endpoint.start()
    built = House(endpoint, policy, locator)
    built.trunks.follow()
    try:
        yield built
    finally:
        await built.trunks.close()
        await endpoint.close(0.2)


@asynccontextmanager
async def peers(*conducts: Conduct) -> AsyncIterator[list[Peer]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(peer(each)) for each in conducts]


@contextmanager
def dropping_tcp(address: tuple[str, int]) -> Iterator[None]:
    """Let nobody connect to an address: those who come wait in vain, as behind a firewall that drops what they send."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(address)
        listener.listen(0)
        first.connect(address)  # there is no room for a second
        yield


def named(name: str, *servers: str) -> str:
    """Return a trunk whose servers are names."""
    return trunk(name).replace("servers = []", f"servers = {[*servers]}".replace("'", '"'))


def granting(seconds: str) -> Conduct:
    """Take every registration for so long, listing another phone's contact as well."""

    def conduct(_peer: Peer, request: Request) -> list[Response]:
        ours = request.headers["Contact"][0].partition(";")[0] + f";expires={seconds}"
        listed = ['"other" <sip:u100@192.0.2.99>;expires=3000', ours]
        return [request.respond(200, to_tag="peer", headers={"Contact": listed})]

    return conduct


# Registration


async def test_a_trunk_registers_with_its_password_and_again_before_that_ends() -> None:
    async with peers(challenging(LOGIN, granting("1"))) as (carrier,):
        policy = practice(trunk("carrier", carrier, registers="true", **ACCOUNT))
        async with house(policy) as built:
            first, proven, again = (await carrier.until(3, "REGISTER"))[:3]
            assert [(state.up, state.code) for state in built.trunks.states] == [(True, "registered")]
        assert first.uri == "sip:carrier.example"
        assert first.headers["To"] == ["<sip:u100@carrier.example>"]
        assert "algorithm=SHA-256" in proven.headers["Authorization"][0]
        assert first.call_id == proven.call_id == again.call_id
        assert first.sequence < proven.sequence < again.sequence
        assert carrier.of("REGISTER")[-1].headers["Expires"] == ["0"]


async def test_a_wrong_password_is_tried_once_and_told() -> None:
    async with (
        peers(challenging(("u100", "other", "carrier.example"), granting("60"))) as (carrier,),
        house(practice(trunk("carrier", carrier, registers="true", **ACCOUNT))) as built,
    ):
        assert await built.states(1) == [("carrier", False, "403")]
        assert len(carrier.of("REGISTER")) == 2


async def test_a_carrier_that_wants_longer_registrations_gets_them() -> None:
    def brief(served: Peer, request: Request) -> list[Response]:
        if int(request.headers["Expires"][0]) in range(1, 900):
            return [request.respond(423, to_tag="peer", headers={"Min-Expires": ["900"]})]
        return list(granting("900")(served, request))

    async with peers(brief) as (carrier,):
        policy = practice(trunk("carrier", carrier, registers="true", register_seconds=120, **ACCOUNT))
        async with house(policy):
            asked = await carrier.until(2, "REGISTER")
            assert [each.headers["Expires"] for each in asked[:2]] == [["120"], ["900"]]


async def test_a_registration_goes_to_the_next_server_of_a_carrier_that_is_busy() -> None:
    async with (
        peers(saying(503, Retry_After="3"), granting("60")) as (busy, spare),
        house(practice(trunk("carrier", busy, spare, registers="true", **ACCOUNT))) as built,
    ):
        await spare.until(1, "REGISTER")
        assert len(busy.of("REGISTER")) == 1
        assert not built.trunks.states[0].up


async def test_everything_passes_the_proxy_where_there_is_one() -> None:
    async with peers(answering) as (proxy,):
        host, port = proxy.address
        table = trunk("carrier", proxy, registers="true", proxy=f'"{host}:{port}"', **ACCOUNT)
        async with house(practice(table)) as built:
            (register, *_) = await proxy.until(1, "REGISTER")
            assert register.headers["Route"] == [f"<sip:{host}:{port};lr>"]
            call, _ = await built.reach("carrier")
            assert call is not None
            (invite,) = proxy.of("INVITE")
            assert (invite.uri, invite.get("Route")) == (
                f"sip:{NUMBER}@carrier.example;user=phone",
                f"<sip:{host}:{port};lr>",
            )


async def test_a_new_policy_ends_one_registration_and_begins_the_other() -> None:
    async with (
        peers(granting("60"), granting("60")) as (old, new),
        house(practice(trunk("carrier", old, registers="true", **ACCOUNT))) as built,
    ):
        await old.until(1, "REGISTER")
        built.policy = practice(trunk("carrier", new, registers="true", **ACCOUNT))
        built.trunks.follow()
        await new.until(1, "REGISTER")
        assert (await old.until(2, "REGISTER"))[-1].headers["Expires"] == ["0"]
        kept = built.trunks._carriers["carrier"]
        built.trunks.follow()
        assert built.trunks._carriers["carrier"] is kept


# Watching


async def test_a_server_that_goes_and_comes_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.trunk.carrier.PING_S", 0.1)
    async with (
        peers(saying(404)) as (carrier,),
        house(practice(trunk("carrier", carrier, keepalive_seconds=1))) as built,
    ):
        await carrier.until(1, "OPTIONS")
        assert built.said == []
        carrier.conduct = silent
        assert await built.states(1) == [("carrier", False, "no-answer")]
        carrier.conduct = saying(200)
        assert (await built.states(2))[1] == ("carrier", True, "ok")


# Calls


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
    monkeypatch.setattr(module, "SILENCE_S", 0.2)
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
    monkeypatch.setattr(module, "SILENCE_S", 0.4)
    monkeypatch.setattr(client_transaction, "CONNECT_S", 0.4)
    async with peers(answering, answering) as (first, spare):
        table = trunk("carrier", first, spare)
        with dropping_tcp(first.address):
            async with house(practice(table), limits=Limits(connect_seconds=0.4)) as built:
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
        async with asyncio.timeout(5):
            await built.rung.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await carrier.until(1, "CANCEL")


async def test_without_a_server_nobody_is_called() -> None:
    async with house(practice()) as built:
        assert await built.reach("carrier") == (None, "")


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


# Addresses that are the carrier's


async def test_a_phone_does_not_register_where_calls_to_the_outside_go() -> None:
    zone = {("_sip._udp.carrier.example", "SRV"): ["10 0 5070 here.example."], ("here.example", "A"): ["198.51.100.51"]}
    async with serving(zone) as names:
        line = Phones()
        policy = practice(
            trunk("a").replace("servers = []", 'servers = ["198.51.100.50:5070", "[2001:db8:0::50]"]'),
            trunk("bb", proxy='"198.51.100.52"').replace("servers = []", 'servers = ["sip.example"]'),
            named("ccc", "carrier.example"),
        )
        trunks = Trunks(line.endpoint, lambda: policy, lambda _: "", Locator([names.address]))
        trunks.follow()
        await asyncio.gather(*trunks._running.values())
        for host in ("198.51.100.50", "[2001:db8::50]", "198.51.100.51", "198.51.100.52"):
            assert line.register(f"<sip:+19005550100@{host}>").status == 403
        assert line.register("<sip:101@198.51.100.53>").status == 200
        policy = practice()
        trunks.follow()
        assert line.register("<sip:101@198.51.100.50>").status == 200
        await trunks.close()


async def test_an_address_that_dns_once_gave_for_a_server_stays_the_carrier_s() -> None:
    async with serving({("here.example", "A"): ["198.51.100.51"]}) as names:
        line, locator = Phones(), Locator([names.address])
        policy = practice(named("name", "here.example:5070"))
        trunks = Trunks(line.endpoint, lambda: policy, lambda _: "", locator)
        line.register("<sip:+19005550100@198.51.100.51>")
        assert len(line.contacts()) == 1
        trunks.follow()
        await asyncio.gather(*trunks._running.values())
        assert line.contacts() == []
        names.zone["here.example", "A"] = ["198.51.100.61"]
        locator._asked().cache = None
        await trunks._carriers["name"].hops()
        for host in ("198.51.100.51", "198.51.100.61"):
            assert line.register(f"<sip:+19005550100@{host}>").status == 403
        await trunks.close()
