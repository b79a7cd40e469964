"""What a carrier's signature says of a caller's number (RFC 8224, RFC 8588)."""

from dataclasses import dataclass
from enum import StrEnum


class Doubt(StrEnum):
    """Why a number is not attested."""

    NONE = ""
    ABSENT = "absent"
    "No signature came with the call, or nobody's is believed here."

    MALFORMED = "malformed"
    UNKNOWN = "unknown-certificate"
    "It names a certificate that does not lie in the instance."

    UNTRUSTED = "untrusted-certificate"
    "No authority of the policy vouches for it, or it is not for telephone numbers."

    EXPIRED = "expired-certificate"
    FORGED = "bad-signature"
    STALE = "stale"
    "Older, or newer, than `media.trunk.stir.FRESH_S` allows: a signature may be taken from another call."

    OTHER = "other-numbers"
    "It is about another caller, or another number that was called."


@dataclass(frozen=True, slots=True)
class Attestation:
    """How far the carrier that signed answers for the caller's number."""

    level: str = ""
    "A: the caller may use the number; B: the caller is known, the number not; C: neither; empty: see `doubt`."

    doubt: Doubt = Doubt.ABSENT

    def __str__(self) -> str:
        return self.level or self.doubt


UNSIGNED = Attestation()
