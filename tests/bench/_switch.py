"""A gateway whose plans are given: `python -m tests.bench._switch PORT NEXT`.

The product's own endpoint and relay as the media process uses them: the caller proves who it is by digest, two legs are
allocated and bridged, and the call goes on to NEXT. No record, no vault, no Temporal.
"""

import asyncio
import resource
import sys
import tempfile
from pathlib import Path

import uvloop

from hub import pace
from hub.settings.practice import Sip
from hub.settings.value import PortRange
from media.core.relay import CoreRelay, relay_for
from media.errors import MediaError, UnacceptableError
from media.relay import Leg
from media.rtp import FRAME
from media.sip import Address, Credentials, Endpoint, Incoming, TrunkTable, Uri
from media.sip.hop import Hop
from media.sound import Sound

HOST = "127.0.0.1"
REALM = "bench"
USER, PASSWORD = "101", "of-the-bench"


class Switch:
    """Puts every call through to one phone."""

    def __init__(self, port: int, following: int, run: Path) -> None:
        secrets = {USER: Credentials.of(USER, REALM, PASSWORD)}
        self.endpoint = Endpoint([Hop(HOST, port)], credentials=secrets.get, trunks=TrunkTable({}), realm=REALM)
        self.endpoint.on_invite = self._take
        self.relay = relay_for(Sip(rtp_ports=PortRange("20000-29999"), cores=1), Sound(b"\xff" * FRAME), run)
        self._target = Uri.parse(f"sip:svc@{HOST}:{following}")

    async def _take(self, call: Incoming) -> None:
        try:
            ours = await self.relay.allocate()
            theirs = await self.relay.allocate(beside=ours)
        except MediaError as error:
            call.reject(error.status)
            return
        self.relay.bridge(ours, theirs)
        try:
            await self._put_through(call, ours, theirs)
        except UnacceptableError:
            call.reject(488)
            call.bye()
        finally:
            ours.close()
            theirs.close()

    async def _put_through(self, call: Incoming, ours: Leg, theirs: Leg) -> None:
        assert call.offer is not None
        caller = Address(Uri("sip", call.from_number or "anonymous", HOST))
        offer = await theirs.offer()
        leg = self.endpoint.call(self._target, offer, from_=caller, max_forwards=call.max_forwards - 1)
        leg.on_progress = lambda status, _session: call.ring() if status == 180 else None
        call.ended.add_done_callback(lambda _ended: leg.bye())
        session = await leg.answered
        if session is None:
            call.reject(480)
            return
        await theirs.settle(session, via=HOST)
        call.answer(await ours.answer(call.offer, via=call.source.host))
        await leg.ended
        call.bye()


async def serve(port: int, following: int) -> None:
    """Serve until the process is ended."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as run:
        switch = Switch(port, following, Path(run))
        await switch.relay.start()
        if isinstance(switch.relay, CoreRelay):
            await switch.relay.steady()
        await switch.endpoint.start()
        pace.collect_rarely()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
