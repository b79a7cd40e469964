"""`/live`: what changes on one's desk, told while it changes, by WebSocket (RFC 6455).

The first message is the whole state (`snapshot`), what follows says what changed, each with the next number. Who comes
back with the last number seen gets what was missed, or the state anew. Nothing in it says who calls: a desk asks for
that by the API, on record. A socket closes with `OVER` within a second of the end of its session.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from sqlmodel import Session

from hub.api.caller import SESSION_COOKIE, actor_of, opened, ours
from hub.api.standing import Floor, State, read, state_of
from hub.instance import Instance
from hub.record import agent, queue, token
from hub.record.agent import Presence
from hub.record.staff import Staff
from hub.record.token import Token, TokenError
from hub.security.access import Actor

log = structlog.get_logger()

router = APIRouter()

LOOK_S: Final = 0.1
"How often the record is asked whether somebody wrote."

TICK_S: Final = 1.0
"How often it is read anew without that: sessions, registrations and wrap-ups end by the clock."

KEPT: Final = 100
"Changes that are kept for desks that come back."

FORGET_S: Final = 600.0
"After the last socket of a person has gone."

DESKS: Final = 10
"Sockets of one person."

OVER: Final = 4401
"Close code: the session is over."

TOO_MANY: Final = 4429
"Close code: so many desks of one person are open already."


class Feed:
    """What one person's desks were told, by number."""

    def __init__(self) -> None:
        self.stream = uuid4().hex
        self.seq = 0
        self.state: State = {}
        self.left_at = time.monotonic()
        self._changes: deque[State] = deque(maxlen=KEPT)

    def tell(self, state: State) -> bool:
        """Take what holds now; return whether that is anything new."""
        changed = {part: value for part, value in state.items() if part not in self.state or self.state[part] != value}
        changed |= {part: None for part in self.state if part not in state}
        if not changed:
            return False
        self.seq, self.state = self.seq + 1, state
        self._changes.append(changed)
        return True

    def after(self, seq: int) -> list[tuple[int, State]] | None:
        """Return what was told after a number; None where that is not known any more."""
        missed = self.seq - seq
        if not 0 <= missed <= len(self._changes):
            return None
        return list(enumerate(list(self._changes)[len(self._changes) - missed :], seq + 1))


@dataclass(eq=False, slots=True)
class Desk:
    """One socket."""

    staff_id: UUID
    token_id: UUID
    feed: Feed
    told: asyncio.Event = field(default_factory=asyncio.Event)
    "Something is to be said."

    idle_at: datetime | None = None
    ends_at: datetime | None = None
    over: str = ""
    "Why the session is over: `idle`, or `over`; empty while it holds."


@dataclass(frozen=True, slots=True)
class _Look:
    """What one reading of the record found."""

    states: dict[UUID, State]
    sessions: dict[UUID, tuple[datetime, datetime]]
    "By token: when it is idle for too long, and when it ends; missing where it is over."

    idle: set[UUID]
    "Tokens that nobody used for too long."

    due: list[UUID]
    "Tokens of people who talk, whose use is to be noted."

    rested: bool
    "Somebody's wrap-up is over."


class Live:
    """Follows the record for every desk that is open."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._desks: set[Desk] = set()
        self._feeds: dict[UUID, Feed] = {}
        self._turn = asyncio.Lock()

    def now(self) -> datetime:
        """Return the hub's instant, which the desks' clocks go by."""
        return self._instance.clock()

    def join(self, row: Token, staff_id: UUID) -> Desk | None:
        """Take a socket in; None where the person has too many."""
        if sum(desk.staff_id == staff_id for desk in self._desks) >= DESKS:
            return None
        desk = Desk(staff_id, row.id, self._feeds.setdefault(staff_id, Feed()))
        self._desks.add(desk)
        return desk

    def leave(self, desk: Desk) -> None:
        """Let a socket go."""
        self._desks.discard(desk)
        desk.feed.left_at = time.monotonic()

    async def run(self) -> None:
        """Follow until cancelled."""
        seen, read_at = -1, 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._desks:
                self._forget()
                continue
            try:
                version = await asyncio.to_thread(self._instance.db.version)
                if version != seen or time.monotonic() - read_at >= TICK_S:
                    seen, read_at = version, time.monotonic()
                    await self.refresh()
            except Exception as error:
                log.error("desks not told", kind=type(error).__name__)

    async def refresh(self) -> None:
        """Read what goes on, and tell every desk what is new to it."""
        async with self._turn:  # what was read first must not be told last
            desks, instance = list(self._desks), self._instance
            look = await instance.db.run(lambda db: _look(db, instance, desks))
            told = {desk.feed for desk in desks if desk.feed.tell(look.states.get(desk.staff_id, {}))}
            for desk in desks:
                session = look.sessions.get(desk.token_id)
                if session is None:
                    desk.over = "idle" if desk.token_id in look.idle else "over"
                elif session != (desk.idle_at, desk.ends_at):
                    desk.idle_at, desk.ends_at = session
                elif desk.feed not in told:
                    continue
                desk.told.set()
        if look.due or look.rested:
            await instance.db.run(lambda db: _note(db, instance, look), write=True)

    async def active(self, desk: Desk) -> None:
        """Note that the person is there: their keyboard or mouse says so."""
        now = self._instance.clock()

        def used(db: Session) -> None:
            row = db.get_one(Token, desk.token_id)
            token.checked(db, row, now)
            if token.due(row, now):
                token.used(db, row.id, now)

        await self._instance.db.run(used, write=True)

    def _forget(self) -> None:
        old = time.monotonic() - FORGET_S
        for staff_id in [staff_id for staff_id, feed in self._feeds.items() if feed.left_at < old]:
            del self._feeds[staff_id]


@router.websocket("/live")
async def live(socket: WebSocket, after: int = -1, stream: str = "") -> None:
    """Tell a desk what changes until its session is over."""
    instance: Instance = socket.app.state.instance
    following: Live = socket.app.state.live
    _, practice = await asyncio.to_thread(instance.policy)
    if not ours(socket.headers, practice.http.base_url):
        await socket.close()  # before it is accepted: HTTP 403
        return
    await socket.accept()
    try:
        row, _ = await opened(instance, socket.cookies.get(SESSION_COOKIE), cookie=True, used=False)
    except TokenError:
        await socket.close(OVER)
        return
    desk = following.join(row, row.staff_id) if row.staff_id is not None else None
    if desk is None:
        await socket.close(TOO_MANY)
        return
    try:
        await following.refresh()
        seen = after if stream == desk.feed.stream else -1
        await _converse(socket, following, desk, seen)
    except (WebSocketDisconnect, RuntimeError):  # gone; starlette refuses to write to what is closed
        return
    finally:
        following.leave(desk)


async def _converse(socket: WebSocket, following: Live, desk: Desk, seen: int) -> None:
    telling = asyncio.create_task(_tell(socket, following, desk, seen))
    hearing = asyncio.create_task(_hear(socket, following, desk))
    try:
        done, _ = await asyncio.wait({telling, hearing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        telling.cancel()
        hearing.cancel()
        await asyncio.gather(telling, hearing, return_exceptions=True)
    for task in done:
        task.result()


async def _tell(socket: WebSocket, following: Live, desk: Desk, seen: int) -> None:
    session: tuple[datetime | None, datetime | None] = (None, None)
    while not desk.over:
        desk.told.clear()
        if session != (desk.idle_at, desk.ends_at):
            session = (desk.idle_at, desk.ends_at)
            await _send(socket, {"type": "session", "idle_at": session[0], "ends_at": session[1]})
        changes, before = desk.feed.after(seen), seen
        seen = desk.feed.seq
        if changes is None or before < 0:
            whole = {"stream": desk.feed.stream, "seq": seen, "now": following.now(), "state": desk.feed.state}
            await _send(socket, {"type": "snapshot", **whole})
            changes = []
        for seq, changed in changes:
            await _send(socket, {"type": "change", "seq": seq, "state": changed})
        await desk.told.wait()
    await socket.close(OVER, desk.over)


async def _hear(socket: WebSocket, following: Live, desk: Desk) -> None:
    while True:
        said = await socket.receive_text()
        if said == "active":
            try:
                await following.active(desk)
            except TokenError:
                desk.over = "over"
                desk.told.set()


async def _send(socket: WebSocket, message: dict[str, Any]) -> None:
    await socket.send_text(orjson.dumps(message).decode())


def _look(db: Session, instance: Instance, desks: list[Desk]) -> _Look:
    now = instance.clock()
    _, practice = instance.policy()
    sessions: dict[UUID, tuple[datetime, datetime]] = {}
    people: dict[UUID, tuple[Staff, Actor]] = {}
    rows, idle = [], set()
    for desk in desks:
        kept = db.get(Token, desk.token_id)
        try:
            row, owner = token.checked(db, kept, now)
        except TokenError:
            if kept is not None and kept.revoked_at is None and token.idle_at(kept) <= now:
                idle.add(desk.token_id)
            continue
        if owner is not None:
            rows.append(row)
            sessions[row.id] = (token.idle_at(row), row.expires_at)
            people[owner.id] = (owner, actor_of(row, owner))
    floor = read(db, list(people), now)
    states = {of: state_of(floor, of, who.email, actor, practice, now) for of, (who, actor) in people.items()}
    due = [row.id for row in rows if row.staff_id in _talking(floor) and token.due(row, now)]
    rested = any(
        row.presence is Presence.WRAP_UP and (row.wrap_up_until or now) <= now for row in floor.agents.values()
    )
    return _Look(states, sessions, idle, due, rested)


def _talking(floor: Floor) -> set[UUID]:
    """Return who has a call: that alone keeps a session from running out without a hand on the keyboard."""
    return {row.staff_id for row in floor.agents.values() if row.call_id is not None}


def _note(db: Session, instance: Instance, look: _Look) -> None:
    now = instance.clock()
    for token_id in look.due:
        token.used(db, token_id, now)
    if look.rested:
        agent.wrapped_up(db, now)
        queue.pair(db, instance.policy()[1], now)
