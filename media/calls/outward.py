"""The talk of a call that the practice made to a number outside: held, handed on and waited for like one that came in.

Whoever was called stays; whose phone talks to them may change (`media.calls.talk`). To queues and numbers of the
practice nobody is sent whom the practice called. Nothing is recorded: nobody was asked.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from media.calls.house import House
from media.calls.keeping import Keeping
from media.calls.switchboard import Side
from media.calls.talk import Talk
from media.sip.outgoing import Outgoing
from media.sip.status import Cause

LOOK_S = 15.0
"How often at least what the calls cost is looked at: they go on no longer than that beyond the day's cap."

_CAUSES = {Cause.NO_ANSWER: 480, Cause.UNREACHABLE: 503, Cause.UNACCEPTABLE: 488, Cause.FAILED: 503}

log = structlog.get_logger()


def refusal_of(call: Outgoing | None, *, outside: bool) -> int:
    """Return the SIP status that tells who called why nobody answered: the far end's own, where it may be passed on.

    None is a call that could not even be made; `outside` one to a number outside.
    """
    if call is None:
        return 503 if outside else 480
    if call.status >= 400 and call.status not in (401, 407):
        return call.status
    # What is left is our own matter with the carrier.
    cause = call.ended.result() if call.ended.done() else Cause.FAILED
    return _CAUSES.get(cause, 503) if outside else 480


async def _nobody() -> UUID | None:
    return None


@dataclass(slots=True)
class OutwardTalk:
    """One talk with a number outside, whoever of the practice carries it on."""

    house: House
    id: UUID
    far: Side
    agent: Side
    "Who carries it on now."

    number: str = field(repr=False)
    "What was dialled, as a phone that the call is passed on to shows it."

    max_forwards: int
    left: Callable[[], float] | None
    "How many seconds the policy lets it go on from now; None where nothing ends it."

    _pressing: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> str:
        """Return once it is over: the code of its cause (agent, far-end, limit, system)."""
        keeping = Keeping(self.house, self.id, _nobody)
        talk = Talk(
            self.house,
            self.id,
            self.far,
            self.agent,
            self.number,
            self.max_forwards,
            0,
            self._passed,
            keeping,
            keys=partial(self._press, self.far),
        )
        self.far.sip.on_digit = lambda key: self._press(self.agent, key)
        talking = asyncio.create_task(talk.run())
        far_end: asyncio.Future[Any] = asyncio.ensure_future(asyncio.shield(self.far.sip.ended))
        either: set[asyncio.Future[Any]] = {talking, far_end}
        try:
            while not (talking.done() or far_end.done()):
                left = None if self.left is None else min(self.left(), LOOK_S)
                if left is not None and left <= 0:
                    log.warning("call ended by its limit", call=str(self.id))
                    return "limit"
                await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if far_end.done():
                return "far-end" if far_end.result() is Cause.HANGUP else "system"
            return "agent" if talking.result() is Cause.HANGUP else "system"
        finally:
            for each in (*either, *self._pressing):
                each.cancel()
            await asyncio.gather(*either, return_exceptions=True)

    def _passed(self, side: Side | None) -> None:
        if side is not None:
            self.agent = side

    def _press(self, to: Side, key: str) -> None:
        """Pass on a key that came by INFO; those in the sound pass by themselves."""
        task = asyncio.create_task(to.leg.press(key))
        self._pressing.add(task)
        task.add_done_callback(self._pressing.discard)
