"""Privacy, over all that the connector did: nothing of a person and no secret where it can be read later."""

from connectors.kit.bench import Bench
from connectors.kit.checks.check import Check
from connectors.kit.error import Failed


async def phi_in_log(bench: Bench) -> None:
    """Nothing of a person stands in a log or on the terminal."""
    if bench.watch.leaks(bench.watch.logged):
        raise Failed("phi-logged")


async def secret_in_log(bench: Bench) -> None:
    """No secret stands there."""
    if bench.watch.betrays(bench.watch.logged):
        raise Failed("secret-logged")


async def phi_in_error(bench: Bench) -> None:
    """Nothing of a person stands in an exception or in what led to it."""
    if bench.watch.leaks(text for error in bench.watch.errors for text in bench.watch.said_by(error)):
        raise Failed("phi-in-exception")


async def secret_in_error(bench: Bench) -> None:
    """No secret stands there."""
    if bench.watch.betrays(text for error in bench.watch.errors for text in bench.watch.said_by(error)):
        raise Failed("secret-in-exception")


async def phi_in_cursor(bench: Bench) -> None:
    """Nothing of a person stands in a cursor: those are kept in clear."""
    if bench.watch.leaks([cursor.decode("utf-8", "replace") for cursor in bench.watch.cursors]):
        raise Failed("phi-in-cursor")


CHECKS = (
    Check("phi-in-log", phi_in_log, judges=True),
    Check("secret-in-log", secret_in_log, judges=True),
    Check("phi-in-error", phi_in_error, judges=True),
    Check("secret-in-error", secret_in_error, judges=True),
    Check("phi-in-cursor", phi_in_cursor, judges=True),
)
