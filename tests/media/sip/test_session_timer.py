"""Session timers: what is agreed on in each case, and when it is time (RFC 4028)."""

import pytest

from media.errors import ProtocolError
from media.sip.message import Request, Response
from media.sip.session_timer import (
    Interval,
    SessionTimer,
    Terms,
    headers_of_answer,
    headers_of_request,
    is_too_brief,
    minimum_of,
    terms_of_request,
    terms_of_response,
)
from media.sip.timer import Timers
from tests.media.sip.line import Clock


def asking(**fields: str) -> Request:
    return Request("INVITE", "sip:a@b", {name.replace("_", "-"): [value] for name, value in fields.items()})


def saying(**fields: str) -> Response:
    return Response(200, "OK", {name.replace("_", "-"): [value] for name, value in fields.items()})


@pytest.mark.parametrize("value", ["1800", "90;refresher=uac", "4000;refresher=uas"])
def test_an_interval_comes_back_as_it_was(value: str) -> None:
    assert str(Interval.parse(value)) == value


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        (" 1800 ; refresher=UAC;x=y", Interval(1800, "uac")),
        ("1800;refresher=me", Interval(1800)),
        ("9999999999", Interval(86_400)),
    ],
)
def test_an_interval_is_read_as_phones_write_it(value: str, interval: Interval) -> None:
    assert Interval.parse(value) == interval


@pytest.mark.parametrize("value", ["", "soon", "-1", "18 00", "1e3", "12345678901", ";refresher=uac"])
def test_what_is_no_interval_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError):
        Interval.parse(value)


def test_the_minimum_is_never_below_ninety_seconds() -> None:
    assert minimum_of(asking()) == 90
    assert minimum_of(asking(Min_SE="30")) == 90
    assert minimum_of(asking(Min_SE="120;x")) == 120
    assert minimum_of(asking(Min_SE="soon")) == 90


@pytest.mark.parametrize(
    ("fields", "too_brief"),
    [
        ({"Session_Expires": "60", "Supported": "replaces, Timer"}, True),
        ({"Session_Expires": "60", "Require": "timer"}, True),
        ({"Session_Expires": "60"}, False),  # a proxy wrote it: the caller would not understand
        ({"Session_Expires": "90", "Supported": "timer"}, False),
        ({"Supported": "timer"}, False),
    ],
)
def test_only_who_knows_the_answer_is_told_that_it_is_too_brief(fields: dict[str, str], too_brief: bool) -> None:
    assert is_too_brief(asking(**fields)) is too_brief


@pytest.mark.parametrize(
    ("fields", "terms"),
    [  # RFC 4028 section 9, table 2
        ({}, Terms(1800, ours=True)),
        ({"Supported": "timer"}, Terms(1800, ours=True)),
        ({"Session_Expires": "600"}, Terms(600, ours=True)),
        ({"Session_Expires": "0"}, Terms(90, ours=True)),  # a proxy wrote it: the caller would not understand a 422
        ({"Session_Expires": "never", "Min_SE": "never"}, Terms(1800, ours=True)),
        ({"Session_Expires": "60", "Min_SE": "120"}, Terms(120, ours=True)),
        ({"Session_Expires": "600", "Supported": "timer"}, Terms(600, ours=True)),
        ({"Session_Expires": "600;refresher=uac", "Supported": "timer"}, Terms(600, ours=False)),
        ({"Session_Expires": "600;refresher=uas", "Supported": "timer"}, Terms(600, ours=True)),
        ({"Session_Expires": "7200;refresher=uac", "Supported": "timer"}, Terms(1800, ours=False)),
        ({"Session_Expires": "7200", "Min_SE": "3600", "Supported": "timer"}, Terms(3600, ours=True)),
        ({"Min_SE": "3600", "Supported": "timer"}, Terms(3600, ours=True)),
    ],
)
def test_the_side_that_is_asked_may_shorten_and_never_lengthen(fields: dict[str, str], terms: Terms) -> None:
    assert terms_of_request(asking(**fields), 1800) == terms


def test_the_answer_requires_timers_only_of_a_peer_that_refreshes() -> None:
    assert headers_of_answer(Terms(600, ours=True)) == {"Session-Expires": ["600;refresher=uas"]}
    assert headers_of_answer(Terms(600, ours=False)) == {
        "Session-Expires": ["600;refresher=uac"],
        "Require": ["timer"],
    }


def test_who_refreshes_goes_on_refreshing() -> None:
    assert headers_of_request(1800, None, 90) == {"Session-Expires": ["1800"]}
    assert headers_of_request(1800, Terms(600, ours=True), 90) == {"Session-Expires": ["600;refresher=uac"]}
    assert headers_of_request(1800, Terms(600, ours=False), 90) == {"Session-Expires": ["600;refresher=uas"]}
    least = headers_of_request(600, None, 900)
    assert least == {"Session-Expires": ["900"], "Min-SE": ["900"]}


@pytest.mark.parametrize(
    ("fields", "terms"),
    [
        ({"Session_Expires": "600;refresher=uac"}, Terms(600, ours=True)),
        ({"Session_Expires": "600;refresher=uas"}, Terms(600, ours=False)),
        ({"Session_Expires": "600"}, Terms(600, ours=True)),
        ({}, Terms(1800, ours=True)),
        ({"Session_Expires": "nonsense"}, Terms(1800, ours=True)),
        ({"Session_Expires": "1;refresher=uac"}, Terms(1800, ours=True)),
    ],
)
def test_the_side_that_asked_takes_what_the_answer_says(fields: dict[str, str], terms: Terms) -> None:
    assert terms_of_response(saying(**fields), 1800) == terms


def test_the_refresher_is_called_at_half_time_and_the_other_side_gives_up_shortly_before_the_end() -> None:
    clock, said = Clock(), list[str]()
    timers = Timers(clock)
    timer = SessionTimer(timers)

    def start(terms: Terms) -> None:
        timer.start(terms, lambda: said.append("due"), lambda: said.append("over"))

    def after(seconds: float) -> list[str]:
        clock.now += seconds
        timers.run()
        told, said[:] = list(said), []
        return told

    start(Terms(600, ours=True))
    assert after(299) == []
    start(Terms(600, ours=True))
    assert after(299) == []
    assert after(1) == ["due"]
    start(Terms(600, ours=False))
    assert after(567) == []
    assert after(1) == ["over"]
    start(Terms(90, ours=False))
    assert after(60) == ["over"]
    start(Terms(0, ours=True))
    assert after(22) == [], "nobody is asked again at once"
    assert after(1) == ["due"]
    start(Terms(0, ours=False))
    assert after(29) == []
    assert after(1) == ["over"]
    start(Terms(90, ours=True))
    timer.stop()
    assert after(90) == []
    assert timer.terms == Terms(90, ours=True)
