"""Addresses within the page: ``#run=so2sat/scale_mae/lora/seed0`` for a record, ``#runs=so2sat/*/lora`` for a list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import product
from urllib.parse import quote

SAFE = "/*:+=,"


class Addresses:
    """Addresses of the ``runs``, named as their folders, and of those that ``dataset/gfm/method`` stands for."""

    def __init__(self, runs: Iterable[str]) -> None:
        self._matching: dict[str, list[str]] = defaultdict(list)
        for run in runs:
            for pattern in product(*([name, "*"] for name in run.split("/")[:3])):
                self._matching["/".join(pattern)].append(run)

    def of(self, pattern: str) -> str:
        """The record of the only run that matches, the list of several, or nothing."""
        found = self._matching.get(pattern, [])
        if len(found) == 1:
            return self.run(found[0])
        return f"#runs={quote(pattern, SAFE)}" if found else ""

    @staticmethod
    def run(name: str) -> str:
        """The record of a run."""
        return f"#run={quote(name, SAFE)}"

    def count(self, pattern: str) -> int:
        """The number of runs that match."""
        return len(self._matching.get(pattern, []))
