"""The server behind `medvfm view`: on the loopback alone, behind a token, with a list of addresses and no file system.

Every address is a key of a table that is made when the server starts, so that no name of a file ever comes from a
request. A request must bear the token in its path, and name this server as its host: a page of another site, which a
browser on this machine may have open, can do neither.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from medvfm.core.errors import MedvfmError
from medvfm.pipeline.viewing.cases import Viewed

LOOPBACK = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self' data: blob:; img-src 'self' data: blob:; worker-src blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Made = Callable[[], bytes]


class Server(ThreadingHTTPServer):
    """See the module's docstring; a context manager, as its base is. answers: address below the token to its type and
    what makes it."""

    daemon_threads = True

    def __init__(self, answers: Mapping[str, tuple[str, Made]], port: int) -> None:
        self.token, self.answers = secrets.token_urlsafe(24), answers
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def hosts(self) -> tuple[str, str]:
        """What a request may call this server."""
        return f"{LOOPBACK}:{self.server_port}", f"localhost:{self.server_port}"

    @property
    def address(self) -> str:
        return f"http://{self.hosts[0]}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "medvfm", ""
    timeout = 60

    def do_GET(self) -> None:
        token, _, name = self.path.removeprefix("/").partition("/")
        allowed = hmac.compare_digest(token.encode(), self.server.token.encode())
        if self.headers.get("Host") not in self.server.hosts or not allowed:
            return self._send(403, "text/plain", b"no such address\n")
        if name not in self.server.answers:
            return self._send(404, "text/plain", b"no such address\n")
        kind, make = self.server.answers[name]
        try:
            content = make()
        except MedvfmError as error:
            return self._send(500, "text/plain", f"{error}\n".encode())
        return self._send(200, kind, content)

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: addresses hold the token."""


def listening(found: Viewed, niivue: bytes, port: int = 0) -> Server:
    """A server that is bound and not yet serving; port 0 takes any that is free."""
    return Server(answers(found, niivue), port)


def answers(found: Viewed, niivue: bytes) -> dict[str, tuple[str, Made]]:
    """Address below the token to what is there."""
    here = Path(__file__).parent
    listed = {
        "title": found.title,
        "cases": [
            {"name": case.name, "said": case.said, "layers": [
                {"name": layer.name, "kind": layer.kind, "url": f"volume/{n}/{k}.nii.gz"}
                for k, layer in enumerate(case.layers)
            ]}
            for n, case in enumerate(found.cases)
        ],
    }  # fmt: skip
    table: dict[str, tuple[str, Made]] = {
        "": ("text/html", (here / "page.html").read_bytes),
        "page.css": ("text/css", (here / "page.css").read_bytes),
        "page.js": ("text/javascript", (here / "page.js").read_bytes),
        "niivue.js": ("text/javascript", lambda: niivue),
        "cases.json": ("application/json", partial(str.encode, json.dumps(listed))),
    }
    for n, case in enumerate(found.cases):
        for k in range(len(case.layers)):
            table[f"volume/{n}/{k}.nii.gz"] = ("application/gzip", partial(found.volume, n, k))
    return table
