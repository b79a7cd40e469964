"""Passwords of staff: Argon2id as OWASP's Password Storage Cheat Sheet sets it (19 MiB, two passes, one lane)."""

import threading

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from hub.errors import DeniedError

AT_ONCE = 2
"Each check takes 19 MiB and about 20 ms of a core; more at once would let strangers stop the calls."

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
_turns = threading.BoundedSemaphore(AT_ONCE)
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$18iDRK9IDAln49RHKIgQXQ$6uU73lcAwSYOC5+6lKBfWSEggJV0uikhdcTkmtuCGRw"
"Of a password that nobody has; made beforehand, for every process that starts would spend 30 ms on it."


class LoginError(DeniedError):
    """Address and password do not belong together, or the account is disabled; which of it is not said."""

    code = "login-refused"
    status = 401


def hash_of(password: str) -> str:
    """Return the hash to keep, with its salt and cost."""
    with _turns:
        return _hasher.hash(password)


def verify(kept: str | None, password: str) -> bool:
    """Return whether `password` is the one that `kept` was made of; takes as long where there is none."""
    with _turns:
        try:
            right = _hasher.verify(kept or _NOBODY, password)
        except (VerificationError, InvalidHashError):
            return False
    return right and kept is not None


def outdated(kept: str) -> bool:
    """Return whether the hash was made at another cost, and should be made anew at the next login."""
    return _hasher.check_needs_rehash(kept)
