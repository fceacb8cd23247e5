"""Patterns of file names, such as ``{region}/{id}_{date}_{band}.tif``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from unicodedata import normalize

from deflect.errors import ConfigError

PART = re.compile(r"{([^{}]*)}")
ENDING = re.compile(r"\.tiff?$", re.IGNORECASE)


def composed(name: str) -> str:
    """``name`` in Unicode normal form C: macOS may write é as e and an accent, tables as one character."""
    return normalize("NFC", name)


@dataclass(frozen=True)
class Pattern:
    """The path of a file in the dataset's folder, with named parts in braces and ``*`` for any text; no part has a /.

    Raises:
        ConfigError: a part has no name, or the pattern leaves the folder.
    """

    text: str

    def __post_init__(self) -> None:
        if not all(part.isidentifier() for part in self.parts) or "{" in PART.sub("", self.text):
            raise ConfigError(f"expected parts such as {{id}} or {{band}}, found {self.text!r}; correct the braces")
        if self.text.startswith("/") or ".." in self.text.split("/") or not self.text:
            raise ConfigError(f"expected files in the dataset's folder, found {self.text!r}; link others into it")
        if "\\" in self.text:
            raise ConfigError(f"expected / between folders, found {self.text!r}; write / for each backslash")

    @cached_property
    def parts(self) -> list[str]:
        return list(dict.fromkeys(PART.findall(self.text)))

    @property
    def letters(self) -> int:
        """The number of letters besides the parts."""
        return len(PART.sub("", self.text))

    def name(self, parts: Mapping[str, str]) -> str:
        """The id of an image: the parts of its path but the band, in their order; without any, the text around them."""
        found = "/".join(parts[part] for part in self.parts if part != "band")
        return found or PART.sub("", self.text).rpartition("/")[2].rpartition(".")[0].strip("_- ") or "image"

    def matcher(self, words: Mapping[str, Collection[str]]) -> Matcher:
        """``words`` are the texts that a part may have, such as the bands; other parts may have any."""
        return Matcher(self, {part: list(known) for part, known in words.items()})


class Matcher:
    """Finds the parts of a path."""

    def __init__(self, pattern: Pattern, words: Mapping[str, list[str]]) -> None:
        seen: set[str] = set()

        def regex(piece: str) -> str:
            if piece == "*":
                return "[^/]*"
            if not PART.fullmatch(piece):
                return re.escape(piece)
            part = piece[1:-1]
            if part in seen:
                return f"(?P={part})"
            seen.add(part)
            if part in words:
                return f"(?P<{part}>{'|'.join(map(_any, sorted(words[part], key=len, reverse=True)))})"
            return f"(?P<{part}>[^/]+{'' if part == 'id' else '?'})"

        ending = ENDING.search(pattern.text)
        body = pattern.text[: ending.start()] if ending else pattern.text
        pieces = re.split(r"({[^{}]*}|\*)", composed(body))
        self._regex = re.compile("".join(map(regex, pieces)) + (r"\.[Tt][Ii][Ff][Ff]?" if ending else ""))

    def __call__(self, path: str) -> dict[str, str] | None:
        """The parts of a path relative to the dataset's folder, or None if it does not match."""
        match = self._regex.fullmatch(composed(path))
        return match.groupdict() if match else None


def _any(word: str) -> str:
    """A word of the card, in which ``*`` stands for any text, as a regular expression."""
    return "[^/]*".join(map(re.escape, composed(word).split("*")))


def place_in(words: Collection[str], text: str) -> int:
    """The first of the words that ``text`` is."""
    return next(place for place, word in enumerate(words) if re.fullmatch(_any(word), text))
