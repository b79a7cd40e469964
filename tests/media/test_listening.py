"""What practice.toml says of SIP, as the endpoint takes it."""

from pathlib import Path

from hub.settings.practice import Sip
from hub.settings.value import Address
from media.listening import identity_of, listeners_of
from media.sip import Hop
from media.sip.transport import Identity

ROOT = Path("/srv/practice")


def test_only_udp_is_listened_on_where_nothing_else_is_asked_for() -> None:
    assert listeners_of(Sip()) == [Hop("127.0.0.1", 5060)]
    assert identity_of(Sip(), ROOT) is None


def test_tls_without_a_certificate_is_left_out() -> None:
    assert listeners_of(Sip.model_validate({"tls": "127.0.0.1:5061"})) == [Hop("127.0.0.1", 5060)]


def test_every_transport_has_its_address_and_tls_its_files() -> None:
    sip = Sip.model_validate(
        {"udp": "192.0.2.1:5060", "tcp": "192.0.2.1:5060", "tls": "192.0.2.1:5061"}
        | {"certificate": "file:keys/sip.pem", "key": "file:keys/sip.key", "authorities": "file:keys/carrier.pem"}
    )
    assert sip.tls == Address("192.0.2.1:5061")
    assert listeners_of(sip) == [
        Hop("192.0.2.1", 5060),
        Hop("192.0.2.1", 5060, "tcp"),
        Hop("192.0.2.1", 5061, "tls"),
    ]
    keys = ROOT / "keys"
    assert identity_of(sip, ROOT) == Identity(keys / "sip.pem", keys / "sip.key", keys / "carrier.pem")
