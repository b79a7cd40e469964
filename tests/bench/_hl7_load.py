"""Load on an MLLP server: raw sockets, stop and wait over several connections, the same for every server.

`_hl7_load FILE PORT CONNECTIONS SECONDS PREFIX` sends the messages of FILE (frames one after the other) with control
ids of its own, checks MSA-1 and MSA-2 of every answer, and prints one JSON object. A server that closes after an answer
is connected to again; that time counts.
"""

import contextlib
import json
import select
import socket
import sys
import time
from itertools import cycle
from pathlib import Path
from typing import Any

END = b"\x1c\r"
DRAIN_S = 20.0
"How long the last answers may take."


class Sender:
    """One connection with one message under way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.control_id = b""
        self.began = 0.0
        self._answer = b""
        self.line = self._connected()

    def _connected(self) -> socket.socket:
        deadline = time.monotonic() + DRAIN_S
        while True:
            try:
                line = socket.create_connection(("127.0.0.1", self._port), timeout=DRAIN_S)
            except ConnectionError:  # a short queue of connections is the server's own
                if time.monotonic() > deadline:
                    raise
                continue
            line.settimeout(None)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return line

    def send(self, control_id: bytes, frame: bytes) -> None:
        self.control_id, self._answer = control_id, b""
        self.began = time.perf_counter()
        with contextlib.suppress(ConnectionError):  # seen again, and counted, when the answer is fetched
            self.line.sendall(frame)

    def received(self) -> bool | None:
        """Return whether the answer accepts the message; None while it is not whole."""
        try:
            data = self.line.recv(65536)
        except ConnectionError:
            return False
        self._answer += data
        if self._answer.endswith(END):
            said = self._answer.partition(b"MSA|")[2][:3]  # some of the messages ask for enhanced mode
            return said in (b"AA|", b"CA|") and b"|" + self.control_id in self._answer
        return None if data else False

    def again(self, poll: Any) -> None:
        """Connect anew where the server closed."""
        poll.unregister(self.line.fileno())
        self.line.close()
        self.line = self._connected()
        poll.register(self.line.fileno(), select.EPOLLIN)


def closed(line: socket.socket) -> bool:
    """Return whether the other side has closed."""
    try:
        return line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def main() -> None:
    """Send for so long, and say what came of it."""
    file, port, connections, seconds, prefix = sys.argv[1:]
    bodies = [frame for frame in Path(file).read_bytes().replace(b"\x0b", b"").split(END) if frame]
    parts = cycle([(head.split(b"|"), rest) for head, _, rest in (body.partition(b"\r") for body in bodies)])
    poll = select.epoll()
    number = 0
    latencies: list[float] = []
    refused = 0

    def send(sender: Sender) -> None:
        nonlocal number
        number += 1
        fields, rest = next(parts)
        fields[9] = control_id = f"{prefix}{number:07}".encode()
        sender.send(control_id, b"\x0b" + b"|".join(fields) + b"\r" + rest + END)

    senders: dict[int, Sender] = {}
    for _ in range(int(connections)):
        sender = Sender(int(port))
        senders[sender.line.fileno()] = sender
        poll.register(sender.line.fileno(), select.EPOLLIN)
    began = time.perf_counter()
    last = began
    end = began + float(seconds)
    waiting = set(senders.values())
    for sender in waiting:
        send(sender)
    closes: bool | None = None
    while waiting and time.perf_counter() < end + DRAIN_S:
        for fd, _ in poll.poll(0.5):
            sender = senders[fd]
            accepted = sender.received()
            if accepted is None:
                continue
            at = time.perf_counter()
            refused += not accepted
            if accepted:
                latencies.append(at - sender.began)
                last = at
            if at > end:
                waiting.discard(sender)
                poll.unregister(fd)
                continue
            if closes is None:
                time.sleep(0.005)
                closes = closed(sender.line)
            if closes or not accepted:
                del senders[fd]
                sender.again(poll)
                senders[sender.line.fileno()] = sender
            send(sender)
    latencies.sort()
    answer = {
        "per_s": len(latencies) / (last - began),
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
        "count": number,
        "refused": refused,
    }
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
