"""A back-to-back user agent on the product's own SIP endpoint, without media: `python -m tests.bench.b2bua PORT NEXT`.

Every call that comes in is answered as soon as the call it makes to NEXT is; either side's BYE ends the other.
"""

import asyncio
import gc
import sys

import uvloop

from media.sip import Address, Endpoint, Hop, Incoming, TrunkTable, Uri

HOST = "127.0.0.1"


async def serve(port: int, following: int) -> None:
    """Serve until the process is ended."""
    trunks = TrunkTable({"bench": [HOST]})
    endpoint = Endpoint([Hop(HOST, port)], credentials=lambda _name: None, trunks=trunks)
    target = Uri.parse(f"sip:svc@{HOST}:{following}")

    async def take(call: Incoming) -> None:
        assert call.offer is not None
        caller = Address(Uri("sip", call.from_number or "anonymous", HOST))
        leg = endpoint.call(target, call.offer, from_=caller, max_forwards=call.max_forwards - 1)
        leg.on_progress = lambda status, _session: call.ring() if status == 180 else None
        call.ended.add_done_callback(lambda _ended: leg.bye())
        session = await leg.answered
        if session is None:
            call.reject(480)
            return
        call.answer(session)
        await leg.ended
        call.bye()

    endpoint.on_invite = take
    await endpoint.start()
    # Calls leave no cycles, and what lives for 32 seconds is not worth walking at every 700th object.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
