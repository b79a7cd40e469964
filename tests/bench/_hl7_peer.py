"""The MLLP servers of two Python libraries, as their documentation sets them up: `_hl7_peer NAME PORT`.

python-hl7 parses each message and answers with its own create_ack; it keeps nothing. hl7apy's server closes after each
message; its handler parses the message and answers. Neither stores anything.
"""

import asyncio
import sys

from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server
from hl7apy.mllp import AbstractErrorHandler, AbstractHandler, MLLPServer
from hl7apy.parser import parse_message


async def _answer(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
    try:
        while not writer.is_closing():
            message = await reader.readmessage()
            writer.writemessage(message.create_ack())
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


async def python_hl7(port: int) -> None:
    """Serve until the process ends."""
    async with await start_hl7_server(_answer, host="127.0.0.1", port=port, encoding="utf-8") as server:
        await server.serve_forever()


class _Server(MLLPServer):  # type: ignore[misc]
    request_queue_size = 128  # its own 5 is fewer than the senders, who would wait for TCP to try again


class _Handler(AbstractHandler):  # type: ignore[misc]
    def reply(self) -> str:
        parse_message(self.incoming_message)
        return acknowledged(self.incoming_message)


class _ErrorHandler(AbstractErrorHandler):  # type: ignore[misc]
    def reply(self) -> str:
        return acknowledged(self.incoming_message)


def acknowledged(message: str) -> str:
    """Return a framed AA for `message`."""
    header = message.split("\r")[0].split("|")
    return f"\x0bMSH|^~\\&|||||20260302140000||ACK|1|P|2.3\rMSA|AA|{header[9]}\r\x1c\r"


def hl7apy(port: int) -> None:
    """Serve until the process ends."""
    kinds = ("ADT^A01", "ORU^R01", "ADT^A34")
    handlers = dict.fromkeys(kinds, (_Handler,)) | {"ERR": (_ErrorHandler,)}
    _Server("127.0.0.1", port, handlers).serve_forever()


def main() -> None:
    """Run the peer that the command line names."""
    peer, port = sys.argv[1], int(sys.argv[2])
    if peer == "python-hl7":
        asyncio.run(python_hl7(port))
    else:
        hl7apy(port)


if __name__ == "__main__":
    main()
