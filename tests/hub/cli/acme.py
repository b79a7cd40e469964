"""Acme's server on loopback: it says what the template's recording says, to who bears the token."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class Acme(ThreadingHTTPServer):
    """One server; what was asked of it is kept."""

    daemon_threads = True

    def __init__(self, exchanges: Path, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.exchanges = [one for file in sorted(exchanges.glob("*.json")) for one in json.loads(file.read_text())]
        self.token = token
        self.asked: list[str] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        """Return the recorded answer."""
        parts = urlsplit(path)
        query = dict(parse_qsl(parts.query))
        for one in self.exchanges:
            request = {"method": "GET", "query": {}} | one["request"]
            if (request["method"], request["path"], request["query"]) == (method, parts.path, query):
                return one["response"].get("status", 200), one["response"]["body"]
        return 404, {"error": "not found"}


class _Request(BaseHTTPRequestHandler):
    server: Acme

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        allowed = self.headers.get("Authorization") == f"Bearer {self.server.token}"
        status, body = self.server.answer(self.command, self.path) if allowed else (401, {"error": "unauthorized"})
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a path holds a number."""


@contextmanager
def serving(exchanges: Path, token: str) -> Iterator[Acme]:
    """Have a server up."""
    server = Acme(exchanges, token)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
