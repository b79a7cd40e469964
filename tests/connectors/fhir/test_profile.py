"""Profiles: what is known of a make of server, where it is written, and who may overrule it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors import host
from connectors.api import Identifier
from connectors.fhir import Fhir, FhirSettings
from connectors.fhir.profile import Profile, profiles
from tests.connectors.fhir.world import BASE, World

NOBODY = "+12125550199"
VENDORS = ("epic", "oracle-health", "athenahealth", "athenapractice", "medplum", "hapi")


def settings(**written: Any) -> FhirSettings:
    return FhirSettings.model_validate({"base_url": BASE} | written)


def test_the_vendors_that_the_docs_promise_are_there() -> None:
    assert set(profiles()) == {"generic", "sandbox", *VENDORS}


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_statement_about_a_vendor_names_its_page(vendor: str) -> None:
    profile = profiles()[vendor]
    assert profile.sources.keys() == profile.model_fields_set - {"title", "sources"}
    assert all(page.startswith("https://") for page in profile.sources.values())


def test_a_server_of_which_nothing_is_known_is_as_it_declares() -> None:
    assert settings().vendor == Profile(title="FHIR R4 server")


@pytest.mark.parametrize(
    ("said", "declared", "usable"),
    [("auto", True, True), ("auto", False, False), ("yes", False, True), ("no", True, False)],
)
def test_what_is_declared_wins_over_auto_and_nothing_else(said: str, declared: bool, usable: bool) -> None:
    profile = Profile.model_validate({"title": "x", "subscription": said})
    assert profile.usable("subscription", declared) is usable


def test_the_operator_wins_over_the_profile() -> None:
    known = settings(profile="epic").vendor
    told = settings(profile="epic", override={"last_updated": "yes", "write_back": "put"}).vendor
    assert (known.last_updated, known.write_back) == ("no", "none")
    assert (told.last_updated, told.write_back) == ("yes", "put")
    assert told.phone_parameter == known.phone_parameter


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"profile": "epik"}, "no such profile"),
        ({"override": {"write_bakc": "put"}}, "write_bakc"),
        ({"override": {"write_back": "sekret"}}, "write_back"),
        ({"override": {"sources": {"scopes": "x"}}}, "not to be overridden"),
        ({"override": {"page_size": 0}}, "page_size"),
        ({"override": {"patient_url": "https://ehr.test/{id}"}}, "not to be overridden"),
        ({"profile": "athenahealth"}, "ah-practice"),
        ({"patient_url": "https://ehr.test/patients"}, "patient_url"),
        ({"patient_url": "javascript:alert({id})"}, "patient_url"),
        ({"base_url": "https://user:word@ehr.test/fhir"}, "base_url"),
        ({"base_url": "https://ehr.test/fhir?key=1"}, "base_url"),
    ],
)
def test_what_does_not_hold_together_is_refused_by_name_and_not_by_value(written: dict[str, Any], said: str) -> None:
    with pytest.raises(host.ConnectionSettingsError) as caught:
        host.build("fhir", {"base_url": BASE} | written, lambda _: "x")
    assert said in str(caught.value)
    assert "sekret" not in str(caught.value)


def test_an_unknown_key_in_a_profile_is_refused() -> None:
    with pytest.raises(ValidationError):
        Profile.model_validate({"title": "x", "last_update": "no"})
    with pytest.raises(ValidationError):
        Profile.model_validate({"title": "x", "sources": {"last_update": "https://x"}})


def test_a_page_is_as_large_as_the_server_takes() -> None:
    assert settings(page_size=500).page == 500
    assert settings(profile="hapi", page_size=500).page == 200
    assert settings(profile="hapi", page_size=50).page == 50


def test_a_patients_page_holds_the_id_and_nothing_that_escapes_its_place() -> None:
    assert settings().patient_page("7") is None
    assert settings(profile="medplum").patient_page("7") == "https://app.medplum.com/Patient/7"
    own = settings(profile="medplum", patient_url="{origin}/chart?patient={id}&tab=1")
    assert own.patient_page("a/b&c=d") == "http://ehr.test/chart?patient=a%2Fb%26c%3Dd&tab=1"


def test_only_what_the_connector_reaches_itself_is_a_host_of_the_connection() -> None:
    told = settings(
        patient_url="https://charts.test/{id}",
        callback_url="https://hub.test/carriers/ehr/hint",
        callback_secret="s" * 32,
        token_url="https://door.test/token",
    )
    assert {name for _, name, _ in host.reachable(told)} == {"ehr.test", "door.test"}


async def test_parameters_and_headers_of_a_make_go_with_the_searches(world: World) -> None:
    connector = world.connector(profile="hapi", search_parameters={"ah-practice": "Organization/a-1.Practice-195900"})
    await connector.find_patients(world.context(connector), NOBODY)
    assert all("ah-practice=Organization" in one.query for one in world.asked)
    assert {one.headers["cache-control"] for one in world.asked} == {"no-cache"}


async def test_a_make_that_has_no_cheap_search_is_not_asked_for_one(world: World) -> None:
    connector = world.connector(profile="oracle-health", token="t")
    await connector.check(world.context(connector))
    assert world.paths() == ["metadata"]


async def test_who_is_found_comes_with_their_page_in_the_ehr(world: World) -> None:
    person = world.people.alone_at_their_number()[0]
    connector = world.connector(patient_url="{origin}/chart/{id}")
    (ref,) = await connector.find_patients(world.context(connector), str(person.phone))
    assert ref.url == f"http://ehr.test/chart/{person.id}"


async def test_a_make_that_finds_nobody_by_a_number_is_not_asked(world: World) -> None:
    person = world.people.alone_at_their_number()[0]
    connector = world.connector(profile="epic")
    assert await connector.find_patients(world.context(connector), str(person.phone)) == []
    assert world.asked == []


async def test_only_the_ways_of_writing_that_a_server_knows_are_asked_for(world: World) -> None:
    connector = world.connector(override={"phone_formats": ["digits", "dashes"]})
    await connector.find_patients(world.context(connector), NOBODY)
    assert [one.query.split("&")[0] for one in world.asked] == ["phone=2125550199", "phone=212-555-0199"]


async def test_a_number_goes_into_the_parameter_that_takes_it(world: World) -> None:
    person = world.people.alone_at_their_number()[0]
    connector = world.connector(override={"phone_parameter": "telecom"})
    await connector.find_patients(world.context(connector), str(person.phone))
    assert all(one.query.startswith("telecom=") for one in world.asked)


PAGE = (Path(__file__).resolve().parents[3] / "docs" / "connectors" / "fhir.md").read_text()


def test_every_setting_has_a_heading_and_every_profile_a_row() -> None:
    headings = {name for line in PAGE.splitlines() if line.startswith("### ") for name in line[4:].split(", ")}
    assert FhirSettings.model_fields.keys() - headings == set()
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert [name for name in profiles() if not any(f"`{name}`" in row for row in rows)] == []


def test_a_patients_page_is_known_by_their_id_at_the_server_and_by_no_other() -> None:
    connector = Fhir(settings(profile="medplum"))
    own, other = Identifier(system="fhir/Patient", value="7"), Identifier(system="urn:harbor", value="9")
    assert connector.page([other, own]) == "https://app.medplum.com/Patient/7"
    assert connector.page([other]) is None
    assert Fhir(settings()).page([own]) is None
