"""Make the sounds that ship: `python -m media.prompts.make`, on a machine that has flite and espeak-ng.

Stock prompts and the demo's texts are said, the hold music is worked out, all of it as 8 kHz mu-law WAV.
"""

import sys
import tomllib
from pathlib import Path

from hub.audio import wav_coded
from hub.g711 import Codec, Pcm, encode
from media.prompts import ASSETS, LANGUAGES, MUSIC, text_hash
from media.prompts.music import compose
from media.prompts.speech import SpeechError, say, voice_for

DEMO = Path(__file__).parent.parent.parent / "hub" / "demo" / "practice.toml"
"Its menus and voicemails are said ahead, so that the demo needs no program that speaks."


def stock_texts() -> dict[str, dict[str, str]]:
    """Return what the stock prompts say, by name and language."""
    texts = tomllib.loads((ASSETS / "texts.toml").read_text())
    return {name: said for name, said in texts.items() if name != "said"}


def whole_texts() -> list[tuple[str, str]]:
    """Return the texts that are found by what they say, each with its language."""
    demo = tomllib.loads(DEMO.read_text())
    tables = [*tomllib.loads((ASSETS / "texts.toml").read_text())["said"].values()]
    tables += [each["say"] for each in (*demo.get("menu", []), *demo.get("voicemail", [])) if "say" in each]
    return [(text, language) for table in tables for language, text in table.items()]


def main() -> int:
    """Make all of it, and remove what nothing says any more."""
    made: set[Path] = {_write(ASSETS / f"{MUSIC}.wav", compose())}
    try:
        for name, said in stock_texts().items():
            for language in LANGUAGES:
                made.add(_write(ASSETS / language / f"{name}.wav", _said(said[language], language)))
        for text, language in whole_texts():
            made.add(_write(ASSETS / "said" / f"{text_hash(text, language)}.wav", _said(text, language)))
    except SpeechError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for path in set(ASSETS.rglob("*.wav")) - made:
        path.unlink()
    sys.stdout.write(f"{len(made)} files, {sum(path.stat().st_size for path in made) / 1e6:.2f} MB\n")
    return 0


def _said(text: str, language: str) -> Pcm:
    voice = voice_for(language)
    if voice is None:
        raise SpeechError(f"no program on this machine speaks {language}: install flite and espeak-ng")
    return say(text, voice)


def _write(path: Path, pcm: Pcm) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(wav_coded(encode(Codec.PCMU, pcm), Codec.PCMU))
    return path


if __name__ == "__main__":
    sys.exit(main())
