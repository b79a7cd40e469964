"""The sandbox's policy: valid, apart from any other sandbox's, in a zone where it is mid-morning."""

import base64
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors import host
from hub.demo import morning, practice
from hub.settings import Paths, load


def test_policy_passes_its_own_validator_with_every_connector_installed() -> None:
    policy = load(practice.practice_toml(), connectors=host.installed())
    assert {connection.connector for connection in policy.connections} == {"fhir", "hl7v2", "sandbox-sms"}
    assert {number.did for number in policy.numbers} == {morning.MAIN, morning.NURSES}


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_it_is_mid_morning_whenever_the_demo_is_played(hour: int) -> None:
    now = datetime(2026, 11, 22, hour, 15, tzinfo=UTC)
    policy = load(practice.practice_toml(now))
    assert 9 <= now.astimezone(policy.practice.zone).hour <= 11


def test_ports_are_free_when_they_are_given_out() -> None:
    policy = load(practice.practice_toml())
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((policy.http.bind.host, policy.http.bind.port))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((policy.sip.udp.host, policy.sip.udp.port))


def test_secrets_are_there_for_every_reference_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.keys.mkdir()
    practice.make_secrets(paths)
    load(practice.practice_toml(), root=tmp_path, env={})
    for name in practice.SECRETS:
        path = paths.keys / name
        assert path.stat().st_mode & 0o077 == 0
        assert len(base64.b64decode(path.read_text().strip().removeprefix("whsec_"))) == 32
