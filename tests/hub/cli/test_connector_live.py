"""`connector test`: a connection of the policy against a real server, through the egress gate, and nothing written."""

import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree

import pytest

from connectors.kit.exchange import Exchange
from hub.cli.app import run_command
from hub.cli.setup import TEMPLATE
from tests.hub.cli.acme import Acme, serving
from tests.hub.cli.conftest import Ran, Shell

TOKEN = "tick-tock-3141"
NAME = f"v{uuid4().hex[:8]}"
"A module is imported once in the life of a process."


@dataclass(frozen=True, slots=True)
class Practice:
    """A practice with a connection to a server that is up."""

    shell: Shell
    server: Acme

    def test(self, *words: str) -> Ran:
        return self.shell("connector", "test", "ehr", *words)

    def verdicts(self, *words: str) -> dict[str, str]:
        said = self.test(*words, "--json").said
        return {result["check"]: result["verdict"] for result in said["results"]}

    def publish(self, base_url: str) -> None:
        settings = f'{{ base_url = "{base_url}", token = "env:CHARTLINE_TEST_TOKEN" }}'
        self.write(f'connector = "{NAME}"\nsettings = {settings}\n')

    def write(self, connection: str) -> None:
        """Put a connection into force."""
        table = f'\n[[connection]]\nname = "ehr"\n{connection}'
        self.shell.paths.practice_toml.write_text(TEMPLATE.read_text() + table)
        ran = self.shell("apply")
        assert ran.code == 0, ran.err


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A vendor's package, as installed from elsewhere."""
    site = tmp_path_factory.mktemp("site")
    assert run_command(["connector", "new", NAME, str(site / "made")]) == 0
    (site / "made" / f"chartline_{NAME}").rename(site / f"chartline_{NAME}")
    info = site / f"chartline_{NAME}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: chartline-{NAME}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[chartline.connectors]\n{NAME} = chartline_{NAME}:{NAME.capitalize()}\n")
    sys.path.insert(0, str(site))
    yield site / f"chartline_{NAME}"
    sys.path.remove(str(site))


@pytest.fixture
def practice(shell: Shell, package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Practice]:
    monkeypatch.setenv("CHARTLINE_TEST_TOKEN", TOKEN)
    before = shell.paths.practice_toml.read_text()
    with serving(package / "kit" / "exchanges", TOKEN) as server:
        made = Practice(shell, server)
        made.publish(server.base_url)
        yield made
    shell.paths.practice_toml.write_text(before)
    assert shell("apply").code == 0


def test_a_good_connection_passes_and_is_only_read(practice: Practice) -> None:
    ran = practice.test()
    assert (ran.code, ran.err) == (0, "")
    rows = {row[0]: row[1:] for line in ran.out.splitlines() if (row := line.split())}
    for name in ("check", "bad-key", "feed", "resume", "undeclared-host", "phi-in-log", "secret-in-error"):
        assert rows[name][0] == "ok", name
    assert rows["find"][:2] == ["skipped", "needs-a-number"]
    assert TOKEN not in ran.out
    assert {line.split()[0] for line in practice.server.asked} == {"GET"}


def test_it_goes_through_the_egress_gate_and_is_on_record(practice: Practice) -> None:
    assert practice.test("--phone", "+15554364287").code == 0
    opened = [act for act in practice.shell.acts() if act["act"] == "egress.open" and act["actor"].startswith("os:")]
    assert {act["detail"]["data"] for act in opened} >= {"none", "appointments", "chart"}
    assert {act["detail"]["counterparty"] for act in opened} == {"ehr"}


@pytest.mark.parametrize("written", ["+15554364287", "(555) 436-4287", "555.436.4287"])
def test_a_number_is_looked_up_however_it_is_written(practice: Practice, written: str) -> None:
    assert practice.verdicts("--phone", written, "--only", "find") == {"find": "passed"}
    assert "GET /api/patients?phone=%2B15554364287" in practice.server.asked


def test_a_number_that_nobody_has_fails(practice: Practice) -> None:
    ran = practice.test("--phone", "+15554360000")
    assert ran.code == 1
    assert ran.err.endswith("checks failed: find\n")
    assert "0000" not in ran.out + ran.err


def test_a_refused_secret_is_told_and_never_shown(practice: Practice, tmp_path: Path) -> None:
    practice.server.token = "another"
    file = tmp_path / "out.xml"
    ran = practice.test("--junit", str(file))
    assert ran.code == 1
    assert "AuthExpiredError" in ran.out
    assert ran.err.endswith("checks failed: check\n")
    assert TOKEN not in ran.out + ran.err + file.read_text()
    failed = [case.get("name") for case in ElementTree.parse(file).getroot() if case.find("failure") is not None]
    assert failed == ["check"]


def test_a_system_that_is_gone_is_told_in_the_table(practice: Practice) -> None:
    practice.publish("http://127.0.0.1:9/api")
    ran = practice.test()
    assert ran.code == 1
    assert "TransientError" in ran.out


def test_what_a_test_system_answers_is_kept_without_the_secret(practice: Practice, tmp_path: Path) -> None:
    directory = tmp_path / "kit" / "exchanges"
    assert practice.test("--record", str(directory), "--phone", "+15554364287").code == 0
    kept: list[dict[str, Any]] = [json.loads(file.read_text()) for file in sorted(directory.iterdir())]
    exchanges = [Exchange.model_validate(one) for one in kept]
    assert len(exchanges) == len(practice.server.asked)
    assert {one.request.path for one in exchanges} == {"/api/account", "/api/patients", "/api/visits"}
    assert TOKEN not in json.dumps(kept)


def test_without_an_agreement_nothing_about_anybody_leaves(practice: Practice) -> None:
    practice.publish("https://acme.example.org/api")
    ran = practice.test()
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "no agreement lets appointments out to ehr; --only check needs none\n"
    refused = [act for act in practice.shell.acts() if act["act"] == "egress.refused"]
    assert refused[-1]["detail"]["data"] == "appointments"
    ran = practice.test("--phone", "+15554364287", "--only", "find")
    assert (ran.code, ran.err) == (1, "no agreement lets chart out to ehr; --only check needs none\n")


def test_what_cannot_be_is_refused(practice: Practice) -> None:
    ran = practice.shell("connector", "test", "nothing")
    assert (ran.code, ran.err) == (1, "no connection is called nothing; there are ehr\n")
    assert practice.test("--only", "write-twice").code == 2
    assert practice.test("--phone", "call me").code == 2
    assert practice.server.asked == []


def test_an_address_that_is_no_http_is_tried_too(practice: Practice) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        listening = f"mllp://127.0.0.1:{server.getsockname()[1]}"
        practice.write(f'connector = "hl7v2"\nsettings = {{ listen = "127.0.0.1:2599", send = "{listening}" }}\n')
        assert practice.verdicts()["check"] == "passed"
    ran = practice.test()
    assert ran.code == 1
    assert "TransientError" in ran.out
