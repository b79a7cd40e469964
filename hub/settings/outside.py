"""Whether what faces the outside holds together: listeners, secrets, connections, webhooks, texts and agreements."""

import ipaddress
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import time
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path as File
from typing import Any
from urllib.parse import urlsplit

from hub.rules.offset import Offset
from hub.rules.template import SPECIALTY, lint, telling
from hub.settings import calling
from hub.settings.browser import Browser
from hub.settings.draft import Draft
from hub.settings.position import Path
from hub.settings.practice import EVENTS, Agreement, Connection, Http, PracticeInfo, Reminder, Sip, Webhook
from hub.settings.telephony import Trunk
from hub.settings.value import Address, near

Faults = Iterator[tuple[Path, str]]

SECRET_KEYS = ("secret", "password", "private_key", "api_key", "token", "passphrase")
"A setting of a connection whose name ends so holds a secret."

_ALL = {"0.0.0.0", "::", ""}  # noqa: S104 - compared with, never bound
_LAWFUL = (time(8), time(21))
"47 CFR 64.1200(c)(1): 8 a.m. to 9 p.m. at the called party's place; stricter than reminders need, safe for all."


def listeners(draft: Draft) -> Faults:
    """Yield a fault for each address that two listeners would take."""
    taken: list[tuple[str, Address, str]] = []
    for path, protocol, address, what in _listeners(draft):
        for other_protocol, other, owner in taken:
            if protocol == other_protocol and address.port == other.port and _overlap(address.host, other.host):
                yield path, f"{what} listens on {address}, where {owner} listens already"
        taken.append((protocol, address, what))
    for sip in _sip(draft):
        if sip.rtp_ports.first <= sip.udp.port <= sip.rtp_ports.last:
            yield ("sip", "rtp_ports"), f"[sip] rtp_ports has the port of udp, {sip.udp.port}, in it"
        if (sip.certificate is None) != (sip.key is None):
            yield ("sip",), "[sip] needs certificate and key together"


def trunks(draft: Draft) -> Faults:
    """Yield a fault for each source that two trunks claim; an address inside another's network is its own trunk."""
    owners: dict[IPv4Network | IPv6Network, str] = {}
    for at, trunk in draft.each("trunk", Trunk):
        for position, host in enumerate(trunk.hosts):
            owner = owners.setdefault(ipaddress.ip_network(host), trunk.name)
            if owner != trunk.name:
                yield ("trunk", at, "hosts", position), f'calls from {host} belong to [[trunk]] "{owner}" already'


def connections(draft: Draft, installed: Collection[str] | None) -> Faults:
    """Yield a fault for each connector that is not installed and each secret that is written out."""
    for at, connection in draft.each("connection", Connection):
        if installed is not None and connection.connector not in installed:
            hint = near(connection.connector, installed) or f"; there are {', '.join(sorted(installed)) or 'none'}"
            yield ("connection", at, "connector"), f'no connector "{connection.connector}" is installed{hint}'
        for keys, value in _leaves(connection.settings, ("connection", at, "settings")):
            if _literal(str(keys[-1]), value):
                yield (
                    keys,
                    f'"{keys[-1]}" in [[connection]]: a secret does not stand here; write "env:NAME" or "file:PATH"',
                )


def references(draft: Draft, env: Mapping[str, str] | None, root: File | None) -> Faults:
    """Yield a fault for each `env:NAME` that is not set and each file that is not there."""
    for path, value in _references(draft):
        kind, _, name = value.partition(":")
        if kind == "env" and env is not None and name not in env:
            yield path, f'the environment has no "{name}"'
        if kind == "file" and root is not None and not (root / name).is_file():
            yield path, f'there is no file "{name}" in the instance directory'


def _references(draft: Draft) -> Iterator[tuple[Path, str]]:
    for _, sip in draft.each("sip", Sip):
        if sip.certificate:
            yield ("sip", "certificate"), sip.certificate
        if sip.key:
            yield ("sip", "key"), sip.key
        if sip.authorities:
            yield ("sip", "authorities"), sip.authorities
    for _, browser in draft.each("browser", Browser):
        if browser.turn_secret:
            yield ("browser", "turn_secret"), browser.turn_secret
    for at, connection in draft.each("connection", Connection):
        for path, value in _leaves(connection.settings, ("connection", at, "settings")):
            if isinstance(value, str) and value.startswith(("env:", "file:")):
                yield path, value
    for at, webhook in draft.each("webhook", Webhook):
        yield ("webhook", at, "secret"), webhook.secret
    for at, agreement in draft.each("agreement", Agreement):
        if agreement.document:
            yield ("agreement", at, "document"), f"file:{agreement.document}"
    yield from calling.references(draft)


def webhooks(draft: Draft) -> Faults:
    """Yield a fault for each event that does not exist and each address that would travel in clear."""
    for at, webhook in draft.each("webhook", Webhook):
        for position, pattern in enumerate(webhook.events):
            group = pattern.removesuffix("*")
            if not (pattern in EVENTS or (pattern.endswith(".*") and any(event.startswith(group) for event in EVENTS))):
                yield ("webhook", at, "events", position), f'no event is called "{pattern}"{near(pattern, EVENTS)}'
        address = urlsplit(webhook.url)
        if address.scheme != "https" and not _loopback(address.hostname or ""):
            yield (
                ("webhook", at, "url"),
                'a [[webhook]] beyond this machine needs an address that starts with "https://"',
            )


def reminders(draft: Draft) -> Faults:
    """Yield a fault for each offset, window and text that a reminder may not have."""
    practice = next((info for _, info in draft.each("practice", PracticeInfo)), None)
    for at, reminder in draft.each("reminder", Reminder):
        path: Path = ("reminder", at)
        for position, offset in enumerate(reminder.offsets):
            try:
                Offset.parse(offset)
            except ValueError as error:
                yield (*path, "offsets", position), f'"{offset}" in [[reminder]]: {error}'
            if offset in reminder.offsets[:position]:
                yield (*path, "offsets", position), f'"{offset}" in [[reminder]] stands there twice'
        if reminder.hours.start < _LAWFUL[0] or reminder.hours.end > _LAWFUL[1]:
            yield (
                (*path, "hours"),
                '"hours" in [[reminder]] go beyond 08:00-21:00, outside of which nobody may be texted',
            )
        if reminder.voice and not draft.names("number", "did"):
            yield (*path, "voice"), '"voice" in [[reminder]] needs a [[number]]: it is what those who are called see'
        if practice is not None:
            yield from _texts(reminder, path, practice)
    if practice is not None and "reminder" in draft.document:
        key = "text_name" if practice.text_name else "name"
        for what in telling(practice.named_in_texts, SPECIALTY):
            yield ("practice", key), f'"{key}" in [practice] {what}, and texts carry it; set another text_name'


def agreements(draft: Draft) -> Faults:
    """Yield a fault for each agreement with nobody, and each that has no paper."""
    known = draft.names("trunk") | draft.names("connection")
    for at, agreement in draft.each("agreement", Agreement):
        if agreement.counterparty not in known:
            hint = near(agreement.counterparty, known)
            yield (
                ("agreement", at, "counterparty"),
                f'no [[trunk]] or [[connection]] is named "{agreement.counterparty}"{hint}',
            )
        if agreement.basis == "agreement" and (agreement.document is None or agreement.expires is None):
            yield ("agreement", at), '[[agreement]] needs "document" and "expires", unless its basis is treatment'


def _texts(reminder: Reminder, path: Path, practice: PracticeInfo) -> Faults:
    if not reminder.text:
        yield (*path, "text"), f'[[reminder]] "{reminder.name}" has no text'
    for language, template in reminder.text.items():
        if language not in practice.languages:
            spoken = ", ".join(practice.languages)
            yield (*path, "text", language), f'the practice has no language "{language}"; it has {spoken}'
        for problem in lint(template, practice=practice.named_in_texts, language=language):
            yield (*path, "text", language), f'"text.{language}" in [[reminder]] {problem}'


def _listeners(draft: Draft) -> Iterator[tuple[Path, str, Address, str]]:
    for http in [Http()] if "http" not in draft.document else [table for _, table in draft.each("http", Http)]:
        yield ("http", "bind"), "tcp", http.bind, "[http] bind"
    for sip in _sip(draft):
        yield ("sip", "udp"), "udp", sip.udp, "[sip] udp"
        if sip.tcp:
            yield ("sip", "tcp"), "tcp", sip.tcp, "[sip] tcp"
        if sip.tls:
            yield ("sip", "tls"), "tcp", sip.tls, "[sip] tls"
    for at, connection in draft.each("connection", Connection):
        listen = connection.settings.get("listen")
        if isinstance(listen, str):
            path: Path = ("connection", at, "settings", "listen")
            try:
                yield path, "tcp", Address.parse(listen), f'[[connection]] "{connection.name}"'
            except ValueError:
                continue  # the connector reads its settings itself, and may write addresses in another way


def _sip(draft: Draft) -> list[Sip]:
    return [table for _, table in draft.each("sip", Sip)] if "sip" in draft.document else [Sip()]


def _overlap(one: str, other: str) -> bool:
    return one == other or one in _ALL or other in _ALL or {one, other} == {"localhost", "127.0.0.1"}


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, value


def _literal(key: str, value: Any) -> bool:
    """Whether a secret stands there in clear: by the key's name, or because it looks like a key file."""
    if not isinstance(value, str) or value.startswith(("env:", "file:")):
        return False
    return key.endswith(SECRET_KEYS) or "-----BEGIN" in value


CHECKS: tuple[Callable[[Draft], Faults], ...] = (listeners, trunks, webhooks, reminders, agreements)
