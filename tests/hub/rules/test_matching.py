"""Matches are never guesses."""

from uuid import UUID

import pytest

from hub.rules.matching import Hit, Match, match

ANA, BEN = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize(
    ("hits", "expected"),
    [
        ([], Match("none")),
        ([Hit(ANA)], Match("one", (ANA,))),
        ([Hit(ANA), Hit(ANA, use="mobile")], Match("one", (ANA,))),
        ([Hit(BEN), Hit(ANA)], Match("many", (ANA, BEN))),
        ([Hit(ANA), Hit(BEN, deceased=True)], Match("one", (ANA,))),
        ([Hit(ANA), Hit(BEN, active=False)], Match("one", (ANA,))),
        ([Hit(ANA, use="old")], Match("none")),
        ([Hit(ANA, restricted=True)], Match("restricted")),
        ([Hit(ANA), Hit(BEN, restricted=True)], Match("restricted")),
        ([Hit(ANA), Hit(BEN, restricted=True, use="old")], Match("one", (ANA,))),
    ],
)
def test_a_number_matches_whoever_gave_it(hits: list[Hit], expected: Match) -> None:
    assert match(hits) == expected
    assert match(hits[::-1]) == expected
