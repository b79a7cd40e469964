"""G.722 and Opus to mu-law and back: tones stay what they are, losses fade, rubbish is a loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.audio import frequencies, level_of, tone
from hub.g711 import Codec, Pcm, decode, encode
from media.codec.coder import MADE, Decimator, Decoder, Encoder, span_of
from media.rtp import FRAME

CLOCKS = {"G722/8000": 8000, "OPUS/48000/2": 48_000}


def packets_of(encoding: str, pcm: Pcm, size: int = FRAME) -> list[bytes]:
    coder, ulaw = Encoder(encoding), encode(Codec.PCMU, pcm)
    return [packet for at in range(0, len(ulaw), size) for packet in coder.encode(ulaw[at : at + size])]


def heard(encoding: str, packets: list[bytes | None]) -> Pcm:
    coder = Decoder(encoding)
    return decode(Codec.PCMU, b"".join(coder.decode(packet) for packet in packets))


@pytest.mark.parametrize("encoding", list(MADE))
@pytest.mark.parametrize("hz", [300, 440, 1000, 3000])
def test_a_tone_comes_through_as_it_was(encoding: str, hz: int) -> None:
    sound = tone(hz, seconds=1)
    packets = packets_of(encoding, sound)
    assert len(packets) == 50
    there = heard(encoding, list(packets))
    assert len(there) == len(sound)
    assert [round(peak.hz, -1) for peak in frequencies(there)] == [hz]
    assert abs(level_of(there[800:7200]) - level_of(sound[800:7200])) < 2


@pytest.mark.parametrize("encoding", list(MADE))
def test_samples_of_any_number_are_gathered_into_packets(encoding: str) -> None:
    assert len(packets_of(encoding, tone(440, seconds=0.4), 100)) == 20


@pytest.mark.parametrize("encoding", list(MADE))
def test_a_lost_packet_is_made_up_and_fades(encoding: str) -> None:
    packets: list[bytes | None] = list(packets_of(encoding, tone(440, seconds=0.4)))
    there = heard(encoding, [*packets[:15], None, None, None, None, None, None])
    before, first, last = there[13 * FRAME : 15 * FRAME], there[15 * FRAME : 16 * FRAME], there[-FRAME:]
    assert level_of(before) - 8 < level_of(first) < level_of(before) - 4
    assert level_of(last) < level_of(before) - 30


@pytest.mark.parametrize("encoding", list(MADE))
@given(payload=st.binary(min_size=1, max_size=400))
def test_rubbish_is_never_more_than_rubbish(encoding: str, payload: bytes) -> None:
    coder = Decoder(encoding)
    assert isinstance(coder.decode(payload), bytes)
    assert 0 < span_of(encoding, payload) <= 120
    good = packets_of(encoding, tone(440, seconds=0.02))[0]
    assert len(coder.decode(good)) == FRAME


def test_what_eight_thousand_samples_cannot_hold_is_left_out() -> None:
    for ratio in (2, 6):
        taken = Decimator(ratio)(tone(6000, seconds=0.5, rate=8000 * ratio))
        assert level_of(taken[200:-200]) < -50
        kept = Decimator(ratio)(tone(1000, seconds=0.5, rate=8000 * ratio))
        assert [round(peak.hz, -1) for peak in frequencies(kept)] == [1000]


def test_samples_cut_into_frames_come_down_as_if_they_were_whole() -> None:
    sound = tone(700, seconds=0.2, rate=48_000)
    cut = Decimator(6)
    pieces = [cut(sound[at : at + 960]) for at in range(0, len(sound), 960)]
    assert np.array_equal(np.concatenate(pieces), Decimator(6)(sound))


def test_a_packet_says_how_long_it_lasts() -> None:
    assert span_of("G722/8000", bytes(160)) == 20
    assert span_of("G722/8000", bytes(80)) == 10
    # RFC 6716 section 3.1: SILK of 60 ms, hybrid of 10, CELT of 20 twice, and a packet of three frames.
    assert span_of("OPUS/48000/2", bytes([3 << 3])) == 60
    assert span_of("OPUS/48000/2", bytes([12 << 3])) == 10
    assert span_of("OPUS/48000/2", bytes([31 << 3 | 1])) == 40
    assert span_of("OPUS/48000/2", bytes([1 << 3 | 3, 3])) == 60
    assert span_of("OPUS/48000/2", b"") == 20
    assert [span_of("OPUS/48000/2", packet) for packet in packets_of("OPUS/48000/2", tone(440, seconds=0.1))] == [
        20
    ] * 5
