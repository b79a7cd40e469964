"""The lines that a person reads before publishing a policy."""

import pytest

from hub.settings import diff
from tests.hub.example import practice


def test_equal_policies_have_no_difference() -> None:
    assert diff(practice(), practice()) == []


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("target_seconds = 20", "target_seconds = 30", ['~ [[queue]] "appointments" target_seconds: 20 -> 30']),
        (
            'bind = "127.0.0.1:8080"',
            'bind = "127.0.0.1:8081"',
            ['~ [http] bind: "127.0.0.1:8080" -> "127.0.0.1:8081" (needs a restart)'],
        ),
        ('text_name = "Harbor Family"\n', "", ['~ [practice] text_name: "Harbor Family" -> nothing']),
        (
            '8 = { menu = "main", language = "es" }, ',
            "",
            [
                '~ [[menu]] "main" choices.8.menu: "main" -> nothing',
                '~ [[menu]] "main" choices.8.language: "es" -> nothing',
            ],
        ),
        (
            'then = { language = "es" }',
            'then = { language = "en" }',
            ['~ [[route]] "spanish" then.language: "es" -> "en"'],
        ),
        (
            "expires = 2027-12-31",
            "expires = 2028-12-31",
            ['~ [[agreement]] "carrier" expires: "2027-12-31" -> "2028-12-31"'],
        ),
        (
            "[[agreement]]\n",
            '[[webhook]]\nurl = "http://127.0.0.1/x"\nevents = ["call.ended"]\nsecret = "env:X"\n\n[[agreement]]\n',
            ['+ [[webhook]] "http://127.0.0.1/x"'],
        ),
    ],
)
def test_a_difference_is_one_line_that_says_where(old: str, new: str, lines: list[str]) -> None:
    assert diff(practice(), practice((old, new))) == lines


def test_a_renamed_table_goes_and_comes() -> None:
    renamed = practice(('name = "visit-soon"', 'name = "visit-today"'))
    assert diff(practice(), renamed) == ['- [[route]] "visit-soon"', '+ [[route]] "visit-today"']


def test_another_order_of_routes_is_a_difference() -> None:
    before = practice()
    after = before.model_copy(update={"routes": tuple(reversed(before.routes))})
    assert diff(before, after) == ["~ [[route]] stand in another order"]


def test_two_tables_of_one_name_are_told_apart() -> None:
    before = practice()
    after = before.model_copy(update={"agreements": (*before.agreements, before.agreements[0])})
    assert diff(before, after) == ['+ [[agreement]] "carrier" (2)']
