"""What the record refuses.

ConflictError
├── IdentityConflictError    one statement names two different rows
└── StaleError               the row changed since it was opened; open it again
NotFoundError
└── UnmatchedError           a change of something that nobody told us of
"""

from hub.errors import ConflictError, NotFoundError, UsageError


class IdentityConflictError(ConflictError):
    """One statement's identifiers lead to two different rows; nobody guesses which is meant."""

    code = "identity-conflict"


class StaleError(ConflictError):
    """A sealed row must be merged, and what was opened of it beforehand is missing or out of date: open, try again."""

    code = "stale"
    retry = True


class UnmatchedError(NotFoundError):
    """A statement changes something that was never told; it may match after more has arrived."""

    code = "unmatched"


class IncompleteError(UsageError):
    """A statement lacks what a new row cannot be without."""

    code = "incomplete"
