"""What a reminder says that is called, and to whom."""

from dataclasses import fields
from datetime import UTC, datetime

import pytest

from hub.rules.text import callback_number
from hub.rules.voice import ANOTHER_TIME, CONFIRM, MEANT, STOP, Words, words_of
from hub.settings import Practice

AT = datetime(2026, 3, 12, 15, 30, tzinfo=UTC)
"A Thursday, 11:30 in New York."

TELLING = ("March", "Thursday", "marzo", "jueves", "11:30", "visit", "cita", "appointment")


def practice(**more: object) -> Practice:
    info = {"name": "Harbor Oncology", "text_name": "Harbor Clinic", "timezone": "America/New_York", **more}
    return Practice.model_validate({"practice": info, "number": [{"did": "+12125550100", "queue": "desk"}]})


@pytest.mark.parametrize("language", ["en", "es"])
def test_only_one_text_tells_of_the_visit_and_none_of_more(language: str) -> None:
    words = words_of(practice(languages=["en", "es"]), AT, language)
    assert words.language == language
    for each in fields(Words):
        said = getattr(words, each.name)
        assert "Oncology" not in said
        assert "{" not in said
        assert any(word in said for word in TELLING) is (each.name == "visit"), each.name
    assert "11:30 AM" in words.visit


@pytest.mark.parametrize("language", ["en", "es"])
def test_who_calls_and_from_where_comes_first_and_the_way_out_with_it(language: str) -> None:
    words = words_of(practice(), AT, language)
    assert words.opening.index("Harbor Clinic") < words.opening.index(f" {MEANT}.") < words.opening.index(f" {STOP}.")
    for said in (words.opening, words.message, words.closing):
        assert "2 1 2, 5 5 5, 0 1 0 0" in said  # as no voice reads it otherwise
    for key in (CONFIRM, ANOTHER_TIME, STOP):
        assert f" {key}." in words.choice
        assert f" {key}." not in words.visit  # no key counts before it is over
    assert words.message.count("Harbor Clinic") == words.message.count("0 1 0 0") == 2


def test_a_language_that_it_has_no_words_in_is_the_practices_first() -> None:
    assert words_of(practice(languages=["es", "en"]), AT, "vi").language == "es"
    assert words_of(practice(languages=["vi"]), AT, "vi").language == "en"
    assert callback_number(practice()) == "(212) 555-0100"
