"""What a check finds, and how it is said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

#: Names that are listed at most.
LISTED = 5


class Finding(NamedTuple):
    """Something suspicious, and what to do; both are sentences."""

    found: str
    remedy: str


class NotChecked(Exception):
    """A check does not apply to this dataset; the text says why."""


def listed(names: Iterable[str]) -> str:
    """``a, b and c``; of many names the first and how many more."""
    names = list(names)
    if len(names) > LISTED:
        return f"{', '.join(names[:LISTED])} and {len(names) - LISTED} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def percent(share: float) -> str:
    """``0.21 %``, ``53 %``."""
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.2g} %"


def across(shares: dict[str, float], what: str) -> str:
    """``3 % of the pixels of train and 5 % of val``, of the share in each split."""
    (first, share), *others = shares.items()
    return listed(
        [f"{percent(share)} of the {what} of {first}", *(f"{percent(each)} of {name}" for name, each in others)]
    )


def images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
