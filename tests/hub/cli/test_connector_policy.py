"""Connections come and go by the command: checked before, published at once, and the rest of the file untouched."""

import stat
import tomllib
from uuid import uuid4

import pytest

from hub.cli.setup import TEMPLATE
from hub.record import policy
from tests.hub.cli.conftest import Shell

SMS = ("add", "sms", "--connector", "sandbox-sms", "--set", "base_url=http://127.0.0.1:9/")
SECRETS = ("--set", "token=env:CHARTLINE_TEST_TOKEN", "--set", "secret=file:keys/sms.secret")
WRITTEN = """\

[[connection]]
name = "sms"
connector = "sandbox-sms"

[connection.settings]
base_url = "http://127.0.0.1:9/"
token = "env:CHARTLINE_TEST_TOKEN"
secret = "file:keys/sms.secret"
"""


@pytest.fixture
def text(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> str:
    """The instance's practice.toml, which is in force; the secrets that a test may name are there."""
    text = f"{TEMPLATE.read_text()}# {uuid4()}\n"
    shell.paths.practice_toml.write_text(text)
    with shell.opened() as instance, instance.db.write() as db:
        policy.publish(db, text, policy.current(db)[0], by="system:test", now=instance.clock())
    monkeypatch.setenv("CHARTLINE_TEST_TOKEN", "tick-tock")
    (shell.paths.keys / "sms.secret").write_text("clip-clop")
    return text


def in_force(shell: Shell) -> tuple[int, str]:
    with shell.opened() as instance, instance.db.read() as db:
        return policy.current(db)


def test_a_connection_is_added_and_in_force_at_once(shell: Shell, text: str) -> None:
    before, _ = in_force(shell)
    ran = shell("connector", *SMS, *SECRETS)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [f"published version {before + 1}", '+ [[connection]] "sms"']
    assert shell.paths.practice_toml.read_text() == text + WRITTEN
    assert in_force(shell) == (before + 1, text + WRITTEN)
    published = [record for record in shell.acts() if record["act"] == "policy.publish"]
    assert published[-1]["detail"] == {"version": before + 1}
    assert shell("apply").out.splitlines()[0] == f"no change: version {before + 1} stays in force"


def test_a_removed_connection_leaves_the_file_as_it_was(shell: Shell, text: str) -> None:
    shell("connector", *SMS, *SECRETS)
    ran = shell("connector", "remove", "sms")
    assert (ran.code, ran.out.splitlines()[1:], ran.err) == (0, ['- [[connection]] "sms"'], "")
    assert shell.paths.practice_toml.read_text() == text
    assert in_force(shell)[1] == text


def test_a_dry_run_shows_what_would_stand_there_and_changes_nothing(shell: Shell, text: str) -> None:
    before = in_force(shell)
    ran = shell("connector", *SMS, *SECRETS, "--dry-run")
    assert ran.out == f'would change\n+ [[connection]] "sms"\n{WRITTEN}\n'
    said = shell("connector", *SMS, *SECRETS, "--dry-run", "--json").said
    assert said == {
        "version": before[0],
        "published": False,
        "changes": ['+ [[connection]] "sms"'],
        "restart": False,
        "written": WRITTEN.lstrip(),
        "advice": [],
    }
    shell("connector", *SMS, *SECRETS)
    published = in_force(shell)
    assert shell("connector", "remove", "sms", "--dry-run", "--json").said["changes"] == ['- [[connection]] "sms"']
    assert in_force(shell) == published
    assert shell.paths.practice_toml.read_text() == text + WRITTEN


def test_settings_are_read_as_their_connector_takes_them(shell: Shell, text: str) -> None:
    words = ["base_url=http://127.0.0.1:9/fhir", "page_size=50", "client_id=123", 'feed=["appointments"]']
    words += ["private_key=file:keys/sms.secret", "message_bodies=true", "systems.HARBOR=urn:oid:1.2.3"]
    sets = [word for each in words for word in ("--set", each)]
    granted = ["--scope", "appointments", "--scope", "patient-identity"]
    assert shell("connector", "add", "ehr", "--connector", "fhir", *sets, *granted).code == 0
    assert tomllib.loads(shell.paths.practice_toml.read_text())["connection"] == [
        {
            "name": "ehr",
            "connector": "fhir",
            "scopes": ["appointments", "patient-identity"],
            "settings": {
                "base_url": "http://127.0.0.1:9/fhir",
                "page_size": 50,
                "client_id": "123",
                "private_key": "file:keys/sms.secret",
                "feed": ["appointments"],
                "message_bodies": True,
                "systems": {"HARBOR": "urn:oid:1.2.3"},
            },
        }
    ]
    assert text in shell.paths.practice_toml.read_text()


def test_what_lies_beyond_this_machine_is_told_to_need_an_agreement(shell: Shell, text: str) -> None:
    there = ("add", "ehr", "--connector", "fhir", "--set", "base_url=https://ehr.example.org/fhir")
    ran = shell("connector", *there)
    assert ran.out.splitlines()[-1] == "no [[agreement]] is about ehr: nothing about a patient goes there yet"
    agreement = '\n[[agreement]]\ncounterparty = "ehr"\nbasis = "treatment"\ndata = ["chart"]\n'
    with shell.paths.practice_toml.open("a") as file:
        file.write(agreement)
    assert shell("apply").code == 0
    refused = shell("connector", "remove", "ehr")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "an [[agreement]] is about ehr: take it out of practice.toml and apply first\n"
    assert shell.paths.practice_toml.read_text().startswith(text)


def test_the_files_mode_and_its_line_ends_stay(shell: Shell, text: str) -> None:
    file = shell.paths.practice_toml
    file.write_bytes(text.replace("\n", "\r\n").encode())
    file.chmod(0o640)
    assert shell("connector", *SMS, *SECRETS).code == 0
    assert file.read_bytes() == (text + WRITTEN).replace("\n", "\r\n").encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(shell.paths.root.glob(".practice.toml*")) == []


def test_edits_that_nobody_published_are_not_published_along(shell: Shell, text: str) -> None:
    file = shell.paths.practice_toml
    file.write_text(text.replace("Our Practice", "Harbor"))
    before = in_force(shell)
    for words in (SMS + SECRETS, ("remove", "sms")):
        ran = shell("connector", *words)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == "practice.toml has changes that are not published: chartline apply, then this again\n"
    assert in_force(shell) == before
    assert file.read_text() == text.replace("Our Practice", "Harbor")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ("add", "x", "--connector", "sandbox-smz"),
            'no connector "sandbox-smz" is installed; did you mean "sandbox-sms"?',
        ),
        (("add", "x", "--connector", "fhir"), "base_url: Field required"),
        (
            ("add", "x", "--connector", "fhir", "--set", "base_ulr=http://127.0.0.1:9"),
            "base_url: Field required; base_ulr: unknown",
        ),
        ((*SMS, "--set", "token=tick-tock", "--set", "secret=file:keys/sms.secret"), "token: a secret is "),
        (
            (*SMS, "--set", "token=env:CHARTLINE_NOT_THERE", "--set", "secret=file:keys/sms.secret"),
            "token: a secret is ",
        ),
        (("remove", "nothing"), "no connection is called nothing; there are none"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(shell: Shell, text: str, words: tuple[str, ...], reason: str) -> None:
    before = in_force(shell)
    ran = shell("connector", *words)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(reason)
    assert ran.err.count("\n") == 1
    assert "tick-tock" not in ran.err
    assert in_force(shell) == before
    assert shell.paths.practice_toml.read_text() == text


def test_a_name_is_given_once(shell: Shell, text: str) -> None:
    assert shell("connector", *SMS, *SECRETS).code == 0
    ran = shell("connector", *SMS, *SECRETS)
    assert (ran.code, ran.err) == (1, "there is a connection sms already; remove it first, or edit practice.toml\n")
    assert shell.paths.practice_toml.read_text() == text + WRITTEN


@pytest.mark.parametrize("pairs", [["base_url"], ["=x"], ["a b=x"], ["a=1", "a=2"], ["a=1", "a.b=2"], ["a.b=1", "a=2"]])
def test_what_is_no_setting_is_wrong_usage(shell: Shell, pairs: list[str]) -> None:
    sets = [word for pair in pairs for word in ("--set", pair)]
    assert shell("connector", "add", "x", "--connector", "fhir", *sets).code == 2


def test_what_is_no_name_is_wrong_usage(shell: Shell) -> None:
    ran = shell("connector", "add", "Sms One", *SMS[2:], *SECRETS)
    assert ran.code == 2
    assert "write lower-case letters, digits" in ran.err
