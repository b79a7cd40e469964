"""One leg's side of offer and answer: what it said last, and what the two sides agreed on (RFC 3264)."""

from media.errors import UnacceptableError
from media.offer import Agreed, Place, answer_audio, offer_audio, settle
from media.sdp import Direction, Origin, Session


class Exchange:
    """The descriptions of one leg, which all belong to one session and count its versions (RFC 3264 section 8)."""

    def __init__(self, local: Place) -> None:
        self._local = local
        self._origin = Origin.new(local[0])
        self._said: Session | None = None
        self._offered: Session | None = None

    def offer(self, direction: Direction) -> Session:
        """Return our offer, the next version of what was said before."""
        self._offered = self._said = offer_audio(self._local, origin=self._next(), direction=direction)
        return self._offered

    def answer(self, offer: Session) -> tuple[Session, Agreed]:
        """Answer the peer's offer.

        Raises:
            UnacceptableError: nothing in it that we speak; what was said before holds.
        """
        session, agreed = answer_audio(offer, self._local, origin=self._next())
        self._said = session
        return session, agreed

    def settle(self, answer: Session) -> Agreed:
        """Take the peer's answer to our latest offer.

        Raises:
            UnacceptableError: it takes nothing of the offer, or none was made.
        """
        if self._offered is None:
            raise UnacceptableError("an answer to no offer")
        return settle(self._offered, answer)

    def _next(self) -> Origin:
        return self._origin if self._said is None else self._said.origin.next()
