"""rtpengine in user space (Debian `rtpengine-daemon`), told what to relay by its ng protocol: a cookie and bencode."""

import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
FIRST, LAST = 40_000, 49_999
START_S = 10.0


def encode(value: Any) -> bytes:
    """Return a value in bencode: dictionaries, lists, text and whole numbers."""
    if isinstance(value, dict):
        return b"d" + b"".join(encode(key) + encode(value[key]) for key in sorted(value)) + b"e"
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, int):
        return f"i{value}e".encode()
    data = value if isinstance(value, bytes) else str(value).encode()
    return f"{len(data)}:".encode() + data


def decode(data: bytes) -> Any:
    """Return the value that bencode says; text comes back as bytes, keys as text."""
    return _decode(data, 0)[0]


def _decode(data: bytes, at: int) -> tuple[Any, int]:
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in b"dl":
        values, at = [], at + 1
        while data[at : at + 1] != b"e":
            value, at = _decode(data, at)
            values.append(value)
        pairs = (
            {key.decode(): value for key, value in zip(values[::2], values[1::2], strict=True)} if kind == b"d" else {}
        )
        return (pairs if kind == b"d" else values), at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end], end


class Rtpengine:
    """One daemon, on one thread."""

    def __init__(self, work: Path, before: list[str]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        self._line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._line.settimeout(0.5)
        self._line.connect((HOST, port))
        command = [*before, "rtpengine", "--foreground", f"--interface={HOST}", f"--listen-ng={HOST}:{port}"]
        command += ["--table=-1", "--num-threads=1", f"--port-min={FIRST}", f"--port-max={LAST}", "--log-level=2"]
        command += ["--log-stderr", f"--pidfile={work / 'rtpengine.pid'}", "--config-file=none"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + START_S
        while True:
            try:
                self.ask("ping")
                return
            except (TimeoutError, ConnectionError):
                if time.monotonic() > until or self.process.poll() is not None:
                    self.close()
                    raise

    def ask(self, command: str, **said: Any) -> dict[str, Any]:
        """Send one command and return the answer.

        Raises:
            TimeoutError: none came.
            RuntimeError: it refused.
        """
        cookie = secrets.token_hex(4).encode()
        self._line.send(cookie + b" " + encode({"command": command, **said}))
        while True:
            answered, _, body = self._line.recv(65535).partition(b" ")
            if answered == cookie:
                break
        answer: dict[str, Any] = decode(body)
        if answer["result"] not in (b"ok", b"pong"):
            raise RuntimeError(str(answer))
        return answer

    def bridge(self, number: int, far: int) -> list[int]:
        """Bridge one call whose both ends are `far`; return the ports of its two legs."""
        said = {"call-id": f"bench-{number}", "from-tag": "a", "ICE": "remove", "replace": ["origin"]}
        sdp = f"v=0\r\no=- 7 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\nm=audio {far} RTP/AVP 0\r\n"
        offered = self.ask("offer", sdp=sdp, **said)
        answered = self.ask("answer", sdp=sdp, **said | {"to-tag": "b"})
        return [_port_of(answered["sdp"]), _port_of(offered["sdp"])]

    def close(self) -> None:
        """End it."""
        self._line.close()
        self.process.kill()
        self.process.wait()


def _port_of(sdp: bytes) -> int:
    return int(sdp.partition(b"m=audio ")[2].split()[0])
