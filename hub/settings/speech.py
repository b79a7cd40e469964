"""The table about speech: what is written down of what was said, and by which program."""

from typing import Annotated, Literal

from pydantic import Field

from hub.settings.table import Table
from hub.settings.telephony import FileRef

Spoken = Literal["voicemails", "calls"]


class Speech(Table):
    """Who writes down what was said; nobody where no engine is named."""

    engine: Literal["whisper", "pocketsphinx"] | None = None
    model: FileRef | None = None
    "The operator's own: a folder in CTranslate2's format for `whisper`; `pocketsphinx` brings one for English."
    transcribe: tuple[Spoken, ...] = ("voicemails",)
    doubtful: Annotated[float, Field(ge=0, le=1)] = 0.5
    "Words of less confidence are marked where the transcript is shown."
