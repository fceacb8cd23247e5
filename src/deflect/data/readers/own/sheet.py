"""The data sheet of a user's own dataset, from its card and, for what the card leaves out, from its first image."""

from __future__ import annotations

from pathlib import Path

from deflect.data.catalog import DatasetSheet
from deflect.data.readers.own.card import CARD, OwnCard, TorchgeoCard, read_card
from deflect.data.readers.own.channels import Channels, read_channels
from deflect.data.readers.own.listing import first_image
from deflect.data.readers.raster import read_raster
from deflect.errors import ConfigError, DataError
from deflect.settings import METRICS, SPLITS

Unit = tuple[float, float]


def channels_of(card: OwnCard | TorchgeoCard, path: Path) -> Channels:
    """The channels that the card at ``path`` lists."""
    try:
        return read_channels(card.sensor, card.bands, card.use, card.per_file, card.scale, card.offset)
    except (ConfigError, TypeError) as error:
        raise DataError(f"{path}: {error}; correct the card") from error


def units_of(card: OwnCard | TorchgeoCard, channels: Channels, folder: Path) -> list[Unit]:
    """Scale and offset of each band in use: the card's or, where it has no scale, those of the first image's tags."""
    tags = dict[int, Unit]()
    if any(channels.all[number].scale is None for number in channels.used):
        if isinstance(card, TorchgeoCard):
            raise DataError(f"{folder / CARD}: scale: missing; add it (write 1 if {card.torchgeo} has reflectance)")
        tags = _tags(card, channels, folder)
    units = []
    for number in channels.used:
        scale, offset = channels.all[number].scale, channels.all[number].offset
        units.append(tags[number] if scale is None else (scale, offset or 0.0))
    return units


def _tags(card: OwnCard, channels: Channels, folder: Path) -> dict[int, Unit]:
    paths = first_image(folder, card, channels)
    if paths is None:
        raise DataError(
            f"{folder / CARD}: scale: missing; add it (there is no image {card.image_pattern} to take it from)"
        )
    found: dict[int, Unit] = {}
    for path, word in zip(paths, channels.files, strict=True):
        raster = read_raster(path, (0, 0, 1, 1), [])
        for number, scale, offset in zip(channels.of_file(word), raster.scales, raster.offsets, strict=False):
            found[number] = (scale, offset / scale)
            if (scale, offset) == (1, 0) and number in channels.used and channels.all[number].scale is None:
                raise DataError(
                    f"{folder / CARD}: scale: missing; add it ({path.name} has no tags to take it from; write 1 if the "
                    "files have reflectance)"
                )
    return found


def sheet_of(name: str, folder: Path) -> DatasetSheet:
    """The data sheet of the dataset that ``folder``/card.yaml describes; split and image sizes are not known yet."""
    path = folder / CARD
    card = read_card(path)
    channels = channels_of(card, path)
    units = units_of(card, channels, folder)
    different = len(set(units)) > 1
    scale, offset = (1.0, 0.0) if different else units[0]
    unit = f"(stored + {offset:g}) * {scale:g} is reflectance"
    if different:
        unit = "reflectance, from a scale and offset per band"
    return DatasetSheet(
        name=name,
        title=(card.title or "").strip() or name,
        task=card.task,
        bands=channels.bands,
        stored_names=tuple(channels.bands.names),
        classes=_names(card, folder),
        splits=dict.fromkeys(SPLITS, 0),
        splits_exact=False,
        image_size=0,
        gsd=card.gsd,
        unit=unit,
        scale=scale,
        offset=offset,
        calibration=tuple(units) if different else (),
        reflectance_range=(-0.5, 3.0),
        metric=METRICS[card.task],
        licence=card.licence,
        citation=card.source,
        notes=(),
        nodata=card.missing,
        unlabelled=card.ignore if isinstance(card, OwnCard) else None,
    )


def _names(card: OwnCard | TorchgeoCard, folder: Path) -> tuple[str, ...]:
    """Of the classes, or of the target; a card with a class of torchgeo may leave them to it."""
    if isinstance(card, TorchgeoCard) and card.classes is None and card.target is None:
        from deflect.data.readers.own.torchgeo_source import class_names

        return class_names(card, folder)
    return tuple(card.names)
