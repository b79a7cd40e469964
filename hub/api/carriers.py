"""Callbacks of outside systems: proven, stored as they came, then acknowledged; what they mean is read later.

A carrier tells of replies and receipts. A system that is asked for changes calls back to say that it has some; that
is a hint, and the feeds process asks at once.
"""

from fastapi import APIRouter, Request, Response
from sqlmodel import Session

from connectors.api import Callback, Feeds, RejectedError, Verifies
from hub.api.caller import InstanceDep
from hub.api.problem import TooLargeError, declared
from hub.errors import DeniedError, NotFoundError
from hub.feeds.waker import Waker
from hub.outside import Outside
from hub.record import inbox
from hub.record.inbox import Arrival
from hub.security.lane import PoolEmptyError

router = APIRouter(prefix="/carriers", tags=["carriers"])

LONGEST = 64 * 1024
"Bytes of a callback; carriers send a few hundred."


class CallbackUnprovenError(DeniedError):
    """Nothing shows that the carrier sent this; it was not stored."""

    code = "callback-unproven"


@router.post(
    "/{connection}/{path:path}",
    summary="Take a carrier's callback",
    status_code=204,
    responses=declared(CallbackUnprovenError, NotFoundError, TooLargeError, PoolEmptyError),
)
async def callback(connection: str, path: str, request: Request, instance: InstanceDep) -> Response:
    """Take one callback, proven by the carrier's own signature instead of a token.

    It is acknowledged once it is stored, sealed; a repeat finds its row and changes nothing.
    """
    outside: Outside = request.app.state.outside
    waker: Waker = request.app.state.waker
    connector: object = outside.connectors().get(connection)
    if not isinstance(connector, Verifies):
        raise NotFoundError("there is no such carrier")
    body = await request.body()
    if len(body) > LONGEST:
        raise TooLargeError("no carrier says so much")
    try:
        key = connector.verify(
            Callback(request.method, path, dict(request.query_params), dict(request.headers), body, instance.clock())
        )
    except RejectedError as error:
        raise CallbackUnprovenError(f"not proven: {error.reason}") from None
    arrival, now = Arrival(connection, key, body), instance.clock()

    def store(db: Session) -> None:
        inbox.store(db, [arrival], seal=instance.sealer, index=instance.index, now=now, by="system:hub")
        if isinstance(connector, Feeds):
            inbox.hint(db, connection, now)

    await instance.inbox.run(store, write=True)
    waker.note([connection])
    return Response(status_code=204)
