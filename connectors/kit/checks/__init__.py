"""All checks, in the order in which they run; those that judge the others come last."""

from connectors.kit.checks import callback, feed, message, package, patient, privacy, record, request, signing, writing
from connectors.kit.checks.check import Check

CHECKS: tuple[Check, ...] = (
    *package.DECLARED,
    *signing.CHECKS,
    *feed.CHECKS,
    *request.CHECKS,
    *record.CHECKS,
    *patient.CHECKS,
    *writing.CHECKS,
    *message.CHECKS,
    *callback.CHECKS,
    *package.SEEN,
    *privacy.CHECKS,
)
