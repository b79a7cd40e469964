"""How the vault opens a SQLCipher file: no ORM, so that little code stands beside the keys and a restart is quick."""

from pathlib import Path
from typing import Any

import sqlcipher3.dbapi2 as sqlcipher

Error = sqlcipher.Error
FULL = 13
"SQLITE_FULL"


def is_full(error: Exception) -> bool:
    """Whether there was no space left: the only failure of a write after which the same file can be trusted again."""
    return getattr(error, "sqlite_errorcode", None) == FULL


def connect(path: Path, key: bytes, *, wait_s: float = 5.0) -> Any:
    """Open `path` in autocommit: WAL, synchronous=FULL, raw key; each statement is durable when it returns.

    Raises:
        Error: the file cannot be opened, or not with this key.
    """
    connection = sqlcipher.connect(str(path), isolation_level=None, check_same_thread=False, timeout=wait_s)
    try:
        connection.execute("PRAGMA cipher_log_level=NONE")
        connection.execute(f"PRAGMA key=\"x'{key.hex()}'\"")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
    except BaseException:
        connection.close()
        raise
    return connection
