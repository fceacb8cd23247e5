"""The catalog: one data sheet per dataset, with bands by identity. The facts are in catalog.yaml.

    from deflect.data.catalog import DATASETS
    sheet = DATASETS["mados"]
    sheet.bands.names          # ["B01", "B02", ...]
    sheet.stored_names         # ("442|443", "492", ...): what the published files call these bands

docs/datasets.md is generated from the catalog by `make docs`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deflect.bands import BandSet, bandset
from deflect.data.fetch.sources import Source
from deflect.errors import ConfigError
from deflect.settings import METRICS, REGRESSIONS, SPLITS

#: Where images with doubtful labels were counted: by cleanlab, with a linear classifier on features of a GFM.
AUDIT = "https://github.com/torchgeo/torchgeo-bench/pull/52"
SHEETS = Path(__file__).with_name("catalog.yaml")
NO_SOURCE = Source("", "")


@dataclass(frozen=True, kw_only=True)
class DatasetSheet:
    """What is known about a dataset before its files are opened."""

    name: str  # in this project
    title: str  # in tables
    task: str  # one of deflect.settings.TASKS
    bands: BandSet  # true bands in the order of channels
    stored_names: tuple[str, ...]  # of these bands in the published files; "a|b" are two spellings of one
    classes: tuple[str, ...]  # in the order of labels 0, 1, ...; of a regression the target with its unit
    splits: dict[str, int]  # images in train, val and test
    image_size: int  # pixels along a side
    gsd: float  # metres per pixel
    unit: str  # of stored values, as text
    scale: float  # (stored value + offset) * scale is reflectance
    reflectance_range: tuple[float, float]  # physically possible reflectance; values beyond it are errors
    metric: str  # headline metric, that of the task
    published_mean: tuple[float, ...] | None = None  # in the stored unit, one per band
    published_std: tuple[float, ...] | None = None
    published_source: str = ""  # who computed them
    published_tolerance: tuple[float, float] = (0.0, 0.0)  # maximum relative difference of a recomputed mean and std
    licence: str
    citation: str
    notes: tuple[str, ...]
    nodata: tuple[float, ...] = ()  # stored values that mean "no measurement", besides those that are not finite
    offset: float = 0.0
    #: Scale and offset of the files' values per band, where they differ; values as read are reflectance then.
    calibration: tuple[tuple[float, float], ...] = ()
    label_shift: int = 0  # published label + shift is the class
    unlabelled: int | None = None  # published label that means "none"
    ignore_index: int = -1  # label of pixels that are not scored, after the shift
    splits_exact: bool = True  # whether the publisher states the numbers
    left_out: dict[str, str] = field(default_factory=dict)  # stored bands that are not read -> reason
    class_fractions: tuple[float, ...] = ()  # share of each class, if published
    doubtful_labels: int | None = None  # test images whose label an automatic audit doubts, see `AUDIT`
    source: Source = NO_SOURCE  # the published archive; empty for a user's own dataset

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
        if self.task in REGRESSIONS and len(self.classes) != 1:
            raise ConfigError(f"{self.name}: a {self.task} has one target, found {len(self.classes)} classes")
        if tuple(self.splits) != SPLITS:
            raise ConfigError(f"{self.name}: splits must be train, val, test, found {', '.join(self.splits)}")


def _sheet(name: str, facts: dict[str, Any], as_published: bool = False) -> DatasetSheet:
    """The sheet of an entry of catalog.yaml, with true or with published band names."""
    facts = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    sensor, stored, bands = facts.pop("sensor"), facts.pop("stored"), facts.pop("bands")
    published = facts.pop("as_published", None)
    if as_published:
        bands = published
        del facts["left_out"]
    return DatasetSheet(
        name=name,
        bands=bandset(sensor, list(bands)),
        stored_names=tuple(bands.values()),
        published_mean=tuple(stored[band][0] for band in bands.values()),
        published_std=tuple(stored[band][1] for band in bands.values()),
        source=Source(**facts.pop("source")),
        **facts,
    )


_FACTS = yaml.safe_load(SHEETS.read_text())

#: The data sheets by name, with true bands.
DATASETS: dict[str, DatasetSheet] = {name: _sheet(name, facts) for name, facts in _FACTS.items()}

#: The same with the publisher's band names, which are wrong for Brick Kiln; for comparison only.
AS_PUBLISHED: dict[str, DatasetSheet] = DATASETS | {
    name: _sheet(name, facts, as_published=True) for name, facts in _FACTS.items() if "as_published" in facts
}


def dataset_sheet(name: str) -> DatasetSheet:
    if name not in DATASETS:
        raise ConfigError(f"unknown dataset {name!r}; the catalog has {', '.join(DATASETS)}")
    return DATASETS[name]
