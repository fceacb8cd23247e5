"""Figures from made-up records: the same bytes twice, missing runs as gaps."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from make_records import BLOCKS, PIXELS, make_run, make_store, make_study
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from own_data import write_card

from deflect import config
from deflect.analysis import figures as draw
from deflect.analysis.audits import doubtful_labels, near_duplicates
from deflect.analysis.comparison import load_references
from deflect.analysis.figures.confusion import total_confusion
from deflect.analysis.figures.cost import costs
from deflect.analysis.figures.curves import load_history
from deflect.analysis.figures.efficiency import pareto
from deflect.analysis.figures.importance import descriptor_gains, feature_shares
from deflect.analysis.figures.inside import by_block, load_deflection
from deflect.analysis.figures.labels import Label, place
from deflect.analysis.figures.maps import RIGHT, WRONG, ClassColours, TestImages, most_classes
from deflect.analysis.looks import LOOKS, palette
from deflect.analysis.records import load_study
from deflect.analysis.summary import economy, facts, summary
from deflect.bands import HLS_S30, BandSet
from deflect.composite import composite
from deflect.errors import DataError
from deflect.files import read_json, write_json
from deflect.record import read_record
from deflect.settings import METHODS
from deflect.settings.claims import Claims, load_claims
from deflect.workflow import segmentation_datasets


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    make_study(folder / "runs", ["brick_kiln", "burn_scars"], ["scale_mae"], seeds=(0, 1))
    make_store(folder / "prepared/burn_scars", "burn_scars")
    return folder


@pytest.fixture(scope="module")
def study(folder):
    return load_study(folder / "runs")


#: How figures with more arguments than the study are drawn.
FIGURES = {
    "inside_deflect_classes": lambda study, folder: draw.inside_deflect_classes(study, "scale_mae"),
    "segmentation_maps": lambda study, folder: draw.segmentation_maps(
        study, "burn_scars", "scale_mae", folder / "prepared/burn_scars", samples=1
    ),
}


@pytest.mark.parametrize("name", sorted(set(draw.__all__) - {"save"}))
def test_figures_have_the_same_bytes_under_any_style(study, folder, tmp_path, name):
    make = FIGURES.get(name, lambda study, folder: getattr(draw, name)(study))
    draw.save(make(study, folder), tmp_path / "a")
    with mpl.rc_context({"font.size": 30, "axes.grid": False, "savefig.dpi": 10, "pdf.fonttype": 3}):
        draw.save(make(study, folder), tmp_path / "b")
    for kind in ("png", "pdf"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert b"CreationDate" not in (tmp_path / "a.pdf").read_bytes()


def test_labels_overlap_neither_each_other_nor_the_frame(study):
    figure = draw.parameter_efficiency(study)
    renderer = FigureCanvasAgg(figure).get_renderer()
    axes = figure.axes[0]
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in axes.texts if text.get_text()}
    assert sorted("\n".join(boxes).splitlines()) == sorted(look.label for look in LOOKS.values())
    for name, box in boxes.items():
        assert not [other for other in boxes if other != name and box.overlaps(boxes[other])]
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1


def test_marks_that_almost_coincide_share_a_label():
    axes = Figure(figsize=(4, 3)).subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    marks = [("low", 5, 5.0), ("far", 8, 2), ("high", 5, 5.1), ("middle", 5.05, 5.05)]
    place(axes, [Label(x, y, 0, text) for text, x, y in marks])
    assert {text.get_text() for text in axes.texts} == {"high\nmiddle\nlow", "far"}


def test_every_method_has_its_own_mark_and_colour():
    assert set(LOOKS) == set(METHODS)
    for field in ("colour", "marker", "label"):
        assert len({getattr(look, field) for look in LOOKS.values()}) == len(LOOKS)


def test_frozen_is_at_0_left_of_the_break(study):
    axes = draw.parameter_efficiency(study).axes[0]
    ticks = dict(zip([text.get_text() for text in axes.get_xticklabels()], axes.get_xticks(), strict=True))
    assert axes.get_xlim()[0] < ticks["0"] < ticks["0.1"] == pytest.approx(0.1)


def test_a_method_with_a_missing_run_is_only_named(tmp_path):
    make_study(tmp_path, ["brick_kiln", "mados"], ["scale_mae"], ["deflect", "lora"])
    (tmp_path / "mados/scale_mae/lora/seed0/record.json").unlink()
    figure = draw.parameter_efficiency(load_study(tmp_path))
    assert {text.get_text() for text in figure.axes[0].texts} == {"DEFLECT"}
    assert "runs missing: LoRA" in figure.get_supxlabel()


def test_inside_deflect_with_a_missing_run(tmp_path):
    make_study(tmp_path, ["so2sat", "mados"], ["scale_mae", "dino_mc"], ["deflect"])
    (tmp_path / "so2sat/scale_mae/deflect/seed0/record.json").unlink()
    figure = draw.inside_deflect(load_study(tmp_path))
    assert [len(axes.lines) for axes in figure.axes] == [1, 2, 1, 2]  # So2Sat, MADOS; angle, length
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Scale-MAE", "DINO-MC"]


def test_cost_axes_start_at_zero(study):
    assert [axes.get_xlim()[0] for axes in draw.cost(study).axes] == [0, 0, 0]


def test_cost_shows_totals_and_the_energy_of_methods_whose_runs_all_have_it(tmp_path):
    for seed, gfm in enumerate(("scale_mae", "dino_mc")):
        known = {"joules": 5400.0 + 3600 * seed, "source": "rapl"}
        make_run(tmp_path, "so2sat", gfm, "deflect", energy=known, time__train_s=1800.0)
        make_run(tmp_path, "so2sat", gfm, "lora", energy=known if seed else {"joules": None, "source": ""})
    study = load_study(tmp_path)
    table = costs(study).set_index("method")
    assert table.joules["deflect"] == 14_400
    assert np.isnan(table.joules["lora"])
    labels = [axes.get_xlabel() for axes in draw.cost(study).axes]
    assert labels[2:] == ["training time of all runs (h)", "energy of all runs (Wh)"]
    assert "; 0.0065 kWh by 3 of 4 runs" in facts(study)["Training"]


def test_a_share_above_100_percent_is_inside_the_frame(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "deflect")
    make_run(tmp_path, "so2sat", "scale_mae", "full", parameters__tuned_percent=250.0)
    [axes] = draw.parameter_efficiency(load_study(tmp_path)).axes
    assert axes.get_xlim()[1] > 250


def test_no_figure_or_table_needs_torch():
    modules = "figures, comparison, ranks, summary, variants, notebook"
    check = f"import sys; from deflect.analysis import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_pareto_front_by_hand():
    assert pareto([0, 0.2, 2, 2, 100], [50, 60, 55, 61, 61]) == [0, 1, 3]


def test_confusion_in_percent_of_the_true_class(study):
    runs = study.main[study.main.dataset == "brick_kiln"].iloc[:1]
    runs = runs.assign(record=[{"confusion": [[3, 1], [0, 0]]}])
    np.testing.assert_array_equal(total_confusion(runs), [[75, 25], [np.nan, np.nan]])


def test_history_and_deflection_have_all_rows(study):
    assert len(load_history(study)) == len(study.main) * 6
    table = load_deflection(study)
    assert len(table) == 2 * 2 * BLOCKS * 2  # datasets, seeds, blocks, classes
    blocks = by_block(table[table.dataset == "burn_scars"], "length")
    assert (blocks == 1).all(axis=None)


def test_gain_is_the_squared_slope_of_the_path():
    generator = np.random.default_rng(0)
    shapes = {"upe.transform.0.weight": (3, 5), "upe.transform.0.bias": (3,), "upe.transform.2.weight": (4, 3)}
    shapes |= {f"uatt.{block}.{part}": size for block in (0, 7) for part, size in (("down", (6, 4)), ("up", (3, 2, 8)))}
    state = {name: generator.normal(size=shape) for name, shape in shapes.items()}

    def path(descriptor):
        hidden = state["upe.transform.0.weight"] @ descriptor + state["upe.transform.0.bias"]
        gelu = hidden * (1 + np.array([math.erf(h / math.sqrt(2)) for h in hidden])) / 2
        tokens = state["upe.transform.2.weight"] @ gelu
        parts = [(state[f"uatt.{b}.down"] @ tokens).reshape(3, 2, 1) * state[f"uatt.{b}.up"] for b in (0, 7)]
        return np.concatenate([part.sum(axis=1).ravel() for part in parts])

    steps = 1e-5 * np.eye(5)
    slopes = [(path(step) - path(-step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(descriptor_gains(state), np.square(slopes).sum(axis=1), rtol=1e-6)


def test_shares_of_features(study, folder):
    run = folder / "runs/burn_scars/scale_mae/deflect/seed0"
    shares = feature_shares(run, read_record(run))
    assert list(shares) == ["NDVI", "NDWI", "red"]
    assert sum(shares.values()) == pytest.approx(100)


def test_maps_show_errors_only_on_labelled_pixels():
    picture = ClassColours(2).errors(np.array([[0, 1, -1]]), np.array([[0, 0, 0]]))
    hexed = ["#" + "".join(f"{round(255 * c):02X}" for c in pixel) for pixel in picture[0]]
    assert hexed == [RIGHT, WRONG, "#FFFFFF"]


def test_images_with_most_classes_come_first():
    labels = np.array([[[0, 0], [0, 0]], [[0, 1], [-1, -1]], [[0, 1], [1, -1]]])
    assert most_classes(labels, 2) == [2, 1]


def test_composites_take_bands_by_identity(folder):
    images = TestImages(folder / "prepared/burn_scars")
    image = images.reflectance("burn_scars_0")
    assert image.shape == (6, PIXELS, PIXELS)
    marked = np.zeros((6, 4, 4))
    marked[2] = np.arange(16).reshape(4, 4)  # B04, red
    picture = composite(marked, images.bands, ("N", "R", "G"))
    assert picture[..., 1].max() == 1
    assert picture[..., (0, 2)].max() == 0
    assert images.bands.names[3] == HLS_S30[8].name
    with pytest.raises(DataError, match="no test image 'elsewhere'"):
        images.reflectance("elsewhere")


def test_maps_refuse_runs_with_different_images(tmp_path):
    make_store(tmp_path / "prepared", "mados")
    for method in ("deflect", "lora"):
        out = make_run(tmp_path / "runs", "mados", "scale_mae", method)
    arrays = dict(np.load(out / "predictions.npz"))
    np.savez(out / "predictions.npz", **arrays | {"sample_ids": arrays["sample_ids"][::-1]})
    with pytest.raises(DataError, match="kept different test images"):
        draw.segmentation_maps(load_study(tmp_path / "runs"), "mados", "scale_mae", tmp_path / "prepared")


def test_maps_name_seed_and_missing_methods(folder, study, tmp_path):
    def below(study):
        figure = draw.segmentation_maps(study, "burn_scars", "scale_mae", folder / "prepared/burn_scars", samples=1)
        return " ".join(figure.get_supxlabel().split())

    assert below(study).endswith("shown: seed 0")
    make_study(tmp_path, ["burn_scars"], ["scale_mae"], ["deflect", "lora"])
    make_run(tmp_path, "brick_kiln", "scale_mae", "lora")
    (tmp_path / "burn_scars/scale_mae/lora/seed0/record.json").unlink()
    assert below(load_study(tmp_path)).endswith("runs missing: LoRA")


def test_maps_of_rgb_data_have_no_false_colour(folder, study, tmp_path):
    make_store(tmp_path / "rgb", "burn_scars")
    card, images = read_json(tmp_path / "rgb/store.json"), np.load(tmp_path / "rgb/test.images.npy")
    rgb = BandSet.from_dict(card["bands"]).subset(["B04", "B03", "B02"])
    picks = [BandSet.from_dict(card["bands"]).channel(name) for name in rgb.names]
    write_json(tmp_path / "rgb/store.json", card | {"bands": rgb.to_dict()})
    np.save(tmp_path / "rgb/test.images.npy", images[:, picks])

    def below_rgb(store):
        figure = draw.segmentation_maps(study, "burn_scars", "scale_mae", store, samples=1)
        columns = len(figure.axes) // 2
        return figure.axes[columns].images, "".join(text.get_text() for text in figure.findobj(Text))

    with_nir, without = below_rgb(folder / "prepared/burn_scars"), below_rgb(tmp_path / "rgb")
    assert (len(with_nir[0]), len(without[0])) == (1, 0)
    assert "below RGB" in with_nir[1]
    assert "below RGB" not in without[1]


def test_maps_include_the_users_segmentation_datasets(tmp_path, monkeypatch):
    settings = config.read()
    monkeypatch.chdir(tmp_path)
    for name, task, labels in (("floods", "segmentation", "masks"), ("fields", "classification", "folders")):
        write_card(Path("data/raw") / name, task=task, labels=labels)
        settings["studies"]["mini"]["datasets"].append(name)
    found = segmentation_datasets(config.parse(settings).study)
    assert found == ["burn_scars", "mados", "floods"]


# ---------------------------------------------------------------------- the page


def test_parameters_are_compared_over_equal_runs_only(tmp_path):
    make_study(tmp_path, ["so2sat"], ["scale_mae", "dino_mc"], ["deflect", "lora", "slr"])
    (tmp_path / "so2sat/dino_mc/lora/seed0/record.json").unlink()
    assert "SLR 10 ×" in economy(load_study(tmp_path))
    assert "LoRA" not in economy(load_study(tmp_path))


def given() -> tuple[pd.DataFrame, Claims]:
    """What a summary needs besides the runs."""
    return load_references("references/paper.csv"), load_claims("references/claims.yaml")


def test_summary_is_stable_self_contained_and_lists_problems(tmp_path):
    make_study(tmp_path, ["brick_kiln", "mados"], ["scale_mae"], ["deflect", "lora", "frozen"])
    (tmp_path / "mados/scale_mae/lora/seed0/record.json").unlink()
    make_run(tmp_path, "mados", "scale_mae", "frozen", code__sha256="older")
    page = summary(load_study(tmp_path), *given(), resamples=100)
    assert page == summary(load_study(tmp_path), *given(), resamples=100)
    assert "Simulated data, small GFMs" in page
    assert "missing: mados/scale_mae/lora/seed0" in page
    assert "left out: mados/scale_mae/frozen/seed0 (another state of the code" in page
    assert 'name="viewport"' in page
    assert not re.search(r'(src|href)="(?!data:|explore.html")', page)  # no external resources
    assert "$" not in re.sub(r"base64,[^\"]*", "", page)


def test_summary_counts_near_duplicates_of_the_data_of_the_runs(tmp_path):
    make_study(tmp_path, ["so2sat", "forestnet", "mados"], ["scale_mae"], ["deflect", "lora"])
    study = load_study(tmp_path)
    facts = {"store_sha256": "store of so2sat", "test": {"images": 24, "near": 3, "exact": 1}}
    other = {"store_sha256": "an older store", "test": {"images": 24, "near": 0, "exact": 0}}
    found = {"so2sat": facts, "mados": other}
    text = "So2Sat 3 of 24 (1 of them exact copies), ForestNet not checked, MADOS not checked."
    assert near_duplicates(study, found).endswith(f"in the training split: {text}")
    assert text in summary(study, *given(), 10, found)
    assert doubtful_labels(study) == ""  # simulated


def test_summary_of_real_data_names_doubtful_labels(tmp_path):
    make_study(tmp_path, ["forestnet", "mados"], ["scale_mae"], ["deflect", "lora"], study="paper")
    study = load_study(tmp_path)
    assert "ForestNet 299 of 993 (https" in doubtful_labels(study)
    assert "ForestNet 299 of 993" in summary(study, *given(), 10)


def test_summary_of_real_data_counts_verdicts(tmp_path):
    make_run(tmp_path, "mados", "scale_mae", "deflect", study="paper", score=0.51)
    page = summary(load_study(tmp_path), *given(), resamples=100)
    assert "1 inside" in page
    assert "Simulated" not in page


@pytest.mark.parametrize("classes", [2, 3, 15, 16, 40])
def test_every_class_of_a_map_has_its_own_colour(classes):
    assert len(set(palette(classes))) == classes
