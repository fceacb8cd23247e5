"""The channels of a user's files, as ``bands`` of the card lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from deflect.bands import SENSORS, Band, BandSet
from deflect.errors import ConfigError
from deflect.settings.reading import near

#: Keys of an entry of ``bands`` besides the facts of `Band`.
OWN_KEYS = ("file", "scale", "offset")
FACTS = tuple(field.name for field in fields(Band))


@dataclass(frozen=True)
class Channel:
    """One channel; ``(stored value + offset) * scale`` is reflectance."""

    band: Band | None  # None if it is no band; it is not read
    file: str  # what stands for {band} in the name of its file; "" if one file has all channels
    scale: float | None  # None: by the tags of the files
    offset: float | None


@dataclass(frozen=True)
class Channels:
    """All channels in the order of the card, and which of them the dataset uses, in the order of its bands."""

    all: tuple[Channel, ...]
    sensor: str
    used: tuple[int, ...]

    @property
    def stored(self) -> BandSet:
        """The bands among all channels."""
        return BandSet(self.sensor, tuple(channel.band for channel in self.all if channel.band is not None))

    @property
    def bands(self) -> BandSet:
        """The bands of the dataset."""
        return BandSet(self.sensor, tuple(self.all[place].band for place in self.used))  # type: ignore[misc]

    @property
    def files(self) -> tuple[str, ...]:
        """The word of each file of an image; files without a used channel are not read."""
        return tuple(dict.fromkeys(self.all[place].file for place in self.used))

    def of_file(self, word: str) -> list[int]:
        """The numbers of the channels of one file, in order."""
        return [number for number, channel in enumerate(self.all) if channel.file == word]


def read_channels(
    sensor: str, entries: list[Any], use: list[str] | None, per_file: bool, scale: float | None, offset: float | None
) -> Channels:
    """The channels that a card lists.

    Args:
        entries: names of the sensor's bands, mappings with the facts of a band, or None for a channel that is no band.
        use: names of the bands to keep; other names may then stand for channels that are no bands.
        per_file: whether the name of a file has the name of its band.
        scale, offset: of all bands that do not state their own.

    Raises:
        ConfigError: a band is unknown, lacks a fact or occurs twice, or red, green or blue is missing.
    """
    try:
        listed = tuple(_channel(sensor, entry, use, per_file, scale, offset) for entry in entries)
        if per_file and None in entries:
            raise ConfigError("null is for a channel of a file; leave out bands with a file of their own")
        stored = Channels(listed, sensor, ()).stored
    except ConfigError as error:
        raise ConfigError(f"bands: {error}") from error
    try:
        kept = stored.names if use is None else stored.subset(use).names
        names = [channel.band.name if channel.band else None for channel in listed]
        channels = Channels(listed, sensor, tuple(names.index(name) for name in kept))
        _ = channels.bands.rgb  # every GFM needs red, green and blue
    except ConfigError as error:
        raise ConfigError(f"{'bands' if use is None else 'use'}: {error}") from error
    return channels


def _channel(
    sensor: str, entry: Any, use: list[str] | None, per_file: bool, scale: float | None, offset: float | None
) -> Channel:
    facts = dict(entry) if isinstance(entry, Mapping) else {"name": None if entry is None else str(entry)}
    own: dict[str, Any] = {key: facts.pop(key) for key in OWN_KEYS if key in facts}
    _check(own, facts)
    name = facts["name"]
    if "file" in own and not per_file:
        raise ConfigError(f"{name}: file: expected only for bands in files of their own; put {{band}} into images")
    no_band = use is not None and name not in use and set(facts) == {"name"} and not _is_known(sensor, name)
    band = None if name is None or no_band else _band(sensor, facts)
    word = str(own.get("file", name)) if per_file else ""
    return Channel(band, word, own.get("scale", scale), own.get("offset", offset))


def _check(own: dict[str, Any], facts: dict[str, Any]) -> None:
    name = facts.get("name")
    if "name" not in facts:
        raise ConfigError(f"expected a name in each entry, found {facts | own}")
    if unknown := sorted(map(str, set(facts) - set(FACTS))):
        raise ConfigError(f"{name}: unknown key {unknown[0]!r}; a band has {', '.join((*FACTS, *OWN_KEYS))}")
    for key in ("scale", "offset"):
        if key in own and (type(own[key]) not in (int, float) or (key == "scale" and not own[key] > 0)):
            kind = "a positive number" if key == "scale" else "a number"
            raise ConfigError(f"{name}: {key}: expected {kind}, found {own[key]!r} (write 1.0e-4, not 1e-4)")
    if "file" in own and type(own["file"]) not in (str, int):
        raise ConfigError(f"{name}: file: expected what its file's name has for {{band}}, found {own['file']!r}")


def _is_known(sensor: str, name: str | None) -> bool:
    return sensor in SENSORS and name in SENSORS[sensor].names


def _band(sensor: str, facts: dict[str, Any]) -> Band:
    if sensor not in SENSORS:
        if missing := [fact for fact in FACTS if fact not in facts]:
            raise ConfigError(
                f"{facts['name']}: sensor {sensor!r} is not one of {', '.join(SENSORS)}{near(sensor, SENSORS)}; each "
                f"band of another sensor needs all its facts, and {', '.join(missing)} are missing"
            )
        return Band(**facts)
    if set(facts) == set(FACTS):
        return Band(**facts)
    known = SENSORS[sensor]
    if not _is_known(sensor, facts["name"]):
        raise ConfigError(
            f"{sensor}: no band {facts['name']!r}; this set has {', '.join(known.names)}; write null for a channel "
            "that is no band, or list only bands to keep in `use`"
        )
    band: Band = known[known.channel(facts["name"])]
    return replace(band, **facts)
