"""The catalog agrees with the publishers' facts and is consistent; an error here changes every number of the study."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from datasets_page import datasets_page
from paths import ROOT

from deflect.data.catalog import AS_PUBLISHED, DATASETS, dataset_sheet
from deflect.errors import ConfigError

PAGE = ROOT / "docs" / "datasets.md"


def test_page_is_generated_from_the_catalog() -> None:
    assert PAGE.read_text() == datasets_page(), "run `make docs`"


def test_split_sizes_and_classes_are_those_of_the_publishers() -> None:
    found = {name: (*sheet.splits.values(), len(sheet.classes), len(sheet.bands)) for name, sheet in DATASETS.items()}
    assert found == {
        "so2sat": (19992, 986, 986, 17, 10),
        "brick_kiln": (15063, 999, 999, 2, 10),
        "forestnet": (6464, 989, 993, 12, 6),
        "burn_scars": (486, 54, 264, 2, 6),
        "mados": (1433, 642, 728, 15, 11),
        "bigearthnet": (20000, 1000, 1000, 43, 12),
    }


@pytest.mark.parametrize("sheet", DATASETS.values(), ids=str)
def test_sheet_is_consistent(sheet) -> None:
    wavelengths = sheet.bands.wavelengths
    assert wavelengths == sorted(wavelengths)
    assert len(set(sheet.stored_names)) == len(sheet.bands)
    assert not set(sheet.stored_names) & set(sheet.left_out)
    assert len(set(sheet.classes)) == len(sheet.classes)
    low, high = sheet.reflectance_range
    assert all(low < mean * sheet.scale < high for mean in sheet.published_mean)
    assert sheet.class_fractions == () or sum(sheet.class_fractions) == pytest.approx(1, abs=1e-3)
    assert all((sheet.licence, sheet.citation, sheet.notes, sheet.source.name))


def test_rgb_is_selected_by_name_not_by_position() -> None:
    red = {name: sheet.stored_names[sheet.bands.rgb[0]] for name, sheet in DATASETS.items()}
    assert red == {
        "so2sat": "04 - Red",
        "brick_kiln": "04 - Red",
        "forestnet": "04 - Red",
        "burn_scars": "3",
        "mados": "665",
        "bigearthnet": "04 - Red",
    }


def test_brick_kiln_true_bands_exclude_the_true_colour_copy() -> None:
    true, published = DATASETS["brick_kiln"], AS_PUBLISHED["brick_kiln"]
    stored = dict(zip(true.bands.names, true.stored_names, strict=True))
    assert (stored["B07"], stored["B8A"], stored["B11"], stored["B12"]) == (
        "06 - Vegetation Red Edge",
        "07 - Vegetation Red Edge",
        "08A - Vegetation Red Edge",
        "09 - Water vapour",
    )
    assert set(true.left_out) == {"10 - SWIR - Cirrus", "11 - SWIR", "12 - SWIR"}
    assert len(published.bands) == 13
    assert published.published_mean[-3:] == (83.27188605598549, 90.54924599052214, 68.98768652434848)
    # the copy is the visible bands in 8 bits: the same ratio in all three
    means = dict(zip(published.stored_names, published.published_mean, strict=True))
    pairs = [("04 - Red", "10 - SWIR - Cirrus"), ("03 - Green", "11 - SWIR"), ("02 - Blue", "12 - SWIR")]
    assert [means[band] / means[copy] for band, copy in pairs] == pytest.approx([9.79] * 3, abs=0.02)


def test_so2sat_has_no_radar_band() -> None:
    assert not any("V" in name.split(" - ")[1][:2] and "." in name for name in DATASETS["so2sat"].stored_names)
    assert all(name in DATASETS["so2sat"].left_out for name in ("01 - VH.Real", "08 - VV.LEE Filtered.Imaginary"))


def test_only_brick_kiln_differs_from_its_published_names() -> None:
    assert [name for name in DATASETS if AS_PUBLISHED[name] is not DATASETS[name]] == ["brick_kiln"]


def test_every_source_is_pinned_and_can_be_placed_by_hand() -> None:
    for source in (sheet.source for sheet in DATASETS.values()):
        assert source.url.startswith("https://"), source
        assert source.sha256 or source.md5, source
        assert re.fullmatch(r"([0-9a-f]{64})?", source.sha256), source
        assert source.by_hand, source
        if "huggingface.co" in source.url:
            assert re.search(r"/resolve/[0-9a-f]{40}/", source.url), f"{source.url}: not a fixed revision"


def test_every_archive_belongs_to_one_dataset() -> None:
    assert {name: (sheet.source.layout, sheet.source.name) for name, sheet in DATASETS.items()} == {
        "so2sat": ("hdf5", "m-so2sat.zip"),
        "brick_kiln": ("hdf5", "m-brick-kiln.zip"),
        "forestnet": ("hdf5", "m-forestnet.zip"),
        "burn_scars": ("geotiff", "hls_burn_scars.tar.gz"),
        "mados": ("geotiff", "MADOS.zip"),
        "bigearthnet": ("hdf5", "m-bigearthnet.zip"),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stored_names": ("02 - Blue",)}, "10 bands but 1 stored names"),
        ({"published_mean": (1.0,)}, "10 bands but 1 published means"),
        ({"metric": "mIoU"}, "do not go together"),
        ({"splits": {"train": 1, "valid": 1, "test": 1}}, "must be train, val, test"),
    ],
)
def test_contradiction_in_a_sheet_is_refused(change, message) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(DATASETS["so2sat"], **change)


def test_the_error_for_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown dataset 'eurosat'.*so2sat"):
        dataset_sheet("eurosat")
