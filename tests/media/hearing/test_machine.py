"""A person is told from a machine, and the beep is found, whatever the voice and the line are like."""

import os

import numpy as np
import pytest

from hub.audio import tone
from hub.g711 import RATE, Codec, Pcm
from media.hearing.machine import Beep, Finding, Screening, Verdict
from media.rtp import FRAME
from tests.media.greeting import MACHINES, PEOPLE, VOICES, beep, noise, on_the_line, quiet, said
from tests.peers import missing

LEAST_RIGHT = 0.94
"Of the made greetings; docs/reference/voice-reminders.md tells the rate."

speaks = pytest.mark.skipif(
    bool(missing("flite", "espeak-ng")) and os.environ.get("CHARTLINE_REQUIRE_PEERS") != "1",
    reason="needs flite and espeak-ng",
)


def screened(pcm: Pcm) -> Screening:
    screening = Screening()
    for at in range(0, len(pcm) - FRAME + 1, FRAME):
        screening.heard(pcm[at : at + FRAME])
    return screening


def beeps(pcm: Pcm) -> list[float]:
    """Return when beeps were found to be over, in seconds."""
    ear = Beep()
    return [round(at / RATE, 2) for at in range(0, len(pcm) - FRAME + 1, FRAME) if ear.heard(pcm[at : at + FRAME])]


@speaks
@pytest.mark.parametrize(
    ("parts", "found", "beeped"),
    [
        ((quiet(0.4), said("Hello?"), quiet(3)), (Verdict.HUMAN, "short-greeting"), False),
        ((said("Hello?"), quiet(3)), (Verdict.HUMAN, "short-greeting"), False),
        ((quiet(1.0), said(PEOPLE[2]), quiet(3)), (Verdict.HUMAN, "short-greeting"), False),
        ((quiet(0.4), said(MACHINES[0]), quiet(1), beep(), quiet(1)), (Verdict.MACHINE, "long-greeting"), True),
        ((quiet(0.4), said(MACHINES[1]), quiet(1)), (Verdict.MACHINE, "long-greeting"), False),
        # A machine that takes a breath is taken for a person; its beep is found all the same.
        (
            (quiet(0.4), said("Hi, this is Dana."), quiet(1), said(MACHINES[0]), quiet(0.5), beep(), quiet(1)),
            (Verdict.HUMAN, "short-greeting"),
            True,
        ),
        ((quiet(6),), (Verdict.UNKNOWN, "nothing-said"), False),
        ((noise(6, -42),), (Verdict.UNKNOWN, "nothing-said"), False),
        # Noise as loud as a voice from the first moment on has no pause that somebody could answer in.
        ((noise(6, -30),), (Verdict.MACHINE, "long-greeting"), False),
        ((quiet(0.6), beep(), quiet(3)), (Verdict.MACHINE, "beep"), True),
        # Clicks on the line are no words.
        (
            (quiet(0.5), noise(0.04, -20), quiet(0.7), noise(0.04, -20), quiet(3)),
            (Verdict.UNKNOWN, "nothing-said"),
            False,
        ),
    ],
)
@pytest.mark.parametrize("codec", list(Codec))
def test_who_picked_up(parts: tuple[Pcm, ...], found: tuple[Verdict, str], beeped: bool, codec: Codec) -> None:
    screening = screened(on_the_line(*parts, codec=codec))
    assert (screening.finding, screening.beeped) == (Finding(*found), beeped)


def test_words_with_pauses_that_nobody_could_answer_in_are_a_machines() -> None:
    word = noise(0.2, -18)
    screening = screened(on_the_line(quiet(0.4), *[word, quiet(0.45)] * 6, quiet(1)))
    assert screening.finding == Finding(Verdict.MACHINE, "many-phrases")


def test_a_line_that_is_never_quiet_is_given_up() -> None:
    word = noise(0.15, -18)
    screening = screened(on_the_line(quiet(2.3), *[word, quiet(0.55)] * 4, quiet(0.2), word))
    assert screening.finding == Finding(Verdict.UNKNOWN, "undecided")


def test_a_person_is_known_within_a_second_of_falling_silent() -> None:
    screening = Screening()
    pcm = on_the_line(quiet(0.4), noise(0.5, -18), quiet(3))
    at = 0
    while screening.finding is None:
        screening.heard(pcm[at : at + FRAME])
        at += FRAME
    assert at / RATE == pytest.approx(0.9 + 0.8, abs=0.06)


@pytest.mark.parametrize("hz", [420, 440, 620, 850, 1000, 1400, 1950])
@pytest.mark.parametrize("seconds", [0.18, 0.4, 1.0, 2.5])
@pytest.mark.parametrize("level", [-6, -20, -33])
def test_every_beep_is_found_once(hz: int, seconds: float, level: int) -> None:
    found = beeps(on_the_line(quiet(0.5), beep(hz, seconds, level), quiet(1.5), level=-55))
    assert len(found) == 1
    assert found[0] == pytest.approx(0.5 + seconds + 0.25, abs=0.08)


@pytest.mark.parametrize(
    "parts",
    [
        (quiet(2),),
        (noise(3, -20),),
        (beep(seconds=0.1), quiet(1)),
        (beep(seconds=4), quiet(1)),
        (beep(2100, seconds=1), quiet(1)),  # a fax machine that answers (ITU-T T.30)
        (beep(350, seconds=1), quiet(1)),
        (beep(level=-50), quiet(1)),
        (tone(440, 480, seconds=2, level=-19), quiet(1)),
        (tone(480, 620, seconds=0.5, level=-24), quiet(1)),
        (tone(770, 1336, seconds=0.3, level=-15), quiet(1)),
        (beep(914, 0.38), beep(1371, 0.27), beep(1777, 0.38), noise(1, -20)),  # ahead of "this number is not in use"
        (np.concatenate([beep(hz, 0.25) for hz in (523, 587, 659, 698, 784, 659)]), noise(1, -20)),
    ],
)
def test_what_is_no_beep(parts: tuple[Pcm, ...]) -> None:
    assert beeps(on_the_line(*parts)) == []


@speaks
def test_most_voices_at_most_paces_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    right = found = 0
    for voice in VOICES:
        for text in PEOPLE:
            heard = screened(on_the_line(quiet(0.4), said(text, *voice), quiet(3)))
            right += heard.finding is not None and heard.finding.verdict is Verdict.HUMAN
            assert not heard.beeped
        for text in MACHINES:
            heard = screened(on_the_line(quiet(0.4), said(text, *voice), quiet(0.5), beep(), quiet(1)))
            right += heard.finding is not None and heard.finding.verdict is Verdict.MACHINE
            found += heard.beeped
    of, machines = len(VOICES) * len(PEOPLE + MACHINES), len(VOICES) * len(MACHINES)
    with capsys.disabled():
        print(f"\nwho picked up: {right} of {of} right; beeps: {found} of {machines}")
    assert found == machines
    assert right / of >= LEAST_RIGHT
