"""Certificates for SIP over TLS (RFC 3261 section 26.3.1): TLS 1.2 or later, and ours shown whenever we have one."""

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this side is over TLS, and whom it believes."""

    certificate: Path
    "PEM: ours first, then those between it and an authority."

    key: Path
    authorities: Path | None = None
    "PEM: who vouches for the peers that we call; None for those of the operating system."

    def server(self) -> ssl.SSLContext:
        """Return the context for peers that connect to us; they prove themselves by digest, not by certificate.

        Raises:
            OSError: a file is missing, or is no certificate or key, or they do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        return self._strict(context)

    def client(self) -> ssl.SSLContext:
        """Return the context for peers that we connect to: their certificate must bear the name we called (RFC 5922).

        Raises:
            OSError: as `server`.
        """
        return self._strict(ssl.create_default_context(cafile=self.authorities))

    def _strict(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # costs whoever answers more than whoever asks
        context.load_cert_chain(self.certificate, self.key)
        return context
