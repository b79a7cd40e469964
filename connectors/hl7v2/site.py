"""What systems mean where they depart from the standard: rows of sites.toml, each with its source."""

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, TypeAdapter

from connectors.api import AppointmentStatus

Event = Annotated[str, StringConstraints(pattern=r"^[A-Z][0-9A-Z]{2}$")]

Type = Annotated[str, StringConstraints(pattern=r"^[A-Z][0-9A-Z]{2}$")]

Meaning = AppointmentStatus | Literal["confirmed"]
"What a code of SCH-25 says; `confirmed` is booked, and the patient said that they come."


def any_case(statuses: Mapping[str, Meaning]) -> dict[str, Meaning]:
    """Return the codes as they are looked up."""
    return {code.strip().lower(): status for code, status in statuses.items()}


Statuses = Annotated[dict[str, Meaning], AfterValidator(any_case)]


class Site(BaseModel):
    """One row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = ""
    "The public text that says so."

    note: str = ""
    types: dict[Type, Type] = {}
    events: dict[Event, Event] = {}
    statuses: Statuses = {}


STANDARD = Site()


@lru_cache(maxsize=1)
def sites() -> dict[str, Site]:
    """Return every row by its name."""
    text = files("connectors.hl7v2").joinpath("sites.toml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, Site]).validate_python(tomllib.loads(text))


def known(name: str) -> str:
    """Return `name`, for a setting.

    Raises:
        ValueError: there is no such row.
    """
    if name not in sites():
        raise ValueError(f"not a site of sites.toml: {', '.join(sites())}")
    return name
