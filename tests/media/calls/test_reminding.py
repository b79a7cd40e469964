"""Reminders that are called: what a person or a machine hears, and the keys that are pressed."""

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from hub.record import call, consent, voice
from hub.record.call import Call
from hub.record.voice import CallStage, Outcome, ReminderCall
from tests.media.calls import reminding
from tests.media.calls.reminding import ask, heard, hears, over, person, place_of, reached, telephone
from tests.media.greeting import beep, noise, on_the_line, quiet
from tests.media.office import Office

pytestmark = pytest.mark.xdist_group("gateway")

instance = reminding.instance


async def test_a_person_presses_keys_and_the_visit_is_confirmed(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked = await ask(office)
        place = await place_of(carrier)
        (invite,) = carrier.of("INVITE")
        assert invite.uri == "sip:+12125550177@carrier.example;user=phone"
        assert invite.headers["P-Asserted-Identity"] == ["<sip:+12125550100@carrier.example;user=phone>"]
        await person(far, place)
        await hears(far, "opening")
        assert "visit" not in heard(far)
        await far.press(place, "51")  # another key is no answer
        await hears(far, "choice")
        await far.press(place, "1")
        row = await over(office, asked)
        await carrier.until(1, "BYE")
        assert heard(far) == {"opening", "visit", "choice", "confirmed"}
    assert (row.outcome, row.answered_by, row.reason) == (Outcome.CONFIRMED, "human", "short-greeting")
    made = await office.instance.db.run(lambda db: db.get_one(Call, asked))
    assert (made.direction, made.path, made.patient_id) == (call.OUT, call.ANSWERED, row.patient_id)
    assert (made.trunk, made.did) == ("line", "+12125550100")


async def test_a_machine_gets_its_message_after_the_beep_and_hears_of_no_visit(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked = await ask(office)
        place = await place_of(carrier)
        await far.say(place, on_the_line(noise(2.2, -18), quiet(0.5)))
        assert heard(far) == set()
        await far.say(place, on_the_line(beep(), quiet(0.4)))
        row = await over(office, asked)
        assert heard(far) == {"message"}
    assert (row.outcome, row.answered_by, row.reason) == (Outcome.LEFT, "machine", "long-greeting")


async def test_a_machine_that_was_taken_for_a_person_gets_its_message_after_the_beep(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked, place = await reached(office, carrier, far)
        await far.say(place, on_the_line(beep(850), quiet(0.4)))
        row = await over(office, asked)
        assert heard(far) == {"opening", "message"}
    assert (row.outcome, row.answered_by, row.reason) == (Outcome.LEFT, "machine", "beep")


async def test_nine_ends_all_calls_and_texts_to_the_number_at_once(office: Office) -> None:
    number = "+12125550178"
    key = office.instance.index.phone(number)
    async with telephone(office) as (carrier, far):
        asked, place = await reached(office, carrier, far, number)
        await far.press(place, "9")
        await hears(far, "stopped")
        assert await office.instance.db.run(lambda db: consent.opted_out(db, key, voice.PROGRAM))
        row = await over(office, asked)
        assert heard(far) == {"opening", "stopped"}
        assert row.outcome is Outcome.STOPPED
        again = await ask(office, number)
        assert (await over(office, again)).stage is CallStage.WITHDRAWN
        assert len(carrier.of("INVITE")) == 1


async def test_nine_holds_though_a_commit_fails(office: Office) -> None:
    number = "+12125550179"
    key, engine = office.instance.index.phone(number), office.instance.db.engine
    failed: list[str] = []

    def disk_full(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "INTO opt_out" in statement and not failed:
            failed.append(statement)
            raise OperationalError(statement, None, OSError("database or disk is full"))

    event.listen(engine, "before_cursor_execute", disk_full)
    try:
        async with telephone(office) as (carrier, far):
            asked, place = await reached(office, carrier, far, number)
            await far.press(place, "9")
            row = await over(office, asked)
            assert heard(far) == {"opening", "stopped"}
    finally:
        event.remove(engine, "before_cursor_execute", disk_full)
    assert len(failed) == 1
    assert row.outcome is Outcome.STOPPED
    assert await office.instance.db.run(lambda db: consent.opted_out(db, key, voice.PROGRAM))


async def test_one_pressed_twice_confirms_nothing_before_the_visit_was_told(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked, place = await reached(office, carrier, far)
        await far.press(place, "11")  # the opening, cut short, may be too little of the whole to be told from it later
        await hears(far, "choice")
        assert heard(far) | {"opening"} == {"opening", "visit", "choice"}
        row = await office.instance.db.run(lambda db: db.get_one(ReminderCall, asked))
        assert row.outcome is Outcome.NONE
        await far.press(place, "1")
        row = await over(office, asked)
        assert heard(far) | {"opening"} == {"opening", "visit", "choice", "confirmed"}
    assert row.outcome is Outcome.CONFIRMED


async def test_nine_ends_the_words_about_the_visit_at_once(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked, place = await reached(office, carrier, far, "+12125550180")
        await far.press(place, "19")
        row = await over(office, asked)
        assert heard(far) - {"visit"} == {"opening", "stopped"}
    assert row.outcome is Outcome.STOPPED


async def test_another_time_is_asked_for(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked, place = await reached(office, carrier, far, language="es")
        await far.press(place, "1")
        await hears(far, "choice")
        await far.press(place, "2")
        row = await over(office, asked)
        assert heard(far) == {"opening", "visit", "choice", "reschedule"}
    assert row.outcome is Outcome.RESCHEDULE


async def test_who_hangs_up_was_told_who_called(office: Office) -> None:
    async with telephone(office) as (carrier, far):
        asked, _ = await reached(office, carrier, far)
        (invite,), (ack,) = carrier.of("INVITE"), carrier.of("ACK")
        text = (
            f"BYE {invite.contacts[0].uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{office.carrier_port};branch=z9hG4bKbye\r\n"
            f"From: {ack.headers['To'][0]}\r\nTo: {invite.headers['From'][0]}\r\nCall-ID: {invite.call_id}\r\n"
            "CSeq: 1 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        carrier._transport.sendto(text.encode(), ("127.0.0.1", office.port))
        row = await over(office, asked)
    assert row.outcome is Outcome.SILENT
    made = await office.instance.db.run(lambda db: db.get_one(Call, asked))
    assert (made.cause, made.path) == ("far-end", call.ANSWERED)
