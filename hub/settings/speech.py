"""The table about speech: what is written down of what was said, and who says what callers hear."""

from typing import Annotated, Literal

from pydantic import Field

from hub.settings.table import Table
from hub.settings.telephony import FileRef
from hub.settings.value import Language

Spoken = Literal["voicemails", "calls"]


class Speech(Table):
    """Who writes down what was said, nobody where no engine is named; and who speaks."""

    engine: Literal["whisper", "pocketsphinx"] | None = None
    model: FileRef | None = None
    "The operator's own: a folder in CTranslate2's format for `whisper`; `pocketsphinx` brings one for English."
    transcribe: tuple[Spoken, ...] = ("voicemails",)
    voices: dict[Language, FileRef] = {}
    "A model of piper by language, for what callers hear; otherwise flite and espeak-ng speak."
    doubtful: Annotated[float, Field(ge=0, le=1)] = 0.5
    "Words of less confidence are marked where the transcript is shown."
