"""What came of the morning, as the record, the EHR, the carrier and the audit log say, and whether it had to be so."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx
from sqlmodel import Session, col, select

from connectors.sandbox.people import Visit
from connectors.sandbox.relation import relations
from hub import audio, recordings
from hub.demo import leak
from hub.demo.crm import Crm
from hub.demo.morning import REPLIES, SOON, Told
from hub.demo.phone import AGENT_HZ, CALLER_HZ
from hub.demo.stage import Stage, StageError
from hub.g711 import Pcm
from hub.instance import Instance
from hub.record import call, consent, recording, writeback
from hub.record.appointment import Appointment
from hub.record.call import Call
from hub.record.patient import Patient
from hub.record.queue import Offer
from hub.record.recording import RecordingState
from hub.record.reminder import Reminder, ReminderState
from hub.record.request import ChartRequest
from hub.record.task import Task
from hub.record.writeback import Writeback, WritebackState
from hub.vault import verify
from hub.vault.client import Access

ACCESS = Access("system:demo", "admin", "operations", session="demo")
PATIENCE_S = 60.0
"How long the report waits for the last text, note and write-back of the morning."


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the last page."""

    what: str
    figure: str
    held: bool


async def findings(stage: Stage, instance: Instance, told: Sequence[Told], crm: Crm) -> list[Finding]:
    """Return the last page, once everything that the morning set going has come to rest."""
    await _settled(instance, stage)
    found = await instance.db.run(
        lambda db: [*_calls(db, instance, told), *_times(db, crm), *_recordings(db, instance)]
    )
    found += await _texts(stage, instance)
    found += await _written(stage, instance)
    found += _pops(crm)
    found.append(await asyncio.to_thread(_audit, stage, instance))
    found.append(await asyncio.to_thread(_leaks, stage, told))
    return found


def _calls(db: Session, instance: Instance, told: Sequence[Told]) -> list[Finding]:
    rows = list(db.exec(select(Call)))
    opened = instance.opener.open(db, ACCESS, [call.sealed_of(row) for row in rows])
    by_number = {said.get("number"): row for row, said in zip(rows, opened, strict=True)}
    found = []
    for one in told:
        row = by_number.get(one.story.caller.number)
        plan = (row.plan if row else None) or {}
        right = (
            one.ended.ok
            and row is not None
            and row.path == one.story.path
            and (one.story.rule is None or plan.get("rule") == one.story.rule)
            and plan.get("language") == one.story.language
            and plan.get("source") == "workflow"
        )
        reads = ", ".join(plan.get("reads") or []) or "no chart"
        figure = f"{row.path if row else 'no row'}; rule {plan.get('rule')}; read {reads}; plan by {plan.get('source')}"
        found.append(Finding(f"call: {one.story.title}", figure, right))
    paths = Counter(row.path or row.state.value for row in rows)
    return [Finding("calls by path", _counted(paths), len(rows) == len(told)), *found]


def _times(db: Session, crm: Crm) -> list[Finding]:
    rows = [row for row in db.exec(select(Call)) if row.planned_at is not None]
    plan = [(row.planned_at - row.started_at).total_seconds() * 1000 for row in rows if row.planned_at is not None]
    offers = {(str(offer.call_id), str(offer.agent_id)): offer.offered_at for offer in db.exec(select(Offer))}
    pop = [
        (seen.received_at - offers[seen.call, seen.agent].timestamp()) * 1000
        for seen in crm.pops
        if (seen.call, seen.agent) in offers
    ]
    return [
        Finding("INVITE to plan", _percentiles(plan), bool(plan) and _at(plan, 0.99) <= 250),
        Finding("offer to pop", _percentiles(pop), bool(pop) and _at(pop, 0.99) <= 1000),
    ]


def _pops(crm: Crm) -> list[Finding]:
    verified = [seen for seen in crm.pops if seen.full]
    masked_names = [seen for seen in crm.pops if "name" in seen.masked]
    figure = f"{len(crm.pops)} received, {len(verified)} opened fully after name and date of birth"
    right = bool(verified) and not masked_names and not crm.forged and all(seen.masked for seen in crm.pops)
    return [Finding("call pops", figure, right)]


def _recordings(db: Session, instance: Instance) -> list[Finding]:
    answered = [row for row in db.exec(select(Call)) if row.path == call.ANSWERED]
    both = 0
    for row in answered:
        kept = recording.of_call(db, row.id)
        if (
            kept
            and kept[0].state is RecordingState.FILED
            and _both_voices(recordings.hear(db, instance, row.id, ACCESS))
        ):
            both += 1
    figure = f"{both} of {len(answered)} talks decrypted and measured as containing both voices"
    return [Finding("recordings", figure, both == len(answered) > 0)]


def _both_voices(said: tuple[Pcm, Pcm]) -> bool:
    """Return whether the caller's tone is on the caller's side and the agent's on the agent's."""
    return all(
        any(abs(peak.hz - wanted) < 10 for peak in audio.frequencies(pcm))
        for pcm, wanted in zip(said, (CALLER_HZ, AGENT_HZ), strict=True)
    )


async def _texts(stage: Stage, instance: Instance) -> list[Finding]:
    async with httpx.AsyncClient(trust_env=False) as http:
        inbox = (await http.get(f"{stage.url('carrier')}/inbox.json")).json()["items"]
    soon = _soon(stage)
    phones = {visit.person.phone for visit in soon}
    reminders = await instance.db.run(lambda db: list(db.exec(select(Reminder))))
    states = Counter(row.state.value for row in reminders)
    sent = sum(1 for row in reminders if row.state is ReminderState.SENT)
    figure = (
        f"{sent} sent for {len(soon)} visits that fell due ({', '.join(f'{k} {v}' for k, v in sorted(states.items()))})"
    )
    asked = Counter(
        text["to"]
        for text in inbox
        if not text["inbound"] and "STOP" in text["text"] + text["text"].replace("ALTO", "STOP")
    )
    return [Finding("reminders", figure, sent >= len(soon) and all(asked[phone] == 1 for phone in phones))]


async def _written(stage: Stage, instance: Instance) -> list[Finding]:
    soon = _soon(stage)
    confirmed = [visit for visit, reply in zip(soon, REPLIES, strict=True) if reply in {"C", "Yes confirm"}]
    seen = 0
    async with httpx.AsyncClient(trust_env=False) as http:
        for visit in confirmed:
            chart = (await http.get(f"{stage.url('ehr')}/fhir/Appointment/{visit.id}")).json()
            statuses = {p["actor"]["reference"].split("/")[0]: p["status"] for p in chart["participant"]}
            seen += statuses.get("Patient") == "accepted"
        notes = (await http.get(f"{stage.url('ehr')}/fhir/Communication", params={"_summary": "count"})).json()
    rows = await instance.db.run(lambda db: Counter(row.state.value for row in db.exec(select(Writeback))))
    tasks = await instance.db.run(lambda db: Counter(row.kind for row in db.exec(select(Task))))
    stopped = await instance.db.run(lambda db: len(db.exec(select(consent.OptOut)).all()))
    return [
        Finding("confirmations", f"{seen} of {len(confirmed)} seen at the EHR as accepted", seen == len(confirmed)),
        Finding(
            "contacts noted at the EHR",
            f"{notes.get('total', 0)} Communications; write-backs: {_counted(rows)}",
            notes.get("total", 0) > 0 and not rows.get(WritebackState.FAILED.value),
        ),
        Finding("tasks for staff", _counted(tasks), bool(tasks)),
        Finding("opt-outs", str(stopped), stopped == REPLIES.count("STOP")),
    ]


def _soon(stage: Stage) -> list[Visit]:
    visits = [visit for visit in stage.people.visits if visit.starts_at - stage.people.now in SOON]
    return sorted(visits, key=lambda visit: SOON.index(visit.starts_at - stage.people.now))


def _audit(stage: Stage, instance: Instance) -> Finding:
    instance.vault.settle()
    database, key, public = verify.instance(stage.paths.root)
    verdict = verify.verify(verify.read(database, key), public)
    figure = (
        f"{verdict.records} records verify"
        if verdict.first_bad is None
        else f"record {verdict.first_bad}: {verdict.reason}"
    )
    return Finding("audit log", figure, verdict.first_bad is None and verdict.records > 0)


def _leaks(stage: Stage, told: Sequence[Told]) -> Finding:
    numbers = {mark for one in told for mark in leak.notations(one.story.caller.number)}
    relatives = {mark for one in relations(stage.people) for mark in one.marks()}
    marks = stage.people.marks() | relatives | numbers
    files = sum(1 for _ in leak.files_of(stage.paths.root))
    found = leak.leaks([stage.paths.root], marks)
    places = Counter(f"{one.kind} in {one.file}" for one in found)
    figure = (
        ", ".join(f"{place} ({count})" for place, count in sorted(places.items()))
        or f"none of {len(marks)} names, numbers and birth dates in {files} files"
    )
    return Finding("people in clear", figure, not found)


async def fed(stage: Stage, instance: Instance) -> None:
    """Wait until what the EHR knows has arrived: every patient, request and visit.

    Raises:
        StageError: it does not arrive.
    """
    people = stage.people

    def arrived(db: Session) -> bool:
        known = [len(db.exec(select(table)).all()) for table in (Patient, ChartRequest, Appointment)]
        return known == [len(people.persons), len(people.refills), len(people.visits)]

    if not await _until(lambda: instance.db.run(arrived), PATIENCE_S):
        raise StageError("what the EHR knows did not arrive; see log/feeds.log and log/worker.log")


async def _settled(instance: Instance, stage: Stage) -> None:
    """Wait until calls are wound up, due reminders have gone out and write-backs are done, or patience is over."""
    wanted = len(_soon(stage))

    def rest(db: Session) -> bool:
        sent = [row for row in db.exec(select(Reminder)) if row.state is ReminderState.SENT]
        going_on = db.exec(select(Call).where(col(Call.wound_up_at).is_(None))).first()
        return going_on is None and len(sent) >= wanted and not writeback.pending(db)

    await _until(lambda: instance.db.run(rest), PATIENCE_S)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


async def _until(holds: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if await holds():
            return True
        await asyncio.sleep(0.25)
    return False


def _percentiles(values: Sequence[float]) -> str:
    return f"p50 {_at(values, 0.5):.0f} ms, p99 {_at(values, 0.99):.0f} ms of {len(values)}" if values else "none"


def _at(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
