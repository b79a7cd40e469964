"""One leg's side of offer and answer: what it said last, and what the two sides agreed on (RFC 3264)."""

from collections.abc import Sequence
from functools import partial

from media.errors import UnacceptableError
from media.offer import CODECS, Agreed, Place, answer_audio, offer_audio, settle
from media.protection import Protection
from media.sdp import Codec, Direction, Origin, Session


class Exchange:
    """The descriptions of one leg, which all belong to one session and count its versions (RFC 3264 section 8)."""

    def __init__(self, local: Place, protection: Protection, codecs: Sequence[Codec] = CODECS) -> None:
        """Take where packets are wanted, how they may be protected, and what may be spoken."""
        self.codecs: Sequence[Codec] = codecs
        "What the next description offers or accepts."
        self.otherwise: Sequence[Codec] = ()
        "What is accepted where an offer has none of them."
        self._local = local
        self._protection = protection
        self._origin = Origin.new(local[0])
        self._said: Session | None = None
        self._offered: Session | None = None

    def offer(self, direction: Direction) -> Session:
        """Return our offer, the next version of what was said before."""
        protocol, attributes = self._protection.offer()
        self._offered = self._said = offer_audio(
            self._local,
            origin=self._next(),
            direction=direction,
            codecs=self.codecs,
            protocol=protocol,
            attributes=attributes,
        )
        return self._offered

    def answer(self, offer: Session, *, natted: bool = False) -> tuple[Session, Agreed]:
        """Answer the peer's offer; `natted` says that it does not know its own address.

        Raises:
            UnacceptableError: nothing in it that we speak, or too little protection; what was said before holds.
        """
        protecting = partial(self._protection.answer, natted=natted)
        session, agreed = answer_audio(
            offer,
            self._local,
            origin=self._next(),
            codecs=self.codecs,
            otherwise=self.otherwise,
            protecting=protecting,
        )
        self._said = session
        self._protection.agreed = agreed.terms
        return session, agreed

    def settle(self, answer: Session) -> Agreed:
        """Take the peer's answer to our latest offer.

        Raises:
            UnacceptableError: it takes nothing of the offer, or none was made.
        """
        if self._offered is None:
            raise UnacceptableError("an answer to no offer")
        agreed = settle(self._offered, answer, settling=self._protection.settle)
        self._protection.agreed = agreed.terms
        return agreed

    def _next(self) -> Origin:
        return self._origin if self._said is None else self._said.origin.next()
