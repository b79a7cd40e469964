"""Callbacks of SMS carriers: proven, stored as they came, then acknowledged; what they mean is read later."""

import contextlib

from fastapi import APIRouter, Request, Response
from sqlmodel import Session

from connectors.api import Callback, Verifies
from hub.api.caller import InstanceDep
from hub.errors import NotFoundError
from hub.outside import Outside
from hub.record import inbox
from hub.record.inbox import Arrival
from hub.temporal import TemporalUnavailableError, wake_feed

router = APIRouter(prefix="/carriers", tags=["carriers"])

LONGEST = 256 * 1024
"Bytes of a callback; carriers send a few hundred."


@router.post("/{connection}/{path:path}", status_code=204)
async def callback(connection: str, path: str, request: Request, instance: InstanceDep) -> Response:
    """Take one callback; a repeat of it finds its row and changes nothing.

    Raises:
        NotFoundError: no such connection, or one that takes no callbacks.
        RejectedError: it is not proven to come from the carrier.
    """
    outside: Outside = request.app.state.outside
    connector: object = outside.connectors().get(connection)
    if not isinstance(connector, Verifies):
        raise NotFoundError("no such carrier")
    body = await _body(request)
    said = Callback(request.method, path, dict(request.query_params), dict(request.headers), body)
    key = connector.verify(said)
    arrival = Arrival(connection, key, body)

    def store(db: Session) -> None:
        inbox.store(db, [arrival], seal=instance.sealer, index=instance.index, now=instance.clock(), by="system:hub")

    await instance.inbox.run(store, write=True)
    with contextlib.suppress(TemporalUnavailableError):  # the row is the truth: the flow looks by itself as well
        await wake_feed(request.app.state.temporal, connection)
    return Response(status_code=204)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST:
            raise NotFoundError("no carrier says so much")
    return bytes(body)
