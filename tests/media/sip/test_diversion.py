"""Whom a call was first meant for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.sip.diversion import Diversion, first_called
from tests.media.sip.line import Line, invite


def of(**headers: str) -> Diversion | None:
    return first_called(invite(headers={name.replace("_", "-"): text for name, text in headers.items()}))


@pytest.mark.parametrize(
    ("history", "number", "reason"),
    [
        (
            "<sip:+12125550188@c.example?Reason=SIP%3Bcause%3D486%3Btext%3D%22Busy%20Here%22>;index=1,"
            " <sip:+12125550100@c.example>;index=1.1;rc=1",
            "+12125550188",
            "user-busy",
        ),
        (
            "<sip:+12125550188@c.example>;index=1, <sip:+12125550100@c.example;cause=302>;index=1.1;mp=1",
            "+12125550188",
            "unconditional",
        ),
        ("<sip:2@c.example;cause=408>;index=1.1, <sip:+12125550188@c.example>;index=1", "+12125550188", "no-answer"),
        (
            "<sip:+12125550188@c.example?Privacy=history>;index=1, <sip:+12125550100@c.example>;index=1.1",
            "",
            "unknown",
        ),
        ("<tel:+12125550188>;index=1, <sip:+12125550100@c.example;cause=999>;index=1.1", "+12125550188", "unknown"),
    ],
)
def test_history_begins_with_the_first_target(history: str, number: str, reason: str) -> None:
    assert of(History_Info=history) == Diversion(number, reason)


@pytest.mark.parametrize(
    "history",
    [
        "<sip:+12125550100@c.example>;index=1",
        "<sip:+12125550100@a.example>;index=1, <sip:+12125550100@b.example>;index=1.1",
        "<sip:+12125550188@c.example>, <sip:+12125550100@c.example>",
        "<sip:",
        f"<sip:+12125550188@c.example>;index={'9' * 4301}, <sip:+12125550100@c.example>;index=1.1",
        f"<sip:+12125550188@c.example>;index=1.{'0' * 4301}, <sip:+12125550100@c.example>;index=1.1",
    ],
)
def test_a_call_that_nobody_sent_on_has_no_first_target(history: str) -> None:
    assert of(History_Info=history) is None


@pytest.mark.parametrize(
    ("diversion", "number", "reason"),
    [
        ('"Desk" <sip:+12125550188@c.example>;reason=user-busy;counter=1;privacy=off', "+12125550188", "user-busy"),
        ("<sip:3@c>;reason=no-answer, <sip:+12125550188@c>;reason=unconditional", "+12125550188", "unconditional"),
        ("<tel:+12125550188>;reason=other", "+12125550188", "unknown"),
        ("<sip:+12125550188@c>;privacy=full", "", "unknown"),
    ],
)
def test_diversion_ends_with_the_first_who_sent_the_call_on(diversion: str, number: str, reason: str) -> None:
    assert of(Diversion=diversion) == Diversion(number, reason)


def test_history_says_more_than_diversion() -> None:
    history = "<sip:+12125550188@c>;index=1, <sip:+12125550100@c;cause=486>;index=1.1"
    assert of(History_Info=history, Diversion="<sip:+12125550177@c>") == Diversion("+12125550188", "user-busy")


def test_without_a_hint_nobody_was_called_first() -> None:
    assert of() is None


@given(st.text(alphabet='<>;,="%1.?&@:sip tel+', max_size=80))
def test_no_text_raises(text: str) -> None:
    of(History_Info=text or "x", Diversion=text or "x")


async def test_a_call_from_a_trunk_tells_whom_it_was_first_meant_for() -> None:
    line = Line()
    line.put(invite(headers={"Diversion": "<sip:+12125550188@c>;reason=no-answer"}))
    await line.settle()
    assert line.calls[0].diversion == Diversion("+12125550188", "no-answer")
    assert line.calls[0].attestation.doubt == "absent"
