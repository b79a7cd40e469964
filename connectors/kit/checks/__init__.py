"""All checks, in the order in which they run; those that judge the others come last."""

from connectors.kit.checks import (
    callbacks,
    feed,
    messages,
    package,
    patients,
    privacy,
    records,
    requests,
    signing,
    writing,
)
from connectors.kit.checks.check import Check

CHECKS: tuple[Check, ...] = (
    *package.DECLARED,
    *signing.CHECKS,
    *feed.CHECKS,
    *requests.CHECKS,
    *records.CHECKS,
    *patients.CHECKS,
    *writing.CHECKS,
    *messages.CHECKS,
    *callbacks.CHECKS,
    *package.SEEN,
    *privacy.CHECKS,
)
