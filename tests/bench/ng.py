"""rtpengine in user space (Debian `rtpengine-daemon`), told what to relay by its ng protocol."""

import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from hub.demo.ports import free_port
from media.rtpengine.ng import answer_in, request

HOST = "127.0.0.1"
FIRST, LAST = 40_000, 49_999
START_S = 10.0


class Rtpengine:
    """One daemon, on one thread."""

    def __init__(self, work: Path, before: list[str]) -> None:
        port = free_port()
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
                self._line.settimeout(START_S)
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
        self._line.send(request(cookie, {"command": command, **said}))
        while True:
            answered, answer = answer_in(self._line.recv(65535))
            if answered == cookie:
                break
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
