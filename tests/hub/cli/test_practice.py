"""Publishing a policy: checked to the last key, shown before, whole or not at all."""

from pathlib import Path
from uuid import uuid4

import pytest

from hub.cli.setup import TEMPLATE
from hub.record import policy, staff
from tests.hub.cli.conftest import Shell

BASE = TEMPLATE.read_text()
SMS = """
[[connection]]
name = "sms"
connector = "sandbox-sms"
settings = { base_url = "http://127.0.0.1:9", token = "env:CHARTLINE_TEST_TOKEN", secret = "file:keys/nothing" }
"""


@pytest.fixture
def file(shell: Shell, tmp_path: Path) -> Path:
    """A practice.toml outside of the instance, never published before; in force is one that says the same."""
    with shell.opened() as instance, instance.db.write() as db:
        policy.publish(db, f"{BASE}# {uuid4()}\n", policy.current(db)[0], by="system:test", now=instance.clock())
    file = tmp_path / "next.toml"
    file.write_text(f"{BASE}# {uuid4()}\n")
    return file


def in_force(shell: Shell) -> tuple[int, str]:
    with shell.opened() as instance, instance.db.read() as db:
        return policy.current(db)


def test_the_instances_own_file_is_published_by_default(shell: Shell) -> None:
    text = f"{BASE}# {uuid4()}\n"
    shell.paths.practice_toml.write_text(text)
    before, _ = in_force(shell)
    ran = shell("apply")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == f"published version {before + 1}"
    assert in_force(shell) == (before + 1, text)
    assert shell("apply").out.splitlines()[0] == f"no change: version {before + 1} stays in force"
    assert in_force(shell) == (before + 1, text)


def test_a_dry_run_shows_and_publishes_nothing(shell: Shell, file: Path) -> None:
    file.write_text(file.read_text().replace('name = "Our Practice"', 'name = "Harbor"'))
    before = in_force(shell)
    ran = shell("apply", str(file), "--dry-run")
    assert ran.out.splitlines() == ["would change", '~ [practice] name: "Our Practice" -> "Harbor"']
    said = shell("apply", str(file), "--dry-run", "--json").said
    assert said == {
        "version": before[0],
        "published": False,
        "changes": ['~ [practice] name: "Our Practice" -> "Harbor"'],
        "restart": False,
    }
    assert in_force(shell) == before


def test_a_changed_listener_says_that_it_needs_a_restart(shell: Shell, file: Path) -> None:
    moved = file.read_text().replace("127.0.0.1:8080", "127.0.0.1:8099")
    file.write_text(moved)
    lines = shell("apply", str(file)).out.splitlines()
    assert lines[1] == '~ [http] bind: "127.0.0.1:8080" -> "127.0.0.1:8099" (needs a restart)'
    assert lines[-1] == "restart the instance: a listener changed"
    file.write_text(moved.replace("8099", "8098"))
    assert shell("apply", str(file), "--dry-run", "--json").said["restart"]


def test_accounts_follow_in_the_same_step_and_it_is_on_record(shell: Shell, file: Path) -> None:
    email = f"ben-{uuid4().hex[:6]}@harbor.example"
    person = f'\n[[staff]]\nemail = "{email}"\nroles = ["nurse"]\n'
    text = file.read_text()
    file.write_text(text + person)
    version = shell("apply", str(file), "--json").said["version"]
    with shell.opened() as instance, instance.db.read() as db:
        hired = staff.find(db, email)
    assert hired is not None
    assert (hired.roles, hired.disabled_at) == (["nurse"], None)
    published = [record for record in shell.acts() if record["act"] == "policy.publish"]
    assert published[-1]["detail"] == {"version": version}
    assert published[-1]["actor"].startswith("os:")
    file.write_text(text)
    shell("apply", str(file))
    with shell.opened() as instance, instance.db.read() as db:
        left = staff.find(db, email)
    assert left is not None
    assert left.disabled_by == staff.POLICY


def test_every_fault_is_told_by_line_and_nothing_is_published(
    shell: Shell, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHARTLINE_TEST_TOKEN", raising=False)
    before = in_force(shell)
    lines = BASE.count("\n")
    broken = SMS.replace("base_url", "base_ulr").replace("\nsettings", "\nport = 1\nsettings")
    file.write_text(BASE.replace("America/New_York", "America/New_Yrok") + broken)
    ran = shell("apply", str(file))
    assert (ran.code, ran.out) == (1, "")
    told = ran.err.splitlines()
    assert told == sorted(told, key=lambda line: int(line.split(":")[1]))
    assert told[0].startswith('next.toml:5: "timezone" in [practice]')
    assert f'next.toml:{lines + 5}: unknown key "port" in [[connection]]' in told
    assert f'next.toml:{lines + 6}: the environment has no "CHARTLINE_TEST_TOKEN"' in told
    assert f'next.toml:{lines + 6}: there is no file "keys/nothing" in the instance directory' in told
    assert f'next.toml:{lines + 6}: "base_ulr" in [[connection]] "sms": unknown key; did you mean "base_url"?' in told
    assert f'next.toml:{lines + 6}: "base_url" in [[connection]] "sms": Field required' in told
    assert in_force(shell) == before


def test_a_secret_that_is_there_is_enough_and_never_shown(
    shell: Shell, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(file.read_text() + SMS.replace("nothing", "something"))
    missing = shell("apply", str(file), "--dry-run")
    assert missing.code == 1
    monkeypatch.setenv("CHARTLINE_TEST_TOKEN", "tick-tock")
    (shell.paths.keys / "something").write_text("clip-clop")
    ran = shell("apply", str(file), "--dry-run")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, '+ [[connection]] "sms"')
    assert "tick-tock" not in ran.out + ran.err
    assert "clip-clop" not in ran.out + ran.err
    (shell.paths.keys / "something").unlink()


def test_a_setting_that_its_connector_refuses_is_refused(shell: Shell, file: Path) -> None:
    text = file.read_text()
    file.write_text(text + '\n[[connection]]\nname = "ehr"\nconnector = "fhir"\nsettings = { base_url = "nowhere" }\n')
    ran = shell("apply", str(file), "--dry-run")
    assert ran.code == 1
    assert ran.err.startswith(f'next.toml:{text.count(chr(10)) + 5}: "base_url" in [[connection]] "ehr": ')


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[practice\n", "next.toml:1: not TOML: "),
        (b"[practice]\nname = '\xff'\n", "next.toml:2: not UTF-8"),
        (b"", "next.toml:1: there is no [practice]"),
    ],
)
def test_what_is_no_policy_is_refused(shell: Shell, file: Path, data: bytes, reason: str) -> None:
    file.write_bytes(data)
    ran = shell("apply", str(file))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(reason)


def test_a_file_that_is_not_there_is_named(shell: Shell, tmp_path: Path) -> None:
    ran = shell("apply", str(tmp_path / "nothing.toml"))
    assert (ran.code, ran.err) == (1, f"{tmp_path / 'nothing.toml'}: No such file or directory\n")


def test_what_callers_will_hear_is_told(shell: Shell, file: Path) -> None:
    menu = """
[[menu]]
name = "main"
say.en = "Thank you for calling. For appointments, press 1."
choices = { 1 = { queue = "front-desk" } }
"""
    text = file.read_text().replace('did = "+12125550100"', 'did = "+12125550100"\nmenu = "main"')
    file.write_text(text + menu)
    said = shell("apply", str(file), "--json").said
    (prompt,) = said["prompts"]
    assert (prompt["where"], prompt["language"]) == ("menu main", "en")
    assert prompt["source"] in {"recorded", "shipped", "rendered", "pieces"}
    again = shell("apply", str(file)).out.splitlines()
    assert again[-1].startswith("menu main (en): ")


def test_a_policy_that_this_version_cannot_read_any_more_can_be_replaced(shell: Shell, file: Path) -> None:
    with shell.opened() as instance, instance.db.write() as db:
        policy.publish(db, '[practice]\nfax = "yes"\n', policy.current(db)[0], by="system:test", now=instance.clock())
    lines = shell("apply", str(file)).out.splitlines()
    assert lines[1] == "~ the policy in force cannot be read any more; all of it is replaced"
    assert in_force(shell)[1] == file.read_text()
