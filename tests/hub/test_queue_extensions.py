"""The extension of a queue reaches that queue and nobody else, or practice.toml is not taken."""

import pytest

from hub.errors import SettingsError
from hub.settings import Practice, load

POLICY = """
[practice]
name = "Harbor"
timezone = "America/New_York"
region = "{region}"

[[trunk]]
name = "carrier"
hosts = ["192.0.2.7"]
servers = ["192.0.2.7:5060"]

[dialling]
countries = ["US"]
services = ["988"]
outside_prefix = "7"

[[number]]
did = "{did}"
queue = "nurses"

[[queue]]
name = "nurses"
extension = "{extension}"

[[queue]]
name = "201"
extension = "{other}"

[[staff]]
email = "ana@example.org"
roles = ["nurse"]
queues = ["nurses", "201"]
extension = "101"
"""


def policy(extension: str, *, other: str = "202", region: str = "US", did: str = "+12125550100") -> Practice:
    return load(POLICY.format(extension=extension, other=other, region=region, did=did))


@pytest.mark.parametrize(
    ("extension", "told"),
    [
        ("101", '"101" in [[queue]] "nurses" is somebody of [[staff]] already'),
        ("988", '"988" in [[queue]] "nurses" is one of the services of [dialling] already'),
        ("201", '"201" in [[queue]] "nurses" is the name of [[queue]] "201"'),
        ("911", '"911" in [[queue]] is dialled for help in an emergency'),
        ("7911", '"7911" in [[queue]] is dialled for help in an emergency'),
    ],
)
def test_an_extension_that_is_somebody_else_s_is_refused_with_its_line(extension: str, told: str) -> None:
    with pytest.raises(SettingsError) as raised:
        policy(extension)
    line = POLICY.splitlines().index('extension = "{extension}"') + 1
    assert raised.value.problems == [f"practice.toml:{line}: {told}"]


def test_two_queues_do_not_share_an_extension() -> None:
    with pytest.raises(SettingsError, match=r'"203" in .* "201" is .* "nurses" already'):
        policy("203", other="203")


def test_a_short_number_of_the_practice_is_no_queue_s() -> None:
    with pytest.raises(SettingsError, match=r'"290000" in .* is \[\[number\]\] "\+298290000" already'):
        policy("290000", region="FO", did="+298290000")


@pytest.mark.parametrize(("extension", "other"), [("203", "204"), ("203", "201")])
def test_an_extension_of_its_own_is_taken(extension: str, other: str) -> None:
    assert [queue.extension for queue in policy(extension, other=other).queues] == [extension, other]


@pytest.mark.parametrize(("seconds", "taken"), [("90", True), ("89", False), ("86401", False)])
def test_a_session_is_refreshed_no_more_often_than_the_standard_lets_it(seconds: str, taken: bool) -> None:
    text = f'[practice]\nname = "Harbor"\ntimezone = "America/New_York"\n\n[sip]\nsession_seconds = {seconds}\n'
    if taken:
        assert load(text).sip.session_seconds == int(seconds)
    else:
        with pytest.raises(SettingsError, match='"session_seconds" in \\[sip\\]'):
            load(text)
