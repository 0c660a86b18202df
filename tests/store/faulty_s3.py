"""A relay in front of a real S3 that spoils some of its requests."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlparse

FAULTS = ("error", "slow_down", "conflict", "silence", "cut", "cut_after")
_STATUS = {
    "error": (500, "InternalError"),
    "slow_down": (503, "SlowDown"),
    "conflict": (409, "ConditionalRequestConflict"),
}


class FaultyS3:
    """Relays to ``upstream``; request number n, from 0, meets ``fault`` if ``spoils(n)``.

    Faults: ``error`` answers 500, ``slow_down`` 503 and ``conflict`` 409; ``silence`` never answers; ``cut`` closes the
    connection at once, ``cut_after`` when the store has done what was asked; ``half`` closes it in the
    middle of the answer's body.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlparse(upstream).netloc
        self.fault = "error"
        self.spoils: Callable[[int], bool] = lambda n: False
        self.requests = 0
        self.counting = threading.Lock()
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_BoundRelay", (_Relay,), {"relay": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


class _Relay(BaseHTTPRequestHandler):
    relay: FaultyS3

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.relay.counting:
            number, self.relay.requests = self.relay.requests, self.relay.requests + 1
        fault = self.relay.fault if self.relay.spoils(number) else ""
        if fault in _STATUS:
            status, code = _STATUS[fault]
            self._answer(status, f"<Error><Code>{code}</Code><Message>{fault}</Message></Error>".encode())
        elif fault == "silence":
            self.relay.over.wait()
        elif fault != "cut":
            upstream = http.client.HTTPConnection(self.relay.upstream)
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # the host too: it is signed
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            if fault != "cut_after":
                headers = {k: v for k, v in answer.getheaders() if k in ("ETag", "Last-Modified", "Content-Type")}
                self._answer(answer.status, content, headers, len(content) // 2 if fault == "half" else len(content))

    do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - so http.server calls them

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None, sent: int = -1) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:sent] if sent >= 0 else content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
