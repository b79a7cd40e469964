"""Whether a call may be recorded: the stricter rule of both parties' places."""

import tomllib

import pytest

from hub.rules.recording import Consent, consent_of, recorded
from hub.settings.practice import Practice

NOTICE, OPT_IN = Consent.NOTICE, Consent.OPT_IN


def practice(region: str = "US", more: str = "") -> Practice:
    said = f'[practice]\nname = "Cove"\ntimezone = "America/New_York"\nregion = "{region}"\n{more}'
    return Practice.model_validate(tomllib.loads(said))


@pytest.mark.parametrize(
    ("region", "number", "consent"),
    [
        ("US", "+12125550123", NOTICE),  # New York
        ("US", "+12065550123", NOTICE),  # Washington asks for everyone's consent, and takes the notice as such
        ("US", None, NOTICE),
        ("US", "+17875550123", NOTICE),  # Puerto Rico
        ("US", "+14165550123", NOTICE),  # Toronto
        ("US", "+15550100123", NOTICE),  # nobody's area
        ("US", "+493012345678", OPT_IN),
        ("US", "+33612345678", OPT_IN),
        ("US", "+18765550123", OPT_IN),  # Jamaica is of the same plan, and not among those that are known
        ("US", "101", OPT_IN),  # no number: nobody knows
        ("DE", "+12125550123", OPT_IN),
        ("DE", None, OPT_IN),
        ("GB", "+12125550123", NOTICE),
    ],
)
def test_the_stricter_rule_holds(region: str, number: str | None, consent: Consent) -> None:
    assert consent_of(practice(region), number) is consent


@pytest.mark.parametrize("number", ["+12125550123", None])
def test_a_practice_may_be_stricter(number: str | None) -> None:
    assert consent_of(practice(more='[recording]\nconsent = "opt-in"'), number) is OPT_IN


def test_a_queue_may_go_without() -> None:
    some = practice(more='[[queue]]\nname = "a"\n[[queue]]\nname = "b"\nrecord = false')
    assert [recorded(some, name) for name in ("a", "b", None, "gone")] == [True, False, True, True]
    none = practice(more='[recording]\ncalls = false\n[[queue]]\nname = "a"')
    assert [recorded(none, name) for name in ("a", None)] == [False, False]
