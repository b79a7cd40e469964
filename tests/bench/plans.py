"""How long callers wait for the plan: fifty real patients call within one second, again and again.

Everything is in: number matched by blind index, chart fields opened through the vault (audited), routes decided in the
call's workflow on the embedded Temporal server, the row written. The carrier is sipp.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
from sqlmodel import Session, col, select

from hub.demo import morning, report, stage
from hub.demo.ports import HOST, free_port
from hub.instance import Instance
from hub.record.call import Call
from tests.bench.figure import Figure

BURST = 50
"Arrivals within one second."

BURSTS = 5
PAUSE_S = 5.0
"Between bursts: what the calls leave to do is done."

WARM = 20
"First calls that are not counted: imports and connections."

LIMIT_MS = 150.0

STEADY = 25
"Calls a second, for `STEADY_S` seconds."

STEADY_S = 12
STEADY_LIMIT_MS = 250.0

SCENARIO = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="arrivals">
  <send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
From: <sip:[field0]@[local_ip]>;tag=[pid]p[call_number]
To: <sip:[service]@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:carrier@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=carrier 1 1 IN IP4 [media_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio 9 RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="200"/>
  <send><![CDATA[
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
From: <sip:[field0]@[local_ip]>;tag=[pid]p[call_number]
To: <sip:[service]@[remote_ip]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <pause milliseconds="500"/>
  <send retrans="500"><![CDATA[
BYE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
From: <sip:[field0]@[local_ip]>;tag=[pid]p[call_number]
To: <sip:[service]@[remote_ip]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
"""


def invite_to_plan() -> list[Figure]:
    """Return how long plans took when callers came in bursts, and how many came from the flow."""
    waited, by_flow = asyncio.run(_measured([(BURST, BURST)] * BURSTS))
    p50, p99 = waited[len(waited) // 2], waited[int(len(waited) * 0.99)]
    return [
        Figure("calls.invite_to_plan_p50", p50, "ms"),
        Figure.at_most("calls.invite_to_plan_p99", p99, "ms", LIMIT_MS),
        Figure("calls.planned_by_flow", by_flow, "share of calls", goal="1", holds=by_flow == 1),
    ]


def sustained() -> list[Figure]:
    """Return how long plans took while calls came steadily, none of which failed, and how many came from the flow."""
    waited, by_flow = asyncio.run(_measured([(STEADY * STEADY_S, STEADY)]))
    p99 = waited[int(len(waited) * 0.99)]
    planned = len(waited)
    return [
        Figure(
            "media.product.planned",
            planned,
            f"calls at {STEADY}/s",
            goal=f"all of {STEADY * STEADY_S}",
            holds=planned == STEADY * STEADY_S,
        ),
        Figure.at_most("media.product.plan_p99", p99, "ms", STEADY_LIMIT_MS),
        Figure("media.product.planned_by_flow", by_flow, "share of calls", goal="1", holds=by_flow == 1),
    ]


async def _measured(arrivals: Sequence[tuple[int, int]]) -> tuple[list[float], float]:
    """Let calls come, so many at such a rate in each turn; return what each waited, sorted, and the share by flow.

    Raises:
        RuntimeError: a call failed.
    """
    with tempfile.TemporaryDirectory() as work:
        async with stage.raised(Path(work) / "instance", ()) as here:
            instance = await asyncio.to_thread(Instance.open, here.paths, "cli")
            with contextlib.closing(instance):
                await report.fed(here, instance)
                receiver = await asyncio.start_server(_take_all, HOST, httpx.URL(here.practice.webhooks[0].url).port)
                numbers = [person.phone or "" for person in here.people.alone_at_their_number()]
                target = str(here.practice.sip.udp)
                await _arrive(Path(work), target, numbers, calls=WARM, rate=10)
                for calls, rate in arrivals:
                    await asyncio.sleep(PAUSE_S)
                    await _arrive(Path(work), target, numbers, calls=calls, rate=rate)
                rows = (await instance.db.run(_ended))[WARM:]
                receiver.close()
    by_flow = sum(source == "workflow" for _, source in rows) / len(rows)
    return sorted(ms for ms, _ in rows), by_flow


async def _take_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be a practice's own system that takes every webhook; it would not stand on this machine, so it costs little."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    writer.close()


async def _arrive(work: Path, target: str, numbers: Sequence[str], *, calls: int, rate: int) -> None:
    scenario, callers = work / "arrivals.xml", work / "callers.csv"
    scenario.write_text(SCENARIO)
    callers.write_text("SEQUENTIAL\n" + "".join(f"{number};\n" for number in numbers))
    command = ("sipp", target, "-sf", str(scenario), "-inf", str(callers), "-s", morning.MAIN)
    where = ("-i", HOST, "-p", str(free_port()), "-nostdin", "-m", str(calls), "-r", str(rate))
    quiet = asyncio.subprocess.DEVNULL
    sipp = await asyncio.create_subprocess_exec(*command, *where, stdin=quiet, stdout=quiet, stderr=quiet, cwd=work)
    if await sipp.wait() != 0:
        raise RuntimeError("sipp saw calls fail")


def _ended(db: Session) -> list[tuple[float, str]]:
    """Return what each call waited for its plan, in milliseconds, and where the plan came from, oldest first."""
    rows = db.exec(select(Call).where(col(Call.planned_at).is_not(None)).order_by(col(Call.started_at)))
    return [
        ((row.planned_at - row.started_at).total_seconds() * 1000, str((row.plan or {}).get("source")))
        for row in rows
        if row.planned_at is not None
    ]
