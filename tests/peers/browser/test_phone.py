"""The phone of a page in headless Chromium, over the real hub, our SIP and our relay."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from hub.audio import level_of, tone
from media.browser.leg import BrowserLeg
from media.sdp import Direction
from media.sip.keypress import RECORDING_TYPE
from tests.hub.api.office import Office
from tests.media.farend import FarEnd, far_end, relay
from tests.peers.browser.chromium import PATIENCE_S
from tests.peers.browser.house import CLOSING, TWICE, House, Talk, practice, still_heard

pytestmark = [pytest.mark.peer("chromium", "node"), pytest.mark.asyncio(loop_scope="module")]

BACK_S = 1.0
"From the reloaded page to the call."

BUSY = 4
"How much slower a machine may be that runs other tests beside."


@pytest_asyncio.fixture(loop_scope="module")
async def house(office: Office, browser: Browser) -> AsyncIterator[House]:
    async with relay() as engine, practice(office, browser, engine) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def far(house: House) -> AsyncIterator[FarEnd]:
    async with far_end() as end:
        house.switchboard.far_ends["7001"] = end
        yield end


@pytest_asyncio.fixture(loop_scope="module")
async def desk(house: House) -> Page:
    return await house.page()


async def talk_of(house: House, number: str = "", page: Page | None = None) -> Talk:
    """Return the next call that was connected; where a page is named, it calls the number first."""
    if page is not None:
        await page.evaluate("number => phone.call(number).then(() => true)", number)
    async with asyncio.timeout(PATIENCE_S):
        return await house.switchboard.talks.get()


async def back(page: Page) -> None:
    """Wait until the phone has lost its connection and is ready again."""
    lost = "states.lastIndexOf('connecting') > states.indexOf('ready')"
    await page.wait_for_function(f"{lost} && phone.state === 'ready'", timeout=PATIENCE_S * 1000)


async def hear_each_other(page: Page, end: FarEnd, talk: Talk) -> None:
    """Prove both ways by a tone that is measured at the other end."""
    assert talk.other is not None
    end.heard.clear()
    speaking = asyncio.create_task(end.say(talk.other.port, tone(1000, seconds=PATIENCE_S)))
    await page.evaluate("hears(1000)")
    await end.hear(40)
    assert 440 in end.hz()
    speaking.cancel()


async def test_a_page_calls_and_both_hear_each_other(house: House, desk: Page, far: FarEnd) -> None:
    talk = await talk_of(house, "7001", desk)
    await hear_each_other(desk, far, talk)
    assert await desk.evaluate("[call.state, call.number, call.code]") == ["talking", "7001", None]
    await desk.evaluate("call.hangUp()")
    assert talk.sip is not None
    async with asyncio.timeout(PATIENCE_S):
        await talk.sip.ended
    assert await desk.evaluate("call.state") == "ended"
    assert await desk.evaluate("phone.calls.size") == 0


async def test_a_page_is_called_answers_and_is_hung_up_on(house: House, desk: Page, far: FarEnd) -> None:
    board, extension = house.switchboard, await desk.evaluate("phone.extension")
    ringing = asyncio.create_task(board.ring(extension, "7001"))
    await desk.wait_for_function("window.call?.state === 'ringing'")
    assert await desk.evaluate("[call.number, call.outgoing]") == ["7001", False]
    await desk.evaluate("call.answer()")
    async with asyncio.timeout(PATIENCE_S):
        talk = await ringing
    assert talk is not None
    board.join(talk, await board.far("7001"))
    await hear_each_other(desk, far, talk)
    talk.end()
    await desk.wait_for_function("call.state === 'ended'")


async def test_a_page_declines(house: House, desk: Page) -> None:
    ringing = asyncio.create_task(house.switchboard.ring(await desk.evaluate("phone.extension"), "7001"))
    await desk.wait_for_function("window.call?.state === 'ringing'")
    await desk.evaluate("call.hangUp()")
    async with asyncio.timeout(PATIENCE_S):
        assert await ringing is None


async def test_keys_go_both_ways(house: House, desk: Page, far: FarEnd) -> None:
    talk = await talk_of(house, "7001", desk)
    await desk.evaluate("call.press('159#')")
    async with asyncio.timeout(PATIENCE_S):
        assert [await talk.leg.digits.get() for _ in range(4)] == ["1", "5", "9", "#"]
        while far.keys() != "159#":
            await far.hear(len(far.heard) + 1)
    assert talk.other is not None
    before = await desk.evaluate("arrived(call)")
    await far.press(talk.other.port, "4207")
    async with asyncio.timeout(PATIENCE_S):
        assert [await talk.other.leg.digits.get() for _ in range(4)] == ["4", "2", "0", "7"]
    # Five packets a key, and next to nothing else; a page has no means to show them.
    assert await desk.evaluate(f"eventually(async () => await arrived(call) >= {before} + 16)")


async def test_keys_pressed_before_there_is_a_way_for_them_wait_in_order(house: House, desk: Page, far: FarEnd) -> None:
    # Chromium says that it is connected before it takes keys where it learns of the answer late, as on a busy machine.
    await desk.evaluate("""() => {
        const of = RTCDTMFSender.prototype, { get } = Object.getOwnPropertyDescriptor(of, "canInsertDTMF");
        const insert = of.insertDTMF;
        window.takes = false;
        Object.defineProperty(of, "canInsertDTMF", { get() { return takes && get.call(this); } });
        of.insertDTMF = function (...how) {
          if (!takes) throw new DOMException("not yet", "InvalidStateError");
          insert.apply(this, how);
        };
    }""")
    await desk.evaluate("phone.call('7001').then(call => call.press('15'))")  # nobody has answered yet
    talk = await talk_of(house)
    await desk.wait_for_function("call.connected")
    await desk.evaluate("call.press('9')")
    assert talk.leg.digits.empty()
    await desk.evaluate("takes = true; call.press('#')")
    async with asyncio.timeout(PATIENCE_S):
        assert [await talk.leg.digits.get() for _ in range(4)] == ["1", "5", "9", "#"]
        while far.keys() != "159#":
            await far.hear(len(far.heard) + 1)
    assert await desk.evaluate("(() => { try { call.press('x'); } catch (error) { return error.message; } })()")


async def test_hold_stops_the_sound_and_resume_brings_it_back_once(house: House, desk: Page, far: FarEnd) -> None:
    talk = await talk_of(house, "7001", desk)
    await hear_each_other(desk, far, talk)
    await desk.evaluate("call.hold()")
    assert await desk.evaluate("call.held")
    assert talk.offers == [Direction.SENDONLY]
    await still_heard(talk.leg, 5)  # what was on its way
    passed = len(far.heard)
    await still_heard(talk.leg, 15)
    assert len(far.heard) == passed
    await desk.evaluate("call.hold()")  # twice is once
    await desk.evaluate("call.resume()")
    assert talk.offers[1:] == [Direction.SENDRECV]
    await hear_each_other(desk, far, talk)
    assert await desk.evaluate("document.querySelectorAll('audio').length + 1") == 1


async def test_mute_is_heard_as_silence_and_tells_nobody(house: House, desk: Page, far: FarEnd) -> None:
    talk = await talk_of(house, "7001", desk)
    await hear_each_other(desk, far, talk)
    await desk.evaluate("call.mute()")
    async with asyncio.timeout(PATIENCE_S):
        while True:
            far.heard.clear()  # of what is heard first, some was said before
            await far.hear(20)
            if level_of(far.sound()) < -60:
                break
    assert talk.offers == []
    await desk.evaluate("call.unmute()")
    await hear_each_other(desk, far, talk)


async def test_a_blind_transfer_hands_the_far_end_over(house: House, desk: Page, far: FarEnd) -> None:
    async with far_end() as third:
        house.switchboard.far_ends["7002"] = third
        talk = await talk_of(house, "7001", desk)
        await hear_each_other(desk, far, talk)
        await desk.evaluate("call.transfer('7002')")
        await desk.evaluate("call.hangUp()")
        far.heard.clear()
        assert talk.other is not None
        other = talk.other.other
        assert other is not None
        speaking = asyncio.create_task(third.say(other.port, tone(700, seconds=3)))
        await far.hear(50)
        assert 700 in far.hz()
        speaking.cancel()


async def test_an_attended_transfer_brings_the_two_far_ends_together(house: House, desk: Page, far: FarEnd) -> None:
    async with far_end() as third:
        house.switchboard.far_ends["7002"] = third
        first = await talk_of(house, "7001", desk)
        await desk.evaluate("call.hold()")
        second = await talk_of(house, "7002", desk)
        await hear_each_other(desk, third, second)
        await desk.evaluate("calls[0].transferTo(calls[1])")
        far.heard.clear()
        assert first.other is not None
        assert second.other is not None
        assert first.other.other is second.other
        speaking = asyncio.create_task(third.say(second.other.port, tone(700, seconds=3)))
        await far.hear(50)
        assert 700 in far.hz()
        speaking.cancel()


async def test_a_refused_transfer_is_told(house: House, desk: Page, far: FarEnd) -> None:
    talk = await talk_of(house, "7001", desk)
    assert talk.sip is not None
    talk.sip.on_refer = None
    refused = await desk.evaluate("call.transfer('7002').then(() => '', error => error.message)")
    assert refused == "Rejected"
    await hear_each_other(desk, far, talk)


async def test_sound_goes_on_while_the_socket_is_away_and_the_page_comes_back_by_itself(
    house: House, desk: Page, far: FarEnd
) -> None:
    talk = await talk_of(house, "7001", desk)
    await hear_each_other(desk, far, talk)
    board, path = house.switchboard, house.office.instance.paths.phone_socket
    board.transport.close()
    await board.transport.wait_closed()
    await desk.wait_for_function("phone.state === 'connecting'")
    await hear_each_other(desk, far, talk)
    assert await desk.evaluate("call.hold().then(() => '', error => error.message)") == "not connected"
    await board.listen(path)
    await desk.wait_for_function("phone.state === 'ready'", timeout=PATIENCE_S * 1000)
    await desk.evaluate("call.hold()")
    await desk.evaluate("call.resume()")
    assert talk.offers == [Direction.SENDONLY, Direction.SENDRECV]
    talk.end()
    await desk.wait_for_function("call.state === 'ended'")


async def test_an_info_under_way_when_the_socket_closes_is_refused_and_the_call_goes_on(
    house: House, desk: Page, far: FarEnd
) -> None:
    talk = await talk_of(house, "7001", desk)
    await hear_each_other(desk, far, talk)
    await desk.evaluate(CLOSING, False)
    asked = "cuts = /^INFO /; call.record(true).catch(error => error.message)"
    assert await desk.evaluate(asked) == "not connected"
    await hear_each_other(desk, far, talk)
    await back(desk)
    assert await desk.evaluate("call.state") == "talking"
    await desk.evaluate("call.hold()")
    assert talk.offers == [Direction.SENDONLY]


@pytest.mark.parametrize("reaches", [False, True], ids=["offer-lost", "answer-lost"])
async def test_a_hold_under_way_when_the_socket_closes_is_made_when_it_is_back(
    house: House, desk: Page, far: FarEnd, reaches: bool
) -> None:
    talk = await talk_of(house, "7001", desk)
    await hear_each_other(desk, far, talk)
    await desk.evaluate(CLOSING, reaches)
    await desk.evaluate("cuts = /^INVITE /; call.hold()")
    assert await desk.evaluate("[call.state, call.held, phone.state]") == ["talking", True, "ready"]
    assert talk.offers == [Direction.SENDONLY] * (1 + reaches)
    await desk.evaluate("cuts = /^INVITE /; call.resume()")
    assert talk.offers[-1] is Direction.SENDRECV
    assert await desk.evaluate("[call.state, call.held]") == ["talking", False]
    await hear_each_other(desk, far, talk)


async def test_an_offer_that_is_lost_time_and_again_is_agreed_in_the_end(house: House, desk: Page, far: FarEnd) -> None:
    talk = await talk_of(house, "7001", desk)
    await hear_each_other(desk, far, talk)
    await desk.evaluate(CLOSING, True)
    await desk.evaluate("void (window.further = [/^INVITE /])")  # it has an ICE restart, which is followed in vain
    await desk.evaluate("cuts = /^INVITE /; void (window.held = call.hold())")
    await desk.wait_for_function("cuts === null", timeout=PATIENCE_S * 1000)
    await desk.evaluate("held")
    assert talk.offers == [Direction.SENDONLY] * 3
    await desk.evaluate("call.resume()")
    await hear_each_other(desk, far, talk)


async def test_an_ack_lost_with_the_socket_is_sent_when_it_is_back(house: House, desk: Page, far: FarEnd) -> None:
    talk = await talk_of(house, "7001", desk)
    await hear_each_other(desk, far, talk)
    await desk.evaluate(CLOSING, False)
    await desk.evaluate("cuts = /^ACK /; call.hold()")
    await back(desk)
    await desk.evaluate("call.resume()")
    assert talk.offers == [Direction.SENDONLY, Direction.SENDRECV]
    await hear_each_other(desk, far, talk)


async def test_answer_pressed_twice_answers_once(house: House, desk: Page, far: FarEnd) -> None:
    board, extension = house.switchboard, await desk.evaluate("phone.extension")
    ringing = asyncio.create_task(board.ring(extension, "7001"))
    await desk.wait_for_function("window.call?.state === 'ringing'")
    await desk.evaluate(TWICE)
    async with asyncio.timeout(PATIENCE_S):
        talk = await ringing
    assert talk is not None
    board.join(talk, await board.far("7001"))
    await hear_each_other(desk, far, talk)
    await desk.evaluate("call.hangUp()")
    assert await desk.evaluate("streams.flatMap(each => each.getTracks()).map(each => each.readyState)") == ["ended"]


async def test_how_a_call_is_recorded_is_what_the_gateway_says(house: House, desk: Page, far: FarEnd) -> None:
    talk = await talk_of(house, "7001", desk)
    await hear_each_other(desk, far, talk)
    sip, asked = talk.sip, asyncio.Queue[bool]()
    assert sip is not None
    async with asyncio.timeout(PATIENCE_S):
        while not sip.follows_recording:  # noqa: ASYNC110 - what is waited for comes from the page
            await asyncio.sleep(0.01)
    assert await desk.evaluate("call.recording") is None
    sip.inform(RECORDING_TYPE, b"recording")
    await desk.wait_for_function("call.recording === 'recording'")
    assert await desk.evaluate("call.record(false).catch(error => error.message)") == "Forbidden"

    def hear(on: bool) -> bool:
        asked.put_nowait(on)
        return True

    sip.on_record = hear
    await desk.evaluate("call.record(false)")
    assert await asked.get() is False
    assert await desk.evaluate("call.recording") == "recording"  # it was asked for, and is not done
    sip.inform(RECORDING_TYPE, b"paused")
    await desk.wait_for_function("call.recording === 'paused'")
    board, path = house.switchboard, house.office.instance.paths.phone_socket
    board.transport.close()
    await board.transport.wait_closed()
    await desk.wait_for_function("call.recording === 'unknown'")
    sip.on_follow = lambda: sip.inform(RECORDING_TYPE, b"off failed")
    await board.listen(path)
    await desk.wait_for_function("call.recording === 'off failed'", timeout=PATIENCE_S * 1000)


async def test_a_page_that_is_loaded_anew_gets_its_call_back_within_a_second(
    house: House, desk: Page, far: FarEnd
) -> None:
    board, extension = house.switchboard, await desk.evaluate("phone.extension")
    talk = await talk_of(house, "7001", desk)
    await hear_each_other(desk, far, talk)
    while not board.registered.empty():
        board.registered.get_nowait()
    await desk.reload(wait_until="commit")
    loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    async with asyncio.timeout(PATIENCE_S):
        await talk.gone.wait()
        while (await board.registered.get())[1] == 0:
            pass
        again = await board.ring(extension, "7001", headers={"X-Resume": "call-1"})
    assert again is not None
    assert talk.other is not None
    board.join(again, talk.other)
    assert isinstance(again.leg, BrowserLeg)
    await again.leg.connected
    assert loop.time() - began < BACK_S * BUSY
    assert await desk.evaluate("call.resumed") == "call-1"
    await hear_each_other(desk, far, again)
