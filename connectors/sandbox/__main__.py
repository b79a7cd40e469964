"""Run a sandbox server: `ehr` (FHIR, and an HL7 v2 feed) or `carrier` (SMS)."""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import uvicorn
from starlette.applications import Starlette

from connectors.host import secrets
from connectors.sandbox import carrier, ehr
from connectors.sandbox.day import day
from connectors.sandbox.export import Exports
from connectors.sandbox.feed import Feed, Sender
from connectors.sandbox.manners import Manners
from connectors.sandbox.people import make, morning
from connectors.sandbox.resource import resources
from connectors.sandbox.smart import Client, Tokens
from connectors.sandbox.store import Store
from connectors.sandbox.topic import Topics


def clock() -> datetime:
    """Return the present instant, UTC."""
    return datetime.now(UTC)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    root = argparse.ArgumentParser(prog="python -m connectors.sandbox", description=__doc__)
    verbs = root.add_subparsers(dest="verb", required=True)
    chart = verbs.add_parser("ehr", help="a FHIR R4 server over invented people, and its SIU feed")
    chart.add_argument("--bind", default="127.0.0.1:8090", help="address and port; port 0 takes a free one")
    chart.add_argument("--token", help="env:NAME or file:PATH of the bearer token; without it everyone may ask")
    chart.add_argument("--seed", type=int, default=7)
    chart.add_argument("--now", type=datetime.fromisoformat, help="around when the visits are; the present by default")
    chart.add_argument("--zone", type=ZoneInfo, help="where the practice is; by default where it is mid-morning")
    chart.add_argument("--soon", type=float, nargs="*", default=[], help="seconds from now at which a visit begins")
    chart.add_argument("--feed", help="address and port of an MLLP listener that is told of everything")
    chart.add_argument("--rate", type=float, help="messages a second at most")
    chart.add_argument("--client", metavar="ID=FILE", action="append", default=[], help="who may ask by SMART, and PEM")
    chart.add_argument("--ignore", metavar="NAME", action="append", default=[], help="a search parameter it leaves out")
    chart.add_argument("--needs", metavar="NAME", action="append", default=[], help="one that Appointment must have")
    chart.add_argument("--no-patch", action="store_true", help="take no JSON Patch")
    chart.add_argument("--answers-only", action="store_true", help="change a visit by AppointmentResponse only")
    chart.add_argument("--changes-every", type=float, metavar="SECONDS", help="let something happen, again and again")
    texts = verbs.add_parser("carrier", help="an SMS carrier with an inbox page")
    texts.add_argument("--bind", default="127.0.0.1:8091")
    texts.add_argument("--callback", help="where replies and receipts go, as http://127.0.0.1:8080/carriers/sms")
    texts.add_argument("--token", required=True, help="env:NAME or file:PATH of the bearer token of clients")
    texts.add_argument("--secret", required=True, help="env:NAME or file:PATH of the secret that signs callbacks")
    return root


def ehr_app(args: argparse.Namespace) -> Starlette:
    """Return the EHR as the command line wants it."""
    now = args.now or clock()
    zone = args.zone or morning(now)
    people = make(args.seed, now, zone, soon=[timedelta(seconds=seconds) for seconds in args.soon])
    store = Store(clock, resources(people))
    feed = Feed(store, zone, clock) if args.feed else None
    manners = Manners(
        ignored=frozenset(args.ignore),
        needs=tuple(args.needs),
        patches=not args.no_patch,
        answers_only=args.answers_only,
    )
    clients = dict(_client(one) for one in args.client)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        http = httpx.AsyncClient(trust_env=False)
        tasks = [asyncio.create_task(Topics(store, clock, http).run())]
        if feed is not None:
            host, _, port = args.feed.rpartition(":")
            tasks.append(asyncio.create_task(feed.run(Sender(host, int(port)), rate=args.rate)))
        if args.changes_every:
            tasks.append(asyncio.create_task(_happen(store, args.seed, args.changes_every)))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await http.aclose()

    tokens = Tokens(clock, clients) if clients else None
    exports = Exports(store, clock)
    return ehr.app(store, token=_secret(args.token), tokens=tokens, exports=exports, manners=manners, lifespan=lifespan)


def _client(written: str) -> tuple[str, Client]:
    """Read ID=FILE."""
    own, _, file = written.partition("=")
    return own, Client(own, {"": Path(file).read_text(encoding="ascii")})


async def _happen(store: Store, seed: int, every: float) -> None:
    for _ in day(store, clock, seed):
        await asyncio.sleep(every)


def carrier_app(args: argparse.Namespace) -> Starlette:
    """Return the carrier as the command line wants it."""
    token, secret = _secret(args.token), _secret(args.secret)
    callback = args.callback.rstrip("/") if args.callback else None
    return carrier.app(carrier.Carrier(token or "", secret or "", clock, callback))


def _secret(reference: str | None) -> str | None:
    return secrets(Path.cwd(), os.environ)(reference) if reference else None


def serve(app: Starlette, bind: str) -> None:
    """Serve until interrupted; say the address on standard output when it is open.

    No access log: addresses carry queries, and queries carry phone numbers.
    """
    host, _, port = bind.rpartition(":")
    listener = socket.create_server((host, int(port)), reuse_port=False)
    sys.stdout.write(f"http://{host}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


def main(argv: Sequence[str] | None = None) -> None:
    """Run one server."""
    args = parser().parse_args(argv)
    serve(ehr_app(args) if args.verb == "ehr" else carrier_app(args), args.bind)


if __name__ == "__main__":
    main()
