"""What a phone of the practice may dial."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import SettingsError
from hub.rules.dialling import (
    Emergency,
    External,
    Internal,
    Refusal,
    Usage,
    decide,
    location_of,
    shown_number,
    trunks_for,
)
from hub.rules.emergency import emergency_of
from hub.settings import Practice, load

NOON = datetime(2026, 3, 4, 17, 0, tzinfo=UTC)
"Twelve o'clock in New York."

POLICY = """
[practice]
name = "Harbor"
timezone = "America/New_York"

[[trunk]]
name = "inward"
hosts = ["192.0.2.1"]

[[trunk]]
name = "spare"
hosts = ["192.0.2.2"]
servers = ["192.0.2.2:5060"]

[[trunk]]
name = "carrier"
hosts = ["192.0.2.3"]
servers = ["sip.carrier.example"]

[[number]]
did = "+12125550100"
voicemail = "front-desk"

[[voicemail]]
name = "front-desk"
roles = ["front-desk"]

[[staff]]
email = "agent1@example.org"
roles = ["front-desk"]
extension = "101"

[[staff]]
email = "agent2@example.org"
roles = ["front-desk"]
extension = "102"

[[location]]
name = "main"
country = "US"
city = "New York"
street = "Main Street"

[[location]]
name = "annex"
country = "US"
city = "Albany"
street = "State Street"
extensions = ["102"]

[dialling]
trunks = ["carrier"]
countries = ["US", "GB"]
prefixes = ["+448455550"]
refused = ["+1212555019"]
services = ["988"]
rates = { "+1" = 0.01, "+1212" = 0.02, "+44" = 0.05 }
"""


def policy(*changes: tuple[str, str]) -> Practice:
    text = POLICY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return load(text)


PRACTICE = policy()


def dial(number: str, usage: Usage | None = None, *, practice: Practice = PRACTICE, now: datetime = NOON) -> object:
    return decide(practice, number, usage or Usage(), now)


@pytest.mark.parametrize(
    ("dialled", "number"),
    [
        ("+12125550123", "+12125550123"),
        ("2125550123", "+12125550123"),
        ("1 (212) 555-0123", "+12125550123"),
        ("011442079460958", "+442079460958"),
        ("+18005550123", "+18005550123"),
        ("+448455550100", "+448455550100"),
        ("988", "988"),
    ],
)
def test_allowed_countries_prefixes_and_services_go_out_however_they_are_written(dialled: str, number: str) -> None:
    found = dial(dialled)
    assert isinstance(found, External)
    assert found.number == number


@pytest.mark.parametrize(
    ("dialled", "why"),
    [
        ("+19005550123", Refusal.KIND),
        ("+15005550006", Refusal.KIND),
        ("+448715550100", Refusal.KIND),
        ("+447005550100", Refusal.KIND),
        ("+881612345678", Refusal.KIND),
        ("+979123456789", Refusal.KIND),
        ("+18095551234", Refusal.COUNTRY),
        ("+12425550100", Refusal.COUNTRY),
        ("+14165550100", Refusal.COUNTRY),
        ("+37255501234", Refusal.COUNTRY),
        ("+12125550199", Refusal.LISTED),
        ("5550123", Refusal.NOT_A_NUMBER),
        ("+999123456789", Refusal.NOT_A_NUMBER),
        ("411", Refusal.NOT_A_NUMBER),
        ("", Refusal.NOT_A_NUMBER),
        ("agent1", Refusal.NOT_A_NUMBER),
        ("+1800FLOWERS", Refusal.NOT_A_NUMBER),
        ("103", Refusal.NOT_A_NUMBER),
    ],
)
def test_everything_else_is_refused_with_its_reason(dialled: str, why: Refusal) -> None:
    assert dial(dialled) is why


def test_nothing_goes_out_without_a_table() -> None:
    practice = policy((POLICY[POLICY.index("[dialling]") :], ""))
    assert dial("+12125550123", practice=practice) is Refusal.COUNTRY
    assert dial("102", practice=practice) == Internal("102")
    assert dial("911", practice=practice) == Emergency("911")


def test_nothing_goes_out_without_a_server() -> None:
    bare = '[practice]\nname = "Harbor"\ntimezone = "America/New_York"\n'
    assert dial("+12125550123", practice=load(bare)) is Refusal.NO_TRUNK


def test_a_colleague_is_called_by_extension() -> None:
    assert dial("102") == Internal("102")


@pytest.mark.parametrize("dialled", ["911", "9911", "0911", "8911", "1911", "00911", "112", "9112", "7911"])
def test_help_is_reached_with_and_without_prefixes(dialled: str) -> None:
    practice = policy(('trunks = ["carrier"]', 'trunks = ["carrier"]\noutside_prefix = "7"'))
    flooded = Usage(going_on=99, own_going_on=99, last_minute=99, last_hour=99, spent=Decimal(999))
    found = dial(dialled, flooded, practice=practice)
    assert isinstance(found, Emergency)
    assert found.number in {"911", "112"}


@pytest.mark.parametrize(
    ("region", "number", "found"),
    [("GB", "999", "999"), ("AU", "000", "000"), ("DE", "0110", "110"), ("FR", "15", "15"), ("FR", "915", "")],
)
def test_emergency_numbers_are_those_of_the_region(region: str, number: str, found: str) -> None:
    assert emergency_of(number, region) == found


def test_an_extension_never_stands_in_the_way_of_help() -> None:
    with pytest.raises(SettingsError, match='"9911" in \\[\\[staff\\]\\] is dialled for help'):
        policy(('extension = "102"', 'extension = "9911"'), ('extensions = ["102"]', "extensions = []"))


def test_an_outside_prefix_has_to_be_dialled_where_there_is_one() -> None:
    practice = policy(('trunks = ["carrier"]', 'trunks = ["carrier"]\noutside_prefix = "9"'))
    assert dial("92125550123", practice=practice) == External("+12125550123", Decimal("0.02"))
    assert dial("2125550123", practice=practice) is Refusal.NOT_A_NUMBER
    assert isinstance(dial("+12125550123", practice=practice), External)


@pytest.mark.parametrize(
    ("usage", "why"),
    [
        (Usage(going_on=10), Refusal.BUSY),
        (Usage(own_going_on=2), Refusal.BUSY),
        (Usage(last_minute=6), Refusal.HASTE),
        (Usage(last_hour=60), Refusal.HASTE),
        (Usage(spent=Decimal(20)), Refusal.COST),
    ],
)
def test_each_limit_holds_for_the_outside_and_not_for_colleagues(usage: Usage, why: Refusal) -> None:
    assert dial("+12125550123", usage) is why
    assert dial("102", usage) == Internal("102")


def test_just_below_each_limit_a_call_goes_out() -> None:
    almost = Usage(going_on=9, own_going_on=1, last_minute=5, last_hour=59, spent=Decimal("19.99"))
    assert isinstance(dial("+12125550123", almost), External)


def test_calls_go_out_within_the_practice_s_hours_only() -> None:
    practice = policy(('trunks = ["carrier"]', 'trunks = ["carrier"]\nhours = "07:00-12:00"'))
    assert dial("+12125550123", practice=practice) is Refusal.HOURS
    assert isinstance(dial("+12125550123", practice=practice, now=NOON.replace(hour=16)), External)
    assert dial("911", practice=practice) == Emergency("911")


@pytest.mark.parametrize(("number", "price"), [("+12125550123", "0.02"), ("+13125550123", "0.01"), ("988", "0.05")])
def test_the_longest_prefix_is_the_price_and_an_unknown_one_counts_as_the_highest(number: str, price: str) -> None:
    found = dial(number)
    assert isinstance(found, External)
    assert found.price == Decimal(price)


def test_without_any_rate_a_minute_counts_as_one() -> None:
    practice = policy((POLICY[POLICY.index("rates =") :], ""))
    assert dial("+12125550123", practice=practice) == External("+12125550123", Decimal(1))


def test_help_is_called_over_every_trunk_that_has_a_server() -> None:
    assert trunks_for(PRACTICE) == ["carrier"]
    assert trunks_for(PRACTICE, emergency=True) == ["carrier", "spare"]
    assert trunks_for(policy(('trunks = ["carrier"]\n', ""))) == ["spare", "carrier"]


def test_a_phone_stands_where_the_policy_says_and_else_at_the_first_place() -> None:
    found = [location_of(PRACTICE, extension) for extension in ("101", "102")]
    assert [place.name for place in found if place is not None] == ["main", "annex"]
    assert location_of(policy((POLICY[POLICY.index("[[location]]") : POLICY.index("[dialling]")], "")), "101") is None


def test_those_who_are_called_see_the_practice_s_number() -> None:
    assert shown_number(PRACTICE) == "+12125550100"
    assert shown_number(load('[practice]\nname = "Harbor"\ntimezone = "America/New_York"\n')) == ""


def test_no_number_shows_in_a_decision_s_representation() -> None:
    assert "2125550123" not in repr(dial("+12125550123"))


@given(st.text(alphabet="0123456789+*#-() ", max_size=24))
def test_whatever_is_dialled_there_is_a_decision_and_no_premium_number_among_what_is_let_out(dialled: str) -> None:
    found = dial(dialled)
    assert isinstance(found, (Internal, External, Emergency, Refusal))
    if isinstance(found, External):
        assert found.number == "988" or found.number.startswith(("+1", "+44"))
        assert not found.number.startswith(("+1900", "+44900", "+44909"))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('trunks = ["carrier"]', 'trunks = ["inward"]', 'no [[trunk]] with servers is named "inward"'),
        ('trunks = ["carrier"]', 'caller_id = "+12125550101"', "caller_id in [dialling] is no [[number]]"),
        ('"US", "GB"', '"US", "XX"', 'no country has the code "XX"'),
        ('extensions = ["102"]', 'extensions = ["109"]', 'nobody of [[staff]] has the extension "109"'),
        ('servers = ["192.0.2.2:5060"]', "registers = true", "registers with servers, username and password only"),
        ('servers = ["192.0.2.2:5060"]', 'username = "u"', "needs username and password together"),
        ('servers = ["192.0.2.2:5060"]', 'servers = ["192.0.2.2:99999"]', "write a host"),
        ('"+44" = 0.05', '"44" = 0.05', "write the beginning of a number"),
        ("[dialling]", '[fax]\nqueue = "fax"\n[dialling]', 'no [[queue]] is named "fax"'),
        ("[dialling]", '[fax]\nextension = "109"\n[dialling]', 'nobody of [[staff]] has the extension "109"'),
        (
            "[dialling]",
            '[fax]\nextension = "101"\nvoicemail = "front-desk"\n[dialling]',
            "give at most one of extension, number, queue, voicemail",
        ),
    ],
)
def test_a_policy_that_does_not_hold_together_is_told(old: str, new: str, fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        policy((old, new))
    assert any(fault in problem for problem in caught.value.problems)
