"""docs/croissant/ is what the catalog says, valid Croissant, and true of files in the published layouts."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import mlcroissant as mlc
import pytest
from croissant import croissant
from paths import ROOT

from deflect.data.catalog import DATASETS

#: Recommendations of Croissant that cannot be met: no publisher states a date or numbers its versions.
UNMET = ("datePublished", "MAJOR.MINOR.PATCH")


def described(name: str) -> dict:
    return json.loads((ROOT / f"docs/croissant/{name}.json").read_text())


@pytest.mark.parametrize("name", DATASETS)
def test_croissant_is_that_of_the_catalog_and_valid(name):
    assert (ROOT / f"docs/croissant/{name}.json").read_text() == croissant(name), "run `make docs`"
    issues = mlc.Dataset(jsonld=described(name)).metadata.issues
    assert not issues.errors
    assert not [warning for warning in issues.warnings if not any(known in warning for known in UNMET)]


@pytest.mark.parametrize("name", DATASETS)
def test_tables_are_those_of_the_catalog(name):
    data, sheet = mlc.Dataset(jsonld=described(name)), DATASETS[name]
    bands = list(data.records("bands"))
    assert [row["bands/band"] for row in bands] == sheet.bands.names
    assert [row["bands/wavelength_nm"] for row in bands] == list(sheet.bands.wavelengths)
    labels = {row["classes/label"] + sheet.label_shift: row["classes/class"] for row in data.records("classes")}
    assert labels == dict(enumerate(sheet.classes))
    assert {row["splits/split"]: row["splits/images"] for row in data.records("splits")} == sheet.splits


def test_an_archive_without_address_is_an_error():
    broken = described("mados")
    del broken["distribution"][0]["contentUrl"], broken["distribution"][0]["md5"]
    with pytest.raises(mlc.ValidationError, match="contentUrl"):
        mlc.Dataset(jsonld=broken)


@pytest.fixture
def archives(raw: Path, tmp_path: Path) -> Path:
    """The simulated files of HLS Burn Scars and MADOS as archives, as their publishers pack them."""
    for name in ("burn_scars", "mados"):
        with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(raw / name, name)
    return tmp_path


def files(archive: Path, name: str, records: str) -> set[str]:
    """Names of the files that Croissant finds in an archive with the hash of that archive."""
    jsonld = described(name)
    packed = jsonld["distribution"][0]
    packed |= {"sha256": hashlib.sha256(archive.read_bytes()).hexdigest(), "encodingFormat": "application/x-tar"}
    packed.pop("md5", None)
    found = mlc.Dataset(jsonld=jsonld, mapping={"archive": str(archive)}).records(records)
    return {row[f"{records}/filename"].decode() for row in found}


@pytest.mark.parametrize(
    ("name", "records", "part"),
    [
        ("burn_scars", "images_files", "_merged.tif"),
        ("burn_scars", "masks_files", ".mask.tif"),
        ("mados", "images_files", "_rhorc_"),
        ("mados", "masks_files", "_cl_"),
    ],
)
def test_records_name_the_files_of_a_published_layout(archives, raw, name, records, part):
    expected = {path.name for path in (raw / name).rglob("*.tif") if part in path.name}
    assert expected
    assert files(archives / f"{name}.tar.gz", name, records) == expected


def test_another_archive_is_refused(archives):
    data = mlc.Dataset(jsonld=described("burn_scars"), mapping={"archive": str(archives / "burn_scars.tar.gz")})
    with pytest.raises(mlc.GenerationError) as error:
        next(iter(data.records("masks_files")))
    assert DATASETS["burn_scars"].source.sha256 in str(error.value.__cause__)
