"""Prompts: what ships, what a practice lays in, what is rendered, and what is said when there is nothing else."""

import json
import os
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from hub.audio import frequencies, level_of, read_wav, tone, wav
from hub.g711 import RATE, Codec, decode
from hub.settings import Practice
from media.prompts import ASSETS, LANGUAGES, Choice, Prompts, text_hash
from media.prompts.__main__ import main
from media.prompts.make import DEMO, stock_texts, whole_texts
from media.prompts.music import SECONDS, compose
from media.prompts.speech import SpeechError, Voice, say, spoken, voice_for
from media.rtp import FRAME
from media.sound import Sound

GREETING = "Thank you for calling the Lakeside office. For nurses, press 1. For widgets, press 2."

PRACTICE = f"""
[practice]
name = "Lakeside"
timezone = "America/New_York"
languages = ["en", "es"]
[[number]]
did = "+12125550100"
menu = "main"
[[menu]]
name = "main"
say = {{ en = "{GREETING}" }}
urgent = "0"
[menu.choices]
1.queue = "nurses"
2.queue = "widgets"
3.menu = "main"
9.voicemail = "desk"
[[queue]]
name = "nurses"
[[queue]]
name = "widgets"
[[voicemail]]
name = "desk"
roles = ["front-desk"]
say = {{ en = "This is the desk." }}
[[staff]]
email = "ana@lakeside.example"
roles = ["front-desk"]
queues = ["nurses", "widgets"]
"""

TALKER = """#!/bin/sh
case "$1" in --version) echo "flite-9.9.1"; exit 0;; esac
echo "$0 $*" >> "$TALKER_LOG"
while [ "$1" != -o ]; do [ "$1" = -f ] && cp "$2" "$TALKER_LOG.text"; shift; done
cp "$TALKER_WAV" "$2"
"""


@pytest.fixture
def practice() -> Practice:
    return Practice.model_validate(tomllib.loads(PRACTICE))


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has no program to speak with."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


@pytest.fixture
def talker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program called flite that says a tone, and keeps what it was asked to say."""
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    program = bin_directory / "flite"
    program.write_text(TALKER)
    program.chmod(0o755)
    said = np.concatenate([np.zeros(8000, np.int16), tone(440, seconds=0.5, rate=16000), np.zeros(8000, np.int16)])
    (tmp_path / "talk.wav").write_bytes(wav(said, 16000))
    monkeypatch.setenv("PATH", f"{bin_directory}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("TALKER_WAV", str(tmp_path / "talk.wav"))
    monkeypatch.setenv("TALKER_LOG", str(tmp_path / "talk.log"))
    return tmp_path / "talk.log"


def lay(root: Path, file: str, hz: int, rate: int = RATE) -> None:
    path = root / "prompts" / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(wav(tone(hz, seconds=0.5, rate=rate), rate))


def hz(sound: Sound) -> list[int]:
    return [round(peak.hz / 10) * 10 for peak in frequencies(decode(Codec.PCMU, sound.ulaw))]


def test_every_text_has_its_sound_and_every_sound_its_text() -> None:
    for language in LANGUAGES:
        assert {path.stem for path in (ASSETS / language).glob("*.wav")} == set(stock_texts())
    said = {path.stem for path in (ASSETS / "said").glob("*.wav")}
    assert said == {text_hash(text, language) for text, language in whole_texts()}


def test_what_ships_is_8_khz_mu_law_short_and_equally_loud() -> None:
    paths = sorted(ASSETS.rglob("*.wav"))
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    for path in paths:
        wave = read_wav(path.read_bytes())
        assert wave.ulaw is not None, path
        assert 0.3 < wave.seconds < 16, path
        assert -25 < level_of(wave.pcm) < -18.5, path


@pytest.mark.usefixtures("mute")
def test_the_demo_needs_no_program_that_speaks(tmp_path: Path) -> None:
    demo = tomllib.loads(DEMO.read_text().replace("$timezone", "America/New_York"))
    for port in ("sip", "http"):
        demo.pop(port, None)
    read = Practice.model_validate(demo | {"connection": [], "webhook": []})
    assert read.menus
    assert {choice.source for choice in Prompts.load(tmp_path).prepare(read)} == {"shipped"}
    heard = Prompts.load(tmp_path).menu(read, "main", "es")
    assert heard.seconds > 5
    assert heard != Prompts.load(tmp_path).menu(read, "main", "en")


def test_the_names_that_calls_use_are_there(tmp_path: Path) -> None:
    prompts = Prompts.load(tmp_path)
    for name in (
        "please-hold",
        "transferring",
        "all-agents-busy",
        "invalid-choice",
        "no-choice",
        "leave-message-after-tone",
        "goodbye",
        "closed",
        "this-call-may-be-recorded",
        "callback-offered",
        "emergency-911",
        "practice-greeting",
    ):
        assert prompts.stock(name, "en") != prompts.stock(name, "es")
        assert prompts.stock(name, "zh") == prompts.stock(name, "en")


def test_the_music_is_the_one_that_was_worked_out_and_has_no_seam(tmp_path: Path) -> None:
    music = Prompts.load(tmp_path).music
    assert music.seconds == SECONDS
    pcm, composed = decode(Codec.PCMU, music.ulaw).astype(int), compose().astype(int)
    assert np.abs(pcm - composed).max() <= np.abs(composed).max() / 30
    steps = np.abs(np.diff(np.append(composed, composed[0])))
    assert steps[-1] <= steps[:-1].max() / 4
    assert len(music.ulaw) % FRAME == 0


@pytest.mark.usefixtures("mute")
def test_a_text_that_nobody_said_is_put_together(tmp_path: Path, practice: Practice) -> None:
    prompts = Prompts.load(tmp_path)
    menu = prompts.menu(practice, "main", "en").ulaw
    wanted = [
        "practice-greeting",
        "emergency-911",
        "for-nurses",
        "press-1",
        "for-anything-else",
        "press-2",
        "for-more-choices",
        "press-3",
        "for-messages",
        "press-9",
        "for-urgent-matters",
        "press-0",
    ]
    places = [menu.index(prompts.stock(name, "en").ulaw) for name in wanted]
    assert places == sorted(places)
    reason = "no program on this machine speaks it; lay a WAV into the prompts folder"
    assert prompts.prepare(practice) == [
        Choice("menu main", "en", "pieces", reason),
        Choice("voicemail desk", "en", "pieces", reason),
    ]
    assert prompts.voicemail(practice.voicemails[0], "en") == prompts.stock("leave-message-after-tone", "en")
    assert prompts.voicemail(None, "es") == prompts.stock("leave-message-after-tone", "es")


def test_a_menu_without_words_in_a_language_is_said_in_the_practices_first(tmp_path: Path, practice: Practice) -> None:
    lay(tmp_path, "menu-main.en.wav", 440)
    assert hz(Prompts.load(tmp_path).menu(practice, "main", "es")) == [440]


def test_a_menu_that_is_not_there_is_a_greeting(tmp_path: Path, practice: Practice) -> None:
    prompts = Prompts.load(tmp_path)
    assert prompts.menu(practice, "gone", "es") == prompts.stock("practice-greeting", "es")


@pytest.mark.parametrize("file", ["menu-main.en.wav", f"{text_hash(GREETING, 'en')}.wav"])
def test_a_practices_own_recording_comes_first(talker: Path, tmp_path: Path, practice: Practice, file: str) -> None:
    lay(tmp_path, file, 700, rate=44100)
    prompts = Prompts.load(tmp_path)
    assert prompts.prepare(practice)[0] == Choice("menu main", "en", "recorded", file)
    assert hz(prompts.menu(practice, "main", "en")) == [700]
    assert "nurses" not in Path(f"{talker}.text").read_text()


@pytest.mark.usefixtures("mute")
def test_a_new_recording_is_heard_without_a_restart(tmp_path: Path, practice: Practice) -> None:
    prompts = Prompts.load(tmp_path)
    prompts.menu(practice, "main", "en")
    for round_, pitch in enumerate((500, 900)):
        lay(tmp_path, "menu-main.en.wav", pitch)
        os.utime(tmp_path / "prompts" / "menu-main.en.wav", (round_ + 1, round_ + 1))
        assert hz(prompts.menu(practice, "main", "en")) == [pitch]
    (tmp_path / "prompts" / "menu-main.en.wav").unlink()
    assert hz(prompts.menu(practice, "main", "en")) != [900]


def test_stock_and_music_may_be_replaced(tmp_path: Path) -> None:
    lay(tmp_path, "goodbye.en.wav", 500)
    lay(tmp_path, "hold-music.wav", 900)
    lay(tmp_path, "goodbye.zh.wav", 1200)
    prompts = Prompts.load(tmp_path)
    assert hz(prompts.stock("goodbye", "en")) == [500]
    assert hz(prompts.stock("goodbye", "zh")) == [1200]
    assert hz(prompts.music) == [900]


@pytest.mark.usefixtures("mute")
def test_what_is_no_sound_is_passed_over(tmp_path: Path, practice: Practice) -> None:
    lay(tmp_path, "goodbye.en.wav", 500)
    (tmp_path / "prompts" / "goodbye.en.wav").write_bytes(b"ID3 an MP3")
    prompts = Prompts.load(tmp_path)
    assert prompts.stock("goodbye", "en") == Prompts.load(tmp_path / "other").stock("goodbye", "en")
    (tmp_path / "prompts" / "menu-main.en.wav").mkdir()
    assert prompts.prepare(practice)[0].source == "pieces"


def test_a_text_is_rendered_once_and_found_where_nothing_speaks(
    talker: Path, tmp_path: Path, practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = Prompts.load(tmp_path)
    first = prompts.prepare(practice)
    assert [choice.source for choice in first] == ["rendered", "rendered"]
    assert prompts.prepare(practice) == first
    assert len(talker.read_text().splitlines()) == 2
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    heard = Prompts.load(tmp_path).menu(practice, "main", "en")
    assert hz(heard) == [440]
    # Half a second of silence on either side was cut off.
    assert heard.seconds == pytest.approx(0.5 + 0.12, abs=0.03)
    assert level_of(decode(Codec.PCMU, heard.ulaw)) == pytest.approx(-20, abs=0.5)
    assert list((tmp_path / "prompts" / "rendered").glob("*.part")) == []


@pytest.mark.usefixtures("talker")
def test_calls_that_need_the_same_words_in_one_moment_all_have_them(tmp_path: Path, practice: Practice) -> None:
    prompts, at_once = Prompts.load(tmp_path), 8
    for number in range(5):
        together, text = Barrier(at_once), f"It is about {number}."

        def speak(together: Barrier = together, text: str = text) -> Sound:
            together.wait(20)
            return prompts.spoken(text, "en", practice, keep=True)

        with ThreadPoolExecutor(at_once) as calls:
            said = [call.result() for call in [calls.submit(speak) for _ in range(at_once)]]
        assert [hz(sound) for sound in said] == [[440]] * at_once
    assert len(list((tmp_path / "prompts" / "rendered").iterdir())) == 5


def test_white_space_makes_no_other_text() -> None:
    assert text_hash("Press  1.\n", "en") == text_hash(" Press 1.", "en")
    assert text_hash("Press 1.", "en") != text_hash("Press 1.", "es")
    assert text_hash("Press 1.", "en") != text_hash("Press 2.", "en")


def test_a_voice_says_numbers_digit_by_digit(talker: Path) -> None:
    voice = voice_for("en")
    assert voice == Voice("flite", "slt", "9.9.1")
    assert voice_for("es") is None or voice_for("es") != voice
    assert len(say("Dial 911 or 12125550100; press 9.", voice)) > 3000
    assert Path(f"{talker}.text").read_text() == "Dial 9 1 1 or 1 2 1 2 5 5 5 0 1 0 0; press 9."
    assert spoken("at 19110 Main Street") == "at 19110 Main Street"


PIPER = """#!/bin/sh
case "$1" in --version) echo "1.4.2"; exit 0;; esac
echo "$*" >> "$TALKER_LOG"
cat > "$TALKER_LOG.text"
cp "$TALKER_WAV" "$4"
"""


def test_a_voice_of_the_operators_own_comes_before_the_others(talker: Path, tmp_path: Path, practice: Practice) -> None:
    program = tmp_path / "bin" / "piper"
    program.write_text(PIPER)
    program.chmod(0o755)
    model = tmp_path / "voices" / "lessac.onnx"
    assert voice_for("en", {"en": model}) == Voice("flite", "slt", "9.9.1")  # a model that is not there is none
    model.parent.mkdir()
    model.write_bytes(b"a model")
    assert voice_for("en", {"en": model}) == Voice("piper", "lessac", "1.4.2", model)
    speech = practice.speech.model_copy(update={"voices": {"en": "file:voices/lessac.onnx"}})
    choices = Prompts.load(tmp_path).prepare(practice.model_copy(update={"speech": speech}))
    assert [choice.source for choice in choices] == ["rendered", "rendered"]
    assert {line.split()[1] for line in talker.read_text().splitlines()} == {str(model)}
    assert Path(f"{talker}.text").read_text() == "This is the desk."


def test_a_program_that_fails_leaves_the_pieces(talker: Path, tmp_path: Path, practice: Practice) -> None:
    assert not talker.exists()
    (tmp_path / "talk.wav").write_bytes(b"no sound")
    assert Prompts.load(tmp_path).prepare(practice)[0] == Choice(
        "menu main", "en", "pieces", "flite did not say it (AudioError)"
    )
    (tmp_path / "talk.wav").unlink()
    assert Prompts.load(tmp_path).prepare(practice)[0].detail == "flite did not say it (CalledProcessError)"
    (tmp_path / "talk.wav").write_bytes(wav(np.zeros(8000, np.int16)))
    voice = voice_for("en")
    assert voice is not None
    with pytest.raises(SpeechError, match="said nothing"):
        say("Hello.", voice)


def test_the_command_tells_what_callers_will_hear(
    talker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "practice.toml").write_text(PRACTICE)
    monkeypatch.setattr("sys.argv", ["prompts", "--dir", str(tmp_path)])
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["menu main (en): rendered", "voicemail desk (en): rendered"]
    monkeypatch.setattr("sys.argv", ["prompts", "--dir", str(tmp_path), "--json", str(tmp_path / "practice.toml")])
    assert main() == 0
    assert [each["source"] for each in json.loads(capsys.readouterr().out)] == ["rendered", "rendered"]
    assert len(talker.read_text().splitlines()) == 2
    (tmp_path / "practice.toml").write_text("[practice]\nnam = 1\n")
    assert main() == 1
    assert "practice.toml:" in capsys.readouterr().err
