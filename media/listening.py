"""Where the media process listens for SIP, as practice.toml says it."""

from pathlib import Path

import structlog

from hub.settings.practice import Sip
from media.sip.hop import Hop
from media.sip.transport import Identity

log = structlog.get_logger()


def listeners_of(sip: Sip) -> list[Hop]:
    """Return the addresses to listen on, UDP first; TLS is left out while there is no certificate for it."""
    tls = sip.tls
    if tls is not None and sip.certificate is None:
        log.warning("no certificate: TLS is not listened on")
        tls = None
    asked = (("udp", sip.udp), ("tcp", sip.tcp), ("tls", tls))
    return [Hop(address.host, address.port, transport) for transport, address in asked if address is not None]


def identity_of(sip: Sip, root: Path) -> Identity | None:
    """Return who this side is over TLS; None without a certificate. `root` is the instance's directory."""
    if sip.certificate is None or sip.key is None:
        return None
    authorities = _file(sip.authorities, root) if sip.authorities is not None else None
    return Identity(_file(sip.certificate, root), _file(sip.key, root), authorities)


def _file(reference: str, root: Path) -> Path:
    return root / reference.removeprefix("file:")
