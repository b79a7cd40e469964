"""A tape becomes sound: each voice on its side, in its place, whatever came late, twice or never."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.audio import frequencies, read_wav, tone
from hub.g711 import RATE, Codec, Pcm, encode
from hub.tape import (
    AGENT,
    CALLER,
    HEAD,
    LONGEST_SECONDS,
    Frame,
    TapeError,
    channels,
    frame_of,
    frames,
    mono_wav,
    stereo_wav,
)

FRAME = Frame(AGENT, Codec.PCMA, 0x01020304, b"\x55" * 3)


def said(leg: int, pcm: Pcm, *, at: int = 0, codec: Codec = Codec.PCMU) -> list[Frame]:
    coded = encode(codec, pcm)
    return [Frame(leg, codec, at + place, coded[place : place + 160]) for place in range(0, len(coded), 160)]


def tape_of(heard: list[Frame]) -> io.BytesIO:
    return io.BytesIO(HEAD + b"".join(bytes(frame) for frame in heard))


def both_channels(data: bytes) -> tuple[Pcm, Pcm]:
    samples = np.frombuffer(data[44:], np.int16)
    return samples[0::2], samples[1::2]


def hz(pcm: Pcm) -> list[int]:
    return [round(peak.hz, -1) for peak in frequencies(pcm)]  # type: ignore[misc]


def test_frame_is_laid_out_as_documented() -> None:
    assert bytes(FRAME) == bytes.fromhex("01 08 0003 01020304 555555")
    assert Frame.parse(bytes(FRAME)) == FRAME
    assert frame_of(AGENT, Codec.PCMA, 0x01020304, b"\x55" * 3) == bytes(FRAME)


@given(
    st.builds(
        Frame,
        leg=st.integers(0, 255),
        codec=st.sampled_from(Codec),
        position=st.integers(0, 2**32 - 1),
        payload=st.binary(max_size=400),
    )
)
def test_any_frame_survives(frame: Frame) -> None:
    assert Frame.parse(bytes(frame)) == frame


def test_a_frame_cut_at_any_byte_is_refused() -> None:
    for cut in range(len(bytes(FRAME))):
        with pytest.raises(TapeError):
            Frame.parse(bytes(FRAME)[:cut])
    for wrong in (b"\0\x09\0\0\0\0\0\0", bytes(FRAME) * 2, b""):
        with pytest.raises(TapeError):
            Frame.parse(wrong)


def test_a_tape_cut_at_any_byte_gives_the_frames_before() -> None:
    heard = said(CALLER, tone(440, seconds=0.06))
    whole = tape_of(heard).getvalue()
    for cut in range(len(whole) + 1):
        if cut < len(HEAD):
            with pytest.raises(TapeError):
                list(frames(io.BytesIO(whole[:cut])))
        else:
            assert list(frames(io.BytesIO(whole[:cut]))) == heard[: (cut - len(HEAD)) // 168]


def test_caller_is_left_and_agent_is_right() -> None:
    heard = said(CALLER, tone(440, seconds=0.5)) + said(AGENT, tone(620, seconds=0.5), codec=Codec.PCMA)
    left, right = both_channels(stereo_wav(tape_of(heard)))
    assert len(left) == len(right) == RATE // 2
    assert (hz(left), hz(right)) == ([440], [620])


def test_who_came_later_is_heard_later() -> None:
    heard = said(CALLER, tone(440, seconds=1)) + said(AGENT, tone(620, seconds=0.5), at=RATE // 2)
    left, right = both_channels(stereo_wav(tape_of(heard)))
    assert len(left) == len(right) == RATE
    assert not right[: RATE // 2].any()
    assert hz(right[RATE // 2 :]) == [620]


def test_what_was_lost_is_silent_and_moves_nothing() -> None:
    heard = said(CALLER, tone(440, seconds=1))
    del heard[10:20]
    left, _ = channels(heard)
    assert not left[1600:3200].any()
    assert left[:1600].any()
    assert left[3200:].any()


def test_order_and_repetition_change_nothing() -> None:
    heard = said(CALLER, tone(440, seconds=0.3)) + said(AGENT, tone(620, seconds=0.3))
    expected = stereo_wav(tape_of(heard))
    assert stereo_wav(tape_of(heard[::-1])) == expected
    assert stereo_wav(tape_of(heard + heard[:7])) == expected


def test_a_leg_that_changes_its_law_is_heard_throughout() -> None:
    heard = said(CALLER, tone(440, seconds=0.5)) + said(CALLER, tone(440, seconds=0.5), at=RATE // 2, codec=Codec.PCMA)
    left, _ = channels(heard)
    assert hz(left[: RATE // 2]) == hz(left[RATE // 2 :]) == [440]


def test_a_place_beyond_any_call_is_not_believed() -> None:
    left, right = channels(
        [Frame(CALLER, Codec.PCMU, LONGEST_SECONDS * RATE, b"\0" * 160), Frame(7, Codec.PCMU, 0, b"\0" * 160)]
    )
    assert len(left) == len(right) == 0


def test_an_empty_tape_is_an_empty_file() -> None:
    assert len(read_wav(stereo_wav(io.BytesIO(HEAD))).pcm) == 0


def test_a_voicemail_is_one_channel() -> None:
    file = read_wav(mono_wav(tape_of(said(CALLER, tone(440, seconds=0.5)))))
    assert hz(file.pcm) == [440]
    assert file.seconds == 0.5
