"""What a CRM is told of a call: what its agreement names, about whoever has the number; nothing for staff to do."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from connectors import host
from hub.outside import Outside
from hub.record import call
from hub.record.writeback import Writeback
from tests.workflows.clinic import Clinic
from tests.workflows.test_calls import calls_of, rung, tasks, wound_up
from workflows.activities.writeback import Writebacks

CRM = """
from connectors.api import Connector, Identifier, PatientFacts, PatientRef, Receipt, Scope, Settings, Version

TOLD = []
CONTACTS = []

class Where(Settings):
    base_url: str

class Acme(Connector[Where]):
    name = "acme"
    kind = "crm"
    scopes = frozenset(Scope)
    Settings = Where

    async def find_patients(self, ctx, phone):
        version = Version(at=ctx.clock(), tag="")
        named = [(own, Identifier(system="acme", value=own)) for own in CONTACTS]
        return [PatientRef(id=own, facts=PatientFacts(ids=(named,), version=version)) for own, named in named]

    async def log(self, ctx, communication, *, key):
        TOLD.append((key, communication))
        return Receipt(external_id=str(len(TOLD)))
"""
POLICY = """
[[connection]]
name = "crm"
connector = "acme"
settings = { base_url = "http://127.0.0.1:9" }
"""
AGREED = """
[[agreement]]
counterparty = "crm"
basis = "treatment"
data = ["phone-number", "communications"]
fields = ["communication.topic", "patient.phone"]
"""


def crm_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a CRM's connector for this test; return its module, which keeps what it was told."""
    about = tmp_path / "acme_books-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-books\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[{host.GROUP}]\nacme = acme_books:Acme\n")
    (tmp_path / "acme_books.py").write_text(CRM)
    monkeypatch.syspath_prepend(tmp_path)
    module: Any = importlib.import_module("acme_books")
    module.TOLD.clear()
    module.CONTACTS[:] = ["c1"]
    return module


@pytest.fixture
def crm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return crm_module(tmp_path, monkeypatch)


async def noted(clinic: Clinic, nobody: Client, policy: str) -> list[str]:
    """Let an unknown caller's call end under a policy; return what became of each note."""
    clinic.publish(clinic.policy + policy)
    left = await wound_up(calls_of(clinic, nobody), rung(clinic, (), path=call.ANSWERED))
    writebacks = Writebacks(clinic.instance, Outside(clinic.instance, {}, actor="system:workflows"))
    return [await writebacks.write(one) for one in left.writebacks]


async def test_a_crm_is_told_what_its_agreement_names(clinic: Clinic, nobody: Client, crm: Any) -> None:
    assert await noted(clinic, nobody, POLICY + AGREED) == ["done"]
    ((key, said),) = crm.TOLD
    (row,) = clinic.rows(Writeback)
    assert (key, row.connection, row.external_id) == (str(row.id), "crm", "1")
    assert (said.topic, said.phone, said.body, said.inbound) == ("Phone call", None, None, True)
    assert [one.value for one in said.patient_ids] == ["c1"]


async def test_a_number_of_several_contacts_is_noted_for_none(clinic: Clinic, nobody: Client, crm: Any) -> None:
    crm.CONTACTS[:] = ["c1", "c2"]
    assert await noted(clinic, nobody, POLICY + AGREED) == ["failed"]
    assert (crm.TOLD, tasks(clinic), clinic.rows(Writeback)[0].code) == ([], [], "no-contact")


async def test_without_its_fields_a_crm_is_not_asked_and_nobody_is_bothered(
    clinic: Clinic, nobody: Client, crm: Any
) -> None:
    assert await noted(clinic, nobody, POLICY) == ["failed"]
    assert (crm.TOLD, tasks(clinic), clinic.rows(Writeback)[0].code) == ([], [], "rejected")


@pytest.mark.usefixtures("crm")
async def test_without_an_agreement_nothing_leaves_for_a_crm(clinic: Clinic, nobody: Client) -> None:
    away = POLICY.replace("http://127.0.0.1:9", "https://crm.example.org")
    assert await noted(clinic, nobody, away) == ["failed"]
    assert (tasks(clinic), clinic.rows(Writeback)[0].code) == ([], "no-agreement")
