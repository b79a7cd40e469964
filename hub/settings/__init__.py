"""The settings of an instance: where its files lie (`Paths`), and the practice's policy as frozen values (`load`)."""

import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from hub.errors import SettingsError
from hub.settings import callflow, calling, outside
from hub.settings.diff import diff
from hub.settings.draft import Draft
from hub.settings.paths import Paths
from hub.settings.practice import (
    EVENTS,
    Agreement,
    Connection,
    DataClass,
    Http,
    Menu,
    Number,
    Overflow,
    Practice,
    PracticeInfo,
    Queue,
    Reminder,
    Role,
    Route,
    Sip,
    Staff,
    Target,
    Then,
    Voicemail,
    Webhook,
)
from hub.settings.telephony import Dialling, Fax, Location, Stir, Trunk
from hub.settings.value import Address, Hours, PortRange

_TOML_LINE = re.compile(r"(?P<what>.*?)\s*\(at line (?P<line>\d+), column \d+\)")


def load(
    text: str,
    *,
    file: str = "practice.toml",
    env: Mapping[str, str] | None = None,
    root: Path | None = None,
    connectors: Collection[str] | None = None,
) -> Practice:
    """Return the policy that `text` writes down; secrets stay references.

    Where `env` is given, each `env:NAME` must be in it; where `root` is given, each `file:PATH` and each agreement's
    document must exist, relative to it; where `connectors` is given, each connection's connector must be in it.

    Raises:
        SettingsError: with every problem at once, each as `file:line: what is wrong`.
    """
    try:
        draft = Draft(text, file)
    except tomllib.TOMLDecodeError as error:
        found = _TOML_LINE.fullmatch(str(error))
        line, what = (found["line"], found["what"]) if found else (str(text.count("\n") + 1), str(error))
        raise SettingsError([f"{file}:{line}: not TOML: {what}"]) from None
    for check in (*callflow.CHECKS, *outside.CHECKS, *calling.CHECKS):
        draft.fault_all(check(draft))
    draft.fault_all(outside.connections(draft, connectors))
    draft.fault_all(outside.references(draft, env, root))
    if draft.problems:
        raise SettingsError(draft.problems)
    return Practice.model_validate(draft.document)


def secret(reference: str, *, env: Mapping[str, str], root: Path) -> str:
    """Return what a reference of practice.toml stands for: `env:NAME`, or `file:PATH` relative to `root`.

    Raises:
        SettingsError: it is not there; the text names the reference, never what it stands for.
    """
    kind, _, name = reference.partition(":")
    try:
        if kind == "env":
            return env[name]
        if kind == "file":
            return (root / name).read_text(encoding="utf-8").strip()
    except (KeyError, OSError, UnicodeDecodeError):
        raise SettingsError([f"nothing stands behind {kind}:{name}"]) from None
    raise SettingsError(['a secret is not written as "env:NAME" or "file:PATH"'])


__all__ = [
    "EVENTS",
    "Address",
    "Agreement",
    "Connection",
    "DataClass",
    "Dialling",
    "Fax",
    "Hours",
    "Http",
    "Location",
    "Menu",
    "Number",
    "Overflow",
    "Paths",
    "PortRange",
    "Practice",
    "PracticeInfo",
    "Queue",
    "Reminder",
    "Role",
    "Route",
    "Sip",
    "Staff",
    "Stir",
    "Target",
    "Then",
    "Trunk",
    "Voicemail",
    "Webhook",
    "diff",
    "load",
    "secret",
]
