"""What a batch of changes may know of sealed rows, although writers cannot read.

A statement that mentions only some fields must be merged with what is stored, and what is stored is sealed. So before
its transaction a batch asks which rows that concerns (`hub.record.change.affected`), opens them in one audited vault
request, and passes the answer on as `Known`. Rows that the batch itself writes are added as it goes.

    with database.read() as db:
        rows = change.affected(db, facts, connection=name, index=index)
        known = Known(zip(rows, opener.open(db, access, rows), strict=True))
    with database.write() as db:
        for said in facts:
            change.apply(db, said, connection=name, seal=sealer, index=index, now=clock(), known=known)
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from hub.record.error import StaleError
from hub.security.sealed import Sealed, Table


class Known:
    """The fields of sealed rows, each with the blob that they were opened from."""

    def __init__(self, opened: Iterable[tuple[Sealed, Mapping[str, Any]]] = ()) -> None:
        self._rows = {(row.table, row.id): (row.blob, dict(fields)) for row, fields in opened}

    def fields(self, table: Table, object_id: UUID, blob: bytes) -> dict[str, Any]:
        """Return the fields of the row whose blob is now `blob`.

        Raises:
            StaleError: it was not opened, or was written since.
        """
        kept = self._rows.get((table, object_id))
        if kept is None or kept[0] != blob:
            raise StaleError(f"{table.name.lower()} {object_id} must be opened before it can be merged")
        return dict(kept[1])

    def sealed(self, table: Table, object_id: UUID, blob: bytes, fields: Mapping[str, Any]) -> None:
        """Note what the batch itself has just sealed."""
        self._rows[table, object_id] = (blob, dict(fields))
