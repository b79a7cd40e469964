"""What people write back, in the words that they really use."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.rules.consent import Reply, classify

STOP = [
    # the words of 47 CFR 64.1200(a)(10)
    "STOP",
    "quit",
    "End",
    "REVOKE",
    "opt out",
    "cancel",
    "Unsubscribe",
    # what a keyword list of a carrier does not catch
    "Stop.",
    "stop!!",
    "stop please",
    "Please stop",
    "Stop. Thank you",
    "Opt out",
    "OPT-OUT",
    "optout",
    "opt me out please i want to opt out",
    "no more texts",
    "No more messages please",
    "remove me",
    "Please remove my number",
    "take me off your list",
    "stop texting me",
    "Stop sending me messages",
    "please stop texting this phone, I never signed up for anything like this",
    "don't text me",
    "don’t text me again",  # noqa: RUF001 - as phones write it
    "do not contact me again",
    "leave me alone",
    "unsubscribe me from this list",
    "Stopall",
    "S T O P",
    "s.t.o.p",
    "ＳＴＯＰ",  # noqa: RUF001 - full width
    "🛑 stop 🛑",
    "stop stop stop",
    "ALTO",
    "alto por favor",
    "Parar",
    "No más",
    "no más mensajes",
    "no me envíen mensajes",
    "CANCELAR SUSCRIPCIÓN",
    "quiero darme de baja",
    "Deje de mandar mensajes",
]
CONFIRM = [
    "C",
    "c",
    "C.",
    "C!",
    "C thanks",
    "Confirm",
    "confirmed",
    "I confirm",
    "yes",
    "Yes!",
    "Y",
    "Yes, thank you",
    "yes confirm",
    "Hi, yes please",
    "I'll be there",
    "I’ll be there",  # noqa: RUF001
    "see you then",
    "Sí",
    "si gracias",
    "Confirmo",
    "Sí, confirmo. Muchas gracias",
    "ahí estaré",
]
RESCHEDULE = [
    "R",
    "r",
    "Reschedule",
    "reschedule please",
    "Can I reschedule?",
    "I need to reschedule my appointment",
    "need a different time",
    "another day please",
    "could we change my appointment to friday",
    "postpone",
    "Reprogramar",
    "¿Puedo cambiar mi cita?",
    "necesito otra hora",
]
OTHER = [
    "",
    "   ",
    "?",
    "👍",
    "No",
    "No thanks",
    "maybe",
    "ok",
    "thank you",
    "yes but can it be later",
    "I can't make it",
    "who is this",
    "wrong number",
    "I will stop by at three",
    "stop by at 3?",
    "End of the month works better",
    "my quitting date is soon",
    "the pain will not end",
    "I want to confirm my insurance",
    "is the doctor in today",
    "c u there",
    "help me my chest hurts",
]


@pytest.mark.parametrize("text", STOP)
def test_every_reasonable_wording_ends_texts(text: str) -> None:
    assert classify(text).kind == "stop"
    assert classify(text, languages=()).kind == "stop"
    assert classify(text, opted_out=True).kind == "stop"


@pytest.mark.parametrize("text", CONFIRM)
def test_a_confirmation_is_understood(text: str) -> None:
    assert classify(text) == Reply("confirm")


@pytest.mark.parametrize("text", RESCHEDULE)
def test_a_wish_for_another_time_goes_to_staff(text: str) -> None:
    assert classify(text) == Reply("reschedule", ask_staff=True)


@pytest.mark.parametrize("text", OTHER)
def test_what_is_not_understood_goes_to_a_person(text: str) -> None:
    assert classify(text) == Reply("other", confident=False, ask_staff=True)


@pytest.mark.parametrize("text", ["HELP", "help", "Info", "AYUDA", "help please"])
def test_help_is_understood(text: str) -> None:
    assert classify(text) == Reply("help")


@pytest.mark.parametrize("text", ["START", "unstop", "Start please", "comenzar"])
def test_start_is_understood(text: str) -> None:
    assert classify(text) == Reply("start")


@pytest.mark.parametrize("text", ["YES", "yes please", "Sí"])
def test_yes_means_start_only_to_those_who_stopped(text: str) -> None:
    assert classify(text, opted_out=True) == Reply("start")
    assert classify(text) == Reply("confirm")


@pytest.mark.parametrize("text", ["cancel", "CANCEL", "Cancel please", "cancelar"])
def test_a_bare_cancel_ends_texts_and_asks_staff_about_the_visit(text: str) -> None:
    assert classify(text) == Reply("stop", ask_staff=True)


@pytest.mark.parametrize(
    "text", ["Cancel my appointment", "please cancel the visit", "I have to cancel my appt", "cancelar mi cita"]
)
def test_cancelling_a_visit_is_no_opt_out(text: str) -> None:
    assert classify(text) == Reply("other", ask_staff=True)


@pytest.mark.parametrize("text", ["STOP ALL", "stopall", "stop everything", "remove me from all texts"])
def test_everything_can_be_ended_at_once(text: str) -> None:
    assert classify(text) == Reply("stop", everything=True)


def test_a_long_sentence_that_begins_with_stop_stops_texts_and_asks_a_person() -> None:
    text = "Stop, I cannot come on Monday because my car broke down"
    assert classify(text) == Reply("stop", confident=False, ask_staff=True)


def test_a_reschedule_in_doubt_goes_to_a_person_unsure() -> None:
    assert classify("I don't want to reschedule") == Reply("reschedule", confident=False, ask_staff=True)


@pytest.mark.parametrize(("text", "languages"), [("confirmo", ("en",)), ("confirmed", ("es",))])
def test_only_the_practices_languages_are_understood(text: str, languages: tuple[str, ...]) -> None:
    assert classify(text, languages).kind == "other"


noise = st.text(string.punctuation + " \n\t🙂👍", max_size=5)


@settings(deadline=None)
@given(st.sampled_from(STOP + CONFIRM + RESCHEDULE), noise, noise, st.booleans())
def test_case_punctuation_and_emoji_change_nothing(text: str, before: str, after: str, shout: bool) -> None:
    plain = classify(text)
    assert classify(f"{before} {text.upper() if shout else text} {after}") == plain


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_has_a_meaning(text: str) -> None:
    reply = classify(text)
    assert reply.kind in {"confirm", "reschedule", "stop", "help", "start", "other"}
    assert reply.confident or reply.ask_staff
