"""Two patients whose numbers take no texts are called: one confirms by a key, the other's machine takes a message."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.api import AppointmentFacts, AppointmentStatus, Identifier, PatientFacts, Phone, Version
from hub.demo.ports import free_port
from hub.feeds.fact import arrival_of
from hub.instance import Instance
from hub.record import inbox
from hub.record.message import Message
from hub.record.reminder import Reminder
from hub.record.task import Task
from hub.record.voice import ReminderCall
from hub.rules.voice import words_of
from media.gateway import Gateway
from media.latch import Address
from media.prompts import Prompts
from media.sdp import Session as Sdp
from media.sip.message import Request, Response
from tests.journeys.season import ADT, CARRIER, POLICY, Season, practice, working
from tests.journeys.stand import until
from tests.media.farend import FarEnd, far_end
from tests.media.greeting import beep, noise, on_the_line, quiet
from tests.media.office import port_of
from tests.media.sip.peer import Peer, answering, peer
from tests.peers import require

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("season")]

BEGIN = datetime(2035, 3, 5, 15, tzinfo=UTC)
"Ten in the morning at the practice."

STARTS = BEGIN + timedelta(days=1, hours=1)
PERSON, MACHINE = "+12125550171", "+12125550172"
SYSTEM = "urn:cove:visits"
VOICE = (
    POLICY.replace('offsets = ["-3d", "-1d", "-2h"]', 'offsets = ["-1d"]\nvoice = true')
    + """
[sip]
udp = "127.0.0.1:%d"
rtp_ports = "29000-29199"
cores = 1

[[trunk]]
name = "line"
hosts = ["127.0.0.1"]
servers = ["127.0.0.1:%d"]
domain = "carrier.example"
keepalive_seconds = 0

[dialling]
countries = ["US"]
rates = {{ "+1" = 0.01 }}
"""
)


def book(season: Season, number: str) -> None:
    """Let the scheduling system and the EHR tell of a visit."""
    own = number[-3:]
    version = Version(at=season.clock(), tag=own)
    person = PatientFacts(
        ids=(Identifier(system="urn:cove", value=own, type="MR"),),
        version=version,
        family="Riverabank",
        given="Anabellina",
        phones=(Phone(e164=number, use="home"),),
    )
    visit = AppointmentFacts(
        ids=(Identifier(system=SYSTEM, value=own),),
        version=version,
        status=AppointmentStatus.BOOKED,
        starts_at=STARTS,
        minutes=20,
        patient=person,
        type="Checkup",
    )
    instance = season.instance
    with instance.inbox.write() as db:
        how = {"seal": instance.sealer, "index": instance.index, "now": season.clock(), "by": "system:feeds"}
        inbox.store(db, [arrival_of(ADT, visit, instance.index)], **how)  # type: ignore[arg-type]
    season.ehr.put({"resourceType": "Patient", "id": f"p{own}", "identifier": [{"system": "urn:cove", "value": own}]})
    season.ehr.put(
        {
            "resourceType": "Appointment",
            "id": f"a{own}",
            "identifier": [{"system": SYSTEM, "value": own}],
            "status": "booked",
            "participant": [{"actor": {"reference": f"Patient/p{own}"}, "status": "needs-action"}],
        }
    )
    season.carrier.landlines.add(number)


@asynccontextmanager
async def gateway(season: Season) -> AsyncIterator[Gateway]:
    """Run the media process of the instance, on this loop."""
    instance = await asyncio.to_thread(Instance.open, season.instance.paths, "media", season.clock)
    try:
        opened = await Gateway.open(instance, {"TEMPORAL_ADDRESS": season.address}, "media-test")
        try:
            await opened.start()
            yield opened
        finally:
            await opened.close()
    finally:
        instance.close()


class Telephones:
    """The patients' telephones, behind one carrier."""

    def __init__(self, ends: dict[str, FarEnd]) -> None:
        self.ends = ends
        self.invites: dict[str, Request] = {}

    def __call__(self, carrier: Peer, request: Request) -> list[Response]:
        if request.method == "INVITE":
            (number,) = re.findall(r"sip:(\+\d+)@", request.uri)
            assert number not in self.invites, "called twice"
            self.invites[number] = request
            carrier.rtp = self.ends[number].address[1]
        return answering(carrier, request)

    async def place_of(self, number: str) -> Address:
        """Return where the sound of a telephone goes, once it was called."""
        await until(lambda: number in self.invites, seconds=60)
        return "127.0.0.1", port_of(Sdp.parse(self.invites[number].body))


def heard(far: FarEnd) -> bytes:
    """What was heard, from its first sound to its last."""
    return b"".join(packet.payload for packet in far.heard).strip(b"\xff")


async def person(far: FarEnd, place: Address, thanked: Callable[[], bool]) -> None:
    """Say hello, and press 1 after each second in which there is something to be heard, until that confirms."""
    await far.say(place, on_the_line(quiet(0.2), noise(0.4, -18), quiet(0.9)))
    while not thanked():
        more = len(heard(far)) + 8000
        await until(lambda: thanked() or len(heard(far)) > more, seconds=60)  # noqa: B023 - waited for here
        await far.press(place, "1")


async def machine(far: FarEnd, place: Address, _: Callable[[], bool]) -> None:
    await far.say(place, on_the_line(noise(2.5, -18), quiet(0.5), beep(), quiet(0.5)))


def loud_programs(directory: Path) -> Path:
    """Put a program before flite that notes what flite is to say; return its notes."""
    require("flite")
    notes, script = directory / "said.txt", directory / "flite"
    script.write_text(
        "#!/bin/sh\n"
        # In one write: words that are rendered beside these do not get between them.
        f'for each; do [ "$before" = -f ] && printf "%s\\n" "$(cat "$each")" >> "{notes}"; before=$each; done\n'
        f'exec {shutil.which("flite")} "$@"\n'
    )
    script.chmod(0o755)
    return notes


async def test_a_person_confirms_by_a_key_and_a_machine_hears_of_no_visit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    notes = loud_programs(programs)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    async with far_end() as one, far_end(ssrc=7) as other:
        telephones = Telephones({PERSON: one, MACHINE: other})
        async with peer(telephones) as carrier:
            policy = VOICE % (free_port(), carrier.address[1])
            async with practice(tmp_path / "i", BEGIN, policy) as season, gateway(season), working(season):
                await reminded(season, telephones)
                accepted = {str(one["id"]): one["participant"][0]["status"] for _, one in season.ehr.all("Appointment")}
                assert accepted == {"a171": "accepted", "a172": "needs-action"}
                calls = {row.outcome: row.answered_by for row in season.rows(ReminderCall)}
                assert calls == {"confirmed": "human", "left": "machine"}
                assert [row.state for row in season.rows(Reminder)] == ["sent", "sent"]
                assert [row.code for row in season.rows(Message)] == ["landline", "landline"]
                assert season.rows(Task) == []
                words = words_of(season.instance.policy()[1], STARTS, "en")
                left = Prompts.load(season.instance.paths.root).spoken(
                    words.message, "en", season.instance.policy()[1], keep=True
                )
    assert heard(other) == left.ulaw.strip(b"\xff")  # that, and nothing else
    for said in (words.message, words.opening):
        assert not re.search(r"(?i)Riverabank|Anabellina|March|Tuesday|11:00|Checkup|visit|appointment", said)
    noted = [" ".join(line.split()) for line in notes.read_text().splitlines() if line]
    assert noted.count("Your visit is Tuesday, March 6, at 11:00 AM.") == 2
    assert not [line for line in noted if re.search(r"Riverabank|Anabellina|Checkup", line)]
    kept = list((tmp_path / "i" / "prompts" / "rendered").iterdir())
    assert len(kept) == 7  # of the practice's own words; the visit's are kept nowhere


async def reminded(season: Season, telephones: Telephones) -> None:
    """Let the step fall due: a text goes out, the carrier says that it cannot arrive, and the number is called."""
    for number in telephones.ends:
        book(season, number)
    await season.read(ADT)
    season.carrier.callback = f"http://127.0.0.1:{season.callbacks}"
    await season.until(BEGIN + timedelta(hours=1, seconds=1))
    await until(lambda: len(season.carrier.texts) == 2, seconds=60)
    await season.carrier.settle()
    await season.read(CARRIER)

    def thanked() -> bool:
        return any(row.outcome == "confirmed" for row in season.rows(ReminderCall))

    async def picks_up(number: str, far: FarEnd) -> None:
        await (person if number == PERSON else machine)(far, await telephones.place_of(number), thanked)

    await asyncio.gather(*(picks_up(number, far) for number, far in telephones.ends.items()))
    await until(lambda: all(row.state == "sent" for row in season.rows(Reminder)), seconds=90)

    def written() -> bool:
        visit = season.ehr.get("Appointment", "a171")
        return visit is not None and visit["participant"][0]["status"] == "accepted"

    await until(written, seconds=60)
