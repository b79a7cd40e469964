"""What rtpengine counted of a call (its `query`), as figures of a leg."""

from dataclasses import dataclass, replace

from media.leg import LegStats
from media.rtpengine.bencode import Value
from media.rtpengine.ng import Fields


@dataclass(frozen=True, slots=True)
class Quality:
    """What reports (RTCP) said of one way of a call; None where nobody reported."""

    lost: int = 0
    loss: float | None = None
    "0 to 1."
    jitter_ms: float | None = None
    mos: float | None = None
    rtt_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What rtpengine counted of one far end.

    Of its `errors` it does not say whether something could not be opened or not be sent: they are left where they are.
    """

    heard: int = 0
    "Packets of sound from the far end."
    sent: int = 0
    "Packets of sound for it."
    coming: Quality = Quality()
    going: Quality = Quality()

    def plus(self, other: "Seen") -> "Seen":
        """Return this with what another rtpengine counted before."""
        lost = replace(self.coming, lost=self.coming.lost + other.coming.lost)
        return replace(
            self,
            heard=self.heard + other.heard,
            sent=self.sent + other.sent,
            coming=lost,
        )

    def over(self, own: LegStats, protection: str) -> LegStats:
        """Return what is known of the leg, `own` being what ours counted behind rtpengine.

        Reports are believed before our own measure: sound that rtpengine passes on by itself never came to us.
        """
        packets, lost = max(self.heard, own.packets), max(self.coming.lost, own.lost)
        moses = [each for each in (self.coming.mos, self.going.mos) if each is not None]
        return replace(
            own,
            packets=packets,
            lost=lost,
            loss=lost / (lost + packets) if lost else 0.0,
            jitter_ms=_or(self.coming.jitter_ms, own.jitter_ms),
            sent=max(self.sent, own.sent),
            protection=protection,
            rtt_ms=self.going.rtt_ms if self.going.rtt_ms is not None else own.rtt_ms,
            remote_loss=self.going.loss if self.going.loss is not None else own.remote_loss,
            remote_jitter_ms=self.going.jitter_ms if self.going.jitter_ms is not None else own.remote_jitter_ms,
            mos=min(moses) if moses else own.mos,
        )


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def seen_in(answer: Fields, far: str, gate: str) -> Seen:
    """Return what an answer to `query` says of the far end's side; whatever is missing there is nothing."""
    from_far, from_gate = _stream(answer, far), _stream(answer, gate)
    return Seen(
        _whole(_at(from_far, "stats", "packets")),
        _whole(_at(from_gate, "stats", "packets")),
        _quality(answer, from_far),
        _quality(answer, from_gate),
    )


def _stream(answer: Fields, tag: str) -> Value:
    """Return what stands of the first stream that a side sends."""
    media = _first(_at(answer, "tags", tag, "medias"))
    return _first(_at(media, "streams"))


def _quality(answer: Fields, stream: Value) -> Quality:
    # RTP's own number of a stream is how rtpengine names the reports about it.
    said = _at(answer, "SSRC", str(_at(stream, "SSRC")))
    if _at(said, "average MOS") == "":
        return Quality()
    average = _at(said, "average MOS")
    mos, rtt_us = _whole(_at(average, "MOS")), _whole(_at(average, "round-trip time"))
    return Quality(
        lost=max(0, _whole(_at(said, "cumulative loss"))),
        loss=_whole(_at(average, "packet loss")) / 100,
        jitter_ms=float(_whole(_at(average, "jitter"))),
        mos=mos / 10 if mos else None,
        rtt_ms=rtt_us / 1000 if rtt_us else None,
    )


def _at(value: Value, *path: str) -> Value:
    for name in path:
        value = value.get(name, "") if isinstance(value, dict) else ""
    return value


def _first(value: Value) -> Value:
    return value[0] if isinstance(value, list) and value else ""


def _whole(value: Value) -> int:
    return value if isinstance(value, int) else 0
