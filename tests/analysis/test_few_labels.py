"""Scores by number of labelled images, by hand from made-up records."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from make_records import make_run

from deflect.analysis import figures
from deflect.analysis.few_labels import by_fraction, few_labels
from deflect.analysis.records import StudyRuns, load_study
from deflect.analysis.variants import ablation, patch_embed

#: Score at each fraction by GFM and seed.
LORA = {
    0.1: {("scale_mae", 0): 0.20, ("scale_mae", 1): 0.24, ("dino_mc", 0): 0.30, ("dino_mc", 1): 0.30},
    1.0: {("scale_mae", 0): 0.50, ("scale_mae", 1): 0.54, ("dino_mc", 0): 0.60, ("dino_mc", 1): 0.62},
}


def few(folder: Path, method: str, gfm: str, seed: int, score: float) -> None:
    settings = {"settings__training__label_fraction": 0.1, "data__labelled": 6, "part": "labels"}
    make_run(folder, "brick_kiln", gfm, method, seed, variant=f"{method}+labels=0.1", score=score, **settings)


@pytest.fixture
def study(tmp_path: Path) -> StudyRuns:
    for gfm, seed in LORA[1.0]:
        make_run(tmp_path, "brick_kiln", gfm, "lora", seed, score=LORA[1.0][gfm, seed])
        few(tmp_path, "lora", gfm, seed, LORA[0.1][gfm, seed])
        make_run(tmp_path, "brick_kiln", gfm, "frozen", seed, score=0.4)
    few(tmp_path, "frozen", "scale_mae", 0, 0.1)
    make_run(tmp_path, "brick_kiln", "cross_scale_mae", "lora", 0, score=0.99)  # no run with few labels
    make_run(tmp_path, "burn_scars", "scale_mae", "lora", 0, score=0.99)
    make_run(tmp_path, "brick_kiln", "scale_mae", "bitfit", 0, score=0.99)
    make_run(tmp_path, "brick_kiln", "scale_mae", "lora", 0, variant="lora+rank=1", settings={"rank": 1}, score=0.99)
    return load_study(tmp_path)


def test_scores_are_averages_over_gfms_with_an_interval_over_seeds(study: StudyRuns) -> None:
    table = by_fraction(study).set_index(["method", "fraction"])
    assert list(table.index) == [("lora", 0.1), ("lora", 1.0), ("frozen", 0.1), ("frozen", 1.0)]
    assert set(table.dataset) == {"brick_kiln"}
    assert table.labelled.tolist() == [6, 60, 6, 60]
    lora = table.loc["lora"]
    assert lora["mean"].tolist() == [26.0, 56.5]  # seeds: 25 and 27; 55 and 58
    assert lora["std"].tolist() == pytest.approx([math.sqrt(2), 3 / math.sqrt(2)], abs=1e-4)
    assert lora.ci95.tolist() == pytest.approx([12.7062, 1.5 * 12.7062], abs=1e-3)
    assert lora.n.tolist() == [2, 2]


def test_a_method_that_lacks_a_gfm_has_a_gap(study: StudyRuns) -> None:
    gap = by_fraction(study).set_index(["method", "fraction"]).loc["frozen", 0.1]
    assert math.isnan(gap["mean"])
    assert gap.n == 0
    printed = few_labels(study).printed
    assert printed.header == ["Method", "10 %", "100 %"]
    assert printed.rows[0] == "Brick Kiln, F1 (macro): 6, 60 labelled images"
    assert [cell.text for cell in printed.rows[1]] == ["LoRA", "26.0 ± 12.7", "56.5 ± 19.1"]
    assert [cell.text for cell in printed.rows[2]] == ["Frozen (RGB)", "–", "40.0 ± 0.0"]


def test_runs_with_few_labels_are_no_ablation_and_no_warning(study: StudyRuns) -> None:
    assert set(ablation(study).frame.variant) == {"", "rank=1"}
    assert patch_embed(study).frame.empty
    assert not [warning for warning in study.warnings if "label_fraction" in warning]


def test_the_figure_has_a_panel_per_dataset_and_a_mark_per_fraction(study: StudyRuns) -> None:
    figure = figures.few_labels(study)
    (axes,) = figure.axes
    assert axes.get_title() == "Brick Kiln"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["6", "60"]
    curves = {tuple(line.get_ydata()) for line in axes.lines if len(line.get_ydata()) == 2}
    assert (26.0, 56.5) in curves


def test_a_study_without_few_labels_says_so(tmp_path: Path) -> None:
    make_run(tmp_path, "brick_kiln", "scale_mae", "lora", variant="lora+rank=1", settings={"rank": 1})
    make_run(tmp_path, "brick_kiln", "scale_mae", "lora")
    study = load_study(tmp_path)
    assert few_labels(study).printed.rows == []
    assert "`label_fractions` in config.yaml" in few_labels(study).printed.notes[0]
    assert "No such runs" in figures.few_labels(study).texts[0].get_text()
