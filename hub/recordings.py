"""Listening to recordings and voicemails: an audited read of the key, then the sealed container as sound.

A call may have several recordings, one behind the other: of each who carried the talk on, and of each media core
process that carried its sound. They are heard as one, each in its place in time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

import numpy as np
from sqlmodel import Session

from hub import tape
from hub.audio import wav
from hub.errors import NotFoundError
from hub.g711 import Pcm
from hub.instance import Instance
from hub.record import recording
from hub.record.recording import Recording, RecordingState
from hub.record.voicemail import Voicemail, VoicemailState
from hub.security.container import Reader, binding_of, read
from hub.security.sealed import Table
from hub.vault.client import Access


@dataclass(frozen=True, slots=True)
class Kept:
    """A sealed container and what opens it; whoever has it may read it without asking the vault again."""

    path: Path
    key: bytes = field(repr=False)
    binding: bytes = field(repr=False)
    unsealed: bool
    "It is still being written, or a crash cut it off."

    wave: Callable[[tape.Source], bytes]
    "How it becomes a WAV file."

    after: float = 0.0
    "Seconds from where the call's first recording begins to where this one does."

    def open(self) -> Reader:
        """Open the container.

        Raises:
            NotFoundError: the file is gone.
            ContainerError: the file is not what was written.
        """
        return read(self.path, self.key, self.binding, unsealed=self.unsealed)


def recordings_of(db: Session, instance: Instance, call_id: UUID, access: Access) -> list[Kept]:
    """Return a call's recordings in order, without those of which nothing could be kept.

    Raises:
        NotFoundError: the call has none.
        VaultUnavailableError: the read cannot be audited, so there is none.
    """
    kept = [row for row in recording.of_call(db, call_id) if row.state is not RecordingState.LOST]
    if not kept:
        raise NotFoundError("the call has no recording")
    began = kept[0].started_at
    return [replace(kept_of(db, instance, row, access), after=(row.started_at - began).total_seconds()) for row in kept]


def kept_of(db: Session, instance: Instance, row: Recording, access: Access) -> Kept:
    """Return one recording of a call.

    Raises:
        VaultUnavailableError: the read cannot be audited, so there is none.
    """
    running = row.state is RecordingState.RUNNING
    key = instance.opener.media_key(db, access, row.subject, Table.RECORDING, row.id, row.lane_id)
    return _kept(instance, Table.RECORDING, row.id, row.name, key, running, tape.stereo_wav)


def message_of(db: Session, instance: Instance, row: Voicemail, access: Access) -> Kept:
    """Return a voicemail; raises as `recordings_of`."""
    if row.state is VoicemailState.LOST:
        raise NotFoundError("nothing of the message was kept")
    running = row.state is VoicemailState.RUNNING
    key = instance.opener.media_key(db, access, row.subject, Table.VOICEMAIL, row.id, row.lane_id)
    return _kept(instance, Table.VOICEMAIL, row.id, row.name, key, running, tape.mono_wav)


def sound_of(kept: Kept) -> bytes:
    """Return it as 16-bit WAV; takes time, and no database. Raises as `Kept.open`."""
    with kept.open() as source:
        return kept.wave(source)


def talk_of(parts: Sequence[Kept]) -> bytes:
    """Return a call's recordings as one 16-bit WAV: caller left, agents right, silence where nothing was recorded.

    Takes time, and no database. Raises as `Kept.open`.
    """
    return wav(np.column_stack(_heard(parts)))


def hear(db: Session, instance: Instance, call_id: UUID, access: Access) -> tuple[Pcm, Pcm]:
    """Return what the caller and what the agents said, as samples; raises as `recordings_of` and `Kept.open`."""
    return _heard(recordings_of(db, instance, call_id, access))


def _heard(parts: Sequence[Kept]) -> tuple[Pcm, Pcm]:
    return tape.channels(frame for each in parts for frame in _frames(each))


def _frames(kept: Kept) -> Iterator[tape.Frame]:
    with kept.open() as source:
        yield from tape.later(tape.frames(source), kept.after)


def _kept(
    instance: Instance,
    table: Table,
    object_id: UUID,
    name: str,
    key: bytes,
    running: bool,
    wave: Callable[[tape.Source], bytes],
) -> Kept:
    binding = binding_of(instance.keys.tenant, table, object_id)
    return Kept(instance.paths.media / name, key, binding, running, wave)
