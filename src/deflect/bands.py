"""Spectral bands by identity: a band is known by its sensor and name, never by its position in an array.

Wavelengths, widths and ground sampling distances (GSD) are from the data sheets of the sensors (ESA Sentinel-2 MSI,
USGS Landsat-7 ETM+ and Landsat-8 OLI, NASA HLS v1.4 S30). Roles are the letters that Spyndex uses in formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from deflect.errors import ConfigError

#: Spyndex letters. B, G, R are the visible bands, N near infrared, S1 and S2 short-wave infrared.
ROLES = ("A", "B", "G", "R", "RE1", "RE2", "RE3", "N", "N2", "WV", "S1", "S2")


@dataclass(frozen=True)
class Band:
    """One band of a sensor: centre ``wavelength`` and full ``width`` in nm, native ``gsd`` in metres.

    ``role`` is the Spyndex letter, or ``""`` where none applies.

    Raises:
        ConfigError: the role is unknown, or wavelength, width or gsd is not a number.
    """

    name: str
    role: str
    wavelength: float
    width: float
    gsd: float

    def __post_init__(self) -> None:
        if self.role not in ("", *ROLES):
            raise ConfigError(f'{self.name}: role must be one of {", ".join(ROLES)} or "", found {self.role!r}')
        facts = (self.wavelength, self.width, self.gsd)
        if not all(isinstance(fact, (int, float)) and not isinstance(fact, bool) for fact in facts):
            raise ConfigError(f"{self.name}: wavelength, width and gsd must be numbers, found {facts}")


@dataclass(frozen=True)
class BandSet(Sequence[Band]):
    """Bands of one sensor, in the order of an image's channel axis.

    Raises:
        ConfigError: the set is empty, or a name or a role occurs twice.
    """

    sensor: str
    bands: tuple[Band, ...]

    def __post_init__(self) -> None:
        if not self.bands:
            raise ConfigError(f"{self.sensor}: a band set needs at least one band")
        for what, values in (("band", self.names), ("role", self.roles)):
            repeated = sorted({v for v in values if v and values.count(v) > 1})
            if repeated:
                raise ConfigError(f"{self.sensor}: {what} {', '.join(repeated)} occurs more than once in {self.names}")

    def __len__(self) -> int:
        return len(self.bands)

    def __getitem__(self, item: Any) -> Any:
        return self.bands[item]

    @property
    def names(self) -> list[str]:
        return [band.name for band in self.bands]

    @property
    def roles(self) -> list[str]:
        return [band.role for band in self.bands]

    @property
    def wavelengths(self) -> list[float]:
        return [band.wavelength for band in self.bands]

    def channel(self, name: str) -> int:
        """Position of the band called ``name`` in the channel axis."""
        if name not in self.names:
            raise ConfigError(f"{self.sensor}: no band {name!r}; this set has {', '.join(self.names)}")
        return self.names.index(name)

    def channel_of_role(self, role: str) -> int:
        """Position of the band with the Spyndex letter ``role``. N2 (narrow NIR) is used where N is absent."""
        if not self.has_role(role):
            raise ConfigError(f"{self.sensor}: no band with role {role!r} among {', '.join(self.names)}")
        return self.roles.index(role if role in self.roles else "N2")

    def has_role(self, role: str) -> bool:
        return role in self.roles or (role == "N" and "N2" in self.roles)

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Channels of red, green and blue, in this order.

        Raises:
            ConfigError: a visible band is missing.
        """
        missing = [colour for colour in ("red", "green", "blue") if colour[0].upper() not in self.roles]
        if missing:
            raise ConfigError(f"{self.sensor}: no {' and no '.join(missing)} band among {', '.join(self.names)}")
        return self.roles.index("R"), self.roles.index("G"), self.roles.index("B")

    def subset(self, names: Sequence[str]) -> BandSet:
        """The bands called ``names``, in that order."""
        return BandSet(self.sensor, tuple(self.bands[self.channel(name)] for name in names))

    def to_dict(self) -> dict[str, Any]:
        return {"sensor": self.sensor, "bands": [asdict(band) for band in self.bands]}

    @classmethod
    def from_dict(cls, card: dict[str, Any]) -> BandSet:
        return cls(card["sensor"], tuple(Band(**band) for band in card["bands"]))


@dataclass(frozen=True)
class BandStatistics:
    """Mean and standard deviation per band over a training split, in reflectance, in the order of the band set."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ConfigError(f"{len(self.mean)} means but {len(self.std)} standard deviations")
        for field in ("mean", "std"):
            object.__setattr__(self, field, tuple(float(value) for value in getattr(self, field)))
        if not all(s > 0 for s in self.std):
            raise ConfigError(f"every standard deviation must be positive, found {self.std}")


SENTINEL2 = BandSet(
    "sentinel2",
    (
        Band("B01", "A", 443, 20, 60),
        Band("B02", "B", 490, 65, 10),
        Band("B03", "G", 560, 35, 10),
        Band("B04", "R", 665, 30, 10),
        Band("B05", "RE1", 705, 15, 20),
        Band("B06", "RE2", 740, 15, 20),
        Band("B07", "RE3", 783, 20, 20),
        Band("B08", "N", 842, 115, 10),
        Band("B8A", "N2", 865, 20, 20),
        Band("B09", "WV", 945, 20, 60),
        Band("B10", "", 1375, 30, 60),
        Band("B11", "S1", 1610, 90, 20),
        Band("B12", "S2", 2190, 180, 20),
    ),
)

LANDSAT8 = BandSet(
    "landsat8",
    (
        Band("B1", "A", 443.0, 16, 30),
        Band("B2", "B", 482.0, 60, 30),
        Band("B3", "G", 561.4, 57, 30),
        Band("B4", "R", 654.6, 37, 30),
        Band("B5", "N", 864.7, 28, 30),
        Band("B6", "S1", 1608.9, 85, 30),
        Band("B7", "S2", 2200.7, 187, 30),
    ),
)

LANDSAT7 = BandSet(
    "landsat7",
    (
        Band("B1", "B", 485, 70, 30),
        Band("B2", "G", 560, 80, 30),
        Band("B3", "R", 660, 60, 30),
        Band("B4", "N", 835, 130, 30),
        Band("B5", "S1", 1650, 200, 30),
        Band("B7", "S2", 2220, 260, 30),
    ),
)

#: Harmonized Landsat Sentinel-2, the S30 product: every band resampled to 30 m.
HLS_S30 = BandSet("hls_s30", tuple(Band(b.name, b.role, b.wavelength, b.width, 30) for b in SENTINEL2))

SENSORS = {sensor.sensor: sensor for sensor in (SENTINEL2, LANDSAT7, LANDSAT8, HLS_S30)}


def bandset(sensor: str, names: Sequence[str] | None = None) -> BandSet:
    """The bands ``names`` of ``sensor`` (all by default), e.g. ``bandset("sentinel2", ["B04", "B03", "B02"])``."""
    if sensor not in SENSORS:
        raise ConfigError(f"unknown sensor {sensor!r}; known: {', '.join(SENSORS)}")
    return SENSORS[sensor] if names is None else SENSORS[sensor].subset(names)
