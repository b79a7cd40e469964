"""WAV files, resampling, and the tones that are found in sound."""

import io
import wave
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.audio import AudioError, frequencies, level_of, linear, read_wav, resample, tone, wav, wav_coded
from hub.g711 import RATE, Codec, Pcm, decode, encode

A440 = tone(440, seconds=0.5)


def heard(pcm: Pcm, rate: int = RATE) -> list[int]:
    return sorted(round(peak.hz) for peak in frequencies(pcm, rate))


def near(found: list[int], expected: list[int]) -> bool:
    return len(found) == len(expected) and all(abs(a - b) <= 5 for a, b in zip(found, expected, strict=True))


def test_a_linear_file_is_what_python_says_it_is() -> None:
    with wave.open(io.BytesIO(wav(A440))) as file:
        assert file.getparams()[:4] == (1, 2, RATE, len(A440))
        assert file.readframes(len(A440)) == A440.tobytes()
    assert (read_wav(wav(A440)).pcm == A440).all()


def test_two_channels_lie_side_by_side() -> None:
    both = np.column_stack([A440, np.zeros_like(A440)])
    with wave.open(io.BytesIO(wav(both))) as file:
        assert file.getnchannels() == 2
        assert np.frombuffer(file.readframes(4), np.int16)[1::2].tolist() == [0, 0, 0, 0]
    assert (read_wav(wav(both)).pcm == A440 // 2 + (A440 % 2 * (A440 < 0))).all()


@pytest.mark.parametrize("codec", list(Codec))
def test_a_coded_file_keeps_its_bytes(codec: Codec) -> None:
    coded = encode(codec, A440)[:-1]
    file = read_wav(wav_coded(coded, codec))
    assert (file.pcm == decode(codec, coded)).all()
    assert file.ulaw == (coded if codec is Codec.PCMU else None)
    assert file.seconds == pytest.approx(0.5, abs=0.001)


def test_other_chunks_are_passed_over() -> None:
    plain = wav(A440)
    listed = plain[:12] + b"LIST\x03\0\0\0abc\0" + plain[12:]
    assert (read_wav(listed).pcm == A440).all()


def test_an_extensible_format_names_its_coding_further_in() -> None:
    plain = bytearray(wav(A440))
    form = bytes(plain[20:36])
    extension = (22).to_bytes(2, "little") + bytes(6) + form[:2] + bytes(14)
    chunk = b"fmt " + (40).to_bytes(4, "little") + b"\xfe\xff" + form[2:] + extension
    assert (read_wav(bytes(plain[:12]) + chunk + bytes(plain[36:])).pcm == A440).all()


def test_a_file_cut_off_gives_the_samples_that_are_there_or_is_refused() -> None:
    whole = wav(A440[:200])
    for cut in range(len(whole)):
        if cut < 44:
            with pytest.raises(AudioError):
                read_wav(whole[:cut])
        else:
            assert len(read_wav(whole[:cut]).pcm) == (cut - 44) // 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF\0\0\0\0WAVE",
        b"ID3" + bytes(64),
        wav(A440)[:20] + b"\x03\0" + wav(A440)[22:],
        wav(A440)[:22] + b"\0\0" + wav(A440)[24:],
        wav(A440)[:24] + bytes(4) + wav(A440)[28:],
        wav(A440)[:34] + b"\x18\0" + wav(A440)[36:],
        wav(A440)[:12] + wav(A440)[36:],
    ],
    ids=["empty", "no chunks", "an MP3", "float", "no channel", "no rate", "24 bits", "no format"],
)
def test_what_cannot_be_played_is_refused(data: bytes) -> None:
    with pytest.raises(AudioError):
        read_wav(data)


@given(st.binary(max_size=120))
def test_no_bytes_do_worse_than_be_refused(data: bytes) -> None:
    with suppress(AudioError):
        assert read_wav(b"RIFF\0\0\0\0WAVE" + data).rate >= 1000


@pytest.mark.parametrize("rate", [11025, 16000, 22050, 44100, 48000])
def test_resampling_keeps_the_tone_its_length_and_its_level(rate: int) -> None:
    there = tone(440, 1000, seconds=0.5, rate=rate)
    here = resample(there, rate, RATE)
    assert len(here) == 4000
    assert near(heard(here), [440, 1000])
    assert level_of(here) == pytest.approx(level_of(there), abs=0.2)


def test_what_8_khz_cannot_hold_is_not_folded_back() -> None:
    both = linear(tone(440, seconds=0.5, rate=16000) + tone(6000, seconds=0.5, rate=16000).astype(float))
    assert near(heard(resample(both, 16000, RATE)), [440])


def test_resampling_nothing_is_nothing() -> None:
    empty = np.zeros(0, np.int16)
    assert len(resample(empty, 16000, RATE)) == 0
    assert resample(A440, RATE, RATE) is A440


@pytest.mark.parametrize("hz", [[350], [440, 620], [697, 1209], [300, 1000, 2500]])
def test_tones_are_found_through_g711(hz: list[int]) -> None:
    for codec in Codec:
        coded = encode(codec, tone(*hz, seconds=0.5, level=-20))
        assert near(heard(decode(codec, coded)), hz)


def test_the_strongest_tone_comes_first_with_its_share() -> None:
    mixed = linear(tone(500, seconds=1, level=-10).astype(float) + tone(900, seconds=1, level=-20))
    first, second = frequencies(mixed)
    assert (round(first.hz, -1), round(second.hz, -1)) == (500, 900)
    assert first.share == pytest.approx(10 / 11, abs=0.02)
    assert second.share == pytest.approx(1 / 11, abs=0.02)


def test_silence_noise_and_too_little_hold_no_tone() -> None:
    noise = np.random.default_rng(3).integers(-8000, 8000, RATE).astype(np.int16)
    assert frequencies(np.zeros(RATE, np.int16)) == []
    assert frequencies(noise) == []
    assert frequencies(tone(440, seconds=0.1)) == []


def test_level_is_measured_against_full_scale() -> None:
    assert level_of(tone(440, seconds=1, level=0)) == pytest.approx(-3.0, abs=0.1)
    assert level_of(tone(440, seconds=1, level=-20)) == pytest.approx(-23.0, abs=0.1)
    assert level_of(np.zeros(10, np.int16)) == level_of(np.zeros(0, np.int16)) == -120
