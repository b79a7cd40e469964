"""Errors of calls and their wire formats.

ChartlineError
└── MediaError
    ├── ProtocolError         bytes from outside that do not follow their standard
    ├── UnacceptableError     well formed, but not what this side can do
    ├── CallOverError         the call ended while something was asked of its far end
    └── SealedError           it would have to be heard, or spoken in, and is encrypted from page to page
"""

from hub.errors import ChartlineError


class MediaError(ChartlineError):
    """A call, or a part of one, failed."""

    code = "media-failed"


class ProtocolError(MediaError):
    """Bytes from outside do not follow their standard; the text says what is wrong, never what they say."""

    code = "protocol"
    status = 400

    def __init__(self, what: str, *, spec: str = "") -> None:
        super().__init__(f"{what} ({spec})" if spec else what)
        self.spec = spec


class UnacceptableError(MediaError):
    """Well formed, but nothing in it is what this side can do: another codec, another transport."""

    code = "media-unacceptable"
    status = 488


class CallOverError(MediaError):
    """The call ended while something was asked of its far end."""

    code = "call-over"
    status = 410


class SealedError(MediaError):
    """The call is encrypted from page to page: nothing here can hear it, or speak in it."""

    code = "call-sealed"
    status = 409
