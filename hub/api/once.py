"""Writes that may be sent twice: carried out once for each Idempotency-Key, answered alike.

Follows the Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header). A key counts for one caller and one
route for a day; with another path or body it is refused.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from sqlmodel import Session

from hub.api.caller import InstanceDep, TokenDep
from hub.instance import Instance
from hub.record import idempotency

KEPT = timedelta(days=1)
"How long a key is known."

Answered = dict[str, Any]
"What is kept of an answer: ids, codes and numbers, nothing that a record says."

KeyParam = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern="^[!-~]+$",
        description="Makes a repeat of this request answer the same, and do nothing again.",
    ),
]


class Once:
    """One write of one request."""

    def __init__(self, instance: Instance, *, actor: str, route: str, key: str | None, digest: bytes) -> None:
        self._instance = instance
        self._actor = actor
        self._route = route
        self._key = key
        self._digest = digest

    async def before(self) -> Answered | None:
        """Return what the request was answered before, None where it is new.

        Raises:
            KeyReusedError: the key was used for another request.
        """
        return None if self._key is None else await self._instance.db.run(self._kept)

    async def run(self, write: Callable[[Session], Answered]) -> Answered:
        """Carry out `write` in a transaction, or return what it returned the first time.

        Raises:
            KeyReusedError: the key was used for another request; nothing was done.
        """

        def once(db: Session) -> Answered:
            kept = self._kept(db)
            if kept is not None:
                return kept
            answer = write(db)
            if self._key is not None:
                now = self._instance.clock()
                idempotency.keep(
                    db,
                    actor=self._actor,
                    route=self._route,
                    key=self._key,
                    digest=self._digest,
                    answer=answer,
                    now=now,
                )
            return answer

        return await self._instance.db.run(once, write=True)

    def _kept(self, db: Session) -> Answered | None:
        if self._key is None:
            return None
        return idempotency.answered(db, actor=self._actor, route=self._route, key=self._key, digest=self._digest)


async def once_of(request: Request, instance: InstanceDep, shown: TokenDep, key: KeyParam = None) -> Once:
    """Return the write of this request."""
    route = f"{request.method} {request.scope['route'].path}"
    said = f"{request.url.path}?{request.url.query}\n".encode() + await request.body()
    digest = instance.index.digest(said)
    return Once(instance, actor=shown[1].id, route=route, key=key, digest=digest)


OnceDep = Annotated[Once, Depends(once_of)]
"Needs a token: use it beside `needs`."
