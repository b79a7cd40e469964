"""The list of what is installed: packages as pip lays them out, those that fit and those that do not."""

import json
from pathlib import Path
from typing import Any

import pytest

from connectors import host
from connectors.hl7v2 import Hl7v2
from hub.cli.app import run_command
from hub.cli.setup import TEMPLATE

GOOD = """
from typing import ClassVar
from pydantic import SecretStr
from connectors.api import Connector, Context, Scope, Settings

class VendorSettings(Settings):
    base_url: str
    token: SecretStr | None = None

class Vendor(Connector[VendorSettings]):
    name: ClassVar = "vendor"
    kind: ClassVar = "crm"
    scopes: ClassVar = frozenset({Scope.PATIENT_CONTACT})
    Settings: ClassVar = VendorSettings

    async def check(self, ctx: Context) -> None: ...
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another directory of packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(site: Path, package: str, name: str, module: str, code: str, version: str = "0.1") -> None:
    (site / f"{module}.py").write_text(code)
    info = site / f"{package}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[chartline.connectors]\n{name} = {module}:Vendor\n")


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert run_command(["connector", "list", "--json"]) == 0
    return {f"{item['package']} {item['name']}": item for item in json.loads(capsys.readouterr().out)["items"]}


def test_the_built_in_ones_stand_there_with_what_they_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    items = listed(capsys)
    fhir = items["chartline fhir"]
    assert fhir["fit"]
    assert {"check", "changes", "find_patients", "chart", "set_status", "log"} <= set(fhir["capabilities"])
    assert fhir["settings"]["base_url"] == {"required": True, "secret": False}
    assert fhir["settings"]["token"] == {"required": False, "secret": True}
    assert {"listen", "read"} <= set(items["chartline hl7v2"]["capabilities"])
    assert items["chartline hl7v2"]["by_settings"]["set_status"] == "send"
    assert {"send", "verify", "read"} <= set(items["chartline sandbox-sms"]["capabilities"])


def test_a_package_from_elsewhere_says_what_it_is(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "vendor-chartline", "vendor", "vendor_good", GOOD, "2.3.1")
    assert listed(capsys)["vendor-chartline vendor"] == {
        "name": "vendor",
        "package": "vendor-chartline",
        "version": "2.3.1",
        "class": "vendor_good:Vendor",
        "fit": True,
        "kind": "crm",
        "api": 1,
        "capabilities": ["check"],
        "by_settings": {},
        "scopes": ["patient-contact"],
        "settings": {
            "base_url": {"required": True, "secret": False},
            "token": {"required": False, "secret": True},
        },
    }
    assert run_command(["connector", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("vendor "))
    assert [line.split(maxsplit=1)[-1] if line[0] != " " else line.strip() for line in lines[at : at + 4]] == [
        "vendor-chartline 2.3.1, crm, API version 1",
        "can: check",
        "scopes: patient-contact",
        "settings: base_url (required), token (secret)",
    ]


@pytest.mark.parametrize(
    ("module", "code", "reason"),
    [
        ("vendor_absent", "import nothing_of_that_name", "does not import: ModuleNotFoundError"),
        ("vendor_broken", "raise RuntimeError('a secret')", "does not import: RuntimeError"),
        ("vendor_other", "class Vendor: ...", "is not a subclass of Connector"),
        ("vendor_future", f"{GOOD}    api = 2\n", "speaks version 2 of the interface, not 1"),
        ("vendor_mute", GOOD.replace("    scopes: ", "    skopes: "), "does not say its scopes"),
    ],
)
def test_one_that_does_not_fit_says_why_and_hides_no_other(
    site: Path, capsys: pytest.CaptureFixture[str], module: str, code: str, reason: str
) -> None:
    install(site, "vendor-chartline", "vendor", module, code)
    items = listed(capsys)
    assert not items["vendor-chartline vendor"]["fit"]
    assert items["vendor-chartline vendor"]["reason"] == f'connector "vendor" {reason}'
    assert items["chartline fhir"]["fit"]
    assert run_command(["connector", "list"]) == 0
    assert f'cannot be used: connector "vendor" {reason}' in capsys.readouterr().out


def test_a_policy_with_one_that_does_not_fit_is_refused_with_the_reason(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site, "vendor-chartline", "vendor", "vendor_older", "import nothing_of_that_name")
    practice = tmp_path / "practice"
    practice.mkdir()
    connection = '\n[[connection]]\nname = "ehr"\nconnector = "vendor"\n'
    text = TEMPLATE.read_text()
    (practice / "practice.toml").write_text(text + connection)
    assert run_command(["init", str(practice)]) == 1
    line = len(text.splitlines()) + 4
    told = capsys.readouterr()
    assert (told.out, told.err) == (
        "",
        f'practice.toml:{line}: connector "vendor" does not import: ModuleNotFoundError\n',
    )


def test_a_name_that_two_packages_bring_belongs_to_the_first(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "aa-chartline", "fhir", "vendor_taking", GOOD)
    items = listed(capsys)
    both = [items["aa-chartline fhir"], items["chartline fhir"]]
    assert [item["fit"] for item in both].count(True) == 1
    (other,) = [item for item in both if not item["fit"]]
    assert other["reason"].endswith("brings a connector of that name, too")


def test_no_package_stands_in_for_a_built_in_one(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "aa-chartline", "hl7v2", "vendor_posing", GOOD)
    items = listed(capsys)
    assert items["chartline hl7v2"]["fit"]
    assert not items["aa-chartline hl7v2"]["fit"]
    assert host.load("hl7v2") is Hl7v2
