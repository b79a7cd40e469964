"""What a call takes for somebody is given back where that comes to nothing: legs with their ports, and phones."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from hub.demo.ports import is_free
from hub.instance import Instance
from hub.record.call import ANSWERED, Call, CallState
from media.core.process import Process
from media.core.relay import CoreRelay
from media.gateway import Gateway
from media.offer import answer_audio, offer_audio
from media.relay import BuiltinRelay
from media.sdp import Session
from media.sip import Address, Cause, Incoming, Login, Uri
from media.trunk.trunks import Wish
from tests.media.calls import test_passing_on as house
from tests.media.calls.test_passing_on import CALLER_HZ, HOST, Office
from tests.media.calls.test_returning import page
from tests.media.calls.test_sending_on import current, over, until, waits
from tests.media.core.cores import alive
from tests.media.sip.peer import answering, speaking_early
from tests.media.trunk.house import NUMBER, peers, practice, trunk
from tests.media.trunk.house import house as trunks_of

pytestmark = [pytest.mark.xdist_group("gateway"), pytest.mark.timeout(90)]

instance, office = house.instance, house.office


def named(session: Session) -> Session:
    """Return a description whose sound is wanted at a name, which nothing here looks up."""
    media = tuple(replace(each, address="phone.example") for each in session.media)
    return replace(session, media=media)


def legs(office: Office) -> int:
    relay = office.gateway._relay
    assert isinstance(relay, BuiltinRelay | CoreRelay)
    return len(relay)


async def test_a_colleague_s_phone_that_answers_with_a_name_is_hung_up_and_its_leg_given_back(office: Office) -> None:
    made, taken = await office.connected()
    await office.sign_in(office.ben)
    answered: list[Incoming] = []

    async def strange(call: Incoming) -> None:
        assert call.offer is not None
        call.answer(named(answer_audio(call.offer, office.ben.sound.address)[0]))
        answered.append(call)

    office.ben.endpoint.on_invite = strange
    before = legs(office)
    assert await taken.refer(Uri("sip", "102", HOST)) == 480
    assert await answered[0].ended is Cause.HANGUP
    assert legs(office) == before
    assert await office.ana.hears(CALLER_HZ, office.caller, made)
    made.bye()
    await taken.ended


async def test_a_phone_that_takes_a_call_over_with_a_name_is_refused_and_its_leg_given_back(office: Office) -> None:
    made, taken = await office.connected()
    await office.sign_in(office.ben)
    assert taken.replacement is not None
    before = legs(office)
    ben = office.ben
    asked = ben.endpoint.call(
        Uri("sip", "101", HOST, ben.gateway.port),
        named(offer_audio(ben.sound.address)),
        from_=Address(Uri("sip", "102", HOST)),
        login=Login("102", ben.secret),
        replaces=taken.replacement,
    )
    assert await asked.answered is None
    assert asked.status == 400
    assert legs(office) == before
    assert await office.ana.hears(CALLER_HZ, office.caller, made)
    made.bye()
    await taken.ended


@pytest.mark.parametrize("caller", ["hangs up", "is sent to a queue"])
async def test_who_takes_a_call_over_too_late_is_hung_up(office: Office, caller: str) -> None:
    made, taken = await office.connected()
    talk, before = current(office), legs(office)
    async with page("taking", office.instance.paths.phone_socket) as late:
        late.acknowledges.clear()
        call = await late.dial("101", taken.replacement)
        assert await call.answered is not None
        if caller == "hangs up":
            made.bye()
        else:
            assert await taken.refer(Uri("sip", "nurses", HOST)) == 200
            await waits(office, talk.id, "nurses")
        await taken.ended
        assert not call.ended.done()
        late.acknowledges.set()
        async with asyncio.timeout(20):  # a leg that nobody speaks on ends by itself, later
            assert await call.ended is Cause.HANGUP
        left = before - 2 if caller == "hangs up" else before - 1
        await until(lambda: legs(office) == left)
        if caller == "is sent to a queue":
            assert not made.ended.done()
            assert talk.agent is None
            made.bye()
        await over(office, talk.id)


async def test_a_number_that_answers_in_the_moment_in_which_nobody_wants_it_is_hung_up() -> None:
    async with peers(speaking_early) as (carrier,), trunks_of(practice(trunk("carrier", carrier))) as built:

        def rings(status: int, early: Session | None) -> None:
            (call,) = built.endpoint._outgoing
            call.answered.add_done_callback(lambda _: reaching.cancel())
            built._ring(status, early)

        wish = Wish(NUMBER, "", offer_audio((HOST, 30_000)))
        reaching = asyncio.create_task(built.trunks.reach(["carrier"], wish, rings))
        await built.rung.wait()
        carrier.say(answering(carrier, carrier.of("INVITE")[0])[2])
        with pytest.raises(asyncio.CancelledError):
            await reaching
        assert await carrier.until(1, "BYE")


async def test_a_gateway_that_is_closed_while_a_call_ends_writes_how_it_went(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    made.bye()
    await taken.ended  # the two are parted, and nothing of it is written yet
    await office.gateway.close()
    row = await office.instance.db.run(lambda db: db.get_one(Call, talk.id))
    assert (row.state, row.cause, row.path) == (CallState.ENDED, "caller", ANSWERED)
    assert not office.gateway.calls


@contextlib.contextmanager
def sip_taken(instance: Instance) -> Iterator[None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HOST, instance.policy()[1].sip.udp.port))
        yield


@contextlib.contextmanager
def phones_taken(instance: Instance) -> Iterator[None]:
    """What comes last of all that is listened on cannot be had."""
    path = instance.paths.phone_socket
    path.unlink(missing_ok=True)
    path.mkdir()
    try:
        yield
    finally:
        path.rmdir()


@pytest.mark.parametrize("taken", [sip_taken, phones_taken])
async def test_a_gateway_that_cannot_listen_leaves_nothing_behind(
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
    taken: Callable[[Instance], contextlib.AbstractContextManager[None]],
) -> None:
    started: list[int] = []
    start = Process.start

    async def noted() -> Process:
        process = await start()
        started.append(process.pid)
        return process

    monkeypatch.setattr(Process, "start", noted)
    gateway = await Gateway.open(instance, {}, "media-passing")
    with taken(instance), pytest.raises(OSError, match=r"in use|[Dd]irectory"):
        await gateway.start()
    assert started
    assert not any(alive(pid) for pid in started)
    assert is_free(instance.policy()[1].sip.udp.port)
    assert not gateway._ledger._thread.is_alive()
