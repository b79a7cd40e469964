"""How a call sounds, estimated from what the network did to it: the E-model, simplified (ITU-T G.107).

All that G.107 asks about telephones, rooms and lines is left at its default (clause 7.7), which makes R 93.2 before
delay and loss. What is heard here is G.711 without concealment, as a gateway cannot know what a far end conceals.
"""

from math import log2

R_DEFAULT = 93.2
"Ro - Is with every default (clause 7.7)."

BPL = 4.3
"Packet loss robustness of G.711 without concealment (ITU-T G.113 appendix I)."

FRAME_MS = 20.0
"A packet waits so long until it is full."


def rating(loss: float, delay_ms: float) -> float:
    """Return the rating factor R: 93.2 - Id - Ie,eff (clause 7.1), 0 to 93.2.

    `loss` is a share, 0 to 1, and taken to be random (BurstR 1); `delay_ms` is from mouth to ear.
    """
    ppl = 100 * loss
    equipment = 95 * ppl / (ppl + BPL)  # Ie,eff with Ie 0 (clause 7.5)
    delay = 0.0
    if delay_ms > 100:  # Idd (clause 7.4); echo is taken to be cancelled
        x = log2(delay_ms / 100)
        delay = 25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2)
    return max(0.0, R_DEFAULT - delay - equipment)


def mos(loss: float, jitter_ms: float, rtt_ms: float | None) -> float:
    """Return the mean opinion score that R stands for, 1 to 4.5 (annex B).

    The delay is half the round trip, a packet's length, and a jitter buffer of twice the jitter.
    """
    r = rating(loss, (rtt_ms or 0.0) / 2 + FRAME_MS + 2 * jitter_ms)
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)
