"""Fonts for names written by users: DejaVu Sans, and installed fonts for the characters that it lacks."""

from __future__ import annotations

import logging
import unicodedata
from contextlib import suppress
from functools import lru_cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

log = logging.getLogger(__name__)

#: Part of matplotlib, so it is the same on every machine.
BASE = "DejaVu Sans"


def fit(figure: Figure) -> None:
    """Add fonts to the texts of a figure that need them; log the characters that no font has."""
    texts = [text for text in figure.findobj(Text) if _lacking(text.get_text())]
    families, lost = _search("".join(sorted(set().union(*(_lacking(text.get_text()) for text in texts)))))
    for text in texts:
        text.set_family([BASE, *families])  # type: ignore[attr-defined]
    if lost:
        _warn(lost)


def fitted(figure: Figure) -> bool:
    """Whether a text of the figure has added fonts."""
    return any(len(text.get_fontfamily()) > 1 for text in figure.findobj(Text))  # type: ignore[attr-defined]


def _lacking(text: str) -> set[str]:
    """The characters that DejaVu Sans lacks; control and combining characters do not count."""
    if text.isascii():
        return set()
    characters = set(text) - _characters(font_manager.findfont(BASE))
    return {character for character in characters if unicodedata.category(character) not in ("Cc", "Cf", "Mn")}


@lru_cache
def _search(wanted: str) -> tuple[list[str], str]:
    """Families of installed fonts with the ``wanted`` characters, and the characters that no font has."""
    families, lost = [], set(wanted)
    for path in sorted(font_manager.findSystemFonts(), key=lambda path: ("Regular" not in path, path)):
        with suppress(OSError, RuntimeError):  # a font that matplotlib cannot read, such as one of colour bitmaps
            if lost and (found := lost & _characters(path)):
                font_manager.fontManager.addfont(path)  # matplotlib's list may be older than the font
                families.append(font_manager.get_font(path).family_name)
                lost -= found
    return families, "".join(sorted(lost))


@lru_cache
def _characters(path: str) -> frozenset[str]:
    return frozenset(map(chr, font_manager.get_font(path).get_charmap()))


@lru_cache
def _warn(lost: str) -> None:
    log.warning(
        "no installed font has the characters %s, which figures show as boxes; install one (Debian, Ubuntu: "
        "fonts-noto-cjk for Chinese, Japanese or Korean, fonts-noto-core or fonts-symbola for others), delete the "
        "figures and make them again",
        " ".join(lost),
    )
