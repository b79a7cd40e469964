"""Whether somebody speaks, whatever the line is like."""

import numpy as np
import pytest

from hub.audio import linear, read_wav, resample
from hub.g711 import RATE, Pcm
from media.hearing.activity import Activity, level_db
from media.prompts import ASSETS
from media.rtp import FRAME


def speech() -> Pcm:
    """Return a sentence of two seconds."""
    wave = read_wav((ASSETS / "en" / "please-hold.wav").read_bytes())
    return resample(wave.pcm, wave.rate, RATE)


def noise(seconds: float, level: float) -> Pcm:
    random = np.random.default_rng(3)
    return linear(random.normal(0, 32768 * 10 ** (level / 20), round(seconds * RATE)))


def heard(activity: Activity, pcm: Pcm) -> float:
    """Let it hear; return the share of the time in which somebody spoke."""
    frames = [pcm[at : at + FRAME] for at in range(0, len(pcm) - FRAME + 1, FRAME)]
    return sum(activity.heard(frame) for frame in frames) / len(frames)


@pytest.mark.parametrize("level", [-75.0, -60.0, -48.0])
@pytest.mark.parametrize("quieter", [1, 2, 6])
def test_a_sentence_stands_out_of_the_line(level: float, quieter: int) -> None:
    activity, said = Activity(), speech() // quieter
    assert heard(activity, noise(3.0, level)) < 0.1
    spoken = heard(activity, linear(said + noise(len(said) / RATE, level).astype(np.int32)[: len(said)]))
    assert spoken > 0.7
    assert heard(activity, noise(3.0, level)) < 0.1
    assert activity.silent_s > 2.7
    assert not activity.speaking


def test_a_caller_who_speaks_at_once_is_heard() -> None:
    activity = Activity()
    assert heard(activity, speech()) > 0.8
    assert activity.spoken_s == pytest.approx(len(speech()) / RATE, rel=0.3)


def test_nothing_at_all_is_silence() -> None:
    activity = Activity()
    assert heard(activity, np.zeros(5 * RATE, np.int16)) == 0
    assert activity.silent_s == pytest.approx(5.0)


def test_a_fan_that_is_switched_on_is_learned() -> None:
    activity = Activity()
    heard(activity, noise(2.0, -65.0))
    heard(activity, noise(40.0, -35.0))
    assert heard(activity, noise(2.0, -35.0)) < 0.1


def test_a_level_is_relative_to_full_scale() -> None:
    assert level_db(np.full(160, 32767, np.int16)) == pytest.approx(0, abs=0.1)
    assert level_db(np.zeros(160, np.int16)) < -85
    assert level_db(np.zeros(0, np.int16)) == -96.0
