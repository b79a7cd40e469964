"""The media process over TCP and TLS: what practice.toml asks for is listened on, and calls come in."""

import base64
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.cli import setup
from hub.cli.instance import opened
from hub.demo.ports import free_port
from hub.settings import Paths
from media.gateway import Gateway
from media.offer import offer_audio
from media.sip import Address, Endpoint, Hop, Uri
from media.sip.transport import Identity
from tests.media import cove
from tests.media.office import opened_gateway
from tests.media.sip.certificate import Office
from tests.peers.sipp import HOST, Sipp

pytestmark = [pytest.mark.peer("sipp"), pytest.mark.xdist_group("gateway")]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> tuple[Identity, Path]:
    root = tmp_path_factory.mktemp("streams") / "i"
    tcp, tls = free_port(), free_port()
    asked = f'tcp = "{HOST}:{tcp}"\ntls = "{HOST}:{tls}"\n'
    asked += 'certificate = "file:keys/sip.pem"\nkey = "file:keys/sip.key"\nauthorities = "file:keys/office.pem"\n'
    setup.make(Paths(root), cove.policy().replace("[sip]\n", f"[sip]\n{asked}"))
    identity = Office(root / "keys").identity(HOST)
    shutil.copy(identity.certificate, root / "keys" / "sip.pem")
    shutil.copy(identity.key, root / "keys" / "sip.key")
    (root / "keys" / "pop.secret").write_text("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    return identity, root


@pytest.fixture
async def gateway(office: tuple[Identity, Path]) -> AsyncIterator[Gateway]:
    with opened(office[1]) as instance:
        async with opened_gateway(instance, "media-streams") as made:
            yield made


async def test_a_carrier_calls_over_tcp(gateway: Gateway, tmp_path: Path) -> None:
    assert {"udp", "tcp", "tls"} <= set(gateway.endpoint.listening)
    outcome = await Sipp(tmp_path).run("call", gateway.endpoint.listening["tcp"], calls=3, rate=10, hold_ms=300)
    assert (outcome.successful, outcome.failed) == (3, 0), outcome.detail


async def test_tls_shows_the_practice_s_certificate_and_believes_its_authorities(
    gateway: Gateway, office: tuple[Identity, Path]
) -> None:
    port = gateway.endpoint.listening["tls"].port
    listener = Hop(HOST, 0, "tls")
    carrier = Endpoint([listener], identity=office[0], credentials=lambda _name: None, trunks=lambda _address: None)
    await carrier.start()
    try:
        target = Uri.parse(f"sips:+12125550100@{HOST}:{port}")
        leg = carrier.call(target, offer_audio((HOST, 30000)), from_=Address.parse("<sip:+12125550199@127.0.0.1>"))
        assert await leg.answered is not None
    finally:
        await carrier.close()
