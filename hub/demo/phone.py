"""Real phones for the demo and the tests: sipp as a patient's carrier and as an agent's desk phone.

sipp is a program of its own (Debian `sip-tester`), started per call; nothing of the product's SIP code takes part.
Playing a capture needs raw sockets, so the voices need root or CAP_NET_RAW.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template

from hub.demo import pcap
from hub.demo.ports import HOST, free_media_port, free_port, listens

CALLER_HZ = 440.0
AGENT_HZ = 1000.0

START_S = 20.0


@dataclass(frozen=True, slots=True)
class Caller:
    """One call that somebody makes."""

    number: str
    "E.164."

    did: str
    stay_s: float
    "Until the caller hangs up; with `waits`, how long the caller waits to be hung up."

    digits: Mapping[float, str] = field(default_factory=dict)
    "Seconds after the answer -> key."

    waits: bool = False
    "The line hangs up, not the caller."


@dataclass(frozen=True, slots=True)
class Ended:
    """How a sipp run ended."""

    ok: bool
    detail: str
    "sipp's own last words about what it did not expect; numbers of the demo's invented people may be in it."


def available() -> bool:
    """Return whether real phones can be had here."""
    return shutil.which("sipp") is not None and os.geteuid() == 0


class Phones:
    """Starts sipp with the scenarios of this package.

    `work` holds callers' numbers in clear: it must lie outside of any instance.
    """

    def __init__(self, work: Path, target: str) -> None:
        self._work = work
        work.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._count = itertools.count()

    async def call(self, caller: Caller) -> Ended:
        """Make one call and return how it went."""
        voice = self._work / f"caller-{next(self._count)}.pcap"
        seconds = caller.stay_s + 1
        pcap.write(voice, frequency=CALLER_HZ, seconds=seconds, digits=caller.digits)
        ending = _text("caller-is-hung-up" if caller.waits else "caller-hangs-up")
        words: dict[str, object] = {"number": caller.number, "voice": voice, "stay_ms": round(caller.stay_s * 1000)}
        words["again"] = _again("carrier", "media_port")
        scenario = self._scenario("caller", {**words, "ending": Template(ending).substitute(words)})
        return await self._run(scenario, "-s", caller.did, self._target, "-m", "1", "-p", str(free_port()))

    async def register(self, extension: str, secret: str, port: int, *, seconds: int = 3600) -> Ended:
        """Sign an agent's phone in, calls then come to `port`; or off, with 0 seconds."""
        words = {"extension": extension, "secret": secret, "seconds": seconds}
        scenario = self._scenario("agent-registers", words)
        return await self._run(scenario, self._target, "-m", "1", "-p", str(port))

    async def agent(
        self, kind: str, extension: str, port: int, *, calls: int, ring_s: float = 0.3, talk_s: float = 3.0
    ) -> Ended:
        """Be an agent's phone for a number of calls; `kind` is answers, refuses or lets-it-ring."""
        voice = self._work / f"agent-{extension}.pcap"
        pcap.write(voice, frequency=AGENT_HZ, seconds=talk_s + 1)
        words = {
            "extension": extension,
            "voice": voice,
            "ring_ms": round(ring_s * 1000),
            "talk_ms": round(talk_s * 1000),
            "again": _again(extension, "auto_media_port"),
        }
        scenario = self._scenario(f"agent-{kind}", words)
        return await self._run(scenario, self._target, "-m", str(calls), "-p", str(port))

    async def listens(self, port: int) -> None:
        """Return once a phone that was just started has its port.

        Raises:
            TimeoutError: it never does.
        """
        async with asyncio.timeout(START_S):
            while not listens(port):  # noqa: ASYNC110 - sipp tells nobody
                await asyncio.sleep(0.01)

    def _scenario(self, name: str, words: Mapping[str, object]) -> Path:
        path = self._work / f"{name}-{next(self._count)}.xml"
        path.write_text(Template(_text(name)).substitute(words))
        return path

    async def _run(self, scenario: Path, *arguments: str) -> Ended:
        media = str(free_media_port())
        command = ("sipp", "-sf", str(scenario), "-i", HOST, "-mi", HOST, "-mp", media, "-nostdin", *arguments)
        errors = scenario.with_suffix(".errors")
        process = await asyncio.create_subprocess_exec(
            *command,
            "-trace_err",
            "-error_file",
            str(errors),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self._work,
        )
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):  # it may have ended in this very moment
                process.kill()
            await process.wait()
            raise
        return Ended(status == 0, errors.read_text()[-400:] if status and errors.exists() else "")


def _again(user: str, port: str) -> str:
    """Return how a phone takes the new offer that comes when its sound's other end has moved."""
    return Template(_text("takes-a-new-offer")).substitute(user=user, port=port)


def _text(name: str) -> str:
    return resources.files("hub.demo").joinpath("scenarios", f"{name}.xml").read_text()
