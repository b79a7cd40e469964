"""What an operator sets for the messages that go to one HL7 v2 system."""

import ipaddress
import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from connectors.api import Settings
from connectors.hl7v2.build import Header
from connectors.hl7v2.site import Meaning

_HOST = re.compile(r"[A-Za-z0-9.:_-]+")

Name = Annotated[str, StringConstraints(max_length=180, pattern=r"^[\x20-\x7e]*$")]
Code = Annotated[str, StringConstraints(min_length=1, max_length=60, pattern=r"^[\x20-\x7e]+$")]
Condition = Literal["AL", "NE", "ER", "SU"]


def _url(text: str) -> str:
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        host, port = "", None
    whole = f"{url.scheme}://{f'[{host}]' if ':' in host else host}:{port}" if host and port else ""
    if not _HOST.fullmatch(host) or text.lower() != whole or url.scheme not in ("mllp", "mllps"):
        raise ValueError("an address is mllp://host:port, or mllps://host:port for TLS")
    return text


Url = Annotated[str, AfterValidator(_url)]


def loopback(host: str) -> bool:
    """Whether `host`, as it is written, is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class OutgoingSettings(Settings):
    """Settings of what is sent."""

    send: Url | None = None
    "Where to write back: mllp://host:port, or mllps://host:port for TLS."

    query: Url | None = None
    "Where to ask for patients by telephone number."

    write: Literal["srm", "siu"] = "srm"
    "How to write back: as a request to the system that keeps the appointments (SRM), or as a notification (SIU)."

    codes: dict[Meaning, Code] = {}
    'What this system calls a status, in ARQ-6 or SCH-25: { confirmed = "CONF" }.'

    phone_field: Annotated[str, StringConstraints(pattern=r"^PID\.\d{1,2}(\.\d{1,2})*$")] = "PID.13.1"
    "The field that is asked for a telephone number (QPD-3)."

    version: Literal["2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2"] = "2.5.1"
    "MSH-12."

    sending_application: Name = "CHARTLINE"
    "MSH-3: a namespace, or namespace^universal id^type."

    sending_facility: Name = ""
    "MSH-4."

    receiving_application: Name = ""
    "MSH-5."

    receiving_facility: Name = ""
    "MSH-6."

    processing: Literal["P", "T", "D"] = "P"
    "MSH-11: production, training or debugging."

    accept_ack: Condition | None = None
    "MSH-15 (HL7 table 0155): when a commit acknowledgment is asked for; original mode without both."

    application_ack: Condition | None = None
    "MSH-16: when an application acknowledgment is asked for."

    answer_seconds: int = Field(default=15, ge=1, le=40)
    "How long an acknowledgment may take."

    plaintext: bool = False
    "Listen, and send, beyond this machine without TLS, on a network that is protected by other means."

    client_certificate: SecretStr | None = None
    "Our certificate chain for mllps addresses, PEM, as file:PATH."

    client_key: SecretStr | None = None
    "Its private key, PEM, as file:PATH."

    server_ca: SecretStr | None = None
    "The authorities, PEM, as file:PATH, whose certificates mllps addresses must show; the well-known ones without it."

    @property
    def awaits_application(self) -> bool:
        """Whether an application acknowledgment follows the commit."""
        return self.application_ack in ("AL", "SU")

    def header_of(self, charset: str | None) -> Header:
        """Return the header of what is sent."""
        return Header(
            sending_application=self.sending_application,
            sending_facility=self.sending_facility,
            receiving_application=self.receiving_application,
            receiving_facility=self.receiving_facility,
            processing=self.processing,
            version=self.version,
            accept=self.accept_ack or "",
            application=self.application_ack or "",
            charset=charset or "",
        )

    @model_validator(mode="after")
    def _sendable(self) -> Self:
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("client_certificate and client_key go together")
        asked = {self.accept_ack, self.application_ack}
        if asked != {None} and not asked & {"AL", "SU"}:
            raise ValueError("one of accept_ack and application_ack must be AL or SU, or nobody tells what was taken")
        for url in (self.send, self.query):
            host = urlsplit(url).hostname if url else None
            if url and url.lower().startswith("mllp:") and not self.plaintext and not loopback(host or ""):
                raise ValueError("sends beyond this machine without TLS; give mllps://, or plaintext = true")
        return self
