"""A web server on the loopback interface, with Range requests and failures that can be chosen by path."""

from __future__ import annotations

import gzip
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "500": (500, {}, b"sorry"),
    "busy": (503, {"Retry-After": "7"}, b"later"),
    "quota": (200, {"Content-Type": "text/html"}, b'<p class="uc-error-subcaption">Too many users</p>'),  # of Drive
    "html": (200, {"Content-Type": "application/zip"}, b"\n<!DOCTYPE html><html>please log in</html>"),
    "astray": (302, {"Location": "http://[half/an address"}, b""),
}


@dataclass
class Site:
    """``files`` and ``faults`` by path, and for each request the (path, Range, status) and the token.

    Each request uses up one fault of its path. Those of ``ANSWERS`` replace the answer; the others are ``cut`` (half
    of it), ``unstated`` (half, without Content-Length), ``nothing`` (no byte), ``whole`` (ignores Range), ``slow``,
    ``silent`` (a byte, then nothing), ``no_tag``, ``garbage``, ``shifted`` (starts at a later byte than asked for),
    ``drip`` (a byte at a time), ``longer`` (endless, without Content-Length), ``abc`` (as Content-Length) and ``gzip``
    (compressed in transit). Paths ``uc?id=ID`` answer as Google Drive does.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    log: list[tuple[str, str, int]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def put(self, path: str, content: bytes, *faults: str) -> str:
        self.files[path], self.faults[path] = content, list(faults)
        return f"http://127.0.0.1:{self.port}/{path}"

    def ranges(self, path: str) -> list[str]:
        return [asked for found, asked, _ in self.log if found == path]


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site: Site = self.server.site  # type: ignore[attr-defined]
        path = self.path.strip("/")
        faults = site.faults.get(path, [])
        fault = faults.pop(0) if faults else ""
        status, headers, body = self._answer(site, path, fault)
        site.tokens.append(self.headers.get("Authorization", ""))
        site.log.append((path, self.headers.get("Range", ""), status))
        self.send_response(status)
        if fault not in ("unstated", "longer"):
            headers = headers | {"Content-Length": "abc" if fault == "abc" else str(len(body))}
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        sent = {"cut": len(body) // 2, "unstated": len(body) // 2, "nothing": 0}.get(fault, len(body))
        self._send(body[:sent], fault)

    def _answer(self, site: Site, path: str, fault: str) -> tuple[int, dict[str, str], bytes]:
        if path not in site.files:
            return 404, {}, b"not here"
        if fault in ANSWERS:
            return ANSWERS[fault]
        if fault == "gzip":
            return 200, {"Content-Encoding": "gzip"}, gzip.compress(site.files[path])
        content = b"?" * len(site.files[path]) if fault == "garbage" else site.files[path]
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {} if fault == "no_tag" else {"ETag": tag}
        if path.startswith("uc?"):
            headers |= {"Content-Type": "application/octet-stream", "Content-Disposition": 'attachment; filename="a"'}
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if not asked or fault == "whole" or (condition and condition != tag):
            return 200, headers, content
        start = int(asked.removeprefix("bytes=").rstrip("-")) + (7 if fault == "shifted" else 0)
        if start >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
        return 206, headers | {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}, content[start:]

    def _send(self, body: bytes, fault: str) -> None:
        if fault == "silent":
            body = body[:1]
        step = {"slow": 1 << 16, "drip": 1}.get(fault, max(len(body), 1))
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            time.sleep(0.05 if fault in ("slow", "drip") else 0)
        while fault == "longer":
            self.wfile.write(body)
        if fault == "silent":
            time.sleep(2)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Print nothing when a client was killed."""


@contextmanager
def serve() -> Iterator[Site]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.site = Site(port=server.server_port)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.site  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
