"""What the kit itself says: a case that does not read, and how a check ends."""

from typing import ClassVar


class CaseError(Exception):
    """A case directory that the kit cannot use; the text names the file, and where in it."""

    code: ClassVar[str] = "kit-case-invalid"
    status: ClassVar[int] = 422
    retry: ClassVar[bool] = False


class Verdict(Exception):  # noqa: N818 - it ends a check, and is no error of the kit
    """Ends a check before its end."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason
        "A stable, lower-case, hyphenated text."

        self.detail = detail
        "Where: names of fields and kinds of errors, nothing of what a record says."


class Failed(Verdict):
    """The connector does not hold what the check asks."""


class Skipped(Verdict):
    """The check does not concern the connector, or the recording cannot serve it."""
