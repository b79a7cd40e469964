"""Where an instance keeps its things: fixed names under one directory (docs/reference/instance.md)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """The files and directories of one instance; nothing here touches the disk."""

    root: Path

    @property
    def practice_toml(self) -> Path:
        """The policy as the practice wrote it."""
        return self.root / "practice.toml"

    @property
    def db(self) -> Path:
        """The record (SQLCipher)."""
        return self.root / "chartline.db"

    @property
    def inbox(self) -> Path:
        """Raw feed messages (SQLCipher), apart so that a busy feed delays no call."""
        return self.root / "inbox.db"

    @property
    def audit(self) -> Path:
        """The audit log; only the vault writes here."""
        return self.root / "audit"

    @property
    def media(self) -> Path:
        """Sealed recordings and voicemails."""
        return self.root / "media"

    @property
    def temporal(self) -> Path:
        """The embedded Temporal server's file; it holds encrypted payloads only."""
        return self.root / "temporal.db"

    @property
    def keys(self) -> Path:
        """Root key, signing keys, key database and the practice's own certificates; mode 0700."""
        return self.root / "keys"

    @property
    def backups(self) -> Path:
        """Encrypted backups."""
        return self.root / "backups"

    @property
    def run(self) -> Path:
        """Sockets and process ids; worthless once the instance is down."""
        return self.root / "run"

    @property
    def trunks(self) -> Path:
        """How each trunk is, as the media process last saw it."""
        return self.run / "trunks.json"

    @property
    def log(self) -> Path:
        """Logs, which hold ids and codes only."""
        return self.root / "log"

    @property
    def vault_socket(self) -> Path:
        """The vault's Unix socket."""
        return self.run / "vault.sock"

    @property
    def phone_socket(self) -> Path:
        """The media process's Unix socket for phones in browsers."""
        return self.run / "phone.sock"
