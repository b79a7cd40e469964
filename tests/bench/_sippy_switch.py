"""sippy's simple B2BUA that asks callers who they are: `PYTHON _sippy_switch.py PORT NEXT USER PASSWORD`.

Runs in sippy's own environment. What is added to `sippy.b2bua_simple` is the digest, by sippy's own classes and in the
place where its `b2bua.py` has it. It carries no media and allocates none.
"""

import sys
from typing import Any

from sippy.b2bua_simple import CallMap  # type: ignore[import-not-found]
from sippy.Core.EventDispatcher import ED2  # type: ignore[import-not-found]
from sippy.SipConf import SipConf  # type: ignore[import-not-found]
from sippy.SipHeader import SipHeader  # type: ignore[import-not-found]
from sippy.SipLogger import SipLogger  # type: ignore[import-not-found]
from sippy.SipTransactionManager import SipTransactionManager  # type: ignore[import-not-found]
from sippy.SipWWWAuthenticate import SipWWWAuthenticate  # type: ignore[import-not-found]

HOST, REALM = "127.0.0.1", "bench"


class Asking(CallMap):  # type: ignore[misc]
    """Challenges each new INVITE."""

    def __init__(self, config: dict[str, Any], user: str, password: str) -> None:
        CallMap.__init__(self, config)
        self._user, self._password = user, password

    def recvRequest(self, req: Any, sip_t: Any) -> Any:  # noqa: N802 - sippy calls it so
        """Take a request that belongs to no dialog."""
        if req.getMethod() == "INVITE" and req.getHFBody("to").getTag() is None and not self._known(req):
            response = req.genResponse(401, "Unauthorized")
            challenge = SipWWWAuthenticate(realm=REALM, algorithm="MD5")
            response.appendHeader(SipHeader(name="www-authenticate", body=challenge))
            return (response, None, None)
        return CallMap.recvRequest(self, req, sip_t)

    def _known(self, req: Any) -> bool:
        if not req.countHFs("authorization"):
            return False
        given = req.getHFBody("authorization")
        return bool(given.verify(self._password, "INVITE") and given.username == self._user)


def main() -> None:
    """Serve until the process is ended."""
    port, following, user, password = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    SipConf.my_uaname = "Sippy B2BUA (Simple)"
    SipConf.allow_formats = (0, 8, 18, 100, 101)
    config: dict[str, Any] = {"nh_addr": (HOST, following), "_sip_address": HOST, "_sip_port": port}
    config["_sip_logger"] = SipLogger("b2bua")
    asking = Asking(config, user, password)
    config["_sip_tm"] = SipTransactionManager(config, asking.recvRequest)
    ED2.loop()


if __name__ == "__main__":
    main()
