"""Calls that are encrypted from page to page: two Chromiums, our gateway between them, and what it could have seen."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from math import log2

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from hub.audio import tone
from hub.g711 import Codec, encode
from media.browser import sealing
from media.browser.leg import BrowserLeg
from media.errors import SealedError
from media.rtp import FRAME, HEADER
from media.sdp import Direction, Session
from media.sound import Sound
from tests.hub.api.office import Office
from tests.media.farend import Ear, far_end, relay
from tests.peers.browser.chromium import PATIENCE_S
from tests.peers.browser.house import CLOSING, TWICE, House, Talk, practice

pytestmark = [pytest.mark.peer("chromium", "node"), pytest.mark.asyncio(loop_scope="module")]

OVERHEAD = 16 + 12
"Bytes that sealing adds to a frame: the tag and the nonce."


class CapturingLeg(BrowserLeg):
    """Keeps every payload that the gateway has in its hands for this page, from the first on."""

    async def offer(self, direction: Direction = Direction.SENDRECV) -> Session:
        self.seen: list[bytes] = []
        return await super().offer(direction)

    async def answer(self, offer: Session, *, via: str | None = None) -> Session:
        self.seen = []
        return await super().answer(offer, via=via)

    def _hear(self, size: int, now: float) -> None:
        self.seen.append(bytes(self._view[HEADER.size : size]))
        super()._hear(size, now)


@pytest_asyncio.fixture(loop_scope="module")
async def house(office: Office, browser: Browser) -> AsyncIterator[House]:
    async with relay(browser_leg=CapturingLeg) as engine, practice(office, browser, engine) as opened:
        yield opened


async def talking(house: House, caller: Page, callee: Page) -> Talk:
    await caller.evaluate("number => phone.call(number).then(() => true)", await callee.evaluate("phone.extension"))
    await callee.wait_for_function("window.call?.state === 'ringing'")
    await callee.evaluate("call.answer()")
    async with asyncio.timeout(PATIENCE_S):
        return await house.switchboard.talks.get()


async def two(house: House) -> tuple[Page, Page]:
    return await house.page(hz=440), await house.page(hz=1000)


async def test_two_pages_hear_each_other_show_the_same_code_and_the_gateway_sees_nothing(house: House) -> None:
    caller, callee = await two(house)
    talk = await talking(house, caller, callee)
    await asyncio.gather(caller.evaluate("hears(1000)"), callee.evaluate("hears(440)"))
    for page in (caller, callee):
        await page.evaluate("eventually(async () => (await call.sealed()).opened > 70)")
    code = await caller.evaluate("call.code")
    assert code == await callee.evaluate("call.code")
    assert len(code) == 6
    assert code.isdigit()
    assert talk.other is not None
    for leg, hz in ((talk.leg, 440), (talk.other.leg, 1000)):
        assert leg.protection == "sframe"
        assert isinstance(leg, CapturingLeg)
        assert len(leg.seen) > 60
        assert {len(payload) for payload in leg.seen} == {FRAME + OVERHEAD}
        # What is sealed is as good as random; the tone that was said has few values, and always the same.
        assert entropy(b"".join(payload[1:-12] for payload in leg.seen)) > 7.9
        said = encode(Codec.PCMU, tone(hz, seconds=2))
        assert entropy(said) < 6.5
        assert not any(piece in payload for payload in leg.seen for piece in pieces(said))
        assert len(set(leg.seen)) == len(leg.seen)


async def test_the_same_eyes_see_an_ordinary_call(house: House) -> None:
    page = await house.page(hz=440)
    async with far_end() as phone:
        house.switchboard.far_ends["7001"] = phone
        await page.evaluate("phone.call('7001').then(() => true)")
        talk = await house.switchboard.talks.get()
        await phone.hear(60)
        assert 440 in phone.hz()
        assert talk.leg.protection == "dtls-srtp"
        assert await page.evaluate("[call.code, call.sealed()]") == [None, None]
        assert isinstance(talk.leg, CapturingLeg)
        seen = talk.leg.seen[10:]
        assert {len(payload) for payload in seen} == {FRAME}
        assert entropy(b"".join(seen)) < 6.5


def entropy(data: bytes) -> float:
    """Bits a byte."""
    return -sum(count / len(data) * log2(count / len(data)) for count in Counter(data).values())


def pieces(said: bytes, size: int = 8) -> set[bytes]:
    return {said[at : at + size] for at in range(0, len(said) - size, size)}


async def test_the_gateway_refuses_what_would_need_to_hear_a_sealed_call(house: House) -> None:
    caller, callee = await two(house)
    talk = await talking(house, caller, callee)
    await callee.wait_for_function("call.code !== null")
    for leg in (talk.leg, talk.other.leg if talk.other else talk.leg):
        assert isinstance(leg, BrowserLeg)
        for refused in (leg.play(Sound(b"\xff" * FRAME)), leg.press("1")):
            with pytest.raises(SealedError):
                await refused
        with pytest.raises(SealedError):
            leg.tap(Ear())
    assert await caller.evaluate("(() => { try { call.press('1'); } catch (error) { return error.message; } })()")
    assert await caller.evaluate("call.transfer('7001').then(() => '', error => error.message)")


async def test_somebody_in_between_who_puts_in_his_own_key_is_found_out(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, callee = await two(house)
    told = sealing.told

    def lying(session: Session, said: str) -> Session:
        # He commits to a key of his own, and cannot make the caller's fit it afterwards.
        return told(session, "commit " + "A" * 43 + "=" if said.startswith("commit") else said)

    monkeypatch.setattr(sealing, "told", lying)
    await talking(house, caller, callee)
    await callee.wait_for_function("call.state === 'ended'")
    assert await callee.evaluate("call.broken") == "not the key that was promised"
    assert await callee.evaluate("call.code") is None
    await caller.wait_for_function("call.state === 'ended'")


@pytest.mark.parametrize("reaches", [False, True], ids=["key-lost", "answer-lost"])
async def test_a_key_under_way_when_the_socket_closes_is_said_again(house: House, reaches: bool) -> None:
    caller, callee = await two(house)
    await caller.evaluate(CLOSING, reaches)
    await caller.evaluate("void (window.cuts = /^INFO [^]*x-chartline-e2e/)")
    await talking(house, caller, callee)
    await caller.wait_for_function("cuts === null")
    await asyncio.gather(caller.evaluate("hears(1000)"), callee.evaluate("hears(440)"))
    await caller.wait_for_function("phone.state === 'ready'")
    assert await caller.evaluate("call.code") == await callee.evaluate("call.code")


async def test_answer_pressed_twice_leaves_a_sealed_call_alive(house: House) -> None:
    caller, callee = await two(house)
    await caller.evaluate("number => phone.call(number).then(() => true)", await callee.evaluate("phone.extension"))
    await callee.wait_for_function("window.call?.state === 'ringing'")
    await callee.evaluate(TWICE)
    await asyncio.gather(caller.evaluate("hears(1000)"), callee.evaluate("hears(440)"))
    await callee.evaluate("call.hangUp()")
    ended = "streams.flatMap(each => each.getTracks()).every(each => each.readyState === 'ended')"
    assert await callee.evaluate(ended)


async def test_hold_and_resume_leave_a_sealed_call_sealed(house: House) -> None:
    caller, callee = await two(house)
    talk = await talking(house, caller, callee)
    await callee.evaluate("hears(440)")
    await caller.evaluate("call.hold()")
    await callee.evaluate("silent()")
    await caller.evaluate("call.resume()")
    await asyncio.gather(caller.evaluate("hears(1000)"), callee.evaluate("hears(440)"))
    assert talk.leg.protection == "sframe"
