"""Simulated classes differ in what ``signals`` states and in nothing else, in the shares that the docs state.

Two images of the same random numbers and different signals are compared, so most differences are exact.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from paths import ROOT
from test_simulate import GEOBENCH, record_of

from deflect.bands import BandSet, bandset
from deflect.data.simulate import brick_kiln, burn_scars, chance, forestnet, mados, simulate, so2sat
from deflect.data.simulate.signals import DESIGNS, KINDS, NONE, Design, Signal, gain, positive, shares
from deflect.settings.simulation import SimulationSize
from deflect.spectral import available, patches, pixel_statistics, spectral_indices
from deflect.spectral.indices import INDICES

MODULES = {"so2sat": so2sat, "brick_kiln": brick_kiln, "forestnet": forestnet, "burn_scars": burn_scars, "mados": mados}
CASES = [(name, s) for name, design in DESIGNS.items() for s in {repr(s): s for s in design.signals}.values()]
IMAGES, SIZE, PATCH = 100, 48, (8, 8)


def cases(kind: str) -> list[tuple[str, Signal]]:
    return [case for case in CASES if case[1].kind == kind]


def pair(dataset: str, signal: Signal, seed: int = 0) -> tuple[np.ndarray, np.ndarray, BandSet]:
    """An image (C, H, W) without and with ``signal``, of the same random numbers."""
    bands = MODULES[dataset].BANDS
    land = default_rng([seed, 1]).uniform(0.05, 0.4, (len(bands), SIZE, SIZE)).astype(np.float32)
    rest, signalled = (land * gain(default_rng(seed), bands, SIZE, DESIGNS[dataset], s) for s in (NONE, signal))
    return rest, signalled, bands


def changed(dataset: str, signal: Signal) -> set[str]:
    """Roles of the bands in which a signal changes any pixel."""
    rest, signalled, bands = pair(dataset, signal)
    return {band.role for band, a, b in zip(bands, rest, signalled, strict=True) if not np.array_equal(a, b)}


def index_roles(bands: BandSet) -> set[str]:
    """Roles of the bands whose reflectance is in an index of ``bands``; N2 is in none where there is N."""
    roles = {role for name in available(bands) for role in INDICES[name].roles}
    return roles | {"N2"} if "N" not in bands.roles else roles


def descriptors(image: np.ndarray, bands: BandSet) -> np.ndarray:
    """Statistics of reflectances and indices per patch (L, K*S), as in DEFLECT."""
    pixels = patches(torch.from_numpy(image)[None], PATCH)
    values = torch.cat([pixels, spectral_indices(pixels, bands)], dim=1)
    return pixel_statistics(values)[0].numpy()


@pytest.mark.parametrize(("dataset", "signal"), cases("index"))
def test_index_classes_differ_in_indices_and_not_in_rgb(dataset: str, signal: Signal) -> None:
    rest, signalled, bands = pair(dataset, signal)
    assert not changed(dataset, signal) & {"R", "G", "B"}
    a, b = (spectral_indices(torch.from_numpy(image)[None], bands).mean((0, 2, 3)) for image in (rest, signalled))
    assert (a - b).abs().max() > 0.05


@pytest.mark.parametrize(("dataset", "signal"), cases("rgb"))
def test_rgb_classes_differ_in_blue_which_only_bsi_contains(dataset: str, signal: Signal) -> None:
    assert changed(dataset, signal) == {"B"}
    rest, signalled, bands = pair(dataset, signal)
    a, b = (spectral_indices(torch.from_numpy(image)[None], bands) for image in (rest, signalled))
    different = {name for k, name in enumerate(available(bands)) if not torch.equal(a[:, k], b[:, k])}
    assert different == {"BSI"}


@pytest.mark.parametrize(("dataset", "signal"), cases("band"))
def test_band_classes_differ_in_a_band_without_an_index_or_in_the_rows_of_swir(dataset: str, signal: Signal) -> None:
    bands = MODULES[dataset].BANDS
    free = set(bands.roles) - index_roles(bands)
    if signal.direction is None:
        assert len(changed(dataset, signal) & free) == len(changed(dataset, signal)) == 1
    else:
        assert not free, "rows only where every band is in an index"
        assert changed(dataset, signal) <= {"S2"}


def turned(dataset: str) -> list[tuple[str, Signal, Signal]]:
    """Pairs of directions of rows, each the mirror image of the other, of which a signal has at least one."""
    kinds = {signal.kind for signal in DESIGNS[dataset].signals if signal.direction is not None}
    pairs = [(Signal(kind, direction=d), Signal(kind, direction=d + 1)) for kind in sorted(kinds) for d in (0, 2)]
    return [(dataset, *both) for both in pairs if any(s in DESIGNS[dataset].signals for s in both)]


@pytest.mark.parametrize(("dataset", "first", "second"), [each for name in DESIGNS for each in turned(name)])
def test_turned_rows_change_no_statistic_of_patches(dataset: str, first: Signal, second: Signal) -> None:
    """Over 100 images no mean statistic of bands and indices differs by more than 5 of its standard errors."""
    found = []
    for signal in (first, second):
        images = [pair(dataset, signal, seed)[1:] for seed in range(IMAGES)]
        found.append(np.stack([descriptors(image, bands).mean(axis=0) for image, bands in images]))
    difference = found[0] - found[1]
    assert (np.abs(difference.mean(0)) <= 5 * difference.std(0) / IMAGES**0.5 + 1e-6).all()


@pytest.mark.parametrize("direction", [1, 2, 3])
def test_rows_of_every_direction_have_the_same_pixels_in_every_patch(direction: int) -> None:
    bands = bandset("sentinel2", ["B04"])
    factors = [gain(default_rng(0), bands, SIZE, Design(()), Signal("texture", direction=d)) for d in (0, direction)]
    upright, turned = (patches(torch.from_numpy(each)[None], PATCH)[0, 0] for each in factors)
    torch.testing.assert_close(upright.sort().values, turned.sort().values, atol=1e-5, rtol=0)
    assert (upright - turned).abs().mean() > 0.1, "in another arrangement"


@pytest.mark.parametrize("dataset", ["so2sat", "forestnet"])
def test_samples_of_index_classes_have_the_same_rgb(dataset: str) -> None:
    """Whole images of the files, of the same random numbers: equal in RGB, different in the infrared."""
    module = GEOBENCH[dataset]
    first, second = (module.sample(chance(0, "x"), label, 0, 48).data for label in (0, 1))
    equal = [np.array_equal(a, b) for a, b in zip(first, second, strict=True)]
    colours = [k for k, band in enumerate(module.STORED) if band.name[5:] in ("Red", "Green", "Blue")]
    assert all(equal[k] for k in colours)
    assert not all(equal)


# --- shares ----------------------------------------------------------------------------------------------------------


def test_kinds_have_about_the_planned_shares() -> None:
    overall = {kind: np.mean([shares(name)[kind] for name in DESIGNS]) for kind in KINDS}
    planned = {"index": 0.4, "texture": 0.25, "band": 0.15, "rgb": 0.2}
    assert overall == pytest.approx(planned, abs=0.03)


def test_docs_state_the_table_of_the_code() -> None:
    rows = [[name, *(f"{100 * share:.0f} %" for share in shares(name).values())] for name in DESIGNS]
    overall = [np.mean([shares(name)[kind] for name in DESIGNS]) for kind in KINDS]
    rows.append(["mean", *(f"{100 * share:.0f} %" for share in overall)])
    page = (ROOT / "docs/simulation.md").read_text()
    for row in rows:
        assert f"| {' | '.join(row)} |" in page


@pytest.mark.parametrize("dataset", ["so2sat", "forestnet"])
def test_shares_of_files_are_those_of_the_code(dataset: str, tmp_path: Path) -> None:
    count = len(DESIGNS[dataset].signals)
    simulate(dataset, tmp_path / dataset, SimulationSize(train=count, val=1, test=count, pixels=32), 0)
    parts = json.loads((tmp_path / dataset / "default_partition.json").read_text())
    for split in ("train", "test"):
        labels = [record_of(tmp_path / dataset / f"{name}.hdf5")[1]["label"] for name in parts[split]]
        kinds = [DESIGNS[dataset].signals[label].kind for label in labels]
        assert {kind: kinds.count(kind) / count for kind in KINDS} == shares(dataset)


def test_shares_of_labelled_pixels_of_mados(tmp_path: Path) -> None:
    """Regions have random areas: 60 crops, shares within 5 points."""
    crops = [mados.crop(chance(0, "mados", "test", i), i, 48)[1] for i in range(60)]
    count = np.bincount(np.stack(crops).ravel(), minlength=16)[1:]
    kinds = np.array([signal.kind for signal in DESIGNS["mados"].signals])
    found = {kind: count[kinds == kind].sum() / count.sum() for kind in KINDS}
    assert found == pytest.approx(shares("mados"), abs=0.05)


@pytest.mark.parametrize(("dataset", "count"), [("brick_kiln", 12), ("burn_scars", 20)])
def test_positives_of_a_binary_dataset_take_all_signals_in_turn(dataset: str, count: int) -> None:
    kinds = [positive(dataset, index).kind for index in range(count)]
    assert {kind: kinds.count(kind) / count for kind in KINDS} == shares(dataset)
    assert set(kinds[: count // 2]) == set(KINDS), "half of them have every kind already"
