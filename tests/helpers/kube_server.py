"""The part of the Kubernetes API that Snakemake's executor uses, on the loopback interface.

A job's container runs as a process of this machine, in an empty folder and with the environment of an image. Volumes
are not mounted: their paths must exist here. It refuses what a real API server is known to refuse.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


@dataclass
class Cluster:
    """Jobs by name as they were asked for, their processes and logs, and each request as (method, path)."""

    port: int = 0
    home: Path = Path()
    jobs: dict[str, dict] = field(default_factory=dict)
    running: dict[str, subprocess.Popen] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def kubeconfig(self, path: Path) -> Path:
        """Write a configuration of clients that leads here."""
        named = {"clusters": {"cluster": {"server": f"http://127.0.0.1:{self.port}"}}, "users": {"user": {}}}
        config = {key: [{"name": "test"} | value] for key, value in named.items()}
        config |= {"contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]}
        path.write_text(json.dumps(config | {"current-context": "test", "apiVersion": "v1", "kind": "Config"}))
        return path

    def create(self, job: dict) -> str:
        """Start a job's container; returns why the API server would refuse it, or nothing."""
        name, container = job["metadata"]["name"], self.container(job)
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        if len(set(paths)) < len(paths):
            return "volumeMounts: Invalid value: must be unique"
        asked, limits = (container["resources"].get(key) or {} for key in ("requests", "limits"))
        if any("/" in resource and limits.get(resource) != n for resource, n in asked.items()):
            return "resources: Limit must be set for non overcommitable resources"
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(self.home)}
        self.jobs[name] = job
        with self.log(name).open("w") as log:
            self.running[name] = subprocess.Popen(
                [*container["command"], *container["args"]],
                cwd=tempfile.mkdtemp(dir=self.home),
                env=environment,
                stdout=log,
                stderr=log,
            )
        return ""

    def log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    @staticmethod
    def container(job: dict) -> dict:
        return job["spec"]["template"]["spec"]["containers"][0]

    def status(self, name: str) -> dict:
        code = self.running[name].poll()
        counts = {"active": 1} if code is None else {"succeeded": 1} if code == 0 else {"failed": 1}
        return self.jobs[name] | {"status": counts}

    def pod(self, name: str) -> dict:
        code = self.running[name].poll()
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
        status = {
            "name": "snakemake",
            "image": "",
            "imageID": "",
            "ready": code is None,
            "restartCount": 0,
            "state": state,
        }
        return {"metadata": {"name": f"{name}-pod"}, "status": {"containerStatuses": [status]}}


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def answer(self, content: dict | str, code: int = 200) -> None:
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, code: int, message: str) -> None:
        self.answer({"kind": "Status", "status": "Failure", "code": code, "message": message}, code)

    def read(self) -> tuple[Cluster, list[str], dict[str, list[str]], dict]:
        """The cluster, the path after the namespace, the query and the body of a request."""
        cluster: Cluster = self.server.cluster  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        cluster.requests.append((self.command, url.path))
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        return cluster, url.path.partition("/namespaces/")[2].split("/")[1:], parse_qs(url.query), body

    def do_POST(self) -> None:
        cluster, [kind], _, body = self.read()
        if kind == "secrets":
            cluster.secrets.add(body["metadata"]["name"])
        elif refused := cluster.create(body):
            return self.refuse(422, refused)
        self.answer(body, 201)

    def do_GET(self) -> None:
        cluster, [kind, *rest], query, _ = self.read()
        if kind == "jobs" and rest[0] in cluster.running:
            self.answer(cluster.status(rest[0]))
        elif kind == "pods" and not rest:
            name = query["labelSelector"][0].removeprefix("job-name=")
            self.answer({"items": [cluster.pod(name)] if name in cluster.running else []})
        elif kind == "pods" and query.get("previous") == ["True"]:
            self.refuse(400, f'previous terminated container "snakemake" in pod "{rest[0]}" not found')
        elif kind == "pods":
            self.answer(cluster.log(rest[0].removesuffix("-pod")).read_text())
        else:
            self.refuse(404, f"{kind} {rest} not found")

    def do_DELETE(self) -> None:
        cluster, [kind, name], _, _ = self.read()
        if kind == "secrets":
            cluster.secrets.remove(name)
        elif kind == "jobs":
            cluster.running.pop(name).kill()
        self.answer({"kind": "Status", "status": "Success"})


@contextmanager
def serve(home: Path) -> Iterator[Cluster]:
    """A cluster whose containers have ``home`` as HOME, where their logs are written too."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.cluster = cluster = Cluster(port=server.server_port, home=home)  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        for process in cluster.running.values():
            process.kill()
