"""What a transaction wrote about people, left as audit intents in the same transaction.

A function that writes PHI says so with `touch`. Just before the commit, all that one actor did becomes one intent (or
a few, at the intent's limits), which the vault later carries to the audit log: a batch of a feed costs one row, and
nothing is committed unsaid. What a savepoint took back is not said.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import event
from sqlalchemy.orm import SessionTransaction
from sqlmodel import Session, col, select

from hub.security import intent
from hub.security.lane import NoSubjectError, Subject
from hub.security.sealed import Table
from hub.vault.wire import MAX_GROUPS, MAX_OBJECTS

_TOUCHED = "chartline.touched"
_SAVEPOINTS = "chartline.savepoints"

Touch = tuple[str, str, UUID, Table, UUID]
"Actor, act, subject, table and id of the object."

Named = tuple[bytes, UUID, list[tuple[Table, UUID]]]
"Key id, subject and objects, as an intent names them."


def touch(db: Session, by: str, act: str, subject: UUID, table: Table, object_id: UUID) -> None:
    """Note that `by` (staff id, connection:<name> or system:<process>) did `act` to an object of `subject`."""
    db.info.setdefault(_TOUCHED, []).append((by, act, subject, table, object_id))


@event.listens_for(Session, "before_commit")
def leave_intents(db: Session) -> None:
    """Write what was touched as audit intents, inside the transaction that touched it."""
    if db.in_nested_transaction():
        return
    touched: list[Touch] = db.info.pop(_TOUCHED, [])
    if not touched:
        return
    done: dict[tuple[str, str], dict[UUID, set[tuple[Table, UUID]]]] = defaultdict(lambda: defaultdict(set))
    for by, act, subject, table, object_id in touched:
        done[by, act][subject].add((table, object_id))
    kids = _kids(db, {subject for _, _, subject, _, _ in touched})
    for (by, act), objects in done.items():
        for named in _portions(objects, kids):
            intent.note(db, by, act, named)


@event.listens_for(Session, "after_transaction_create")
def mark(db: Session, transaction: SessionTransaction) -> None:
    """Remember how much had been touched when a savepoint was set."""
    if transaction.nested:
        savepoints = db.info.setdefault(_SAVEPOINTS, WeakKeyDictionary())
        savepoints[transaction] = len(db.info.get(_TOUCHED, ()))


@event.listens_for(Session, "after_soft_rollback")
def forget(db: Session, previous: SessionTransaction) -> None:
    """Drop what was touched since the savepoint, or altogether."""
    kept = db.info.get(_SAVEPOINTS, {}).get(previous, 0) if previous.nested else 0
    del db.info.setdefault(_TOUCHED, [])[kept:]


def _kids(db: Session, subjects: set[UUID]) -> dict[UUID, bytes]:
    kids = dict(db.exec(select(Subject.subject, Subject.kid).where(col(Subject.subject).in_(subjects))).all())
    if missing := subjects - kids.keys():
        raise NoSubjectError(f"no key for subject {min(missing)}")
    return kids


def _portions(objects: Mapping[UUID, set[tuple[Table, UUID]]], kids: Mapping[UUID, bytes]) -> Iterator[list[Named]]:
    """Yield what fits into one intent at a time."""
    portion: list[Named] = []
    room = MAX_OBJECTS
    for subject in sorted(objects):
        left = sorted(objects[subject])
        while left:
            if not room or len(portion) == MAX_GROUPS:
                yield portion
                portion, room = [], MAX_OBJECTS
            portion.append((kids[subject], subject, left[:room]))
            left, room = left[room:], room - len(portion[-1][2])
    if portion:
        yield portion
