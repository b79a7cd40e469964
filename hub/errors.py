"""The one tree of Chartline's own errors; each says what it is called, how HTTP says it, and whether to try again.

    ChartlineError
    ├── UsageError            the caller asked for something that cannot be
    │   ├── SettingsError     practice.toml does not hold together
    │   └── NotFoundError
    ├── ConflictError         the thing changed under the caller
    ├── DeniedError           who asks may not
    └── UnavailableError      a part is down; the same request may succeed later

A message holds ids and codes, never a name, a number or a date of birth.
"""

from typing import ClassVar


class ChartlineError(Exception):
    """Something Chartline could not do."""

    code: ClassVar[str] = "failed"
    "Stable, lower-case, hyphenated; documented in docs/reference/errors.md."

    status: ClassVar[int] = 500
    "The HTTP status that says the same (RFC 9110)."

    retry: ClassVar[bool] = False
    "True when the same request may succeed later."


class UsageError(ChartlineError):
    """The request cannot be carried out as it stands."""

    code = "invalid"
    status = 422


class SettingsError(UsageError):
    """practice.toml does not hold together; `problems` has one line for each fault."""

    code = "settings-invalid"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class NotFoundError(UsageError):
    """There is no such thing, or none that the caller may see."""

    code = "not-found"
    status = 404


class ConflictError(ChartlineError):
    """The thing changed since the caller looked."""

    code = "conflict"
    status = 409


class DeniedError(ChartlineError):
    """Whoever asks may not."""

    code = "denied"
    status = 403


class UnavailableError(ChartlineError):
    """A part that is needed is down; nothing was done."""

    code = "unavailable"
    status = 503
    retry = True
