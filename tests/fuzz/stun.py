"""STUN: whatever is sent to a browser's leg, aioice behind our own reading raises nothing and answers nobody else.

The password is a fixed one, so that saved inputs can hold checks that prove it.
"""

import asyncio

from media.browser.hooks import Ice

LOCAL, BROWSER = ("192.0.2.1", 20000), ("203.0.113.9", 50000)
USER, PASSWORD = "gate", "the password of the fuzz target"
THEIRS = "page"
SEPARATOR = b"\xff\0\xff"
MOST = 6


def one(data: bytes) -> None:
    """Have the datagrams of `data` arrive."""
    asyncio.run(_arrive(data.split(SEPARATOR)[:MOST]))


async def _arrive(datagrams: list[bytes]) -> None:
    sent: list[tuple[bytes, tuple[str, int]]] = []
    chosen: list[tuple[str, int]] = []
    ice = Ice(LOCAL, lambda data, to: sent.append((data, to)), controlling=False, nominated=chosen.append)
    # aioice makes credentials itself, and has no way to be given some.
    ice._local_username, ice._local_password = USER, PASSWORD
    ice.know(THEIRS, PASSWORD)
    for datagram in datagrams:
        if datagram[:1] in (b"\0", b"\1", b"\2", b"\3"):  # as the leg tells STUN from DTLS and RTP
            ice.heard(datagram, BROWSER)
    await asyncio.sleep(0)
    await ice.close()
    assert {to for _, to in sent} | set(chosen) <= {BROWSER}
