"""Where the vault finds its files: the same names as `hub.settings.Paths`, without the code that reads policies.

Beside the keys stands as little code as can be; that package brings an expression language with it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Places(Protocol):
    """What the vault needs of an instance's directory; `hub.settings.Paths` has it as well."""

    @property
    def root(self) -> Path:
        """The directory itself."""
        ...

    @property
    def keys(self) -> Path:
        """root.key and keys.db; mode 0700."""
        ...

    @property
    def audit(self) -> Path:
        """audit.db, public.key and the lock."""
        ...

    @property
    def db(self) -> Path:
        """chartline.db."""
        ...

    @property
    def inbox(self) -> Path:
        """inbox.db."""
        ...

    @property
    def vault_socket(self) -> Path:
        """The socket that the vault listens on."""
        ...


@dataclass(frozen=True, slots=True)
class Home:
    """The places of the instance in `root`."""

    root: Path

    @property
    def keys(self) -> Path:
        """root.key and keys.db."""
        return self.root / "keys"

    @property
    def audit(self) -> Path:
        """audit.db, public.key and the lock."""
        return self.root / "audit"

    @property
    def db(self) -> Path:
        """chartline.db."""
        return self.root / "chartline.db"

    @property
    def inbox(self) -> Path:
        """inbox.db."""
        return self.root / "inbox.db"

    @property
    def vault_socket(self) -> Path:
        """The socket that the vault listens on."""
        return self.root / "run" / "vault.sock"
