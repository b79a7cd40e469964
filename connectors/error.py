"""What a connector may fail with.

    ConnectorError
    ├── AuthExpiredError      the credentials are refused: ask the operator, do not retry
    ├── RateLimitedError      too fast; try again after `retry_after`
    ├── TransientError        no answer; try again
    ├── UnknownOutcomeError   the request went out and no answer came
    ├── RejectedError         the other side, or the connector, will never take this
    ├── ConflictError         the thing changed since it was read
    └── ResetError            the cursor is no longer valid: start over and compare

An error's text never holds what a person's record says: ids, codes, field names only.
"""

from typing import ClassVar


class ConnectorError(Exception):
    """Something a connector could not do."""

    code: ClassVar[str] = "connector-failed"
    status: ClassVar[int] = 502
    retry: ClassVar[bool] = False


class AuthExpiredError(ConnectorError):
    """The other side refuses the credentials; only the operator can help."""

    code = "auth-expired"


class RateLimitedError(ConnectorError):
    """Too fast."""

    code = "rate-limited"
    status = 503
    retry = True

    def __init__(self, retry_after: float) -> None:
        super().__init__("the other side asks for a pause")
        self.retry_after = retry_after
        "Seconds."


class TransientError(ConnectorError):
    """No answer; try again."""

    code = "transient"
    status = 503
    retry = True


class UnknownOutcomeError(ConnectorError):
    """The request went out and no answer came: it may have had its effect, so it is not repeated blindly."""

    code = "unknown-outcome"
    status = 504


class RejectedError(ConnectorError):
    """This will never be taken as it is."""

    code = "rejected"
    status = 422

    def __init__(self, reason: str, *, field: str = "") -> None:
        super().__init__(f"{reason} ({field})" if field else reason)
        self.reason = reason
        "A stable, lower-case, hyphenated code."

        self.field = field
        "Where: a FHIR path or an HL7 v2 field such as SCH-11."


class ConflictError(ConnectorError):
    """The thing changed since it was read."""

    code = "conflict"
    status = 409


class ResetError(ConnectorError):
    """The cursor is no longer valid."""

    code = "reset"
