"""The call log: who sees numbers, files for spreadsheets, and listening."""

import csv
import io
import wave
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from hub import tape
from hub.audio import frequencies, tone
from hub.db import uuid7
from hub.g711 import Codec, encode
from hub.record import call, recording, transcript, voicemail
from hub.record.call import Call
from hub.record.recording import RecordingState
from hub.record.transcript import Transcript
from hub.record.voicemail import Voicemail
from hub.rules.routing import Plan
from hub.security.access import Scope
from hub.security.container import Writer, binding_of
from hub.security.sealed import Table
from hub.speech import Word
from tests.hub.api.office import DID, Office, number, phones, subjects_of


def talk(office: Office, subject: UUID, table: Table, object_id: UUID) -> tuple[bytes, str]:
    """Write a sealed tape with a tone of 440 Hz from the caller and of 1 kHz from the agent; return lane and name."""
    name = f"{object_id}.clm"
    with office.instance.db.write() as db:
        lane_id, key = office.instance.sealer.media_key(db, subject, table, object_id)
    binding = binding_of(office.instance.keys.tenant, table, object_id)
    with Writer(office.instance.paths.media / name, key, binding, lane_id=lane_id) as out:
        out.write(tape.HEAD)
        for leg, hz in ((tape.CALLER, 440.0), (tape.AGENT, 1000.0)):
            out.write(tape.frame_of(leg, Codec.PCMU, 0, encode(Codec.PCMU, tone(hz, seconds=1.0))))
    return lane_id, name


def recorded(office: Office, row: Call, *, after: float = 0.0, state: RecordingState = RecordingState.FILED) -> UUID:
    """File a recording of a call, which began so many seconds after the office's now."""
    recording_id = uuid7()
    lane_id, name = talk(office, row.subject, Table.RECORDING, recording_id)
    with office.instance.db.write() as db:
        at = office.now + timedelta(seconds=after)
        kept = {"call_id": row.id, "subject": row.subject, "lane_id": lane_id, "name": name, "now": at}
        recording.begin(db, recording_id, **kept)  # type: ignore[arg-type]
        recording.end(db, recording_id, 1.0, at, state=state)
    return recording_id


def message(office: Office, box: str) -> UUID:
    """Leave a voicemail."""
    row, voicemail_id = office.ring(number()), uuid7()
    lane_id, name = talk(office, row.subject, Table.VOICEMAIL, voicemail_id)
    with office.instance.db.write() as db:
        kept = {"call_id": row.id, "box": box, "subject": row.subject, "lane_id": lane_id, "name": name}
        voicemail.begin(db, voicemail_id, now=office.now, **kept)  # type: ignore[arg-type]
        voicemail.end(db, voicemail_id, 1.0)
    return voicemail_id


def heard(answer: Any) -> list[float]:
    """Return the strongest frequency of each channel of a WAV answer."""
    assert answer.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(answer.content)) as sound:
        assert sound.getframerate() == 8000
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").reshape(-1, sound.getnchannels())
    return [frequencies(channel)[0].hz for channel in samples.T]


async def test_a_call_tells_how_it_went(office: Office) -> None:
    calls_from = number()
    office.patient(**phones(calls_from))
    row = office.ring(calls_from)
    agent = office.worker("front-desk")
    plan = Plan(
        policy=1, language="en", queue="appointments", rule="route-1", reads=("patient.language",), source="workflow"
    )
    office.write(call.planned, row.id, plan, office.now)
    office.write(call.bridged, row.id, agent.id, office.now)
    office.write(call.leg, row.id, "caller", protection="rtp", loss=0.01, jitter_ms=2.5, codec="PCMU", mos=4.2)
    office.write(call.ended, row.id, "caller", office.now + timedelta(seconds=30))
    recorded(office, row)
    async with office.http(agent) as http:
        answer = await http.get(f"/v1/calls/{row.id}")
        first = (await http.get("/v1/calls", params={"limit": 1})).json()
    said = answer.json()
    assert first["items"] == [said]
    assert said["plan"] == {"rule": "route-1", "reads": ["patient.language"], "source": "workflow"}
    figures = {"loss": 0.01, "jitter_ms": 2.5, "codec": "PCMU", "rtt_ms": None, "mos": 4.2}
    assert said["legs"] == [{"role": "caller", "protection": "rtp", **figures}]
    assert (said["direction"], said["did"], said["queue"]) == ("in", DID, "appointments")
    assert (said["agent"], said["cause"], said["path"], said["match"]) == (str(agent.id), "caller", "answered", "one")
    assert (said["number"], said["recording"]) == (calls_from, "filed")
    assert [record["act"] for record in office.audited(answer)] == ["unwrap"]


async def test_who_may_not_see_numbers_opens_nothing(office: Office) -> None:
    calls_from = number()
    row = office.ring(calls_from)
    async with office.http(office.worker("admin")) as http:
        answer = await http.get("/v1/calls")
        one = await http.get(f"/v1/calls/{row.id}")
    assert {item["number"] for item in answer.json()["items"]} == {None}
    assert one.json()["number"] is None
    assert calls_from not in answer.text + one.text
    assert not office.audited(answer)


async def test_a_restricted_callers_number_is_not_shown(office: Office) -> None:
    calls_from = number()
    who = office.patient(**phones(calls_from))
    before = office.ring(calls_from)
    office.restrict(who)
    after = office.ring(calls_from)
    recorded(office, before)
    recorded(office, after)
    async with office.http(office.worker("provider")) as http:
        listed = (await http.get("/v1/calls", params={"limit": 2})).json()["items"]
        answers = [await http.get(f"/v1/calls/{row.id}/recording") for row in (before, after)]
    assert [(item["id"], item["number"]) for item in listed] == [(str(after.id), None), (str(before.id), None)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "restricted")] * 2


async def test_pages_go_back_in_time_and_times_narrow_them(office: Office) -> None:
    rows = []
    for _ in range(5):
        office.later(minutes=1)
        rows.append(office.ring(number()))
    async with office.http(office.worker("front-desk")) as http:
        window = {"since": rows[1].started_at.isoformat(), "until": rows[4].started_at.isoformat()}
        one = (await http.get("/v1/calls", params={"limit": 2, **window})).json()
        two = (await http.get("/v1/calls", params={"limit": 2, "cursor": one["next"], **window})).json()
    assert [item["id"] for item in one["items"] + two["items"]] == [str(row.id) for row in reversed(rows[1:4])]
    assert two["next"] is None


@pytest.mark.parametrize(
    ("name", "value"), [("limit", "0"), ("limit", "201"), ("cursor", "x"), ("since", "2026-03-02T15:00:00")]
)
async def test_what_cannot_be_asked_is_named(office: Office, name: str, value: str) -> None:
    async with office.http(office.worker("front-desk")) as http:
        answer = await http.get("/v1/calls", params={name: value})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert [fault["field"] for fault in answer.json()["fields"]] == [f"query.{name}"]


async def test_a_spreadsheet_gets_every_call_and_no_formula(office: Office) -> None:
    office.later(minutes=1)
    since = office.now
    numbers = [number(), "=HYPERLINK(1)", None, number()]
    rows = [office.ring(each) for each in numbers]
    office.write(call.ended, rows[0].id, "caller", office.now)
    query = {"since": since.isoformat()}
    async with office.http(office.worker("front-desk"), Accept="text/csv") as http:
        answer = await http.get("/v1/calls", params=query)
    async with office.http(office.worker("admin"), Accept="text/csv") as http:
        blind = await http.get("/v1/calls", params=query)
    assert answer.headers["content-type"].startswith("text/csv")
    told = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in told] == [str(row.id) for row in reversed(rows)]
    assert [row["number"] for row in told] == [numbers[3], "", "'=HYPERLINK(1)", numbers[0]]
    assert (told[-1]["path"], told[-1]["cause"], told[0]["ended_at"]) == ("abandoned", "caller", "")
    assert {row["number"] for row in csv.DictReader(io.StringIO(blind.text))} == {""}
    opened = [record for record in office.audited(answer) if record["act"] == "unwrap"]
    assert set().union(*map(subjects_of, opened)) == {row.subject for row in rows}


async def test_a_recording_is_heard_as_it_was_said_and_that_is_on_record(office: Office) -> None:
    row = office.ring(number())
    recording_id = recorded(office, row)
    nurse = office.worker("nurse")
    async with office.http(nurse) as http:
        answer = await http.get(f"/v1/calls/{row.id}/recording")
    left, right = heard(answer)
    assert abs(left - 440) < 10
    assert abs(right - 1000) < 10
    (noted,) = office.audited(answer)
    assert (noted["act"], noted["actor"], subjects_of(noted)) == ("unwrap", str(nurse.id), {row.subject})
    assert recording_id.hex in str(noted["obj"])


async def test_the_parts_of_a_call_are_heard_as_one_each_in_its_place(office: Office) -> None:
    row = office.ring(number())
    parts = [recorded(office, row), recorded(office, row, after=2.5, state=RecordingState.PARTIAL)]
    recorded(office, row, after=1.5, state=RecordingState.LOST)
    async with office.http(office.worker("nurse")) as http:
        answer = await http.get(f"/v1/calls/{row.id}/recording")
        shown = (await http.get(f"/v1/calls/{row.id}")).json()
    whole = np.frombuffer(answer.content[44:], np.int16).reshape(-1, 2)
    assert len(whole) == 28_000
    loud = [float(np.abs(whole[at : at + 4000]).mean()) > 1000 for at in range(0, 28_000, 4000)]
    assert loud == [True, True, False, False, False, True, True]
    assert {round(peak.hz, -1) for peak in frequencies(np.ascontiguousarray(whole[20_000:, 1]))} == {1000}
    assert {each.hex in str(office.audited(answer)) for each in parts} == {True}
    assert shown["recording"] == "partial"


async def test_the_words_of_all_parts_are_read_in_order(office: Office) -> None:
    row = office.ring(number())
    written(office, row, recorded(office, row))
    later = recorded(office, row, after=30.0)
    async with office.http(office.worker("nurse")) as http:
        half = (await http.get(f"/v1/calls/{row.id}/transcript")).json()
        written(office, row, later)
        said = (await http.get(f"/v1/calls/{row.id}/transcript")).json()
    assert (half["reason"], len(half["words"])) == ("off", 2)
    assert (said["reason"], [word["start"] for word in said["words"]]) == ("", [0.5, 1.0, 30.5, 31.0])


async def test_what_was_not_recorded_or_is_damaged_is_not_heard(office: Office) -> None:
    silent, damaged = office.ring(number()), office.ring(number())
    kept = office.instance.paths.media / f"{recorded(office, damaged)}.clm"
    kept.write_bytes(kept.read_bytes()[:-40])
    async with office.http(office.worker("nurse")) as http:
        answers = [await http.get(f"/v1/calls/{call_id}/recording") for call_id in (uuid4(), silent.id, damaged.id)]
        kept.unlink()
        answers.append(await http.get(f"/v1/calls/{damaged.id}/recording"))
    codes = [(answer.status_code, answer.json()["code"]) for answer in answers]
    assert codes == [(404, "not-found"), (404, "not-found"), (409, "container-unsealed"), (404, "not-found")]


def written(office: Office, row: Call, sound_id: UUID) -> None:
    """Let an engine have written down what was said."""
    words = [Word("refill", 0.5, 0.9, 0.9, "caller"), Word("please", 1.0, 1.4, 0.2, "caller")]
    made = Transcript(
        id=sound_id, call_id=row.id, subject=row.subject, engine="whisper", language="en", made_at=office.now
    )
    with office.instance.db.write() as db:
        transcript.keep(db, made, words, seal=office.instance.sealer)


async def test_what_was_said_is_read_with_its_doubts_and_that_is_on_record(office: Office) -> None:
    row = office.ring(number())
    written(office, row, recorded(office, row))
    nurse = office.worker("nurse")
    async with office.http(nurse) as http:
        answer = await http.get(f"/v1/calls/{row.id}/transcript")
    said = answer.json()
    assert [(word["text"], word["doubtful"], word["speaker"]) for word in said["words"]] == [
        ("refill", False, "caller"),
        ("please", True, "caller"),
    ]
    assert (said["reason"], said["engine"]) == ("", "whisper")
    (noted,) = office.audited(answer)
    assert (noted["act"], noted["actor"], subjects_of(noted)) == ("unwrap", str(nurse.id), {row.subject})


async def test_where_nothing_was_written_down_it_is_said_why(office: Office) -> None:
    row, silent = office.ring(number()), office.ring(number())
    sound_id = recorded(office, row)
    made = Transcript(
        id=sound_id, call_id=row.id, subject=row.subject, engine="whisper", language="en", made_at=office.now
    )
    async with office.http(office.worker("nurse")) as http:
        before = (await http.get(f"/v1/calls/{row.id}/transcript")).json()
        with office.instance.db.write() as db:
            transcript.refuse(db, made, "model-missing")
        after = (await http.get(f"/v1/calls/{row.id}/transcript")).json()
        unrecorded = await http.get(f"/v1/calls/{silent.id}/transcript")
    assert (before["reason"], after["reason"], before["words"] + after["words"]) == ("off", "model-missing", [])
    assert (unrecorded.status_code, unrecorded.json()["code"]) == (404, "not-found")


async def test_a_message_is_read_by_its_box(office: Office) -> None:
    nurses = message(office, "nurses")
    with office.instance.db.read() as db:
        row = db.get_one(Call, db.get_one(Voicemail, nurses).call_id)
    written(office, row, nurses)
    answers = {}
    for role in ("front-desk", "nurse"):
        async with office.http(office.worker(role)) as http:
            answers[role] = await http.get(f"/v1/voicemails/{nurses}/transcript")
    assert answers["front-desk"].status_code == 404
    assert [word["text"] for word in answers["nurse"].json()["words"]] == ["refill", "please"]


async def test_the_front_desk_does_not_listen_to_calls(office: Office) -> None:
    async with office.http(office.worker("front-desk")) as http:
        answer = await http.get(f"/v1/calls/{uuid4()}/recording")
    assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")


async def test_a_box_belongs_to_its_roles(office: Office) -> None:
    desk, nurses = message(office, "front-desk"), message(office, "nurses")
    seen = {}
    for role in ("front-desk", "nurse"):
        async with office.http(office.worker(role)) as http:
            seen[role] = {UUID(item["id"]) for item in (await http.get("/v1/voicemails")).json()["items"]}
            other = nurses if role == "front-desk" else desk
            answers = [
                await http.get(f"/v1/voicemails/{other}/audio"),
                await http.post(f"/v1/voicemails/{other}/heard"),
            ]
        assert [answer.status_code for answer in answers] == [404, 404]
    async with office.http(office.program(Scope.VOICEMAILS_READ)) as http:
        everything = {UUID(item["id"]) for item in (await http.get("/v1/voicemails")).json()["items"]}
        refused = await http.post(f"/v1/voicemails/{desk}/heard")
    assert desk in seen["front-desk"] - seen["nurse"]
    assert nurses in seen["nurse"] - seen["front-desk"]
    assert everything >= {desk, nurses}
    assert refused.json()["code"] == "person-needed"


async def test_listening_is_on_record_and_marking_is_the_first_ones(office: Office) -> None:
    voicemail_id = message(office, "front-desk")
    one, two = office.worker("front-desk"), office.worker("front-desk")
    async with office.http(one) as http:
        answer = await http.get(f"/v1/voicemails/{voicemail_id}/audio")
        (new,) = [
            item for item in (await http.get("/v1/voicemails")).json()["items"] if item["id"] == str(voicemail_id)
        ]
        marked = (await http.post(f"/v1/voicemails/{voicemail_id}/heard")).json()
    async with office.http(two) as http:
        again = (await http.post(f"/v1/voicemails/{voicemail_id}/heard")).json()
    (caller,) = heard(answer)
    assert abs(caller - 440) < 10
    assert [record["act"] for record in office.audited(answer)] == ["unwrap"]
    assert (new["state"], marked["state"], marked["heard_by"]) == ("new", "heard", str(one.id))
    assert again == marked


async def test_a_message_of_a_restricted_patient_is_not_heard(office: Office) -> None:
    calls_from = number()
    who = office.patient(**phones(calls_from))
    row, voicemail_id = office.ring(calls_from), uuid7()
    lane_id, name = talk(office, row.subject, Table.VOICEMAIL, voicemail_id)
    with office.instance.db.write() as db:
        kept = {"call_id": row.id, "box": "nurses", "subject": row.subject, "lane_id": lane_id, "name": name}
        voicemail.begin(db, voicemail_id, now=office.now, **kept)  # type: ignore[arg-type]
        voicemail.end(db, voicemail_id, 1.0)
    office.restrict(who)
    async with office.http(office.worker("nurse")) as http:
        answer = await http.get(f"/v1/voicemails/{voicemail_id}/audio")
    assert (answer.status_code, answer.json()["code"]) == (403, "restricted")


async def test_without_the_vault_nothing_is_heard_or_exported(office: Office) -> None:
    row = office.ring(number())
    recorded(office, row)
    voicemail_id = message(office, "nurses")
    office.vault.kill()
    try:
        async with office.http(office.worker("nurse"), Accept="text/csv") as http:
            paths = (f"/v1/calls/{row.id}/recording", f"/v1/voicemails/{voicemail_id}/audio", "/v1/calls")
            answers = [await http.get(path) for path in paths]
    finally:
        office.vault.start()
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "vault-unavailable")] * 3
