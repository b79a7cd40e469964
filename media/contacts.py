"""Keeps in the record where phones are, and finds them again after the media process died."""

from collections.abc import Sequence
from datetime import timedelta

from hub.record import contact
from hub.record.contact import Contact
from media.ledger import Ledger
from media.line import Line
from media.sip.header import legible
from media.sip.hop import Hop
from media.sip.registrar import Binding, Registrar
from media.sip.uri import Uri


class Contacts:
    """The registrar's bindings in the rows of one media process."""

    def __init__(self, line: Line, ledger: Ledger, registrar: Registrar) -> None:
        self._line = line
        self._ledger = ledger
        self._registrar = registrar

    def changed(self, extension: str) -> None:
        """Write where the phones of an extension are now; returns at once."""
        rows = [self._row(extension, key, binding) for key, binding in self._registrar.bindings(extension).items()]
        self._ledger.note(lambda db: contact.keep(db, self._line.host, extension, rows))

    async def kept(self) -> list[Contact]:
        """Return the phones whose time is not over, of extensions that may still sign in."""
        now = self._line.now()
        rows = await self._line.instance.db.run(lambda db: contact.kept(db, self._line.host, now))
        return [row for row in rows if self._line.credentials(row.extension) is not None]

    def restore(self, rows: Sequence[Contact]) -> None:
        """Let the registrar know the phones of `kept`; one that has registered meanwhile stays as it said."""
        for row in rows:
            if row.key in self._registrar.bindings(row.extension):
                continue
            left = (row.expires_at - self._line.now()).total_seconds()
            self._registrar.restore(row.extension, row.key, left, _binding(row))

    def _row(self, extension: str, key: str, binding: Binding) -> Contact:
        left = timedelta(seconds=self._registrar.left(binding))
        return Contact(
            host=self._line.host,
            extension=extension,
            key=key,
            uri=str(binding.contact),
            source_host=binding.source.host,
            source_port=binding.source.port,
            source_transport=binding.source.transport,
            hidden=binding.hidden,
            preference=binding.preference,
            expires_at=self._line.now() + left,
            call_id=legible(binding.call_id),
            sequence=binding.sequence,
        )


def _binding(row: Contact) -> Binding:
    return Binding(
        contact=Uri.parse(row.uri),
        source=Hop(row.source_host, row.source_port, row.source_transport),
        hidden=row.hidden,
        preference=row.preference,
        expires_at=0.0,
        call_id=row.call_id,
        sequence=row.sequence,
    )
