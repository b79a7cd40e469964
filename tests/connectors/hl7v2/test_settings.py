"""What an operator may set, and what not; what vendors mean where they depart from the standard."""

import pytest
from pydantic import ValidationError

from connectors.api import AppointmentFacts
from connectors.hl7v2.er7 import Message
from connectors.hl7v2.settings import Hl7v2Settings
from connectors.hl7v2.site import sites
from tests.connectors.hl7v2.sample import NEW_YORK, SIU, connector, fields, siu


@pytest.mark.parametrize(
    "settings",
    [
        {"listen": "0.0.0.0:2575"},
        {"listen": "hl7.example.org:2575"},
        {"listen": "2575"},
        {"listen": "127.0.0.1:x"},
        {"listen": "127.0.0.1:70000"},
        {"listen": "127.0.0.1:2575", "timezone": "Eastern"},
        {"listen": "127.0.0.1:2575", "charset": "EBCDIC"},
        {"listen": "127.0.0.1:2575", "certificate": "x"},
        {"listen": "127.0.0.1:2575", "client_ca": "x"},
        {"listen": "127.0.0.1:2575", "events": {"cancel": "S15"}},
        {"listen": "127.0.0.1:2575", "statuses": {"CONF": "sure"}},
        {"listen": "127.0.0.1:2575", "site": "nobody"},
        {"listen": "127.0.0.1:2575", "facilities": {"adt": ["HARBOR"]}},
        {"listen": "127.0.0.1:2575", "acknowledgment": "never"},
        {"listen": "127.0.0.1:2575", "max_frame": 10},
        {"listen": "127.0.0.1:2575", "lisen": ""},
        {},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Hl7v2Settings.model_validate(settings)


@pytest.mark.parametrize("listen", ["127.0.0.1:2575", "127.8.8.8:1", "localhost:2575", "[::1]:2575"])
def test_this_machine_alone_may_be_listened_to_without_tls(listen: str) -> None:
    settings = Hl7v2Settings(listen=listen)
    assert settings.port in (1, 2575)
    assert "[" not in settings.host


def test_other_machines_may_be_listened_to_without_tls_where_the_operator_says_so() -> None:
    assert Hl7v2Settings(listen="0.0.0.0:2575", plaintext=True).host == "0.0.0.0"


def said(raw: bytes, **settings: object) -> AppointmentFacts:
    (facts,) = connector(**settings).read(raw, timezone=NEW_YORK, region="US")
    assert isinstance(facts, AppointmentFacts)
    return facts


def coded(code: str) -> str:
    return fields("SCH", f2="F200", f11="^^^20260310143000", f25=code)


def test_every_site_names_its_source_and_says_something() -> None:
    assert len(sites()) >= 4
    for site in sites().values():
        assert site.source
        assert site.types or site.events or site.statuses


@pytest.mark.parametrize(
    ("site", "code", "status"),
    [
        ("epic-cadence", "1^SCH", "booked"),
        ("vista-scheduling", "NA", "noshow"),
        ("vista-scheduling", "pc", "cancelled"),
    ],
)
def test_a_site_s_codes_mean_what_its_vendor_says(site: str, code: str, status: str) -> None:
    assert said(siu("S14", SCH=coded(code)), site=site).status == status


def test_a_site_may_have_messages_and_events_of_its_own() -> None:
    local = siu("S15", MSH=SIU["MSH"].replace("SIU^S12^SIU_S12", "ZIU^S15").replace("2.5.1", "2.1"))
    assert Message.parse(local).type == ("ZIU", "S15")
    assert connector().read(local, timezone=NEW_YORK, region="US") == []
    assert said(local, site="vista-surgery").status == "cancelled"
    assert not said(siu("S13")).creates
    assert said(siu("S13"), site="patients-know-best").creates


def test_the_operator_s_word_stands_above_the_site_s() -> None:
    raw = siu("S14", SCH=coded("N"))
    assert said(raw, site="vista-scheduling", statuses={"N": "arrived"}).status == "arrived"
    assert not said(siu("S13"), site="patients-know-best", events={"S13": "S13"}).creates
    settings = Hl7v2Settings.model_validate(
        {"listen": "127.0.0.1:0", "site": "vista-scheduling", "statuses": {"Walk-in": "arrived"}}
    )
    assert settings.meanings.statuses["pc"] == "cancelled"
    assert settings.meanings.statuses["walk-in"] == "arrived"
