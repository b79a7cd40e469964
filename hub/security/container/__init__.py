"""The sealed media container: one recording or voicemail as a file that nobody reads, changes or shortens unseen.

The STREAM construction (Hoang, Reyhanitabar, Rogaway and Vizar, 2015) over AES-256-GCM with segments of at most 64 KiB,
laid out to the byte in docs/reference/container.md. A segment may be shorter, so that a recording lies on the disk
each second; it is written once and never again, each file has a key of its own, and no index is used for two segments:
no nonce meets other bytes a second time.
"""

from hub.security.container.layout import (
    SEGMENT,
    ContainerError,
    ContainerUnsealedError,
    ContainerWriteError,
    Header,
    binding_of,
)
from hub.security.container.reader import Reader, ended, header_of, read
from hub.security.container.recovery import Recovery, recover
from hub.security.container.writer import Writer

__all__ = [
    "SEGMENT",
    "ContainerError",
    "ContainerUnsealedError",
    "ContainerWriteError",
    "Header",
    "Reader",
    "Recovery",
    "Writer",
    "binding_of",
    "ended",
    "header_of",
    "read",
    "recover",
]
