"""An open instance: its databases, its keys for sealing and opening, and the policy in force.

Every process opens one at its start and passes it on; nothing here is global. Opening asks the vault once, which is
audited; after that a process can write (seal) without the vault, and can read (open) only through it.
"""

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import Self

import structlog

from hub.db import Clock, Database, now
from hub.record import policy, schema
from hub.security.index import BlindIndex
from hub.security.sealed import Opener, Sealer
from hub.settings import Paths, Practice, load
from hub.vault.client import ServiceKeys, Vault, VaultUnavailableError

log = structlog.get_logger()

WAIT_S = 0.2
"Between two tries while the vault does not answer."


@dataclass(slots=True)
class Instance:
    """What a process of this instance works with."""

    paths: Paths
    keys: ServiceKeys
    db: Database
    inbox: Database
    vault: Vault
    sealer: Sealer
    opener: Opener
    index: BlindIndex
    clock: Clock
    _policy: tuple[int, int, Practice] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, paths: Paths, service: str, clock: Clock = now) -> Self:
        """Open the instance for `service` (hub, feeds, workflows, media, cli).

        Raises:
            VaultUnavailableError: the vault does not answer; it alone has the keys.
        """
        schema.metadata_of(schema.File.CHARTLINE)  # tables refer to each other, so a process needs to know them all
        vault = Vault(paths.vault_socket)
        keys = vault.boot(service)
        return cls(
            paths=paths,
            keys=keys,
            db=Database(paths.db, keys.database),
            inbox=Database(paths.inbox, keys.inbox),
            vault=vault,
            sealer=Sealer(keys, service, clock),
            opener=Opener(vault, keys),
            index=BlindIndex(keys.index),
            clock=clock,
        )

    @classmethod
    async def open_when_possible(
        cls, paths: Paths, service: str, stop: asyncio.Event, clock: Clock = now
    ) -> Self | None:
        """Open the instance once the vault answers; None when `stop` is set before that."""
        waited = False
        while not stop.is_set():
            try:
                return await asyncio.to_thread(cls.open, paths, service, clock)
            except VaultUnavailableError:
                if not waited:
                    log.warning("waiting for the vault")
                waited = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    await stop.wait()
        return None

    def policy(self) -> tuple[int, Practice]:
        """Return the version in force and what it says; reads the row only when the database changed.

        Raises:
            NotFoundError: nothing was ever published.
        """
        with self._lock:
            seen = self.db.version()
            if self._policy is None or self._policy[0] != seen:
                if self._policy is None or self.db.value(policy.NEWEST) != self._policy[1]:
                    with self.db.read() as db:
                        version, text = policy.current(db)
                    self._policy = (seen, version, load(text))
                else:
                    self._policy = (seen, *self._policy[1:])
            return self._policy[1], self._policy[2]

    def close(self) -> None:
        """Close databases and the vault's connections."""
        self.db.close()
        self.inbox.close()
        self.vault.close()
