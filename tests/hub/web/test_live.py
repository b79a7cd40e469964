"""`/live` over real sockets: numbered, resumed, by role, over with the session; nobody who calls is named in it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from hub.api.caller import PAGE_HEADER, SESSION_COOKIE
from hub.api.live import DESKS, OVER, TOO_MANY, Feed
from hub.record import agent, staff, token
from hub.record.token import Token, TokenKind
from hub.security.access import Scope
from hub.settings.practice import Role
from tests.hub.api.office import Worker, number, phones
from tests.hub.web.stage import Stage

PATIENCE_S = 20.0
SOON = 15
"Tenths of a second: a second, and what a busy machine adds."


def session(stage: Stage, who: Worker) -> tuple[UUID, str]:
    """Open a session; return its id and what the cookie holds."""
    how: dict[str, Any] = {"lifetime": timedelta(hours=12), "kind": TokenKind.SESSION}
    row, secret = stage.office.write(token.create, scopes=list(Scope), staff_id=who.id, now=stage.clock(), **how)
    return row.id, secret


class Socket:
    """One open desk."""

    def __init__(self, wire: ClientConnection) -> None:
        self.wire = wire
        self.state: dict[str, Any] = {}
        self.seq = -1
        self.stream = ""
        self.heard: list[dict[str, Any]] = []

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            said: dict[str, Any] = orjson.loads(await self.wire.recv())
        self.heard.append(said)
        if said["type"] == "snapshot":
            self.stream, self.seq, self.state = said["stream"], said["seq"], said["state"]
        elif said["type"] == "change":
            assert said["seq"] == self.seq + 1
            self.seq, self.state = said["seq"], self.state | said["state"]
        return said

    async def until(self, part: str, value: Any) -> Any:
        """Hear on until a part is so, or, given a function, until it holds of the part."""
        holds = value if callable(value) else (lambda now: now == value)
        while part not in self.state or not holds(self.state[part]):
            await self.hear()
        return self.state[part]

    async def closed(self) -> int | None:
        """Hear on until the hub closes; return its code."""
        try:
            while True:
                await self.hear()
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else None


@asynccontextmanager
async def desk(
    stage: Stage, shown: str, after: Socket | None = None, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Socket]:
    url = stage.base.replace("http", "ws") + "/live"
    if after is not None:
        url += f"?stream={after.stream}&after={after.seq}"
    asked = {"Cookie": f"{SESSION_COOKIE}={shown}", **(headers or {})}
    async with connect(url, origin=Origin(stage.base), additional_headers=asked, proxy=None) as wire:
        socket = Socket(wire)
        if after is not None:
            socket.stream, socket.seq, socket.state = after.stream, after.seq, after.state
        yield socket


async def test_the_whole_comes_first_and_then_what_changes(stage: Stage) -> None:
    who = stage.ana()
    async with desk(stage, session(stage, who)[1]) as socket:
        me = await socket.until("me", lambda me: me["presence"] == "available")
        assert me["extension"] == "101"
        assert {"me", "queues", "caller", "asked", "tasks"} == socket.state.keys()
        before = next(one for one in socket.state["queues"] if one["name"] == "appointments")
        stage.wait_in_queue()
        after = await socket.until("queues", lambda queues: queues[0]["waiting"] == before["waiting"] + 1)
        assert (after[0]["mine"], after[0]["target_seconds"]) == (True, 20)
        stage.office.write(agent.presence, who.id, agent.Presence.AWAY, stage.clock())
        await socket.until("me", lambda me: me["presence"] == "away")
        assert [said["type"] for said in socket.heard].count("snapshot") == 1


async def test_a_call_goes_through_its_phases_and_names_nobody(stage: Stage) -> None:
    who, calls_from = stage.ana(), number()
    patient = stage.office.patient(**phones(calls_from))
    async with desk(stage, session(stage, who)[1]) as socket:
        await socket.until("caller", None)
        offer = stage.offer(who, calls_from)
        ringing = await socket.until("caller", lambda caller: caller is not None)
        assert (ringing["phase"], ringing["call"]) == ("ringing", str(offer.call_id))
        assert ringing["key"] == f"{offer.id}.masked.0"
        stage.answer(offer)
        await socket.until("caller", lambda caller: caller["phase"] == "talking")
        await socket.until("asked", str(offer.call_id))
        stage.end(offer)
        await socket.until("caller", lambda caller: caller["phase"] == "wrap-up")
        await socket.until("me", lambda me: me["presence"] == "wrap-up")
        stage.ahead += timedelta(seconds=61)
        try:
            await socket.until("me", lambda me: me["presence"] == "available")
            await socket.until("caller", None)
        finally:
            stage.ahead = timedelta()
    said = orjson.dumps(socket.heard).decode()
    for personal in (calls_from, calls_from[2:], "Ana", "Rivera", "1980", str(patient)):
        assert personal not in said


async def test_a_presence_that_is_there_again_before_anybody_looked_is_told(stage: Stage) -> None:
    who = stage.ana()
    async with desk(stage, session(stage, who)[1]) as socket:
        before = await socket.until("me", lambda me: me["presence"] == "available")
        with stage.office.instance.db.write() as db:
            agent.presence(db, who.id, agent.Presence.AWAY, stage.clock())
            agent.presence(db, who.id, agent.Presence.AVAILABLE, stage.clock())
        after = await socket.until("me", lambda me: me["since"] != before["since"])
        assert after["presence"] == "available"


async def test_who_comes_back_hears_what_was_missed(stage: Stage) -> None:
    who = stage.ana()
    shown = session(stage, who)[1]
    async with desk(stage, shown) as socket:
        await socket.until("me", lambda me: me["presence"] == "available")
    stage.office.write(agent.presence, who.id, agent.Presence.AWAY, stage.clock())
    async with desk(stage, shown, after=socket) as again:
        await again.until("me", lambda me: me["presence"] == "away")
    assert "snapshot" not in [said["type"] for said in again.heard]


async def test_who_comes_back_with_what_nobody_knows_gets_the_whole(stage: Stage) -> None:
    shown = session(stage, stage.ana())[1]
    async with desk(stage, shown) as socket:
        await socket.until("me", lambda _: True)
    socket.stream = "another"
    async with desk(stage, shown, after=socket) as again:
        while (await again.hear())["type"] == "session":
            pass
        assert again.heard[-1]["type"] == "snapshot"


def test_a_feed_keeps_as_much_as_it_says() -> None:
    feed = Feed()
    assert feed.tell({"a": 0})
    assert not feed.tell({"a": 0})
    for value in range(1, 150):
        feed.tell({"a": value})
    assert feed.after(feed.seq) == []
    assert feed.after(feed.seq - 2) == [(feed.seq - 1, {"a": 148}), (feed.seq, {"a": 149})]
    assert feed.after(feed.seq - 101) is None
    assert feed.after(feed.seq + 1) is None
    feed.tell({})
    assert feed.after(feed.seq - 1) == [(feed.seq, {"a": None})]


@pytest.mark.parametrize(
    ("role", "parts"),
    [
        ("billing", {"me", "queues", "caller", "asked", "tasks"}),
        ("admin", {"queues"}),
        ("privacy-officer", set()),
    ],
)
async def test_a_role_hears_its_parts(stage: Stage, role: Role, parts: set[str]) -> None:
    async with desk(stage, session(stage, stage.hire(role))[1]) as socket:
        while (await socket.hear())["type"] == "session":
            pass
        assert socket.state.keys() == parts


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}], ids=lambda each: str(each)
)
async def test_another_sites_page_is_not_let_in(stage: Stage, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with desk(stage, session(stage, stage.ana())[1], headers=headers):
            pass
    assert refused.value.response.status_code == 403


async def test_another_origin_is_not_let_in(stage: Stage) -> None:
    url = stage.base.replace("http", "ws") + "/live"
    cookie = {"Cookie": f"{SESSION_COOKIE}={session(stage, stage.ana())[1]}"}
    for origin in (Origin("https://evil.test"), None):
        with pytest.raises(InvalidStatus):
            async with connect(url, origin=origin, additional_headers=cookie, proxy=None):
                pass


@pytest.mark.parametrize("kind", ["nothing", "made up", "no session"])
async def test_without_a_session_it_closes_at_once(stage: Stage, kind: str) -> None:
    shown = {"nothing": "", "made up": "cl_nobodys", "no session": stage.office.worker("front-desk").token}[kind]
    async with desk(stage, shown) as socket:
        assert await socket.closed() == OVER


async def tenths(count: int) -> None:
    """Let so much time go by, on a clock that stands whenever this process, and the hub in it, does not run."""
    for _ in range(count):
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("how", ["disabled", "logged out", "idle"])
async def test_it_closes_within_a_second_of_the_sessions_end(stage: Stage, how: str) -> None:
    who = stage.hire("front-desk")
    token_id, shown = session(stage, who)
    async with desk(stage, shown) as socket:
        await socket.until("me", lambda _: True)
        if how == "disabled":
            stage.office.write(staff.disable, who.id, by="system:test", now=stage.clock())
        elif how == "logged out":
            stage.office.write(token.revoke, token_id, stage.clock())
        else:
            stage.ahead += token.IDLE
        try:
            closed, clock = asyncio.create_task(socket.closed()), asyncio.create_task(tenths(SOON))
            await asyncio.wait({closed, clock}, return_when=asyncio.FIRST_COMPLETED)
            clock.cancel()
            assert closed.done()
            assert closed.result() == OVER
        finally:
            stage.ahead = timedelta()


async def idle_at(socket: Socket) -> str:
    """Return when the session is idle for too long, as last told."""
    return str([said["idle_at"] for said in socket.heard if said["type"] == "session"][-1])


async def test_a_hand_on_the_keyboard_keeps_the_session_and_nothing_else_does(stage: Stage) -> None:
    who = stage.hire("front-desk")
    token_id, shown = session(stage, who)
    try:
        async with desk(stage, shown) as socket:
            await socket.until("me", lambda _: True)
            before = await idle_at(socket)
            stage.ahead += timedelta(minutes=5)
            async with stage.office.http(Cookie=f"{SESSION_COOKIE}={shown}", **{PAGE_HEADER: "background"}) as http:
                assert (await http.get("/desk/part/tasks")).status_code == 200
            with stage.office.instance.db.read() as db:
                assert db.get_one(Token, token_id).used_at is None
            await socket.wire.send("active")
            while await idle_at(socket) == before:
                await socket.hear()
            with stage.office.instance.db.read() as db:
                assert db.get_one(Token, token_id).used_at is not None
    finally:
        stage.ahead = timedelta()


async def test_a_talk_keeps_the_session(stage: Stage) -> None:
    who = stage.ana()
    token_id, shown = session(stage, who)
    async with desk(stage, shown) as socket:
        await socket.until("me", lambda _: True)
        stage.answer(stage.offer(who, number()))
        await socket.until("caller", lambda caller: caller is not None and caller["phase"] == "talking")
        while len([said for said in socket.heard if said["type"] == "session"]) < 2:
            await socket.hear()
    with stage.office.instance.db.read() as db:
        assert db.get_one(Token, token_id).used_at is not None


async def test_so_many_desks_of_one_person_and_no_more(stage: Stage) -> None:
    shown = session(stage, stage.hire("front-desk"))[1]
    async with AsyncExitStack() as desks:
        for _ in range(DESKS):
            socket = await desks.enter_async_context(desk(stage, shown))
            await socket.hear()
        async with desk(stage, shown) as one_more:
            assert await one_more.closed() == TOO_MANY
