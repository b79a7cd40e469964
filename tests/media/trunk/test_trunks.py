"""Trunks that register and are watched, and the addresses that are theirs; the carriers are sockets on loopback."""

import asyncio

import pytest

from media.sip.locate import Locator
from media.sip.message import Request, Response
from media.trunk.trunks import Trunks
from tests.media.sip.names import serving
from tests.media.sip.peer import Conduct, Peer, answering, challenging, saying, silent
from tests.media.sip.test_registrar import Phones
from tests.media.trunk.house import ACCOUNT, LOGIN, NUMBER, house, named, peers, practice, trunk


def granting(seconds: str) -> Conduct:
    """Take every registration for so long, listing another phone's contact as well."""

    def conduct(_peer: Peer, request: Request) -> list[Response]:
        ours = request.headers["Contact"][0].partition(";")[0] + f";expires={seconds}"
        listed = ['"other" <sip:u100@192.0.2.99>;expires=3000', ours]
        return [request.respond(200, to_tag="peer", headers={"Contact": listed})]

    return conduct


# Registration


async def test_a_trunk_registers_with_its_password_and_again_before_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.trunk.trunks.CLOSE_S", 20)
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
