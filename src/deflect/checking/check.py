"""Check one dataset: read it, look for what is suspicious, write the page."""

from __future__ import annotations

import logging
from pathlib import Path

from deflect.checking.facts import Facts, read_splits
from deflect.checking.page import page
from deflect.checking.pairs import near_pairs
from deflect.checking.places import read_places
from deflect.checking.suspicions import Checked, run_checks
from deflect.data.readers import sheet_for
from deflect.data.store import Store
from deflect.errors import DataError
from deflect.files import write_text

log = logging.getLogger(__name__)


def check(store: Store, raw: Path, out: Path) -> list[Checked]:
    """Write the page of a prepared dataset to ``out``.

    Args:
        raw: the folder that it was prepared from, which says where images are.

    Returns:
        What each check found.
    """
    facts = read_facts(store, raw)
    checked = run_checks(facts)
    write_text(out, page(facts, checked, *_title_and_licence(store.card.name, raw)))
    return checked


def _title_and_licence(name: str, raw: Path) -> tuple[str, str]:
    try:
        sheet = sheet_for(name, raw)
    except DataError:  # a user's own card is no longer there
        return name, ""
    return sheet.title, sheet.licence


def read_facts(store: Store, raw: Path) -> Facts:
    """What the checks and the page need; without the raw files, everything but places."""
    splits = read_splits(store)
    pairs = near_pairs(splits)
    try:
        places = read_places(store.card.name, raw, {name: split.ids for name, split in splits.items()})
    except DataError as error:
        log.warning("places are not checked: %s", error)
        return Facts(store.card, splits, pairs, no_places=str(error))
    return Facts(store.card, splits, pairs, places)
