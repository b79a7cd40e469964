"""A morning at the practice, played on this machine."""

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hub.demo import morning, phone, stage
from hub.demo.crm import receiver
from hub.demo.report import Finding, fed, findings
from hub.errors import ChartlineError
from hub.instance import Instance

HERE = Path("var/demo")


class DemoFailedError(ChartlineError):
    """Something that had to come of the morning did not."""

    code = "demo-failed"


class NoPhonesError(ChartlineError):
    """There is no real SIP phone on this machine."""

    code = "demo-no-phones"


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(demo)


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop after the morning; exit 0 only if all held.")] = False,
    directory: Annotated[Path, typer.Option("--dir", help="Where the sandbox instance is made anew.")] = HERE,
) -> None:
    """Play a morning at a sandbox practice with real calls and texts, and show what came of it."""
    if not phone.available():
        raise NoPhonesError("the callers are sipp (Debian: sip-tester), run as root so that it can play sound")
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_demo(directory, once=once))


async def _demo(directory: Path, *, once: bool) -> None:
    console = Console(highlight=False)
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    playing = asyncio.current_task()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, playing.cancel if playing else loop.stop)
    console.print("Making a sandbox practice and starting it ...")
    async with stage.raised(directory, morning.SOON) as here:
        console.print(f"Up after {time.monotonic() - began:.1f} s. The morning begins: the callers are sipp.")
        found = await _morning(here)
        _show(console, here, found)
        missed = [one.what for one in found if not one.held]
        if once and missed:
            raise DemoFailedError(f"did not hold: {', '.join(missed)}")
        if not once:
            console.print("Running until Ctrl-C.")
            await asyncio.Event().wait()


async def _morning(here: stage.Stage) -> list[Finding]:
    instance = await asyncio.to_thread(Instance.open, here.paths, "cli")
    crm = await receiver(here)
    try:
        await fed(here, instance)
        with tempfile.TemporaryDirectory(prefix="chartline-phones-") as away:  # callers' numbers stand there in clear
            told = await morning.play(here, phone.Phones(Path(away), str(here.practice.sip.udp)))
        return await findings(here, instance, told, crm)
    finally:
        await crm.close()
        instance.close()


def _show(console: Console, here: stage.Stage, found: list[Finding]) -> None:
    table = Table(title=f"The morning at {here.practice.practice.name}", show_lines=False)
    table.add_column("what")
    table.add_column("figure")
    table.add_column("held")
    for one in found:
        table.add_row(one.what, one.figure, "yes" if one.held else "NO")
    console.print(table)
    agent = next(iter(here.agents.values()))
    console.print(f"Desk     {here.practice.http.base_url}/desk, {agent.email}, one-time password {agent.password}")
    console.print(f"API      {here.practice.http.base_url}/v1/openapi.json")
    console.print(f"Texts    {here.url('carrier')}/inbox")
    console.print(f"EHR      {here.url('ehr')}/fhir/metadata")
    console.print(f"SIP      {here.practice.sip.udp}")
    console.print(f"Login    admin@localhost, one-time password {here.password}")
    console.print(f"Instance {here.paths.root}")
    sys.stdout.flush()
