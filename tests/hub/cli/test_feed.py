"""Messages run again: from quarantine, from files, or only tried."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from sqlmodel import col, select

from hub.record import inbox, policy
from hub.record.inbox import Arrival, InboxMessage, State
from tests.hub.cli.conftest import Shell
from tests.hub.policytext import ADT, sms

CRM = """
[[connection]]
name = "crm"
connector = "hubspot"
settings = { token = "file:keys/sms", portal = 7 }
"""
CONNECTIONS = ADT + sms("keys/sms", "keys/sms") + CRM

A08 = (
    "MSH|^~\\&|EHR|HARBOR|HUB|HARBOR|20260302100000||ADT^A08|{}|P|2.5.1\r"
    "EVN|A08|20260302100000\rPID|1||4711^^^HARBOR^MR||RIVERA^ANA||19800203|F\r"
)
NOT_UNDERSTOOD = "MSH|^~\\&|EHR|HARBOR|HUB|HARBOR|20260302100000||ADT^A08|{}|P|2.5.1\rEVN|A08\r"


@pytest.fixture
def fed(shell: Shell) -> Shell:
    """The instance with connections."""
    (shell.paths.keys / "sms").write_text("secret")
    with shell.opened() as instance, instance.db.write() as db:
        (made,) = policy.history(db, before=2)
        version, text = policy.current(db)
        if text != made.text + CONNECTIONS:
            policy.publish(db, made.text + CONNECTIONS, version, by="system:test", now=instance.clock())
    return shell


def rows(shell: Shell, connection: str) -> list[InboxMessage]:
    with shell.opened() as instance, instance.inbox.read() as db:
        of = select(InboxMessage).where(InboxMessage.connection == connection)
        return list(db.exec(of.order_by(col(InboxMessage.seq))))


def quarantine(shell: Shell, raw: bytes, code: str) -> None:
    """Store a message that nobody understood."""
    with shell.opened() as instance, instance.inbox.write() as db:
        how = {"seal": instance.sealer, "index": instance.index, "now": datetime.now(UTC), "by": "system:test"}
        inbox.store(db, [Arrival("adt", uuid4().hex, raw)], **how)  # type: ignore[arg-type]
        inbox.mark(db, [row.id for row in inbox.pending(db, "adt")], State.QUARANTINED, code)


def message(text: str = A08) -> bytes:
    return text.format(uuid4().hex[:12]).encode()


@pytest.mark.parametrize("framed", [True, False])
def test_messages_of_a_file_are_stored_once(fed: Shell, tmp_path: Path, framed: bool) -> None:
    messages = [message() for _ in range(3)]
    file = tmp_path / "messages"
    file.write_bytes(b"".join(b"\x0b" + each + b"\x1c\r" if framed else each for each in messages))
    before = len(rows(fed, "adt"))
    ran = fed("feed", "replay", str(file), "--connection", "adt", "--json")
    again = fed("feed", "replay", str(file), "--connection", "adt")
    assert ran.said == {"messages": 3, "new": 3, "woken": False}
    assert again.out == "messages 3, new 0, woken no\n"
    stored = rows(fed, "adt")[before:]
    assert [row.control_id for row in stored] == [each.split(b"|")[9].decode() for each in messages]
    noted = [record for record in fed.acts() if record["act"] == "inbox.store"]
    assert noted[-1]["actor"].startswith("os:")


def test_a_dry_run_says_what_would_be_understood_and_stores_nothing(fed: Shell, tmp_path: Path) -> None:
    file = tmp_path / "messages"
    file.write_bytes(message() + message(NOT_UNDERSTOOD) + message())
    before = len(rows(fed, "adt"))
    said = fed("feed", "replay", str(file), "--connection", "adt", "--dry", "--json").said
    assert (said["messages"], said["understood"], sum(said["refused"].values())) == (3, 2, 1)
    assert len(rows(fed, "adt")) == before


def test_quarantine_is_tried_then_released(fed: Shell) -> None:
    quarantine(fed, message(), "unmatched")
    quarantine(fed, message(NOT_UNDERSTOOD), "not-understood")
    tried = fed("feed", "replay", "--connection", "adt", "--dry", "--json").said
    assert tried["messages"] >= 2
    assert tried["messages"] == tried["understood"] + sum(tried["refused"].values())
    assert tried["understood"] >= 1
    kept = fed("status", "--json").said["feeds"]["adt"]
    assert kept["quarantined"] == tried["messages"] == sum(kept["quarantine"].values())
    line = fed("status").out.split("feed       adt: ")[1].splitlines()[0]
    assert "1 not-understood" in line
    released = fed("feed", "replay", "--connection", "adt", "--json").said
    assert released == {"released": tried["messages"], "woken": False}
    assert fed("status", "--json").said["feeds"]["adt"]["quarantined"] == 0


def test_any_other_connections_file_is_one_message(fed: Shell, tmp_path: Path) -> None:
    file = tmp_path / "callback.json"
    said = {"id": "c1", "type": "reply", "message": uuid4().hex, "from": "+12125550111", "to": "+12125550100"}
    file.write_bytes(orjson.dumps(said | {"at": "2026-03-02T15:00:00+00:00", "text": "C"}))
    tried = fed("feed", "replay", str(file), "--connection", "sms", "--dry")
    assert tried.out == "messages 1, understood 1, refused none\n"
    assert fed("feed", "replay", str(file), "--connection", "sms", "--json").said["new"] == 1


def test_what_cannot_be_replayed_says_why(fed: Shell, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_bytes(b"nothing\n")
    for words, reason in (
        (("--connection", "fax"), "no connection is called fax; there are "),
        (("--connection", "crm"), "crm reads no messages"),
        ((str(empty), "--connection", "adt"), f"{empty} holds no HL7 v2 message"),
    ):
        ran = fed("feed", "replay", *words)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith(reason)
    assert fed("feed", "replay", str(tmp_path / "nothing"), "--connection", "adt").code == 2
    assert fed("feed", "replay").code == 2


def test_a_quarantined_message_is_explained_without_a_word_of_it(fed: Shell) -> None:
    quarantine(fed, message(NOT_UNDERSTOOD), "segment-missing")
    quarantine(fed, message().replace(b"4711^^^HARBOR^MR", b""), "patient-id-missing")
    said = fed("feed", "explain", "--connection", "adt", "--most", "1000", "--json").said["messages"][-2:]
    assert [one["code"] for one in said] == ["segment-missing", "patient-id-missing"]
    assert said[0]["faults"][0] == "reader: segment-missing (PID)"
    assert said[1]["faults"][0] == "reader: patient-id-missing (PID-3)"
    assert any(fault.startswith("standard: PID: PID-3") for fault in said[1]["faults"])
    plain = fed("feed", "explain", "--connection", "adt", "--most", "1000").out
    assert f"{said[1]['row']}  patient-id-missing  " in plain
    assert "RIVERA" not in plain + str(said)
    fed("feed", "replay", "--connection", "adt")
    assert fed("feed", "explain", "--connection", "adt").out == "nothing is in quarantine\n"
