"""A model hub on the loopback interface: the part of the Hugging Face Hub's protocol that push and load use."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_test"


@dataclass
class HubServer:
    """``commits`` by repository: the files after each, the newest last. ``log`` are the requests."""

    port: int = 0
    commits: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def revision(self, name: str, index: int = -1) -> str:
        """The hash of a commit."""
        files = self.commits[name][index]
        return hashlib.sha1(b"".join(key.encode() + value for key, value in sorted(files.items()))).hexdigest()

    def files(self, name: str, revision: str) -> dict[str, bytes] | None:
        for index, files in enumerate(self.commits.get(name, ())):
            if revision == self.revision(name, index):
                return files
        return self.commits[name][-1] if revision == "main" and self.commits.get(name) else None


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        hub: HubServer = self.server.hub  # type: ignore[attr-defined]
        hub.log.append(f"{self.command} {self.path}")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/?]+)(\?.*)?", self.path):
            name, revision = found[1], found[2]
            if (files := hub.files(name, revision)) is not None:
                sha = hub.revision(name, hub.commits[name].index(files))
                self._answer({"id": name, "sha": sha, "siblings": [{"rfilename": file} for file in files]})
                return
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/?]+)\?.*", self.path):
            content = hub.files(found[1], found[2]) or {}
            self._answer(
                [
                    {"type": "file", "path": name, "size": len(value), "oid": hashlib.sha1(value).hexdigest()}
                    for name, value in content.items()
                ]
            )
            return
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            file = (hub.files(found[1], found[2]) or {}).get(found[3])
            if file is not None:
                tag = f'"{hashlib.sha1(file).hexdigest()}"'
                self._send(200, file, {"ETag": tag, "X-Repo-Commit": found[2]})
                return
        self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        hub: HubServer = self.server.hub  # type: ignore[attr-defined]
        hub.log.append(f"{self.command} {self.path}")
        body = self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/repos/create":
            content = json.loads(body)
            name = f"{content['organization']}/{content['name']}"
            hub.commits.setdefault(name, [])
            self._answer({"url": f"{hub.address}/{name}"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path):
            files = dict(hub.commits[found[1]][-1]) if hub.commits[found[1]] else {}
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    del files[line["value"]["path"]]
            hub.commits[found[1]].append(files)
            sha = hub.revision(found[1])
            self._answer({"commitOid": sha, "commitUrl": f"{hub.address}/{found[1]}/commit/{sha}"})
        else:
            self._send(404, b"", {})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _answer(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serve_hub() -> Iterator[HubServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.hub = HubServer(server.server_port)  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.hub  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
