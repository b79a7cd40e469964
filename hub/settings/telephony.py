"""The tables about carriers and about calls to the outside, each as practice.toml writes it."""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from hub.settings.table import Table
from hub.settings.value import (
    Did,
    Extension,
    Host,
    Hours,
    Name,
    NumberPrefix,
    Region,
    SecretRef,
    Server,
    Url,
)


def _file(text: str) -> str:
    if not text.startswith("file:"):
        raise ValueError('write "file:PATH"')
    return text


FileRef = Annotated[SecretRef, AfterValidator(_file)]
Price = Annotated[Decimal, Field(ge=0, le=10_000, max_digits=10, decimal_places=5)]
"In the practice's own currency."

Said = Annotated[str, StringConstraints(max_length=80)]


class Trunk(Table):
    """A carrier's line; its calls are known by their source address."""

    name: Name
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)]
    "Addresses and networks."
    protection: Literal["any", "sdes", "dtls"] = "any"
    servers: tuple[Server, ...] = ()
    "Where calls to the outside go, the first that answers; without one the trunk only brings calls in."
    transport: Literal["udp", "tcp", "tls"] = "udp"
    proxy: Server | None = None
    "Everything for this trunk goes by way of it."
    domain: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,253}$")] | None = None
    "What the carrier calls itself in addresses; the first server's host where it is left out."
    username: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.+@-]{1,64}$")] | None = None
    password: SecretRef | None = None
    realm: Annotated[str, StringConstraints(max_length=120)] | None = None
    "The only realm that the password is used for; any where it is left out."
    registers: bool = False
    "Whether the carrier learns by REGISTER where this side is."
    register_seconds: Annotated[int, Field(ge=60, le=86_400)] = 3600
    keepalive_seconds: Annotated[int, Field(ge=0, le=3600)] = 30
    "How often each server is asked whether it is there; 0 asks never."

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("needs username and password together")
        if self.registers and (self.username is None or not self.servers):
            raise ValueError("registers with servers, username and password only")
        return self

    @property
    def known_as(self) -> str:
        """The host of this trunk's addresses; empty where it has no server."""
        first = self.proxy or (self.servers[0] if self.servers else None)
        return self.domain or (first.host if first is not None else "")


class Dialling(Table):
    """What staff may dial beyond their own extensions; nothing but emergency numbers where it is left out."""

    trunks: tuple[Name, ...] = ()
    "In the order in which they are tried; all that have servers where it is left out."
    caller_id: Did | None = None
    "The practice's number that those who are called see; the first of [[number]] where it is left out."
    outside_prefix: Annotated[str, StringConstraints(pattern=r"^[0-9]{0,3}$")] = ""
    "What has to be dialled before a number outside."
    countries: tuple[Region, ...] = ()
    prefixes: tuple[NumberPrefix, ...] = ()
    "Numbers that are allowed whatever their country and kind."
    refused: tuple[NumberPrefix, ...] = ()
    "Numbers that are refused whatever else allows them."
    services: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9*#]{2,6}$")], ...] = ()
    'Short numbers that are allowed, as "988".'
    hours: Hours | None = None
    "When, on the practice's clock; at all times where it is left out."
    concurrent: Annotated[int, Field(ge=0, le=10_000)] = 10
    concurrent_each: Annotated[int, Field(ge=0, le=100)] = 2
    "Calls to the outside at a time, of all and of one extension."
    per_minute: Annotated[int, Field(ge=0, le=1000)] = 6
    per_hour: Annotated[int, Field(ge=0, le=10_000)] = 60
    "Calls to the outside that one extension may begin."
    daily_cost: Price = Decimal(20)
    "What all calls of one day, on the practice's clock, may cost together."
    longest_minutes: Annotated[int, Field(ge=1, le=1440)] = 120
    rates: dict[NumberPrefix, Price] = {}
    "Price of a minute by prefix, the longest that fits; what fits none counts as the highest."

    def price_of(self, number: str) -> Decimal:
        """Return what a minute to a number (E.164) costs; 1 where no price is known at all."""
        fitting = [prefix for prefix in self.rates if number.startswith(prefix)]
        return self.rates[max(fitting, key=len)] if fitting else max(self.rates.values(), default=Decimal(1))


class Location(Table):
    """Where phones stand, as an ambulance finds it (RFC 5139)."""

    name: Name
    country: Region
    state: Said = ""
    city: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    street: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    "Its name without the house number."
    house: Said = ""
    building: Said = ""
    floor: Said = ""
    room: Said = ""
    detail: Said = ""
    postal_code: Said = ""
    extensions: tuple[Extension, ...] = ()
    "The phones that stand there; every other phone stands at the first location."


class Fax(Table):
    """Where faxes go: at most one of extension, number, queue and voicemail."""

    extension: Extension | None = None
    "A fax machine, or a program, that registers like a phone."
    number: Did | None = None
    "Somebody else's, over the trunks of [dialling]."
    queue: Name | None = None
    voicemail: Name | None = None
    "Where calls go in which a fax machine is only heard; those that offer nothing but a fax are refused then."

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in (self.extension, self.number, self.queue, self.voicemail)) > 1:
            raise ValueError("give at most one of extension, number, queue, voicemail")
        return self


class Stir(Table):
    """Whose signatures of callers' numbers are believed (RFC 8224, RFC 8588)."""

    authorities: FileRef | None = None
    "PEM certificates of the authorities; nobody is believed where it is left out."
    certificates: dict[Url, FileRef] = {}
    "Where each certificate that an Identity header names lies here; nothing is fetched."
