"""Listening to a recording: an audited read, then the sealed container as sound."""

from pathlib import Path
from uuid import UUID

from sqlmodel import Session

from hub import tape
from hub.errors import NotFoundError
from hub.g711 import Pcm
from hub.instance import Instance
from hub.record import recording
from hub.record.recording import RecordingState
from hub.security.container import Reader, binding_of, read
from hub.security.sealed import Table
from hub.vault.client import Access


def listen(db: Session, instance: Instance, call_id: UUID, access: Access) -> bytes:
    """Return a call's recording as stereo WAV, the caller left and the agent right.

    Raises:
        NotFoundError: the call has none.
        VaultUnavailableError: the read cannot be audited, so there is none.
        ContainerError: the file is not what was written.
    """
    with _opened(db, instance, call_id, access) as source:
        return tape.stereo_wav(source)


def hear(db: Session, instance: Instance, call_id: UUID, access: Access) -> tuple[Pcm, Pcm]:
    """Return what the caller and what the agent said, as samples; raises as `listen`."""
    with _opened(db, instance, call_id, access) as source:
        return tape.channels(tape.frames(source))


def _opened(db: Session, instance: Instance, call_id: UUID, access: Access) -> Reader:
    kept = [row for row in recording.of_call(db, call_id) if row.state is not RecordingState.LOST]
    if not kept:
        raise NotFoundError("the call has no recording")
    row = kept[0]
    key = instance.opener.media_key(db, access, row.subject, Table.RECORDING, row.id, row.lane_id)
    path: Path = instance.paths.media / row.name
    binding = binding_of(instance.keys.tenant, Table.RECORDING, row.id)
    return read(path, key, binding, unsealed=row.state is RecordingState.RUNNING)
