"""The books: what everybody outside was told, held against what the record, the carrier and the audit log say.

Each check returns what does not agree, in words and ids; an empty list is a good balance.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

from sqlmodel import Session, and_, col, or_, select

from connectors.api import Identifier
from hub.db import Database
from hub.record import call, identity, inbox
from hub.record.agent import Agent
from hub.record.appointment import Appointment, AppointmentIdentifier
from hub.record.call import Call, CallState
from hub.record.event import Delivery, DeliveryState, Event, Lane
from hub.record.inbox import InboxMessage
from hub.record.inbox import State as Stored
from hub.record.message import Direction, Message, MessageStatus
from hub.record.queue import Entry, EntryState, Offer, OfferState
from hub.record.recording import Recording, RecordingState
from hub.record.reminder import Reminder, ReminderState
from hub.record.task import Task
from hub.security.intent import Intent
from hub.vault import verify
from media.recorder import FLUSH_SECONDS
from tests.journeys.house import House, clock
from tests.journeys.load import Attempt, Feed, Strangers
from tests.journeys.people import Visit

REMINDER = "your visit is"
"In each reminder, and in no other text."

CARRIED_S = 60.0
"Until what was written before is in the audit log."

_GAP_S = FLUSH_SECONDS + 4.0
"What a talk's recording may lose with its core: the second that was not flushed, and until it goes on elsewhere."

_OVERLAP_S = 0.5
"The first sound of a part may be as much older than its row."

UNSERVED = (call.ABANDONED, call.HUNG_UP, call.MISSED, call.DROPPED)


def audit(house: House) -> list[str]:
    """The audit log verifies, from its first record to the last there is now."""
    database, key, public = verify.instance(house.stand.paths.root)
    verdict = verify.verify(verify.read(database, key), public)
    if verdict.first_bad is not None or not verdict.records:
        return [f"audit record {verdict.first_bad} of {verdict.records}: {verdict.reason}"]
    return []


def audited(house: House) -> list[str]:
    """Every intent is carried, and every message, call and text that was written stands in the log.

    What is written meanwhile, such as by a flow that winds a call up, may be on its way.
    """
    with house.instance.inbox.read() as inbox_db, house.instance.db.read() as db:
        ids = dict.fromkeys(inbox_db.exec(select(InboxMessage.id)), "message")
        ids |= dict.fromkeys(db.exec(select(Call.id)), "call")
        ids |= dict.fromkeys(db.exec(select(Message.id)), "text")
    files = (house.instance.db, house.instance.inbox)
    before = [_intents(file) for file in files]
    house.instance.vault.settle(timeout=CARRIED_S)
    left = [(file.path.name, waited & _intents(file)) for file, waited in zip(files, before, strict=True)]
    found = [f"{len(intents)} audit intents of {name} were never carried" for name, intents in left if intents]
    database, key, _ = verify.instance(house.stand.paths.root)
    text = b"".join(record for row in verify.read(database, key) for record in verify.records_of(row[1]))
    return found + [f"no audit record of {what} {row}" for row, what in ids.items() if row.hex.encode() not in text]


def _intents(file: Database) -> set[UUID]:
    with file.read() as db:
        return set(db.exec(select(Intent.id)))


def stored(house: House, connection: str, acknowledged: Iterable[str]) -> list[str]:
    """Everything that was acknowledged is one row, and was read."""
    with house.instance.inbox.read() as db:
        rows = list(db.exec(select(InboxMessage).where(InboxMessage.connection == connection)))
    count = Counter(row.control_id for row in rows)
    found = [f"{connection} {own} was acknowledged and is {count[own]} rows" for own in acknowledged if count[own] != 1]
    waiting = {row.control_id for row in rows if row.state is Stored.STORED} - _matched_by_nothing(house)
    found += [f"{connection} {own} still waits" for own in sorted(waiting)]
    return found + [
        f"{connection} {row.control_id} is in quarantine: {row.code}"
        for row in rows
        if row.state is Stored.QUARANTINED and row.code != inbox.UNMATCHED
    ]


def _matched_by_nothing(house: House) -> set[str]:
    """Return the receipts of texts whose ids the record never learned: for a minute they are read again and again."""
    with house.instance.db.read() as db:
        known = set(db.exec(select(Message.external_id)))
    return {own for own, text in house.carrier.receipts.items() if text not in known}


def visits(house: House, feed: Feed) -> list[str]:
    """Every visit stands as its owner told it last."""
    found = []
    with house.instance.db.read() as db:
        for visit in [*feed.due, *feed.busy]:
            row = _row(house, db, visit)
            if row is None:
                found.append(f"visit {visit.id} has no row")
            elif (row.status.value, row.starts_at) != (visit.status, visit.starts_at):
                found.append(f"visit {visit.id} is {row.status.value} at {row.starts_at}, told {visit.status}")
        total = len(db.exec(select(Appointment.id)).all())
    if total != len(feed.due) + len(feed.busy):
        found.append(f"{total} appointments of {len(feed.due) + len(feed.busy)}")
    return found


def reminders(house: House, feed: Feed) -> list[str]:
    """Who was to be reminded was, once; where nobody knows, a person was asked; nobody else was."""
    texts = Counter(text.to for text in house.carrier.texts if REMINDER in text.text)
    found = []
    with house.instance.db.read() as db:
        tasks = {row.key for row in db.exec(select(Task).where(Task.kind == "outcome"))}
        for visit in feed.due:
            got = texts.pop(visit.patient.phone, 0)
            row = _row(house, db, visit)
            steps = [] if row is None else list(db.exec(select(Reminder).where(Reminder.appointment_id == row.id)))
            states = [step.state.value for step in steps]
            unsure = [step for step in steps if step.state is ReminderState.UNKNOWN]
            found += [f"nobody was asked about {each.id}" for each in unsure if f"outcome:{each.id}" not in tasks]
            sure = states.count("sent")
            if not sure <= got <= sure + len(unsure) or got > 1:
                found.append(f"visit {visit.id}: {got} texts at the carrier, reminders {states}")
            if visit.status == "booked" and got + len(unsure) == 0:
                found.append(f"visit {visit.id} was not reminded of: {states}, {[step.reason for step in steps]}")
            if visit.status == "cancelled" and got:
                found.append(f"visit {visit.id} was reminded of after it was cancelled")
    return found + [f"{count} reminders to somebody who has no visit that is due" for count in texts.values()]


def apologies(house: House) -> list[str]:
    """Whoever is texted after a call was not served in that call, and is texted once."""
    with house.instance.db.read() as db:
        unserved = Counter(row.caller_key for row in db.exec(select(Call).where(col(Call.path).in_(UNSERVED))))
    texts = Counter(
        house.instance.index.phone(text.to)
        for text in house.carrier.texts
        if not text.inbound and REMINDER not in text.text
    )
    return [
        f"{count} texts after {unserved[key]} lost calls"
        for key, count in texts.items()
        if count > 1 or not unserved[key]
    ]


def texts(house: House, strangers: Strangers) -> list[str]:
    """Every text that the carrier took, and every text that it brought, has a row."""
    found = []
    with house.instance.db.read() as db:
        rows = {row.external_id: row for row in db.exec(select(Message)) if row.external_id is not None}
        query = select(Message.phone_key).where(Message.status == MessageStatus.UNKNOWN)
        unsure = set(db.exec(query).all())
        replies = {row.message_id for row in db.exec(select(Task).where(Task.kind == "reply"))}
        for text in house.carrier.texts:
            key = house.instance.index.phone(text.sender if text.inbound else text.to)
            row = rows.get(text.id)
            if row is None and key not in unsure:
                found.append(f"text {text.id} has no row")
            elif row is not None and not text.inbound and row.status is not MessageStatus.DELIVERED:
                found.append(f"text {text.id} was delivered and is {row.status.value}")
        for own in strangers.taken.values():
            row = rows.get(own)
            if row is None or row.direction is not Direction.IN:
                found.append(f"text {own} was taken and has no row")
            elif row.id not in replies:
                found.append(f"text {own} lies with nobody")
    if house.carrier.lost:
        found.append(f"{house.carrier.lost} callbacks were given up by the carrier")
    return found


def calls(house: House, outages: Sequence[tuple[float, float]] = ()) -> list[str]:
    """Every call is over and says how; who waited when their call was lost is called back; nobody is left busy.

    A recording is lost only where media, or its core, was killed before it came to its first flush.
    """
    found = []
    with house.instance.db.read() as db:
        pressing = select(Task).where(Task.kind == "callback", col(Task.pressing).is_(True))
        tasks = {row.key for row in db.exec(pressing)}
        for row in db.exec(select(Call)):
            if row.state is not CallState.ENDED or row.path is None:
                found.append(f"call {row.id} is {row.state.value}")
            if row.path == call.DROPPED and row.queued_at and not row.bridged_at and f"callback:{row.id}" not in tasks:
                found.append(f"call {row.id} was lost while it waited, and nobody is pressed to call back")
        left = db.exec(select(Entry).where(Entry.state != EntryState.LEFT)).all()
        found += [f"call {row.call_id} is still in the queue: {row.state.value}" for row in left]
        ringing = db.exec(select(Offer).where(Offer.state == OfferState.RINGING)).all()
        found += [f"a phone still rings for call {row.call_id}" for row in ringing]
        busy = db.exec(select(Agent).where(col(Agent.call_id).is_not(None))).all()
        found += [f"agent {row.staff_id} is still on call {row.call_id}" for row in busy]
        running = db.exec(select(Recording).where(Recording.state == RecordingState.RUNNING)).all()
        found += [f"recording {row.id} was never ended" for row in running]
        lost = db.exec(select(Recording).where(Recording.state == RecordingState.LOST)).all()
        found += [_lost(house, row) for row in lost if not _cut_off(row, outages)]
    return found


def is_recording(house: House) -> bool:
    """Tell whether a talk is being recorded, and something of it outlives its process: it has just been flushed."""
    latest = clock() - timedelta(seconds=1.2 * FLUSH_SECONDS)
    with house.instance.db.read() as db:
        running = select(Recording.id).where(Recording.state == RecordingState.RUNNING)
        fresh = col(Recording.started_at).between(latest - timedelta(seconds=1), latest)
        return db.exec(running.where(fresh)).first() is not None


def parts(house: House, outages: Sequence[tuple[float, float]]) -> list[str]:
    """A talk whose core was killed goes on in another container; what both hold is nearly all of it, and none twice.

    What is not whole was cut off by a kill.
    """
    found, continued = [], 0
    with house.instance.db.read() as db:
        rows = db.exec(select(Recording).order_by(col(Recording.started_at))).all()
        by_call = {row.call_id: [each for each in rows if each.call_id == row.call_id] for row in rows}
    for call_id, tapes in by_call.items():
        for tape, after in pairwise(tapes):
            continued += 1
            gap = (after.started_at - tape.started_at).total_seconds() - tape.seconds
            if tape.state is RecordingState.FILED or not -_OVERLAP_S < gap < _GAP_S:
                found.append(f"recording {tape.id} of {call_id} is {tape.state.value}, goes on after {gap:.1f} s")
        whole = tapes[-1].state is RecordingState.FILED
        if not whole and not any(_ran_at(tapes[-1], killed) for killed, _ in outages):
            found.append(f"recording {tapes[-1].id} is {tapes[-1].state.value}, and nothing was killed")
    return found if continued else [*found, "no talk was recorded in parts"]


def _ran_at(row: Recording, killed: float) -> bool:
    """Tell whether a recording was being made at a moment of monotonic time."""
    since = (clock() - timedelta(seconds=time.monotonic() - killed)) - row.started_at
    return -FLUSH_SECONDS < since.total_seconds() < row.seconds + FLUSH_SECONDS + _GAP_S


def dropped(house: House, cuts: Sequence[datetime]) -> list[str]:
    """A call says that it was lost with media where it was going on at one of these instants, and nowhere else."""
    found, lost = [], 0
    with house.instance.db.read() as db:
        for row in db.exec(select(Call)):
            cut = row.ended_at is not None and any(row.started_at < at < row.ended_at for at in cuts)
            lost += cut
            if cut is not ((row.path, row.cause) == (call.DROPPED, "media-lost")):
                found.append(f"call {row.id} was {'' if cut else 'not '}cut off, and ended by {row.cause}: {row.path}")
    return found if lost else [*found, "no call was lost"]


def served(house: House, attempts: Sequence[Attempt], outages: Sequence[tuple[float, float]]) -> list[str]:
    """Every caller who called while media ran was answered by an agent, whatever else was away."""
    found = []
    for attempt in attempts:
        if any(attempt.began < over and began < attempt.over for began, over in outages):
            continue
        if attempt.ended is None or not attempt.ended.ok:
            found.append(f"a call of {attempt.over - attempt.began:.1f} s was not served")
    paths = Counter(path for path in _paths(house))
    return [*found, str(dict(paths))] if found else []


def told(house: House) -> list[str]:
    """Every event reached the practice's own system."""
    with house.instance.db.read() as db:
        events = {row.id: row for row in db.exec(select(Event))}
        record = db.exec(select(Delivery).where(Delivery.lane == Lane.RECORD)).all()
    unsettled = [row for row in record if row.state is not DeliveryState.DONE]
    found = [f"{events[row.event_id].type} {row.event_id} is {row.state.value} {row.code}" for row in unsettled]
    heard = house.receiver.events
    return found + [f"{events[row.event_id].type} never came" for row in record if str(row.event_id) not in heard]


def unsettled(house: House, feed: Feed) -> Iterator[str]:
    """Yield what is still under way by itself, so that the books cannot be balanced yet."""
    now = clock()
    with house.instance.inbox.read() as db:
        waiting = set(db.exec(select(InboxMessage.control_id).where(InboxMessage.state == Stored.STORED)))
        if waiting - _matched_by_nothing(house):
            yield "messages wait to be read"
        if db.exec(select(Intent.id)).first():
            yield "audit intents wait"
    with house.instance.db.read() as db:
        if db.exec(select(Intent.id)).first():
            yield "audit intents wait"
        late = and_(col(Reminder.state) == ReminderState.PLANNED, col(Reminder.due_at) < now)
        under_way = select(Reminder.id).where(or_(col(Reminder.state) == ReminderState.SENDING, late))
        if db.exec(under_way).first():
            yield "reminders are under way"
        receipts = select(Message.id).where(
            Message.direction == Direction.OUT,
            col(Message.status).in_([MessageStatus.SENDING, MessageStatus.ACCEPTED, MessageStatus.SENT]),
        )
        if db.exec(receipts).first():
            yield "receipts are under way"
        if db.exec(select(Call.id).where(Call.state != CallState.ENDED)).first():
            yield "calls go on"
        if db.exec(select(Recording.id).where(Recording.state == RecordingState.RUNNING)).first():
            yield "recordings run"
    if any(visit.status == "booked" and now < visit.starts_at - timedelta(days=1) for visit in feed.due):
        yield "reminders are ahead"


def _lost(house: House, row: Recording) -> str:
    log = (house.stand.paths.log / "media.log").read_text(errors="replace")
    told = [line for line in log.splitlines() if str(row.id) in line]
    return f"recording {row.id} of {row.started_at:%T.%f} is lost: {told or 'nothing is told of it'}"


def _cut_off(row: Recording, outages: Sequence[tuple[float, float]]) -> bool:
    began = time.monotonic() - (clock() - row.started_at).total_seconds()
    return any(killed - FLUSH_SECONDS < began < back for killed, back in outages)


def _row(house: House, db: Session, visit: Visit) -> Appointment | None:
    named = Identifier(system="COVE", type="PLAC", value=visit.id)
    scope, key = identity.key_of(named, "adt", house.instance.index)
    query = select(Appointment).join(
        AppointmentIdentifier, col(AppointmentIdentifier.appointment_id) == col(Appointment.id)
    )
    return db.exec(
        query.where(AppointmentIdentifier.connection == scope, AppointmentIdentifier.key == key)
    ).one_or_none()


def _paths(house: House) -> list[str]:
    with house.instance.db.read() as db:
        return [row.path or row.state.value for row in db.exec(select(Call))]
