"""docs/croissant/NAME.json: the published datasets in Croissant 1.1, MLCommons' format, made from the catalog.

Croissant reads no bands of HDF5 or of GeoTIFFs with more than four bands, so records of images have names of files, and
bands, classes and splits are tables of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from deflect.data.catalog import DATASETS, DatasetSheet

#: What the published layouts have: for each kind of file its pattern in the archive, media type and meaning.
GEOBENCH = {"images": ("*.hdf5", "application/x-hdf5", "one image: a dataset per band; the label is in its attributes")}
GEOTIFF = "image/tiff"
FILES = {
    "burn_scars": {
        "images": ("*_merged.tif", GEOTIFF, "one image with six bands"),
        "masks": ("*.mask.tif", GEOTIFF, "the labels of its pixels"),
    },
    "mados": {
        "images": ("*_L2R_rhorc_*.tif", GEOTIFF, "one band of one image; its wavelength is in the name"),
        "masks": ("*_L2R_cl_*.tif", GEOTIFF, "the labels of the pixels of one image"),
    },
}
#: Croissant reads a tar, compressed or not, by the type of the tar.
ARCHIVES = {"zip": "application/zip", "gz": "application/x-tar"}


def croissant(name: str) -> str:
    """The description of a dataset of the catalog as JSON-LD."""
    import mlcroissant as mlc  # slow to import

    sheet = DATASETS[name]
    source, files = sheet.source, FILES.get(name, GEOBENCH)
    archive = mlc.FileObject(
        id="archive",
        name=source.name,
        content_url=source.url,
        encoding_formats=[ARCHIVES[source.name.rpartition(".")[2]]],
        content_size=f"{source.bytes} B" if source.bytes else None,
        sha256=source.sha256 or None,
        md5=source.md5 or None,
    )
    sets = [
        mlc.FileSet(
            id=kind,
            name=kind,
            contained_in=["archive"],
            includes=[pattern],
            encoding_formats=[media],
            description=text,
        )
        for kind, (pattern, media, text) in files.items()
    ]
    metadata = mlc.Metadata(
        name=name,
        description=" ".join([f"{sheet.title}. {_facts(sheet)}", *sheet.notes]),
        license=[f"https://spdx.org/licenses/{sheet.licence}"],
        url=re.split("/resolve/|/files/", source.url)[0],
        cite_as=sheet.citation,
        version=source.version,
        distribution=[archive, *sets],
        record_sets=[*(_files(kind, text) for kind, (_, _, text) in files.items()), *_tables(sheet)],
    )
    return json.dumps(metadata.to_json(), indent=2, ensure_ascii=False) + "\n"


def _facts(sheet: DatasetSheet) -> str:
    """Task, images and units in one sentence."""
    nodata = [f"{value:g}" for value in sheet.nodata]
    return (
        f"A {sheet.task} of images of {sheet.image_size} x {sheet.image_size} pixels of {sheet.gsd:g} m by "
        f"{sheet.bands.sensor}. Stored: {sheet.unit}; stored value * {sheet.scale:.6g} is reflectance. "
        f"No data: {', '.join([*nodata, 'not finite'])}."
    )


def _files(kind: str, text: str) -> Any:
    """The records of a set of files: the name of each and its path in the archive."""
    import mlcroissant as mlc

    fields = [
        mlc.Field(
            id=f"{kind}_files/{name}",
            name=name,
            description=what,
            data_types=[mlc.DataType.TEXT],
            source=mlc.Source(file_set=kind, extract=mlc.Extract(file_property=mlc.FileProperty[name])),
        )
        for name, what in (("filename", "name of the file"), ("fullpath", "its path in the archive"))
    ]
    return mlc.RecordSet(id=f"{kind}_files", name=f"{kind}_files", description=text, fields=fields)


def _tables(sheet: DatasetSheet) -> list[Any]:
    """Bands in the order of channels, classes and splits; their rows are in the description itself."""
    columns = zip(sheet.bands, sheet.stored_names, sheet.published_mean or (), sheet.published_std or (), strict=True)
    bands = [
        {
            "band": band.name,
            "stored_name": stored,
            "wavelength_nm": float(band.wavelength),
            "width_nm": float(band.width),
            "native_gsd_m": float(band.gsd),
            "mean": mean,
            "std": std,
        }
        for band, stored, mean, std in columns
    ]
    classes = [{"label": label - sheet.label_shift, "class": title} for label, title in enumerate(sheet.classes)]
    splits = [{"split": split, "images": n} for split, n in sheet.splits.items()]
    unlabelled = "" if sheet.unlabelled is None else f"; {sheet.unlabelled} is no class"
    official = "official sizes" if sheet.splits_exact else "sizes as commonly quoted; the publisher does not state them"
    return [
        _table("bands", bands, f"true bands; mean and std in the stored unit, from {sheet.published_source}"),
        _table("classes", classes, f"published labels and their classes{unlabelled}"),
        _table("splits", splits, official),
    ]


def _table(name: str, rows: list[Mapping[str, Any]], text: str) -> Any:
    """A record set whose rows are part of the description."""
    import mlcroissant as mlc

    types = {str: mlc.DataType.TEXT, int: mlc.DataType.INTEGER, float: mlc.DataType.FLOAT}
    fields = [
        mlc.Field(id=f"{name}/{key}", name=key, description=key.replace("_", " "), data_types=[types[type(value)]])
        for key, value in rows[0].items()
    ]
    data = [{f"{name}/{key}": value for key, value in row.items()} for row in rows]
    return mlc.RecordSet(id=name, name=name, description=text, fields=fields, data=data)
