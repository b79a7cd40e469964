"""The public feeds, sent over MLLP to a running instance: nothing lost, nothing twice, every status right."""

import json
import random
from pathlib import Path

import pytest
from sqlmodel import select

from hub.demo.ports import free_port
from hub.instance import Instance
from hub.record import inbox
from hub.record.appointment import Appointment, AppointmentIdentifier
from hub.record.inbox import State
from tests.corpus import corpus_path
from tests.journeys.mllp import frames, send_all
from tests.journeys.stand import Stand, running, until

TOML = """
[practice]
name = "Quiet Cove Clinic"
timezone = "America/New_York"
[http]
bind = "127.0.0.1:{http}"
[sip]
udp = "127.0.0.1:{sip}"
rtp_ports = "19000-19199"
[[number]]
did = "+12125550100"
queue = "desk"
[[queue]]
name = "desk"
[[staff]]
email = "ana@cove.example"
roles = ["front-desk"]
queues = ["desk"]
[[connection]]
name = "adt"
connector = "hl7v2"
settings = {{ listen = "127.0.0.1:{mllp}", acknowledgment = "original", timezone = "America/New_York" }}
"""


def policy() -> tuple[str, int]:
    mllp = free_port()
    return TOML.format(http=free_port(), sip=free_port(), mllp=mllp), mllp


def counts(instance: Instance) -> dict[str, int]:
    with instance.inbox.read() as db:
        return inbox.counts(db, "adt")


async def drained(stand: Stand) -> dict[str, int]:
    """Wait until all was read; what came before its booking is put aside, let out again, and read once more."""
    with stand.open() as instance:

        def over() -> bool:
            with instance.inbox.read() as db:
                return inbox.counts(db, "adt")[State.STORED] == 0 and inbox.UNMATCHED not in inbox.reasons(db, "adt")

        await until(over, seconds=90)
        return counts(instance)


def statuses(stand: Stand) -> dict[str, str]:
    """Return each appointment's status by the value of its placer id."""
    with stand.open() as instance, instance.db.read() as db:
        rows = {row.id: row.status.value for row in db.exec(select(Appointment))}
        keys = {row.key: rows[row.appointment_id] for row in db.exec(select(AppointmentIdentifier))}
    truth = json.loads((corpus_path() / "hl7v2_feed" / "siu_feed_truth.json").read_text())
    found = {}
    for one in truth:
        name = one["appointment"]["appointmentId"]
        found[name] = next(
            (keys[key] for kind in ("PLAC", "FILL", "") if (key := _key(instance, name, kind)) in keys), "missing"
        )
    return found | {"rows": str(len(rows))}


def _key(instance: Instance, name: str, kind: str) -> bytes:
    return instance.index.identifier("", kind, name)


@pytest.mark.corpus
@pytest.mark.xdist_group("instance")
async def test_feed_five_times_and_shuffled_is_two_hundred_appointments(tmp_path: Path) -> None:
    feed = frames((corpus_path() / "hl7v2_feed" / "siu_feed.mllp").read_bytes())
    truth = json.loads((corpus_path() / "hl7v2_feed" / "siu_feed_truth.json").read_text())
    sent = feed * 5
    random.Random(5).shuffle(sent)
    toml, port = policy()
    async with running(tmp_path / "i", toml) as stand:
        answers = await send_all(port, sent)
        assert set(answers) == {"AA"}
        said = await drained(stand)
        found = statuses(stand)
    assert found.pop("rows") == "200"
    assert said[State.QUARANTINED] == 0
    assert said[State.APPLIED] == len(set(feed))
    assert found == {one["appointment"]["appointmentId"]: one["expected_status"] for one in truth}


@pytest.mark.corpus
@pytest.mark.xdist_group("instance")
async def test_every_public_message_is_taken_or_quarantined_and_none_is_lost(tmp_path: Path) -> None:
    sent = [path.read_bytes() for path in sorted((corpus_path() / "hl7v2").rglob("*")) if path.is_file()]
    assert len(sent) == 1178
    toml, port = policy()
    async with running(tmp_path / "i", toml) as stand:
        answers = await send_all(port, sent, connections=8)
        said = await drained(stand)
        restarts = [line for line in (stand.paths.log / "feeds.log").read_text().splitlines() if "not caught" in line]
        with stand.open() as instance, instance.inbox.write() as db:
            released = inbox.release(db, "adt")
        again = await drained(stand)
    taken = {raw for raw, answer in zip(sent, answers, strict=True) if answer == "AA"}
    assert answers.count("AA") + answers.count("AR") == len(sent)
    assert said[State.APPLIED] + said[State.QUARANTINED] == len(taken)
    assert released == said[State.QUARANTINED]
    assert again[State.APPLIED] + again[State.QUARANTINED] == len(taken)
    assert restarts == []
