"""What callers hear that nobody says to them: stock prompts, the practice's own texts, hold music.

A practice's text is found, in this order: as a WAV that the practice laid into DIR/prompts by name or by hash; as one
that ships with Chartline; as one that was rendered before; and otherwise it is put together from stock pieces.
Rendering is `prepare`'s, in a thread or by `python -m media.prompts`; looking up never starts a program.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hub.audio import AudioError, Wave, read_wav, resample, tone, wav_coded
from hub.g711 import RATE, Codec
from hub.settings import Practice
from hub.settings.practice import Menu, Target, Voicemail
from media.prompts.speech import SpeechError, say, voice_for
from media.sound import Sound, pause

ASSETS = Path(__file__).parent
LANGUAGES = ("en", "es")
"Of the stock prompts; a caller of another language hears the first."

MUSIC = "hold-music"
BEEP = Sound.of(tone(1000, seconds=0.4, level=-15))
"Before a message is recorded."

_KEYS = {"*": "star", "#": "pound"}

Source = Literal["recorded", "shipped", "rendered", "pieces"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What callers will hear for one text of practice.toml."""

    where: str
    "`menu main` or `voicemail front-desk`."

    language: str
    source: Source
    detail: str
    "The file or the voice; for pieces, why there is nothing better."


def text_hash(text: str, language: str) -> str:
    """Return the name under which a WAV of a text is looked for; white space does not count."""
    return hashlib.sha256(f"{language}\0{' '.join(text.split())}".encode()).hexdigest()[:20]


class Prompts:
    """The sounds of one instance. Looking up may read a file the first time, and starts no program."""

    def __init__(self, directory: Path) -> None:
        """Take the instance's folder of prompts, which need not exist."""
        self._own = directory
        self._rendered = directory / "rendered"
        self._stock = {
            (language, path.stem): _sound_of(path)
            for language in LANGUAGES
            for path in sorted((ASSETS / language).glob("*.wav"))
        }
        self._read: dict[Path, tuple[int, Sound | None]] = {}
        self.music = self._laid(f"{MUSIC}.wav") or _sound_of(ASSETS / f"{MUSIC}.wav")
        "To be looped."
        self.beep = BEEP
        "Before a message is recorded."

    @classmethod
    def load(cls, root: Path) -> "Prompts":
        """Load the prompts of the instance in `root`: the stock, and what lies in its `prompts` folder.

        Raises:
            AudioError: a stock prompt is damaged.
        """
        return cls(root / "prompts")

    def stock(self, name: str, language: str) -> Sound:
        """Return a stock prompt in a language, or in the first where there is none.

        A practice's own is `NAME.LANGUAGE.wav` in its folder.
        """
        spoken = language if language in LANGUAGES else LANGUAGES[0]
        return self._laid(f"{name}.{language}.wav") or self._stock[spoken, name]

    def menu(self, practice: Practice, name: str, language: str) -> Sound:
        """Return what a menu says, in the caller's language or, where it has no words in it, the practice's first."""
        menu = practice.find_menu(name)
        if menu is None:
            return self.stock("practice-greeting", language)
        language, text = _words(menu.say, language, practice)
        found = self._find(f"menu-{menu.name}", text, language)
        return found[0] if found else self._pieces_of(menu, language)

    def voicemail(self, box: Voicemail | None, language: str) -> Sound:
        """Return what is said before the beep."""
        if box is not None and language in box.say:
            found = self._find(f"voicemail-{box.name}", box.say[language], language)
            if found:
                return found[0]
        return self.stock("leave-message-after-tone", language)

    def prepare(self, practice: Practice) -> list[Choice]:
        """Render what is not there yet, as far as this machine can speak, and return what callers will hear.

        Runs programs: not for an event loop.
        """
        texts = [(f"menu {menu.name}", menu.say) for menu in practice.menus]
        texts += [(f"voicemail {box.name}", box.say) for box in practice.voicemails]
        models = self._models(practice)
        return [
            self._prepared(where, text, language, models)
            for where, say in texts
            for language, text in sorted(say.items())
        ]

    def spoken(self, text: str, language: str, practice: Practice, *, keep: bool) -> Sound:
        """Return a text said in a language, by a WAV of the practice's where there is one.

        With `keep` it is rendered once; what is said to one person is kept nowhere. Runs programs: not for an event
        loop.

        Raises:
            SpeechError: this machine has no voice for it, or it failed.
        """
        found = self._find("", text, language)
        if found is not None:
            return found[0]
        models = self._models(practice)
        if keep:
            return _sound_of(self._render(text, language, models))
        voice = voice_for(language, models)
        if voice is None:
            raise SpeechError("no program on this machine speaks it")
        return Sound.of(say(text, voice))

    def _models(self, practice: Practice) -> dict[str, Path]:
        root = self._own.parent
        return {language: root / model.removeprefix("file:") for language, model in practice.speech.voices.items()}

    def _prepared(self, where: str, text: str, language: str, models: Mapping[str, Path]) -> Choice:
        found = self._find(where.replace(" ", "-"), text, language)
        if found is None:
            try:
                path = self._render(text, language, models)
            except (SpeechError, OSError) as error:
                return Choice(where, language, "pieces", str(error))
            return Choice(where, language, "rendered", path.name)
        return Choice(where, language, found[1], found[2])

    def _find(self, name: str, text: str, language: str) -> tuple[Sound, Source, str] | None:
        digest = text_hash(text, language)
        for file in (f"{name}.{language}.wav", f"{digest}.wav"):
            if own := self._laid(file):
                return own, "recorded", file
        shipped = ASSETS / "said" / f"{digest}.wav"
        if sound := self._sound(shipped):
            return sound, "shipped", shipped.name
        for path in sorted(self._rendered.glob(f"{digest}-*.wav")):
            if sound := self._sound(path):
                return sound, "rendered", path.name
        return None

    def _render(self, text: str, language: str, models: Mapping[str, Path]) -> Path:
        voice = voice_for(language, models)
        if voice is None:
            raise SpeechError("no program on this machine speaks it; lay a WAV into the prompts folder")
        sound = Sound.of(say(text, voice))
        by = hashlib.sha256(str(voice).encode()).hexdigest()[:8]
        path = self._rendered / f"{text_hash(text, language)}-{by}.wav"
        self._rendered.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{secrets.token_hex(8)}.part")  # two calls may render the same words at once
        part.write_bytes(wav_coded(sound.ulaw, Codec.PCMU))
        part.replace(path)
        return path

    def _pieces_of(self, menu: Menu, language: str) -> Sound:
        said = [
            self.stock("practice-greeting", language),
            pause(0.2),
            self.stock("emergency-911", language),
            pause(0.3),
        ]
        for digit, target in sorted(menu.choices.items()):
            said += [self._piece(_names_of(target), language), self._press(digit, language), pause(0.25)]
        if menu.urgent is not None:
            said += [self.stock("for-urgent-matters", language), self._press(menu.urgent, language), pause(0.25)]
        return Sound(b"".join(piece.ulaw for piece in said))

    def _piece(self, names: list[str], language: str) -> Sound:
        return self.stock(next(name for name in names if (LANGUAGES[0], name) in self._stock), language)

    def _press(self, digit: str, language: str) -> Sound:
        return self.stock(f"press-{_KEYS.get(digit, digit)}", language)

    def _laid(self, file: str) -> Sound | None:
        return self._sound(self._own / file)

    def _sound(self, path: Path) -> Sound | None:
        """Return what lies there, read once for as long as it does not change; None for nothing, or no sound."""
        try:
            changed = path.stat().st_mtime_ns
            if self._read.get(path, (0, None))[0] != changed:
                self._read[path] = changed, _sound_of(path)
        except OSError:
            return None
        except AudioError:
            self._read[path] = changed, None
        return self._read[path][1]


def _words(say: dict[str, str], language: str, practice: Practice) -> tuple[str, str]:
    for each in (language, *practice.practice.languages, *say):
        if each in say:
            return each, say[each]
    return language, ""


def _names_of(target: Target) -> list[str]:
    """Return the pieces that would name a target, the best first; the last always exists."""
    if target.voicemail is not None:
        return ["for-messages"]
    return [f"for-{target.queue or target.menu}", "for-more-choices" if target.menu else "for-anything-else"]


def _sound_of(path: Path) -> Sound:
    wave: Wave = read_wav(path.read_bytes())
    if wave.ulaw is not None:
        return Sound(wave.ulaw)
    return Sound.of(resample(wave.pcm, wave.rate, RATE))
