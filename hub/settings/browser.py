"""`[browser]`: what phones in browsers need beyond the hub's own address."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from hub.settings.table import Table
from hub.settings.value import SecretRef


def _ice(text: str) -> str:
    scheme, _, host = text.partition(":")
    if scheme not in ("stun", "stuns", "turn", "turns") or not host or " " in text or "/" in text:
        raise ValueError('not a STUN or TURN server; write "turn:turn.example.org:3478?transport=udp"')
    return text


IceServer = Annotated[str, AfterValidator(_ice), Field(max_length=200)]
"A STUN or TURN URI (RFC 7064, RFC 7065)."


class Browser(Table):
    """How a browser finds the gateway where nothing lets its packets through directly."""

    turn: tuple[IceServer, ...] = ()
    "Offered to every page, in this order."

    turn_secret: SecretRef | None = None
    "Shared with the TURN server, which checks time-limited passwords made with it (coturn's static-auth-secret)."

    @model_validator(mode="after")
    def _known(self) -> Self:
        if any(each.startswith("turn") for each in self.turn) and self.turn_secret is None:
            raise ValueError("a TURN server lets nobody in without turn_secret")
        return self
