"""A caller who hangs up without ever acknowledging the answer; our own user agent would not do that."""

import asyncio
import secrets

from media.offer import offer_audio
from media.sdp import PCMU
from media.sip.hop import Hop
from media.sip.message import Headers, MalformedError, Request, Response, parse
from tests.chaos.sound import HOST, Address

ANSWER_S = 10.0


class _Line(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.responses: asyncio.Queue[Response] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Address) -> None:  # noqa: ARG002 - asyncio's signature
        try:
            message = parse(data)
        except MalformedError:
            return  # sound that is still on its way to whoever had the port before
        if isinstance(message, Response):
            self.responses.put_nowait(message)

    async def final(self, sequence: int) -> Response:
        """Return the final response to the request of that number."""
        while True:
            response = await self.responses.get()
            if response.sequence == sequence and response.status >= 200:
                return response


async def hang_up_unacknowledged(gateway: Hop, number: str, did: str, sound: Address) -> int:
    """Call, and answer the 200 with BYE; return the status of what that is answered with.

    Raises:
        TimeoutError: no answer came.
    """
    loop = asyncio.get_running_loop()
    transport, line = await loop.create_datagram_endpoint(_Line, local_addr=(HOST, 0))
    local = transport.get_extra_info("sockname")
    uri = f"sip:{did}@{HOST}:{gateway.port}"
    caller, call_id = f"<sip:{number}@{HOST}>;tag={secrets.token_hex(4)}", secrets.token_hex(8)

    def request(method: str, sequence: int, to: str, body: bytes = b"") -> bytes:
        branch = f"z9hG4bK{secrets.token_hex(8)}"
        headers: Headers = {"Via": [f"SIP/2.0/UDP {HOST}:{local[1]};branch={branch};rport"], "Max-Forwards": ["70"]}
        headers |= {"From": [caller], "To": [to], "Call-ID": [call_id], "CSeq": [f"{sequence} {method}"]}
        headers |= {"Contact": [f"<sip:{HOST}:{local[1]}>"]} | ({"Content-Type": ["application/sdp"]} if body else {})
        return bytes(Request(method, uri, headers, body))

    try:
        async with asyncio.timeout(ANSWER_S):
            offer = bytes(offer_audio(sound, codecs=(PCMU,)))
            transport.sendto(request("INVITE", 1, f"<sip:{did}@{HOST}>", offer), (gateway.host, gateway.port))
            answer = await line.final(1)
            if answer.status >= 300:
                return answer.status
            transport.sendto(request("BYE", 2, answer.headers["To"][0]), (gateway.host, gateway.port))
            return (await line.final(2)).status
    finally:
        transport.close()
