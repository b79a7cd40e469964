"""How far a feed is told: what stands between two rounds, as the host keeps it."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from connectors.api import ResetError

LONGEST = 2800
"Bytes of the address of a page where a round stopped; the host keeps 4096 of the whole."


class Paused(BaseModel):
    """Where in a search a round stopped."""

    model_config = ConfigDict(frozen=True)
    kind: str
    url: str
    at: AwareDatetime
    actor: str = ""
    "Whose appointments, where they are asked for one by one."


class Subscribed(BaseModel):
    """The Subscription that hints at changes."""

    model_config = ConfigDict(frozen=True)
    id: str = ""
    "Its logical id; empty where the server took none."

    looked_at: AwareDatetime


class Export(BaseModel):
    """A bulk export that the server is making, or that is being read."""

    model_config = ConfigDict(frozen=True)
    url: str
    "Where its state is asked for (Content-Location)."

    asked_at: AwareDatetime
    next_at: AwareDatetime
    "Not before this is it asked for again (Retry-After)."

    whole: bool = False
    "Asked for without `_since`."

    files: int = 0
    "Files that are read."


class Cursor(BaseModel):
    """How far the feed is told."""

    model_config = ConfigDict(frozen=True)
    version: int = 1
    round: int = 0
    "Makes every cursor another: memory is kept by it."

    fresh: bool = False
    "It began without a cursor, and the appointments are not told whole yet."

    since: dict[str, AwareDatetime] = {}
    "For each resource type, the server's time at the start of the last whole search."

    compared: dict[str, AwareDatetime] = {}
    "Resource types whose _lastUpdated is not honoured, and when that was seen."

    narrowed: AwareDatetime | None = None
    "When the server refused appointments that are not somebody's."

    looked_at: AwareDatetime | None = None
    "When a search for each location or practitioner last began."

    refused: dict[str, AwareDatetime] = {}
    "Resource types beside Appointment that the server does not let be searched, and when it said so."

    paused: Paused | None = None
    subscribed: Subscribed | None = None
    export: Export | None = None
    exported: AwareDatetime | None = None
    "The server's time of the last export that was read to its end."

    exported_at: AwareDatetime | None = None
    "Our time of the last export that ended, well or not."

    @classmethod
    def parse(cls, cursor: bytes | None) -> "Cursor":
        """Read what `bytes` wrote.

        Raises:
            ResetError: it is of another version, or broken.
        """
        if cursor is None:
            return cls(fresh=True)
        try:
            found = cls.model_validate_json(cursor)
        except ValidationError:
            raise ResetError("the cursor does not read") from None
        if found.version != 1:
            raise ResetError("the cursor is of another version")
        return found

    def __bytes__(self) -> bytes:
        return self.model_dump_json(exclude_defaults=True).encode()

    def but(self, **changed: object) -> "Cursor":
        """Return this cursor with some of it changed."""
        return self.model_copy(update=changed)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place to go on from: everything told before it may be committed."""

    state: Cursor
    whole: tuple[datetime, datetime] | None = None
    "The span of which every appointment was told (`Checkpoint.whole`)."
