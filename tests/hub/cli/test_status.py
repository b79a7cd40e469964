"""What waits for a person, and the audit log checked by itself."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from hub.cli.run import MODULES, Part, alive
from hub.db import uuid7
from hub.record import event, task, writeback
from hub.record.event import DeliveryState
from hub.settings.practice import Practice
from hub.vault import file, keys
from hub.vault.home import Home
from tests.hub.cli.conftest import Shell
from tests.hub.vault.house import until


def test_status_counts_what_waits(shell: Shell) -> None:
    before = shell("status", "--json").said
    kind = f"callback-{uuid4().hex[:6]}"
    hook = {"url": "http://127.0.0.1:9/events", "events": ["call.*"], "secret": "env:NOTHING"}
    policy = {"practice": {"name": "Harbor", "timezone": "America/New_York"}, "webhook": [hook]}
    with shell.opened() as instance, instance.db.write() as db:
        now = instance.clock()
        task.done(db, task.ask(db, kind, key=uuid4().hex, now=now).id, by="system:test", now=now)
        task.ask(db, kind, key=uuid4().hex, now=now)
        writeback.enqueue(db, "log", key=uuid4().hex, connection="ehr", object_id=uuid7(), now=now)
        failed = writeback.enqueue(db, "log", key=uuid4().hex, connection="ehr", object_id=uuid7(), now=now)
        writeback.failed(db, failed.id, now, code="rejected")
        _, (delivery,) = event.emit(db, Practice.model_validate(policy), "call.ended", {}, now=now)
        event.settle(db, delivery.id, DeliveryState.FAILED, now, code="502")
    after = shell("status", "--json").said
    assert after["tasks"][kind] == 1
    assert after["writebacks"] == {name: count + 1 for name, count in before["writebacks"].items()}
    assert after["deliveries"]["failed"] == before["deliveries"]["failed"] + 1
    assert (after["vault"]["audit"], after["calls"]) == ("ok", 0)
    text = shell("status").out
    assert f"1 {kind}" in text
    assert "deliveries 0 pending, 1 failed" in text


def change(shell: Shell) -> None:
    with shell.paths.practice_toml.open("a") as file:
        file.write(f"# {uuid4()}\n")


def test_status_says_when_the_file_is_not_what_is_in_force(shell: Shell) -> None:
    change(shell)
    ran = shell("apply")
    assert ran.code == 0, ran.err
    assert shell("status", "--json").said["policy"]["applied"]
    change(shell)
    said = shell("status", "--json").said["policy"]
    assert not said["applied"]
    assert said["by"].startswith("os:")
    assert "chartline apply publishes it" in shell("status").out
    shell("apply")


def test_without_the_vault_status_tells_what_it_can(shell: Shell) -> None:
    shell.vault.kill()
    try:
        ran, said = shell("status"), shell("status", "--json").said
    finally:
        shell.vault.start()
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == "the vault is down: nothing else can be told"
    assert said.keys() == {"processes", "vault", "trunks"}
    assert said["vault"] is None


def test_a_good_log_verifies_and_gives_a_witness(shell: Shell) -> None:
    ran = shell("audit", "verify")
    assert ran.code == 0
    seen = ran.out.strip().split("seen ")[1]
    shell("token", "list")
    later = shell("audit", "verify", "--seen", seen, "--json")
    assert later.said["records"] > int(seen.split(":")[0])
    assert (later.said["first_bad"], later.said["reason"]) == (None, "")
    size = seen.split(":")[0]
    other = base64.b64encode(bytes(32)).decode()
    lied = shell("audit", "verify", "--seen", f"{size}:{other}")
    assert (lied.code, lied.out) == (1, "")
    assert shell("audit", "verify", "--seen", "much").code == 2


def test_a_changed_record_is_named(shell: Shell, tmp_path: Path) -> None:
    copy = tmp_path / "practice"
    shell.vault.kill()  # what it writes into its files while they are copied would tear the copy
    try:
        shutil.copytree(shell.paths.root, copy, ignore=shutil.ignore_patterns("run", "log"))
    finally:
        shell.vault.start()
    home = Home(copy)
    database = file.connect(home.audit / "audit.db", keys.load(home).derive("audit"))
    for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        database.execute(f"DROP TRIGGER {trigger}")
    seq, body = database.execute("SELECT seq, body FROM b ORDER BY seq LIMIT 1 OFFSET 3").fetchone()
    changed = bytes(body).replace(b"system", b"sistem", 1)
    assert changed != bytes(body)
    database.execute("UPDATE b SET body = ? WHERE seq = ?", (changed, seq))
    database.close()
    ran = shell.bare("audit", "verify", "--dir", str(copy))
    told = shell.bare("audit", "verify", "--dir", str(copy), "--json")
    assert ran.code == told.code == 1
    assert ran.err == told.err
    assert ran.err.startswith(f"record {told.said['first_bad']} is bad: ")
    assert told.said["records"] == told.said["first_bad"] - 1


def test_a_log_that_cannot_be_read_is_no_good_log(shell: Shell, tmp_path: Path) -> None:
    copy = tmp_path / "practice"
    (copy / "audit").mkdir(parents=True)
    shutil.copytree(shell.paths.keys, copy / "keys")
    (copy / "audit" / "audit.db").write_bytes(b"nothing of a database" * 500)
    ran = shell.bare("audit", "verify", "--dir", str(copy))
    assert (ran.code, ran.err) == (1, "the audit log cannot be read: DatabaseError\n")


def test_status_says_how_the_trunks_are_while_somebody_watches_them(shell: Shell) -> None:
    said = [
        {"name": "carrier", "up": True, "code": "registered", "servers": {"192.0.2.1:5060": True}},
        {"name": "spare", "up": False, "code": "no-answer", "servers": {"192.0.2.2:5060": False}},
    ]
    shell.paths.trunks.write_text(json.dumps(said))
    pid = shell.paths.run / "media.pid"
    assert shell("status", "--json").said["trunks"] == []
    waiting = [sys.executable, "-c", "input()", MODULES[Part.MEDIA], str(shell.paths.root)]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE) as media:
        pid.write_text(str(media.pid))
        until(lambda: alive(Part.MEDIA, shell.paths) == media.pid)  # its words are there a moment after it is
        assert shell("status", "--json").said["trunks"] == said
        text = shell("status").out
        media.communicate(b"\n")
    pid.unlink()
    shell.paths.trunks.unlink()
    assert "trunk      carrier: up, registered\n" in text
    assert "trunk      spare: down, no-answer; silent: 192.0.2.2:5060\n" in text
