"""What an operator sets for one HL7 v2 source."""

from functools import cached_property
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr, model_validator

from connectors.hl7v2.charset import codec_of
from connectors.hl7v2.outgoing import OutgoingSettings, loopback
from connectors.hl7v2.site import STANDARD, Event, Site, Statuses, Type, known, sites

MAX_FRAME = 8 * 1024 * 1024


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("an address is host:port")
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("not a time zone of the IANA database, such as America/New_York") from error
    return text


def _charset(text: str) -> str:
    if not codec_of(text):
        raise ValueError("not a character set of HL7 table 0211, such as 8859/1 or UNICODE UTF-8")
    return text


class Hl7v2Settings(OutgoingSettings):
    """Settings of one source."""

    listen: Annotated[str, AfterValidator(_address)]
    "Address to listen on, host:port; an IPv6 host in brackets."

    timezone: Annotated[str, AfterValidator(_zone)] | None = None
    "The source's zone, for times without an offset; the practice's where it is left out."

    charset: Annotated[str, AfterValidator(_charset)] | None = None
    "HL7 table 0211, for messages with an empty MSH-18; otherwise UTF-8, and Windows-1252 where it is not that."

    certificate: SecretStr | None = None
    "The server's certificate chain, PEM, as file:PATH; switches TLS on."

    key: SecretStr | None = None
    "Its private key, PEM, as file:PATH."

    client_ca: SecretStr | None = None
    "The authorities, PEM, as file:PATH, whose certificates senders must show."

    max_frame: int = Field(default=MAX_FRAME, ge=1024, le=64 * 1024 * 1024)
    "Bytes of the longest message that is taken."

    facilities: dict[str, list[str]] = {}
    """Who may speak for whom: the name in a sender's certificate (common name or alternative name), to the facilities
    (MSH-4), or the applications of a facility (MSH-3|MSH-4), whose messages it may bring: { "adt.harbor.example" =
    ["HARBOR", "SCHED|PIER"] }. Goes with client_ca; every other message is refused."""

    acknowledgment: Literal["asked", "original"] = "asked"
    "`original`: answer in original mode whatever MSH-15 and MSH-16 ask for."

    site: Annotated[str, AfterValidator(known)] | None = None
    "A row of sites.toml: what this vendor's system means where it departs from the standard."

    types: dict[Type, Type] = {}
    'What this source means by a message code of its own: { ZIU = "SIU" }.'

    events: dict[Event, Event] = {}
    'What this source means by a trigger event where it departs from the standard: { S15 = "S16" }.'

    statuses: Statuses = {}
    'What this source means by its own codes in SCH-25, in any letter case: { CONF = "confirmed", WALK = "arrived" }.'

    @cached_property
    def meanings(self) -> Site:
        """The site's row with the operator's own over it."""
        row = sites()[self.site] if self.site else STANDARD
        return row.model_copy(
            update={
                "types": {**row.types, **self.types},
                "events": {**row.events, **self.events},
                "statuses": {**row.statuses, **self.statuses},
            }
        )

    @property
    def host(self) -> str:
        """The host to listen on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen on; 0 lets the system choose."""
        return int(self.listen.rpartition(":")[2])

    @property
    def zone(self) -> ZoneInfo | None:
        """The source's time zone, if it is set."""
        return ZoneInfo(self.timezone) if self.timezone else None

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if (self.certificate is None) != (self.key is None) or (self.client_ca and not self.certificate):
            raise ValueError("TLS needs certificate and key; client_ca goes with them")
        if self.facilities and not self.client_ca:
            raise ValueError("facilities are bound to certificates of client_ca")
        if self.certificate is None and not self.plaintext and not loopback(self.host):
            raise ValueError("listens beyond this machine without TLS; give certificate and key, or plaintext = true")
        return self
