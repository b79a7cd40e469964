"""The single values of practice.toml that are more than a string or a number: how each is written, and checked."""

import re
from collections.abc import Callable, Collection
from datetime import time
from difflib import get_close_matches
from functools import cache
from ipaddress import ip_network
from typing import Annotated, Any, ClassVar, Self
from zoneinfo import available_timezones

import phonenumbers
from pydantic import AfterValidator, GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

MAX_PORT = 65_535


def near(word: str, known: Collection[str]) -> str:
    """Return a hint at the known word that `word` was probably meant to be, or nothing."""
    close = [name for name in known if word and name.startswith(word)] or get_close_matches(word, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


class Written(str):
    """A string that has parts; `parse` is the only way from untrusted text."""

    __slots__ = ()

    shape: ClassVar[re.Pattern[str]]
    wanted: ClassVar[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return `text` as this kind of value.

        Raises:
            ValueError: not written in its shape, or its parts make no sense together.
        """
        if cls.shape.fullmatch(text) is None or not (value := cls(text)).sound:
            raise ValueError(f"write {cls.wanted}")
        return value

    @property
    def sound(self) -> bool:
        """Whether the parts make sense together."""
        return True

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic read it from a string, and write it as one."""
        return core_schema.no_info_after_validator_function(cls.parse, core_schema.str_schema())


class Address(Written):
    """Where to listen."""

    __slots__ = ()

    shape = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")
    wanted = 'an address and a port, as in "127.0.0.1:8080"'

    @property
    def host(self) -> str:
        """The part before the port, without the brackets of IPv6."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The part after the last colon."""
        return int(self.rpartition(":")[2])

    @property
    def sound(self) -> bool:
        """Whether the port exists."""
        return 0 < self.port <= MAX_PORT


class Server(Written):
    """A SIP server by name or address."""

    __slots__ = ()

    shape = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]{1,253})(:[0-9]{1,5})?")
    wanted = 'a host, with a port where it has none in DNS, as in "sip.example.org" or "192.0.2.7:5060"'

    @property
    def host(self) -> str:
        """The part before the port, without the brackets of IPv6."""
        return (self.rpartition(":")[0] if self.port else self).strip("[]")

    @property
    def port(self) -> int | None:
        """The port; None where it is left to DNS or the standard."""
        tail = self.rpartition(":")[2]
        return int(tail) if tail.isdigit() and not self.endswith("]") and ":" in self else None

    @property
    def sound(self) -> bool:
        """Whether the port exists."""
        return self.port is None or 0 < self.port <= MAX_PORT


class PortRange(Written):
    """Ports from the first to the last, both included."""

    __slots__ = ()

    shape = re.compile(r"[0-9]{1,5}-[0-9]{1,5}")
    wanted = 'a range of ports from 1024 to 65535, as in "20000-29999"'

    @property
    def first(self) -> int:
        """The lowest port."""
        return int(self.partition("-")[0])

    @property
    def last(self) -> int:
        """The highest port."""
        return int(self.partition("-")[2])

    @property
    def sound(self) -> bool:
        """Whether the ports exist and need no privilege."""
        return 1024 <= self.first < self.last <= MAX_PORT


class Hours(Written):
    """A span of a day on the wall clock; its end is not part of it."""

    __slots__ = ()

    shape = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]")
    wanted = 'a span of hours, as in "09:00-20:00"'

    @property
    def start(self) -> time:
        """The first minute of the span."""
        return time.fromisoformat(self.partition("-")[0])

    @property
    def end(self) -> time:
        """The first minute after the span."""
        return time.fromisoformat(self.partition("-")[2])

    @property
    def sound(self) -> bool:
        """Whether it starts before it ends."""
        return self.start < self.end


def _did(text: str) -> str:
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        number = None
    e164 = phonenumbers.PhoneNumberFormat.E164
    if (
        number is None
        or phonenumbers.format_number(number, e164) != text
        or not phonenumbers.is_possible_number(number)
    ):
        raise ValueError('write a phone number in E.164, as in "+12125550100"')
    return text


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())  # walks the file system


def _zone(text: str) -> str:
    if text not in _zones():
        raise ValueError(f"no such time zone in the IANA list{near(text, _zones())}")
    return text


def _host(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise ValueError('write an IP address or a network, as in "192.0.2.7" or "192.0.2.0/28"') from None
    return text


def _secret(text: str) -> str:
    kind, _, name = text.partition(":")
    if kind not in {"env", "file"} or not name:
        raise ValueError('a secret does not stand here; write "env:NAME" or "file:PATH"')
    return text


def _shaped(shape: str, wanted: str) -> Callable[[str], str]:
    pattern = re.compile(shape)

    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError(f"write {wanted}")
        return text

    return check


Did = Annotated[str, AfterValidator(_did)]
Host = Annotated[str, AfterValidator(_host)]
ZoneName = Annotated[str, AfterValidator(_zone)]
SecretRef = Annotated[str, AfterValidator(_secret)]
NumberPrefix = Annotated[
    str, AfterValidator(_shaped(r"\+[1-9][0-9]{0,14}", 'the beginning of a number, as in "+1212"'))
]
Name = Annotated[
    str, AfterValidator(_shaped("[a-z0-9][a-z0-9_-]{0,39}", 'lower-case letters, digits, "-" and "_", at most 40'))
]
Language = Annotated[str, AfterValidator(_shaped("[a-z]{2,3}", 'a language by its ISO 639 code, as in "en"'))]
Region = Annotated[str, AfterValidator(_shaped("[A-Z]{2}", 'a country by its ISO 3166-1 code, as in "US"'))]
Digit = Annotated[str, AfterValidator(_shaped("[0-9*#]", "one key of a telephone: 0 to 9, * or #"))]
Extension = Annotated[str, AfterValidator(_shaped("[0-9]{2,6}", "two to six digits"))]
Email = Annotated[str, AfterValidator(_shaped(r"[^@\s]{1,64}@[^@\s]{1,190}", "an e-mail address"))]
Url = Annotated[
    str, AfterValidator(_shaped(r"https?://[^/?#\s]+(/[^#\s]*)?", 'an address that starts with "https://"'))
]
BaseUrl = Annotated[
    str, AfterValidator(_shaped(r"https?://[^/?#\s]+", 'an address without a path, as in "https://hub.example.org"'))
]
Said = dict[Language, Annotated[str, StringConstraints(min_length=1, max_length=2000)]]
"What a caller hears, by language."
