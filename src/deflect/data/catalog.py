"""The catalog: one data sheet per dataset, with bands by identity. The facts are in catalog.yaml.

    from deflect.data.catalog import DATASETS
    sheet = DATASETS["mados"]
    sheet.bands.names          # ["B01", "B02", ...]
    sheet.stored_names         # ("442|443", "492", ...): what the published files call these bands

docs/datasets.md is made from the catalog by `make docs`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from deflect.bands import BandSet, bandset
from deflect.data.fetch.sources import Source
from deflect.errors import ConfigError
from deflect.settings import METRICS, SPLITS

SHEETS = Path(__file__).with_name("catalog.yaml")
NO_SOURCE = Source("", "")


@dataclass(frozen=True, kw_only=True)
class DatasetSheet:
    """What is known about a dataset before its files are opened.

    Attributes:
        name, title: name in this project and name in a table.
        task: ``classification`` or ``segmentation``.
        bands: true bands in the order of channels.
        stored_names: names of these bands in the published files, in the same order; ``a|b`` are two spellings of one.
        classes: names in the order of labels 0, 1, ...
        splits: images in train, val and test. ``splits_exact`` is False if the publisher does not state the numbers.
        image_size: pixels along a side. ``gsd``: metres per pixel.
        unit: of stored values, as text. ``scale``: stored value times scale is reflectance.
        reflectance_range: physically possible reflectance; values beyond it are errors.
        nodata: stored values that mean "no measurement", in addition to every non-finite one.
        label_shift: published label + shift = class. ``unlabelled``: published label that means "none".
        ignore_index: label of pixels that are not scored, after the shift; the same for all datasets.
        metric: headline metric, ``f1_macro`` or ``mIoU``.
        published_mean, published_std: in the stored unit, one per band, computed by ``published_source``;
            ``published_tolerance``: maximum relative difference of recomputed ones (mean, std).
        left_out: stored bands that are not read, with the reason.
        class_fractions: share of each class as published; empty if not published.
        source: the published archive; empty for a user's own dataset.
    """

    name: str
    title: str
    task: str
    bands: BandSet
    stored_names: tuple[str, ...]
    classes: tuple[str, ...]
    splits: dict[str, int]
    image_size: int
    gsd: float
    unit: str
    scale: float
    reflectance_range: tuple[float, float]
    metric: str
    published_mean: tuple[float, ...] | None = None
    published_std: tuple[float, ...] | None = None
    published_source: str = ""
    published_tolerance: tuple[float, float] = (0.0, 0.0)
    licence: str
    citation: str
    notes: tuple[str, ...]
    nodata: tuple[float, ...] = ()
    label_shift: int = 0
    unlabelled: int | None = None
    ignore_index: int = -1
    splits_exact: bool = True
    left_out: dict[str, str] = field(default_factory=dict)
    class_fractions: tuple[float, ...] = ()
    source: Source = NO_SOURCE

    def __post_init__(self) -> None:
        for what, values in (
            ("stored names", self.stored_names),
            ("published means", self.published_mean),
            ("published standard deviations", self.published_std),
        ):
            if values is not None and len(values) != len(self.bands):
                raise ConfigError(f"{self.name}: {len(self.bands)} bands but {len(values)} {what}")
        if self.metric != METRICS.get(self.task):
            raise ConfigError(f"{self.name}: task {self.task!r} and metric {self.metric!r} do not go together")
        if tuple(self.splits) != SPLITS:
            raise ConfigError(f"{self.name}: splits must be train, val, test, found {', '.join(self.splits)}")


def _with_bands(facts: dict[str, Any], sensor: str, bands: dict[str, str], stored: dict[str, Any]) -> dict[str, Any]:
    """``facts`` with the bands of ``bands`` (true band -> stored name) and their published statistics."""
    statistics = [stored[name] for name in bands.values()]
    return facts | {
        "bands": bandset(sensor, list(bands)),
        "stored_names": tuple(bands.values()),
        "published_mean": tuple(mean for mean, _ in statistics),
        "published_std": tuple(std for _, std in statistics),
    }


def _sheets(name: str, facts: dict[str, Any]) -> tuple[DatasetSheet, DatasetSheet]:
    """The sheet of an entry of catalog.yaml, and the same with bands named as published."""
    facts = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    sensor, stored, bands = facts.pop("sensor"), facts.pop("stored"), facts.pop("bands")
    published = facts.pop("as_published", bands)
    facts |= {"name": name, "source": Source(**facts["source"])}
    sheet = DatasetSheet(**_with_bands(facts, sensor, bands, stored))
    if published == bands:
        return sheet, sheet
    return sheet, replace(sheet, **_with_bands({}, sensor, published, stored), left_out={})


_ALL = {name: _sheets(name, facts) for name, facts in yaml.safe_load(SHEETS.read_text()).items()}

#: The data sheets by name, with true bands.
DATASETS: dict[str, DatasetSheet] = {name: sheets[0] for name, sheets in _ALL.items()}

#: The same with the publisher's band names, which are wrong for Brick Kiln; for comparison only.
AS_PUBLISHED: dict[str, DatasetSheet] = {name: sheets[1] for name, sheets in _ALL.items()}


def dataset_sheet(name: str) -> DatasetSheet:
    if name not in DATASETS:
        raise ConfigError(f"unknown dataset {name!r}; the catalog has {', '.join(DATASETS)}")
    return DATASETS[name]
