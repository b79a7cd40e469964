"""Keys in the sound: every key at every level and twist that a line may give it, and no word of anybody's."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.audio import linear, read_wav, resample, tone
from hub.g711 import RATE, Codec, Pcm, decode, encode
from media.dtmf import KEYS
from media.hearing.inband import HIGH_HZ, LOW_HZ, STEP, WINDOW, Ear
from media.prompts import ASSETS

PAD = {key: (LOW_HZ["123A456B789C*0#D".index(key) // 4], HIGH_HZ["123A456B789C*0#D".index(key) % 4]) for key in KEYS}


def pressed(key: str, *, seconds: float = 0.06, low: float = -10.0, high: float = -10.0, off: float = 1.0) -> Pcm:
    """Return the two tones of a key, at levels in dB to full scale and a frequency that is a little off."""
    hz = PAD[key]
    both = tone(hz[0] * off, seconds=seconds, level=low).astype(np.int32)
    return linear(both + tone(hz[1] * off, seconds=seconds, level=high))


def quiet(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE), np.int16)


def keys(*sounds: Pcm, codec: Codec = Codec.PCMU, frame: int = 160) -> str:
    """Return the keys that are heard in sounds which went over a line."""
    line = decode(codec, encode(codec, np.concatenate(sounds)))
    ear = Ear()
    return "".join(ear.heard(line[at : at + frame]) for at in range(0, len(line), frame))


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_heard_once(key: str, codec: Codec) -> None:
    assert keys(quiet(0.1), pressed(key, seconds=0.3), quiet(0.1), codec=codec) == key


@given(
    said=st.text(KEYS, min_size=1, max_size=6),
    low=st.floats(-26, -6),
    twist=st.floats(-7, 7),
    off=st.floats(0.986, 1.014),
    ahead=st.floats(0, 0.03),
    frame=st.sampled_from([80, 160, 240, 480]),
)
def test_forty_milliseconds_are_enough_as_the_standard_says(
    said: str, low: float, twist: float, off: float, ahead: float, frame: int
) -> None:
    sounds = [quiet(0.05 + ahead)]
    for key in said:
        sounds += [pressed(key, seconds=0.042, low=low, high=low - twist, off=off), quiet(0.05)]
    assert keys(*sounds, frame=frame) == said


@given(key=st.sampled_from(KEYS), ahead=st.integers(0, WINDOW))
def test_twenty_milliseconds_are_not(key: str, ahead: int) -> None:
    assert keys(quiet(ahead / RATE), pressed(key, seconds=0.02), quiet(0.1)) == ""


@given(key=st.sampled_from(KEYS), off=st.sampled_from([0.95, 0.96, 1.04, 1.05]))
def test_tones_that_are_off_by_more_than_a_line_makes_them_are_none(key: str, off: float) -> None:
    assert keys(pressed(key, seconds=0.2, off=off)) == ""


def test_one_tone_alone_is_none_nor_is_one_far_weaker_than_the_other() -> None:
    for hz in (*LOW_HZ, *HIGH_HZ):
        assert keys(tone(hz, seconds=0.3)) == ""
    assert keys(pressed("5", seconds=0.3, low=-6, high=-20)) == ""


def test_a_key_under_noise_is_heard() -> None:
    random = np.random.default_rng(7)
    noise = random.normal(0, 32768 * 10 ** (-32 / 20), round(0.4 * RATE))
    assert keys(linear(pressed("8", seconds=0.4).astype(np.float64) + noise)) == "8"


def test_a_key_pressed_twice_is_two() -> None:
    assert keys(pressed("5"), quiet(0.06), pressed("5")) == "55"
    assert keys(pressed("5"), pressed("6")) == "56"


def test_a_short_gap_in_a_key_does_not_make_it_two() -> None:
    held = pressed("5", seconds=0.2)
    held[800:840] = 0  # 5 ms: ITU-T Q.24 wants interruptions of 10 ms passed over
    assert keys(held) == "5"


def test_no_word_that_is_spoken_is_a_key() -> None:
    heard, seconds = "", 0.0
    for path in sorted(ASSETS.rglob("*.wav")):
        wave = read_wav(path.read_bytes())
        heard += keys(resample(wave.pcm, wave.rate, RATE))
        seconds += wave.seconds
    assert seconds > 180
    assert heard == ""


def test_noise_and_calling_tones_are_no_keys() -> None:
    random = np.random.default_rng(11)
    assert keys(linear(random.normal(0, 6000, 20 * RATE))) == ""
    for hz in ((350, 440), (440, 480), (480, 620), (1100,), (2100,), (950, 1400)):
        assert keys(tone(*hz, seconds=1.0)) == ""


def test_windows_overlap_and_rows_and_columns_are_in_order() -> None:
    assert WINDOW > 2 * STEP
    assert all(after > before for before, after in pairwise((*LOW_HZ, *HIGH_HZ)))
