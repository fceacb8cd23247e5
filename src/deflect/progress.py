"""Progress: a bar in a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

#: Seconds between two lines in a log, and before the first.
PAUSE = 4.0


def bar(what: str, total: int | None, *, done: int = 0, unit: str = "it", show: bool | None = None) -> Any:
    """A tqdm bar over ``total`` steps, of which ``done`` are done; ``unit="B"`` counts bytes.

    ``show``: True for a bar, False for nothing, None for a bar if stderr is a terminal and lines if not.
    """
    terminal = sys.stderr.isatty() if show is None else show
    kind, pause = (tqdm, 0.1) if terminal else (_Lines, PAUSE)
    return kind(
        desc=what,
        total=total,
        initial=done,
        unit=unit,
        unit_scale=unit == "B",
        mininterval=pause,
        leave=False,
        disable=show is False,
        dynamic_ncols=terminal,
    )


class _Lines(tqdm):
    """A bar that writes lines."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        facts = self.format_dict
        if facts["elapsed"] >= PAUSE:
            total = "" if self.total is None else " of {total_fmt}"
            left = "" if self.total is None else ", {remaining} left"
            text = "{desc}: {n_fmt}" + total + " {unit} in {elapsed}, {rate_fmt}" + left
            print(self.format_meter(**dict(facts, bar_format=text)).strip(), file=sys.stderr, flush=True)
