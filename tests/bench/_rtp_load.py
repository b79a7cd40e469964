"""Load on a relay: G.711 from one far end for all legs, 50 packets a second each; what comes back is counted and timed.

`_rtp_load` binds one socket and prints its port, then reads one JSON object: `ports` of the legs, `seconds`, and for
SRTP `profile`, `key` and `keys` (of the far end, and of each leg by port; base64). It sends for so long, and prints
what came of it. All legs are sent one packet, which carries the time: a sendmmsg for a fortieth of them every half
millisecond.
"""

import base64
import json
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.bench._datagram import Inbox, Volley, first_in_line, roomy

FRAME_S = 0.02
SLICES = 40
"A frame's time is cut into so many: what arrives together stays little."

SAMPLES = 160
HEADER = struct.Struct(">BBHII")
STAMP = struct.Struct("=Q")
LAST_S = 0.3
"How long the last packets may take."

SPEECH = bytes(range(64, 64 + SAMPLES - STAMP.size))


class Sender:
    """The packets of one slice of the legs."""

    def __init__(self, line: socket.socket, ports: list[int], ssrc: int, protect: Callable[[bytes], bytes]) -> None:
        self._ssrc = ssrc
        self._protect = protect
        self._packet = bytearray(len(protect(self._plain(-1))))
        self._volley = Volley(line, [("127.0.0.1", port) for port in ports], self._packet)

    def _plain(self, frame: int) -> bytes:
        head = HEADER.pack(0x80, 0, (frame + 1) & 0xFFFF, (frame * SAMPLES) & 0xFFFFFFFF, self._ssrc)
        return head + STAMP.pack(time.time_ns()) + SPEECH

    def send(self, frame: int) -> int:
        """Send one frame to the legs; return how many packets went out."""
        self._packet[:] = self._protect(self._plain(frame))
        return self._volley.send()


class Counter:
    """What came back."""

    def __init__(self, line: socket.socket, opened: "Callable[[int, bytes], bytes] | None") -> None:
        self._inbox = Inbox(line)
        self._opened = opened
        self.received = 0
        self.waits_ns: list[int] = []
        self.wrong = 0

    def take(self) -> None:
        """Read all that waits; each batch's first packet is looked at, of clear ones every one is timed."""
        while count := self._inbox.read():
            self.received += count
            packet = self._inbox.datagram(0)
            if self._opened is None:
                self.waits_ns += self._inbox.waits_ns(count)
            else:
                packet = self._opened(self._inbox.source(0), packet)
                self.waits_ns.append(self._inbox.arrived_ns(0) - STAMP.unpack_from(packet, 12)[0])
            self.wrong += packet[20:] != SPEECH

    def forget(self) -> None:
        """Begin anew: what came so far was to get everything going."""
        self.received = self.wrong = 0
        self.waits_ns.clear()


def _sealing(told: dict[str, Any]) -> tuple[Callable[[bytes], bytes], "Callable[[int, bytes], bytes] | None"]:
    """Return how a packet is protected and, by the port of its leg, opened; in clear it is only counted."""
    if not told.get("key"):
        return bytes, None
    from pylibsrtp import Policy, Session

    profile = getattr(Policy, told["profile"])

    def session(key: str, kind: int) -> Session:
        return Session(Policy(key=base64.b64decode(key), ssrc_type=kind, srtp_profile=profile))

    opened = {int(port): session(key, Policy.SSRC_ANY_INBOUND) for port, key in told["keys"].items()}
    outbound = session(told["key"], Policy.SSRC_ANY_OUTBOUND)

    def clear(port: int, packet: bytes) -> bytes:
        return bytes(opened[port].unprotect(packet))

    return partial(_protected, outbound), clear


def _protected(outbound: Any, packet: bytes) -> bytes:
    return bytes(outbound.protect(packet))


def _load(line: socket.socket, told: dict[str, Any]) -> dict[str, Any]:
    """Send for so long, and return what came of it."""
    ports = told["ports"] or [line.getsockname()[1]] * told["legs"]
    protect, opened = _sealing(told)
    parts = [ports[number::SLICES] for number in range(SLICES)]
    senders = [Sender(line, part, 0x1000 + number, protect) for number, part in enumerate(parts) if part]
    counter = Counter(line, opened)
    isolated = first_in_line()
    frames = round(told["warm"] / FRAME_S)
    _send(senders, counter, 0, frames)
    _drain(counter)
    counter.forget()
    sys.stdout.write("going\n")
    sys.stdout.flush()
    cpu = time.process_time()
    count = round(told["seconds"] / FRAME_S)
    sent, latest = _send(senders, counter, frames, count)
    spent = time.process_time() - cpu
    _drain(counter)
    waits = sorted(counter.waits_ns)
    return {
        "sent": sent,
        "due": count * len(ports),
        "received": counter.received,
        "wrong": counter.wrong,
        "p50_ms": waits[len(waits) // 2] / 1e6 if waits else None,
        "p99_ms": waits[len(waits) * 99 // 100] / 1e6 if waits else None,
        "latest_ms": latest * 1e3,
        "cpu_share": spent / told["seconds"],
        "isolated": isolated,
    }


def _send(senders: list[Sender], counter: Counter, first: int, count: int) -> tuple[int, float]:
    """Send so many frames at the pace of speech; return the packets that went out, and by how much one was late."""
    sent, latest = 0, 0.0
    step = FRAME_S / len(senders)
    began = time.perf_counter()
    for turn in range(count * len(senders)):
        frame, number = divmod(turn, len(senders))
        left = began + turn * step - time.perf_counter()
        if left > 0:
            time.sleep(left)
        latest = max(latest, -left)
        sent += senders[number].send(first + frame)
        counter.take()
    return sent, latest


def _drain(counter: Counter) -> None:
    until = time.perf_counter() + LAST_S
    while time.perf_counter() < until:
        counter.take()
        time.sleep(0.005)


def main() -> None:
    """Bind, be told, send, and say what came of it."""
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    roomy(line)
    line.bind(("127.0.0.1", 0))
    sys.stdout.write(f"{line.getsockname()[1]}\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps(_load(line, json.loads(sys.stdin.readline()))) + "\n")


if __name__ == "__main__":
    main()
