"""Load on a relay: G.711 from one far end for all legs, 50 packets a second each; what comes back is counted and timed.

`_rtp_load` binds one socket and another for pages, and prints one JSON object: `port` of the first, and what a `page`
says of itself. Then it reads another: `ports` of the legs, `seconds`, for SRTP `profile`, `key` and `keys` (of the far
end, and of each leg by port; base64), and `pages`, what each browser leg says of itself. It sends for so long, and
prints what came of it. All legs are sent one packet, which carries the time: a sendmmsg for a fortieth of them every
half millisecond. Legs of browsers are sent the same, each under its own keys.
"""

import base64
import json
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from media.srtp import Place
from tests.bench._datagram import SLOT, Inbox, Volley, first_in_line, roomy
from tests.bench._page import End, Page

FRAME_S = 0.02
SLICES = 40
"A frame's time is cut into so many: what arrives together stays little."

SAMPLES = 160
HEADER = struct.Struct(">BBHII")
STAMP = struct.Struct("=Q")
LAST_S = 0.3
"How long the last packets may take."

SPEECH = bytes(range(64, 64 + SAMPLES - STAMP.size))

SOUND = [int.from_bytes(head, sys.byteorder) for head in (b"\x80\x00", b"\x80\x80")]
"First two bytes of a packet of PCMU, and with the marker."


def plain(frame: int, ssrc: int) -> bytes:
    """Return one packet, which carries the time."""
    head = HEADER.pack(0x80, 0, (frame + 1) & 0xFFFF, (frame * SAMPLES) & 0xFFFFFFFF, ssrc)
    return head + STAMP.pack(time.time_ns()) + SPEECH


class Sender:
    """The packets of one slice of the legs."""

    def __init__(self, line: socket.socket, ports: list[int], ssrc: int, protect: Callable[[bytes], bytes]) -> None:
        self._ssrc = ssrc
        self._protect = protect
        self._packet = bytearray(len(protect(plain(-1, ssrc))))
        self._volley = Volley(line, [("127.0.0.1", port) for port in ports], self._packet)

    def send(self, frame: int) -> int:
        """Send one frame to the legs; return how many packets went out."""
        self._packet[:] = self._protect(plain(frame, self._ssrc))
        return self._volley.send()


class EndSender:
    """The packets of one slice of the pages."""

    def __init__(self, line: socket.socket, ends: Sequence[End]) -> None:
        writers = [end.writer for end in ends if end.writer is not None]
        # Their keys are of one suite, so their packets are as long.
        each = max(len(writer.protect(plain(-1, 0))) for writer in writers)
        self._packets = bytearray(each * len(ends))
        self._place = Place(self._packets)
        starts = range(0, len(self._packets), each)
        self._parts = [(start, end.ssrc, writer) for start, end, writer in zip(starts, ends, writers, strict=True)]
        self._volley = Volley(line, [("127.0.0.1", end.port) for end in ends], self._packets, each=each)

    def send(self, frame: int) -> int:
        """Send one frame to the legs; return how many packets went out."""
        packets, place, packet = self._packets, self._place, plain(frame, 0)
        head, rest, size = packet[:8], packet[12:], len(packet)
        for start, ssrc, writer in self._parts:
            packets[start : start + size] = head + ssrc + rest
            writer.protect_at(place, start, start + size)
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

    def within_ms(self, share: float) -> float | None:
        """Return the time within which that share of what came had come; None where nothing did."""
        waits = sorted(self.waits_ns)
        return waits[int(len(waits) * share)] / 1e6 if waits else None


class PageCounter(Counter):
    """What came back to pages: every packet of sound is opened, looked at and timed, as a page has to."""

    def __init__(self, page: Page) -> None:
        super().__init__(page.line, None)
        self._page = page
        self._buffer = bytearray(SLOT)
        self._place = Place(self._buffer)

    def take(self) -> None:
        """Read all that waits; what is no sound (checks of ICE, RTCP) is the page's."""
        inbox = self._inbox
        while count := inbox.read():
            for number, head in enumerate(inbox.heads(count)):
                if head in SOUND:
                    self._open(number)
                else:
                    self._page.heard(inbox.source(number), inbox.datagram(number))

    def _open(self, number: int) -> None:
        self.received += 1
        packet, reader = self._inbox.datagram(number), self._page.reader_of(self._inbox.source(number))
        self._buffer[: len(packet)] = packet
        size = reader.open_at(self._place, len(packet)) if reader is not None else 0
        if self._buffer[20:size] != SPEECH:
            self.wrong += 1
        else:
            self.waits_ns.append(self._inbox.arrived_ns(number) - STAMP.unpack_from(self._buffer, 12)[0])


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


def _load(line: socket.socket, page: Page, told: dict[str, Any]) -> dict[str, Any]:
    """Send for so long, and return what came of it."""
    isolated = first_in_line()
    ports = told["ports"] or [line.getsockname()[1]] * told["legs"]
    ends: Sequence[End] = page.connect(told["pages"]) if told.get("pages") else page.to_itself(told.get("ends", 0))
    protect, opened = _sealing(told)
    slices: list[list[Sender | EndSender]] = []
    for number in range(min(SLICES, max(len(ports), len(ends)))):
        part, some = ports[number::SLICES], ends[number::SLICES]
        slices.append([Sender(line, part, 0x1000 + number, protect)] if part else [])
        slices[-1] += [EndSender(page.line, some)] if some else []
    counters = [Counter(line, opened), *([PageCounter(page)] if ends else [])]
    frames = round(told["warm"] / FRAME_S)
    _send(slices, counters, 0, frames)
    _drain(counters)
    for counter in counters:
        counter.forget()
    sys.stdout.write("going\n")
    sys.stdout.flush()
    cpu = time.process_time()
    count = round(told["seconds"] / FRAME_S)
    sent, latest = _send(slices, counters, frames, count)
    spent = time.process_time() - cpu
    _drain(counters)
    return {
        "sent": sent,
        "due": count * (len(ports) + len(ends)),
        "received": sum(counter.received for counter in counters),
        "wrong": sum(counter.wrong for counter in counters),
        "p50_ms": _latest_of(counters, 0.5),
        "p99_ms": _latest_of(counters, 0.99),
        "latest_ms": latest * 1e3,
        "cpu_share": spent / told["seconds"],
        "isolated": isolated,
    }


def _latest_of(counters: list[Counter], share: float) -> float | None:
    """Return the later of both ways; None where one of them carries nothing."""
    within = [counter.within_ms(share) for counter in counters]
    return None if None in within else max(each for each in within if each is not None)


def _send(slices: list[list[Sender | EndSender]], counters: list[Counter], first: int, count: int) -> tuple[int, float]:
    """Send so many frames at the pace of speech; return the packets that went out, and by how much one was late."""
    sent, latest = 0, 0.0
    step = FRAME_S / len(slices)
    began = time.perf_counter()
    for turn in range(count * len(slices)):
        frame, number = divmod(turn, len(slices))
        left = began + turn * step - time.perf_counter()
        if left > 0:
            time.sleep(left)
        latest = max(latest, -left)
        for sender in slices[number]:
            sent += sender.send(first + frame)
        for counter in counters:
            counter.take()
    return sent, latest


def _drain(counters: list[Counter]) -> None:
    until = time.perf_counter() + LAST_S
    while time.perf_counter() < until:
        for counter in counters:
            counter.take()
        time.sleep(0.005)


def main() -> None:
    """Bind, be told, send, and say what came of it."""
    line, page = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), Page()
    roomy(line)
    line.bind(("127.0.0.1", 0))
    sys.stdout.write(json.dumps({"port": line.getsockname()[1], "page": page.said}) + "\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps(_load(line, page, json.loads(sys.stdin.readline()))) + "\n")


if __name__ == "__main__":
    main()
