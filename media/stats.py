"""The figures of one leg: what came, what was lost, how it sounds, how it was protected."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LegStats:
    """What is known of a leg's sound."""

    packets: int
    "Heard."
    lost: int
    loss: float
    "Lost as a share of what should have come, 0 to 1."
    jitter_ms: float
    sent: int
    unsent: int
    "That the system did not take."
    refused: int
    "From somebody else (`Latch`), or beyond `leg.FLOOD`."
    strange: int
    "No RTP, or of a payload type that was not agreed on."
    protection: str
    encoding: str = ""
    "What is spoken: name and clock, as PCMU/8000."
    forged: int = 0
    "Protected packets that could not be opened: another key, changed on the way, or heard before."
    rtt_ms: float | None = None
    "Round trip to the far end; None where it sends no reports (RFC 3550 section 6.4.1)."
    remote_loss: float | None = None
    "What the far end lost of ours, 0 to 1, as it last reported."
    remote_jitter_ms: float | None = None
    mos: float | None = None
    "Estimate of how the worse of the two ways sounds, 1 to 4.5 (`quality.mos`)."
