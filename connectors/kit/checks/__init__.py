"""All checks, in the order in which they run; those that judge the others come last."""

from connectors.kit.checks import feed, package, patients, privacy, requests, signing, writing
from connectors.kit.checks.check import Check

CHECKS: tuple[Check, ...] = (
    *package.DECLARED,
    *signing.CHECKS,
    *feed.CHECKS,
    *requests.CHECKS,
    *patients.CHECKS,
    *writing.CHECKS,
    *package.SEEN,
    *privacy.CHECKS,
)
