"""`/phone`: the phone in a browser, SIP over WebSocket (RFC 7118), piped to the media process over a Unix socket.

The session of the login is what lets a page in, and says which extension it is: there is no SIP password in a browser.
The hub reads nothing of what goes through.
"""

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from sqlmodel import Session
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from hub.api.caller import GUARDED, SESSION_COOKIE, InstanceDep, PersonNeededError, needs, opened, ours, person_of
from hub.api.page import Answer
from hub.api.problem import declared
from hub.errors import NotFoundError
from hub.instance import Instance
from hub.record import staff, token
from hub.record.token import Token, TokenError
from hub.security.access import Actor, Scope
from hub.settings import Practice, secret

router = APIRouter()
"`/phone`, outside /v1: it speaks SIP."

api = APIRouter(tags=["agents"], responses=GUARDED)

SUBPROTOCOL: Final = Subprotocol("sip")
EXTENSION: Final = "X-Chartline-Extension"
"Header that tells the media process whose phone it is; who may open its socket is believed."

SOURCE: Final = "X-Chartline-Source"
"Header with the address and port that the page comes from."

LONGEST: Final = 64 * 1024
"Bytes of a message either way."

QUEUED: Final = 16
"Messages of the media process that wait for a slow page; then it waits as well."

LOOK_S: Final = 2.0
"How often a session is asked for: a phone ends so soon after it."

OVER: Final = 4401
"Close code: the session is over, or was none."

NOT_A_PHONE: Final = 4404
"Close code: the person has no extension."

AWAY: Final = 1013
"Close code: the media process is not there now; try again (IANA WebSocket close codes)."

RESTARTED: Final = 1012
"Close code: the media process has gone; come back at once."

CREDENTIAL_S: Final = 12 * 3600
"How long a password for a TURN server is good: as long as the longest session."

Oneself = Annotated[Actor, needs(Scope.PRESENCE_WRITE)]


class IceServer(Answer):
    """A STUN or TURN server, as RTCPeerConnection wants it."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None


class Phone(Answer):
    """What a page needs to be a phone."""

    extension: str
    ice_servers: list[IceServer]
    "Empty where the gateway can be reached directly."


@api.get("/phone", summary="Get one's phone", responses=declared(PersonNeededError, NotFoundError))
async def phone(actor: Oneself, instance: InstanceDep) -> Phone:
    """Return one's extension, and the servers that help where the gateway cannot be reached directly."""
    person = person_of(actor)
    _, practice = instance.policy()
    extension = await instance.db.run(lambda db: extension_of(db, practice, person))
    if extension is None:
        raise NotFoundError("no extension is yours")
    return Phone(extension=extension, ice_servers=ice_servers(instance, practice, extension))


def extension_of(db: Session, practice: Practice, staff_id: UUID) -> str | None:
    """Return the extension that a person's browser is: the policy's, otherwise that of a phone of theirs."""
    person = db.get_one(staff.Staff, staff_id)
    for one in practice.staff:
        if one.email.strip().lower() == person.email and one.extension is not None:
            return one.extension
    return next((device.extension for device in staff.devices(db) if device.staff_id == staff_id), None)


def ice_servers(instance: Instance, practice: Practice, name: str) -> list[IceServer]:
    """Return the policy's STUN and TURN servers; for TURN with a password that is good for `CREDENTIAL_S`."""
    wanted = practice.browser
    if wanted.turn_secret is None:
        return [IceServer(urls=list(wanted.turn))] if wanted.turn else []
    shared = secret(wanted.turn_secret, env=os.environ, root=instance.paths.root)
    until = int(instance.clock().timestamp()) + CREDENTIAL_S
    username, password = turn_login(shared, name, until)
    stun = [url for url in wanted.turn if url.startswith("stun")]
    turn = [url for url in wanted.turn if url.startswith("turn")]
    servers = [IceServer(urls=turn, username=username, credential=password)]
    return [IceServer(urls=stun), *servers] if stun else servers


def turn_login(shared: str, name: str, until: int) -> tuple[str, str]:
    """Return a user name and password that a TURN server with this secret takes until then (Unix time).

    coturn's `use-auth-secret`, after draft-uberti-behave-turn-rest-00: HMAC-SHA1 of the user name.
    """
    username = f"{until}:{name}"
    proof = hmac.new(shared.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(proof).decode()


@router.websocket("/phone")
async def pipe(socket: WebSocket) -> None:
    """Carry the SIP of one page until its session is over."""
    instance: Instance = socket.app.state.instance
    _, practice = await asyncio.to_thread(instance.policy)
    offered: Sequence[str] = socket.scope.get("subprotocols", ())
    if not ours(socket.headers, practice.http.base_url) or SUBPROTOCOL not in offered:
        await socket.close()  # before it is accepted: HTTP 403
        return
    await socket.accept(SUBPROTOCOL)
    try:
        await socket.close(await _carry(socket, instance, practice))
    except (WebSocketDisconnect, RuntimeError):
        return  # gone; starlette refuses to write to what is closed


async def _carry(socket: WebSocket, instance: Instance, practice: Practice) -> int:
    """Carry what is said, and return the close code for the page."""
    try:
        row, _ = await opened(instance, socket.cookies.get(SESSION_COOKIE), cookie=True, used=False)
    except TokenError:
        return OVER
    person = row.staff_id
    if person is None:
        return NOT_A_PHONE
    extension = await instance.db.run(lambda db: extension_of(db, practice, person))
    if extension is None:
        return NOT_A_PHONE
    try:
        media = await _reach(socket, instance, extension)
    except (OSError, WebSocketException, TimeoutError):
        return AWAY
    async with media:
        work = [
            asyncio.create_task(_up(socket, media)),
            asyncio.create_task(_down(socket, media)),
            asyncio.create_task(_until_over(instance, row.id)),
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            return OVER if work[2] in done else RESTARTED
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


async def _reach(socket: WebSocket, instance: Instance, extension: str) -> ClientConnection:
    source = "" if socket.client is None else f"{socket.client.host} {socket.client.port}"
    return await unix_connect(
        str(instance.paths.phone_socket),
        uri="ws://media/",
        subprotocols=[SUBPROTOCOL],
        additional_headers={EXTENSION: extension, SOURCE: source},
        compression=None,
        max_size=LONGEST,
        max_queue=QUEUED,
        ping_interval=None,
        open_timeout=5,
    )


async def _up(socket: WebSocket, media: ClientConnection) -> None:
    """Carry what the page says; whoever reads slowly slows down who writes."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        said: str | bytes | None = message.get("text")
        try:
            await media.send(message["bytes"] if said is None else said)
        except ConnectionClosed:
            return


async def _down(socket: WebSocket, media: ClientConnection) -> None:
    async for message in media:
        if isinstance(message, str):
            await socket.send_text(message)
        else:
            await socket.send_bytes(message)


async def _until_over(instance: Instance, token_id: UUID) -> None:
    def look(db: Session) -> None:
        token.checked(db, db.get(Token, token_id), instance.clock())

    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await instance.db.run(look)
        except TokenError:
            return
