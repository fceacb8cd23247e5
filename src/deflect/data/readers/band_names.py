"""Bands by what a file calls them: band names of the sensor, common names, or colours."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deflect.bands import SENSORS, Band, BandSet

#: Roles (letters of Spyndex) -> common names of bands with one of them, without spaces and punctuation.
NAMES = {
    "A": "coastal coastalaerosol",
    "B": "blue",
    "G": "green",
    "R": "red",
    "RE1": "rededge1",
    "RE2": "rededge2",
    "RE3": "rededge3",
    "N N2": "nir nir08 nearinfrared",
    "N2": "nirnarrow narrownir",
    "WV": "watervapour watervapor",
    "S1": "swir1 swir16",
    "S2": "swir2 swir22",
}
ROLES_OF = {name: roles.split() for roles, names in NAMES.items() for name in names.split()}


def meant(text: str, bands: BandSet) -> list[str]:
    """Names of the bands of this set or its sensor that a description may mean; none if it names no band."""
    everything = {each.name: each for each in (*SENSORS.get(bands.sensor, ()), *bands)}.values()
    word, plain = _word(text), _plain(text)
    found = [each.name for each in everything if plain == _plain(each.name)]
    found = found or [each.name for each in everything if word and word == _word(each.name)]
    return found or [each.name for each in everything if each.role in ROLES_OF.get(word, ())]


def agrees(text: str, band: Band, bands: BandSet) -> bool:
    """Whether a description may mean this band; one that matches no band of the sensor may mean any."""
    found = meant(text, bands)
    return not found or band.name in found


def names_a_band(text: str) -> bool:
    """Whether a description has the form of a band's name, of whatever sensor."""
    return bool(_word(text))


def stated(names: Sequence[str], colours: Sequence[str]) -> tuple[str, ...]:
    """What a file says of its channels: its descriptions or, in a file without any, the colours among them."""
    if any(names):
        return tuple(names)
    return tuple(name if name in ("red", "green", "blue") else "" for name in colours)


def _word(text: str) -> str:
    """``SR_B4``, ``b04`` and ``B4_median`` are ``b4``; ``Red Edge 1`` is ``rededge1``; "" for anything else."""
    words = re.split(r"[^a-z0-9]+", text.lower())
    whole = "".join(words)
    found = [f"b{match[1]}" for word in words if (match := re.fullmatch(r"b0*(\d+a?)", word))]
    found += [word for word in (whole, *words) if word in ROLES_OF]
    return "" if not found or ("edge" in whole and found[0] == "red") else found[0]


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())
