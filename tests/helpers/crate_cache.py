"""Fill the HTTP cache of rocrate-validator, so that it validates without network; for the Python of .venv/standards.

    python crate_cache.py CACHE ro-crate.jsonld

The validator reads the JSON-LD context of RO-Crate 1.1, and nothing else from the network. The library rocrate has
that of 1.3. Compared with that of 1.1, in rocrate 0.10.0, it has all terms that crates of deflect use, four of them
under other names.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from urllib3 import HTTPResponse

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
BIOSCHEMAS = "https://bioschemas.org/"
RENAMED = {
    "ComputationalWorkflow": f"{BIOSCHEMAS}ComputationalWorkflow",
    "FormalParameter": f"{BIOSCHEMAS}FormalParameter",
    "input": f"{BIOSCHEMAS}ComputationalWorkflow#input",
    "output": f"{BIOSCHEMAS}ComputationalWorkflow#output",
}


class Answer(HTTPAdapter):
    """Answers every request with one text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def send(self, request: PreparedRequest, *_, **__) -> Response:
        body, headers = BytesIO(self.text.encode()), {"Content-Type": "application/ld+json"}
        return self.build_response(
            request, HTTPResponse(body, headers, 200, preload_content=False, request_url=request.url)
        )


if __name__ == "__main__":
    cache, context = sys.argv[1:]
    terms = json.loads(Path(context).read_text())["@context"] | RENAMED
    session = CachedSession(cache, backend="sqlite", expire_after=-1)
    session.mount("https://", Answer(json.dumps({"@context": terms})))
    session.get(CONTEXT)
