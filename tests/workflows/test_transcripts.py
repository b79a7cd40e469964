"""Recordings and voicemails become words by a real engine, sealed, or it is said why not."""

import asyncio
import subprocess
from pathlib import Path
from uuid import UUID

import pytest
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from hub import tape
from hub.audio import read_wav, resample
from hub.db import uuid7
from hub.g711 import RATE, Codec, Pcm, encode
from hub.record import policy, recording, transcript, voicemail
from hub.record.call import Call
from hub.record.event import Event
from hub.record.transcript import Transcript
from hub.security.container import Writer, binding_of
from hub.security.sealed import Table
from hub.speech import Engine, TranscriptionError, Word, in_order, transcribe
from tests.workflows.clinic import AUDITED, Clinic
from tests.workflows.test_calls import calls_of, rung, wound_up
from workflows.activities.herald import Herald
from workflows.activities.transcript import SoundNotWholeError, Transcripts

pytestmark = pytest.mark.peer("flite")

SPEECH = '\n[speech]\nengine = "pocketsphinx"\ntranscribe = ["voicemails", "calls"]\n'


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Pcm:
    """Return what a program says: the word that the engine is sure to know stands at its end."""
    path = tmp_path_factory.mktemp("said") / "said.wav"
    text = "please call me back about my appointment on monday"
    subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", str(path)], check=True)
    wave = read_wav(path.read_bytes())
    return resample(wave.pcm, wave.rate, RATE)


def listening(clinic: Clinic, more: str = SPEECH) -> None:
    with clinic.instance.db.write() as db:
        version, text = policy.current(db)
        policy.publish(db, text + more, base=version, by="system:test", now=clinic.now)


def taped(clinic: Clinic, table: Table, call_id: UUID, said: dict[int, Pcm], *, whole: bool = True) -> UUID:
    """Lay down what each leg said as the media process would, and return the id of the sound."""
    instance, sound_id = clinic.instance, uuid7()
    subject = next(row.subject for row in clinic.rows(Call) if row.id == call_id)
    name = f"{sound_id}.clm"
    instance.paths.media.mkdir(exist_ok=True)
    with instance.db.write() as db:
        lane_id, key = instance.sealer.media_key(db, subject, table, sound_id)
        kept = {"call_id": call_id, "subject": subject, "lane_id": lane_id, "name": name, "now": clinic.now}
        if table is Table.RECORDING:
            recording.begin(db, sound_id, **kept)  # type: ignore[arg-type]
        else:
            voicemail.begin(db, sound_id, box="front-desk", **kept)  # type: ignore[arg-type]
        if whole and table is Table.RECORDING:
            recording.end(db, sound_id, 3.0, clinic.now)
        elif whole:
            voicemail.end(db, sound_id, 3.0)
    with Writer(
        instance.paths.media / name, key, binding_of(instance.keys.tenant, table, sound_id), lane_id=lane_id
    ) as out:
        out.write(tape.HEAD)
        for leg, pcm in said.items():
            coded = encode(Codec.PCMU, pcm)
            for at in range(0, len(coded), 160):
                out.write(tape.frame_of(leg, Codec.PCMU, at, coded[at : at + 160]))
    return sound_id


async def made(clinic: Clinic, nobody: Client, sound_id: UUID) -> Transcript | None:
    work = Transcripts(clinic.instance, Herald(clinic.instance, nobody))
    await ActivityEnvironment().run(work.make, str(sound_id))
    return next((row for row in clinic.rows(Transcript) if row.id == sound_id), None)


def words(clinic: Clinic, row: Transcript) -> list[Word]:
    sealed = transcript.sealed_of(row)
    assert sealed is not None
    with clinic.instance.db.read() as db:
        (opened,) = clinic.instance.opener.open(db, AUDITED, [sealed])
    return transcript.words_of(opened)


async def test_a_voicemail_is_written_down_sealed_and_told_of(clinic: Clinic, nobody: Client, said: Pcm) -> None:
    listening(clinic)
    call_id = rung(clinic, (), path="voicemail")
    message = taped(clinic, Table.VOICEMAIL, call_id, {tape.CALLER: said})
    assert (await wound_up(calls_of(clinic, nobody), call_id)).sounds == (str(message),)
    row = await made(clinic, nobody, message)
    assert row is not None
    found = words(clinic, row)
    assert found[-1].text == "monday"
    assert {word.speaker for word in found} == {"caller"}
    assert [word.start for word in found] == sorted(word.start for word in found)
    assert (row.words, row.engine, row.language, row.reason) == (len(found), "pocketsphinx", "en", "")
    assert b"monday" not in (row.sealed or b"")
    assert [event.payload["voicemail"] for event in clinic.rows(Event) if event.type == "voicemail.transcribed"] == [
        str(message)
    ]


async def test_a_talk_is_written_down_by_who_spoke(clinic: Clinic, nobody: Client, said: Pcm) -> None:
    listening(clinic)
    call_id = rung(clinic, (), path="answered")
    talk = taped(clinic, Table.RECORDING, call_id, {tape.CALLER: said, tape.AGENT: said})
    row = await made(clinic, nobody, talk)
    assert row is not None
    assert [(word.text, word.speaker) for word in words(clinic, row)[-2:]] == [
        ("monday", "caller"),
        ("monday", "agent"),
    ]
    assert not [event for event in clinic.rows(Event) if event.type == "voicemail.transcribed"]


async def test_silence_is_told_as_such_and_not_tried_again(clinic: Clinic, nobody: Client, said: Pcm) -> None:
    listening(clinic)
    quiet = taped(clinic, Table.VOICEMAIL, rung(clinic, (), path="voicemail"), {tape.CALLER: said * 0})
    row = await made(clinic, nobody, quiet)
    assert row is not None
    assert (row.reason, row.sealed, row.words) == ("silence", None, 0)


@pytest.mark.parametrize(
    ("more", "reason"),
    [('engine = "whisper"', "model-missing"), ('engine = "whisper"\nmodel = "file:models/none"', "model-missing")],
)
async def test_without_a_model_there_is_no_transcript_and_it_is_said(
    clinic: Clinic, nobody: Client, said: Pcm, more: str, reason: str
) -> None:
    listening(clinic, f"\n[speech]\n{more}\n")
    message = taped(clinic, Table.VOICEMAIL, rung(clinic, (), path="voicemail"), {tape.CALLER: said})
    row = await made(clinic, nobody, message)
    assert row is not None
    assert (row.reason, row.sealed) == (reason, None)


async def test_without_an_engine_nobody_listens(clinic: Clinic, nobody: Client, said: Pcm) -> None:
    call_id = rung(clinic, (), path="voicemail")
    message = taped(clinic, Table.VOICEMAIL, call_id, {tape.CALLER: said})
    assert (await wound_up(calls_of(clinic, nobody), call_id)).sounds == ()
    assert await made(clinic, nobody, message) is None


async def test_a_sound_that_is_not_whole_is_waited_for(clinic: Clinic, nobody: Client, said: Pcm) -> None:
    listening(clinic)
    running = taped(clinic, Table.RECORDING, rung(clinic, (), path="answered"), {tape.CALLER: said}, whole=False)
    with pytest.raises(SoundNotWholeError):
        await made(clinic, nobody, running)


async def test_an_engine_that_is_absent_or_knows_no_such_language_says_so(tmp_path: Path, said: Pcm) -> None:
    for engine, language, reason in (
        (Engine("pocketsphinx"), "es", "language"),
        (Engine("pocketsphinx", tmp_path), "en", "failed"),
        (Engine("nothing"), "en", "failed"),
    ):
        with pytest.raises(TranscriptionError, match=reason):
            await asyncio.to_thread(transcribe, said, language, engine)


def test_several_people_are_put_in_order() -> None:
    mine = [Word("one", 0.0, 0.2, 1.0, "caller"), Word("three", 2.0, 2.2, 1.0, "caller")]
    yours = [Word("two", 1.0, 1.2, 1.0, "agent")]
    assert [word.text for word in in_order(mine, yours)] == ["one", "two", "three"]
