"""Texts: what they may say, how they are said, and into how many pieces they are cut."""

from datetime import UTC, datetime

import pytest
import smsutil
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import SettingsError
from hub.rules.gsm import SINGLE, Segments
from hub.rules.template import FIELDS, TELLING, fill
from hub.rules.text import (
    callback_number,
    help_text,
    in_language,
    lint,
    render,
    segments,
    started_text,
    stopped_text,
    transliterate,
    visit_fields,
)
from tests.hub.example import practice

PRACTICE = practice()
GOOD = "{practice}: your visit is {date} at {time}. Reply C to confirm, STOP to end."
VISIT = datetime(2026, 9, 30, 16, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "count", "septets", "encoding"),
    [
        ("a" * 160, 1, 160, "gsm"),
        ("a" * 161, 2, 161, "gsm"),
        ("a" * 306, 2, 306, "gsm"),
        ("a" * 307, 3, 307, "gsm"),
        ("{€}" * 54, 3, 324, "gsm"),  # the extension table takes two septets a letter
        ("é ñ ü à ¿ ¡", 1, 11, "gsm"),
        ("’", 1, 1, "ucs-2"),  # noqa: RUF001
        ("’" * 70, 1, 70, "ucs-2"),  # noqa: RUF001
        ("’" * 71, 2, 71, "ucs-2"),  # noqa: RUF001
        ("🙂", 1, 2, "ucs-2"),
        ("", 1, 0, "gsm"),
    ],
)
def test_segments_are_counted_as_carriers_count(body: str, count: int, septets: int, encoding: str) -> None:
    assert segments(body) == Segments(count, septets, encoding)


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        ("It’s “fine” – really…", 'It\'s "fine" - really...'),  # noqa: RUF001
        ("9\u00a0AM\u202f–\u200b5 PM", "9 AM -5 PM"),  # noqa: RUF001
        ("Está aquí, José: mañana a las 3, según usted", "Esta aqui, José: mañana a las 3, segun usted"),
        ("e\u0301", "é"),
        ("François", "FranÇois"),
        ("Łukasz", "Łukasz"),  # no base letter to fall back on: the whole text stays as it is
        ("Está 🙂", "Está 🙂"),
        ("李", "李"),
    ],
)
def test_letters_outside_of_the_alphabet_are_replaced_where_that_saves_it(body: str, plain: str) -> None:
    assert transliterate(body) == plain


@settings(deadline=None)
@given(st.text(max_size=100))
def test_transliteration_ends_in_the_alphabet_or_changes_nothing_but_composition(body: str) -> None:
    plain = transliterate(body)
    assert smsutil.is_valid_gsm(plain) or transliterate(plain) == plain
    assert segments(plain).count <= max(segments(body).count, 1) + body.count("…")


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (GOOD, None),
        (GOOD.replace("STOP", "stop"), None),
        ("{practice}: hola {given}, su cita es el {date}. Llame al {phone}. Responda ALTO para terminar.", None),
        (GOOD.replace("{practice}", "We"), "does not say who writes; put {practice} in"),
        (GOOD.replace("STOP", "X"), "does not say how to end texts; name STOP"),
        (GOOD.replace("STOP", "nonstop"), "does not say how to end texts; name STOP"),
        (
            GOOD.replace("{date}", "{dates}"),
            '"{dates}" is not a field that a text may carry; did you mean "{date}"?',
        ),
        (
            GOOD.replace("{date}", "{0}"),
            '"{0}" is not a field that a text may carry; there are practice, date, time, phone, given',
        ),
        (GOOD.replace("{date}", "{date!r}"), '"{date!r}" is not a field that a text may carry; did you mean "{date}"?'),
        (GOOD.replace("{date}", "{date"), "has a brace without its partner"),
        (GOOD.replace("visit", "biopsy"), 'says why the patient comes ("biopsy")'),
        (GOOD.replace("visit", "BIOPSY"), 'says why the patient comes ("biopsy")'),
        (GOOD.replace("visit", "cirugía"), 'says why the patient comes ("cirugia")'),
        (GOOD.replace("visit", "lab visit"), 'says what a test found or that there was one ("lab")'),
        (GOOD.replace("visit", "refill"), 'names a drug or a prescription ("refill")'),
        (GOOD.replace("visit", "oncology visit"), 'names a specialty ("oncology")'),
        (GOOD.replace("visit", "balance"), 'speaks of money ("balance")'),
        (GOOD.replace("visit", "discount"), 'sells something ("discount")'),
        (GOOD.replace("visit", "MRN 12345"), 'names a record ("mrn")'),
        (GOOD + " bit.ly/x", "has a shortened link, which carriers filter"),
        (
            GOOD + " See you soon, and do bring your card with you, if you please.",
            "can come to 169 letters; 160 fit into one message",
        ),
        (GOOD + " 🙂", "has a letter that no plain text message carries, which leaves room for 70 letters only"),
    ],
)
def test_a_template_is_read_before_it_is_sent(template: str, problem: str | None) -> None:
    assert lint(template, practice="Harbor Family Medicine") == ([] if problem is None else [problem])


def test_words_inside_of_words_tell_nothing() -> None:
    assert lint(GOOD.replace("visit", "collaboration in Paytown"), practice="Harbor") == []


def test_the_practices_own_name_is_not_read_as_a_word() -> None:
    assert lint(GOOD, practice="Family Medicine and Therapy") == []


def test_telling_words_are_listed_without_accents_in_small_letters() -> None:
    listed = frozenset().union(*TELLING.values())
    assert all(word.isascii() and word.isalpha() and word == word.casefold() for word in listed)


def test_a_reminder_says_when_in_one_message() -> None:
    template = PRACTICE.reminders[0].text["en"]
    body = render(template, visit_fields(PRACTICE, VISIT, "en"), PRACTICE)
    assert body == (
        "Harbor Family: your visit is Wednesday, September 30 at 12:05 PM. "
        "Reply C to confirm, R to reschedule, STOP to end."
    )
    assert segments(body).count == 1


def test_a_spanish_reminder_stays_one_message() -> None:
    language, template = in_language(PRACTICE.reminders[0].text, "es", PRACTICE)
    body = render(template, visit_fields(PRACTICE, VISIT, language), PRACTICE)
    assert "miércoles 30 de septiembre a las 12:05 PM" in body
    assert segments(body) == Segments(1, len(body), "gsm")


@pytest.mark.parametrize(
    ("at", "time"),
    [
        ("2026-06-01 00:05", "12:05 AM"),
        ("2026-06-01 11:59", "11:59 AM"),
        ("2026-06-01 12:00", "12:00 PM"),
        ("2026-06-01 23:30", "11:30 PM"),
    ],
)
def test_times_are_said_as_people_say_them(at: str, time: str) -> None:
    local = datetime.fromisoformat(at).replace(tzinfo=PRACTICE.practice.zone)
    assert visit_fields(PRACTICE, local.astimezone(UTC), "en") == {"date": "Monday, June 1", "time": time}


def test_a_language_without_dates_gets_english_ones() -> None:
    assert visit_fields(PRACTICE, VISIT, "vi") == visit_fields(PRACTICE, VISIT, "en")


@pytest.mark.parametrize(
    ("texts", "wanted", "expected"),
    [
        ({"en": "a", "es": "b"}, "es", ("es", "b")),
        ({"en": "a", "es": "b"}, "vi", ("en", "a")),
        ({"es": "b"}, "vi", ("es", "b")),
        ({"vi": "c"}, "en", ("vi", "c")),
    ],
)
def test_a_text_is_found_in_the_nearest_language(texts: dict[str, str], wanted: str, expected: tuple[str, str]) -> None:
    assert in_language(texts, wanted, PRACTICE) == expected


def test_a_text_in_no_language_is_refused() -> None:
    with pytest.raises(SettingsError):
        in_language({}, "en", PRACTICE)


def test_a_field_without_a_value_is_named_and_the_others_values_are_not() -> None:
    with pytest.raises(SettingsError) as caught:
        render("{practice} {given} {time}", {"given": "Ana"}, PRACTICE)
    assert caught.value.problems == ['no value for the field "time"']


def test_a_field_that_no_text_may_carry_is_refused_even_with_a_value() -> None:
    with pytest.raises(SettingsError) as caught:
        render("{diagnosis}", {"diagnosis": "flu"}, PRACTICE)
    assert "flu" not in str(caught.value)


def test_a_value_that_looks_like_a_field_stays_as_it_is() -> None:
    assert render("{given}", {"given": "{phone}"}, PRACTICE) == "{phone}"
    assert render("{given}", {"given": " Ana\nMaria "}, PRACTICE) == "Ana Maria"


def test_the_number_to_call_back_is_the_practices_first() -> None:
    assert callback_number(PRACTICE) == "(212) 555-0100"
    assert callback_number(PRACTICE.model_copy(update={"numbers": ()})) == ""


@pytest.mark.parametrize("language", ["en", "es", "vi"])
def test_answers_to_stop_start_and_help_fit_and_name_the_practice(language: str) -> None:
    for body in (help_text(PRACTICE, language), stopped_text(PRACTICE, language), started_text(PRACTICE, language)):
        assert body.startswith("Harbor Family: ")
        assert segments(body).count == 1
        assert "{" not in body
    assert "(212) 555-0100" in help_text(PRACTICE, language)
    assert "STOP" in help_text(PRACTICE, language)


@settings(deadline=None)
@given(st.fixed_dictionaries({name: st.text(max_size=20) for name in FIELDS}))
def test_filling_puts_each_value_in_once(values: dict[str, str]) -> None:
    template = "|".join(f"{{{name}}}" for name in FIELDS)
    assert fill(template, values) == "|".join(" ".join(values[name].split()) for name in FIELDS)


def test_a_message_is_one_hundred_and_sixty_letters() -> None:
    assert SINGLE == smsutil.GSM_SINGLE_PART_BYTES
