"""Figures of a leg, from what rtpengine answers to a query."""

from dataclasses import replace

from media.core.leg import NOTHING
from media.rtpengine.bencode import Value
from media.rtpengine.seen import Quality, Seen, seen_in

REPORTED: Value = {
    "average MOS": {
        "MOS": 44,
        "jitter": 2,
        "packet loss": 1,
        "round-trip time": 756,
        "round-trip time leg": 293,
        "samples": 2,
    },
    "cumulative loss": 7,
}
REMOTE: Value = {"average MOS": {"MOS": 38, "jitter": 5, "packet loss": 3, "round-trip time": 2500}}


def side(ssrc: int, packets: int) -> Value:
    return {"medias": [{"streams": [{"SSRC": ssrc, "stats": {"packets": packets, "errors": 1}}, {"stats": {}}]}]}


ANSWER: dict[str, Value] = {
    "SSRC": {"2957": REPORTED, "3999": REMOTE},
    "tags": {"far": side(2957, 800), "gate": side(3999, 801)},
    "result": b"ok",
}


def test_what_was_counted_and_reported_is_read() -> None:
    assert seen_in(ANSWER, "far", "gate") == Seen(
        800, 801, Quality(7, 0.01, 2.0, 4.4, 0.756), Quality(0, 0.03, 5.0, 3.8, 2.5)
    )


def test_what_nobody_reported_is_not_made_up() -> None:
    silent = {**ANSWER, "SSRC": {}}
    assert seen_in(silent, "far", "gate") == Seen(800, 801)
    young: dict[str, Value] = {**ANSWER, "SSRC": {"2957": {"average MOS": {"MOS": 0, "round-trip time": 0}}}}
    assert seen_in(young, "far", "gate").coming == Quality(0, 0.0, 0.0, None, None)
    strange: list[Value] = [b"", [], [1], [{"streams": b""}], [{"streams": [{"stats": []}]}]]
    for medias in strange:
        assert seen_in({"tags": {"far": {"medias": medias}}}, "far", "gate") == Seen()


def test_a_leg_has_the_worse_of_both_ways_and_its_own_where_rtpengine_says_nothing() -> None:
    own = replace(NOTHING, packets=790, lost=10, jitter_ms=9.0, mos=4.1, rtt_ms=33.0, refused=2)
    stats = seen_in(ANSWER, "far", "gate").over(own, "sdes-srtp")
    assert (stats.packets, stats.sent, stats.lost, stats.loss) == (800, 801, 10, 10 / 810)
    assert (stats.jitter_ms, stats.mos, stats.rtt_ms) == (2.0, 3.8, 2.5)
    assert (stats.remote_loss, stats.remote_jitter_ms) == (0.03, 5.0)
    assert (stats.protection, stats.refused) == ("sdes-srtp", 2)
    silent = Seen(800, 801).over(own, "rtp")
    assert (silent.jitter_ms, silent.mos, silent.rtt_ms, silent.loss) == (9.0, 4.1, 33.0, 10 / 810)
    assert Seen().over(NOTHING, "rtp") == NOTHING


def test_two_that_carried_a_call_one_after_the_other_count_together() -> None:
    first, second = Seen(10, 20, Quality(lost=3)), Seen(1, 2, Quality(lost=4, mos=4.0))
    assert second.plus(first) == Seen(11, 22, Quality(lost=7, mos=4.0))
