"""What a feed told last, so that the same is not told again: digests only, and no more of them than fit."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b

import orjson

from connectors.fhir.reading import Resource

MOST = 100_000
"""Resources of one type whose digest is kept: about 30 MB. Those beyond are told again where they are read again, and
are not missed when they vanish."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One resource as it was last told."""

    digest: bytes
    starts_at: datetime | None


Told = dict[str, Seen]
"By logical id."


@dataclass(slots=True)
class Memory:
    """What was told up to a cursor, and what was found out about the server meanwhile."""

    cursor: bytes | None = None
    seen: dict[str, Told] = field(default_factory=dict)
    "By resource type."

    actors: tuple[str, ...] = ()
    "Locations or practitioners whose appointments are asked for, as references."

    actors_at: datetime | None = None

    def upto(self, cursor: bytes | None) -> dict[str, Told]:
        """Return what was told up to `cursor`; nothing if that is not the cursor handed out last."""
        return self.seen if cursor is not None and cursor == self.cursor else {}


def digest_of(resource: Resource) -> bytes:
    """Return the same for the same content, whatever the order of its keys."""
    return blake2b(orjson.dumps(resource, option=orjson.OPT_SORT_KEYS), digest_size=8).digest()


def remember(told: Told, logical_id: str, seen: Seen) -> None:
    """Keep `seen`, if there is room."""
    if logical_id in told or len(told) < MOST:
        told[logical_id] = seen
