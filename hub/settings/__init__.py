"""The settings of an instance: where its files lie, and the practice's policy as frozen values.

practice = load(paths.practice_toml.read_text())
"""

import re
import tomllib

from hub.errors import SettingsError
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
    Trunk,
    Voicemail,
    Webhook,
)
from hub.settings.value import Address, Hours, PortRange

_TOML_LINE = re.compile(r"(?P<what>.*?)\s*\(at line (?P<line>\d+), column \d+\)")


def load(text: str, *, file: str = "practice.toml") -> Practice:
    """Return the policy that `text` writes down; secrets stay references.

    Raises:
        SettingsError: with every problem, each as `file:line: what is wrong`.
    """
    try:
        draft = Draft(text, file)
    except tomllib.TOMLDecodeError as error:
        found = _TOML_LINE.fullmatch(str(error))
        line, what = (found["line"], found["what"]) if found else (str(text.count("\n") + 1), str(error))
        raise SettingsError([f"{file}:{line}: not TOML: {what}"]) from None
    if draft.problems:
        raise SettingsError(draft.problems)
    return Practice.model_validate(draft.document)


__all__ = [
    "EVENTS",
    "Address",
    "Agreement",
    "Connection",
    "DataClass",
    "Hours",
    "Http",
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
    "Target",
    "Then",
    "Trunk",
    "Voicemail",
    "Webhook",
    "load",
]
