"""A small driver of kamailio (Debian `kamailio`, `kamailio-tls-modules`): a proxy that stays in the way of calls."""

import asyncio
from contextlib import suppress
from pathlib import Path

from hub.demo.ports import free_port
from media.sip.hop import Hop
from media.sip.transport import Identity
from tests.peers import require
from tests.peers.sipp import HOST, LONG, T1_MS

_CONFIG = """
debug=0
log_stderror=yes
fork=yes
children=1
tcp_children=1
tcp_conn_wq_max={queue}
disable_core_dump=yes
auto_aliases=no
enable_tls={with_tls}
listen=udp:{host}:{port}
listen=tcp:{host}:{port}
{listen_tls}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textops.so"
loadmodule "siputils.so"
{load_tls}
modparam("rr", "enable_double_rr", 1)
modparam("tm", "fr_timer", 20000)
modparam("tm", "retr_timer1", {t1_ms})
modparam("tm", "retr_timer2", {t1_ms})

request_route {{
    if (has_totag()) {{
        if (loose_route()) {{
            xlog("L_ALERT", "PASSED $rm from $proto to $(du{{uri.transport}}) $cs\\n");
            t_relay();
            exit;
        }}
        if (is_method("ACK") && t_check_trans()) {{ t_relay(); exit; }}
        xlog("L_ALERT", "LOST $rm\\n");
        if (!is_method("ACK")) {{ sl_send_reply("404", "No Route"); }}
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    record_route();
    if ($rU == "101") {{ $du = "{phone}"; }} else {{ $du = "{gateway}"; }}
    t_relay();
}}
"""

_QUEUE = 1 << 20
"Bytes that wait for a connection, its opening included; what is more, kamailio drops: by itself from 32 KiB on."

_TLS = """
[server:default]
method = TLSv1.2+
certificate = {certificate}
private_key = {key}
[client:default]
method = TLSv1.2+
certificate = {certificate}
private_key = {key}
ca_list = {authorities}
verify_certificate = yes
require_certificate = yes
"""


class Proxy:
    """One kamailio on loopback."""

    def __init__(self, process: asyncio.subprocess.Process, hops: dict[str, Hop], log: Path) -> None:
        self._process = process
        self.hops = hops
        "Where it listens, by transport."
        self._log = log

    def said(self, word: str) -> list[str]:
        """Return what it logged behind a word; a request that came again is one."""
        lines = self._log.read_text().splitlines()
        return list(dict.fromkeys(line.partition(word)[2].strip() for line in lines if f" {word} " in line))

    async def answers(self, hop: Hop) -> None:
        """Wait until it takes connections; to bind the port instead, as a probe, could keep it from that port.

        Raises:
            ChildProcessError: it ended instead.
        """
        while hop.transport != "udp":
            try:
                _, writer = await asyncio.open_connection(hop.host, hop.port)
            except OSError:
                if self._process.returncode is not None:
                    raise ChildProcessError(self._process.returncode) from None
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return

    async def passes(self, requests: int) -> None:
        """Wait until so many requests inside calls have gone through.

        Raises:
            ChildProcessError: it ended instead.
        """
        while len(self.said("PASSED")) < requests:
            if self._process.returncode is not None:
                raise ChildProcessError(self._process.returncode)
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End it and its children."""
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()


async def start(work: Path, *, gateway: Hop, phone: Hop | None = None, identity: Identity | None = None) -> Proxy:
    """Start a proxy that sends calls for 101 to `phone` and all others to `gateway`.

    Raises:
        ChildProcessError: it ended instead, three times; its log is in `work`.
    """
    require("kamailio")
    for _ in range(2):
        with suppress(ChildProcessError):  # somebody else took one of the ports meanwhile
            return await _start(work, gateway, phone, identity)
    return await _start(work, gateway, phone, identity)


async def _start(work: Path, gateway: Hop, phone: Hop | None, identity: Identity | None) -> Proxy:
    port = free_port()
    hops = {name: Hop(HOST, port, name) for name in ("udp", "tcp")}
    listen_tls = load_tls = ""
    if identity is not None:
        hops["tls"] = Hop(HOST, free_port(), "tls")
        listen_tls = f"listen=tls:{HOST}:{hops['tls'].port}"
        paths = {"certificate": identity.certificate, "key": identity.key, "authorities": identity.authorities}
        (work / "tls.cfg").write_text(_TLS.format(**paths))
        load_tls = f'loadmodule "tls.so"\nmodparam("tls", "config", "{work / "tls.cfg"}")\n'
        load_tls += f'modparam("tls", "con_ct_wq_max", {_QUEUE})'
    config = work / "kamailio.cfg"
    config.write_text(
        _CONFIG.format(
            host=HOST,
            port=port,
            gateway=_uri(gateway),
            phone=_uri(phone or gateway),
            t1_ms=T1_MS * LONG,
            queue=_QUEUE,
            with_tls="yes" if identity is not None else "no",
            listen_tls=listen_tls,
            load_tls=load_tls,
        )
    )
    log = work / "kamailio.log"
    command = ["kamailio", "-DD", "-E", "-f", str(config), "-Y", str(work), "-w", str(work), "-m", "32", "-M", "8"]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out)
    proxy = Proxy(process, hops, log)
    try:
        async with asyncio.timeout(10):
            for hop in hops.values():
                await proxy.answers(hop)
    except BaseException:
        await proxy.stop()
        raise
    return proxy


def _uri(hop: Hop) -> str:
    return f"sip:{hop.host}:{hop.port};transport={hop.transport}"
