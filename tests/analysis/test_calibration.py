"""Calibration and overlap of errors, against values computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from make_records import make_run, make_study

from deflect.analysis import figures
from deflect.analysis.calibration import calibration, ece, lacking_note, load_calibration
from deflect.analysis.figures.reliability import pooled
from deflect.analysis.overlap import agreement, load_overlap
from deflect.analysis.records import load_study
from deflect.analysis.render import GAP, markdown

#: Ten predictions: 4 with confidence 0.5, of which 1 is right, and 6 with 0.95, of which all are.
BINS = np.zeros((15, 3))
BINS[7] = 4, 1, 4 * 0.5
BINS[14] = 6, 6, 6 * 0.95


def rewrite(run: Path, **changes: np.ndarray | None) -> None:
    """Replace arrays of a run's predictions; None leaves one out."""
    arrays = dict(np.load(run / "predictions.npz")) | changes
    np.savez(run / "predictions.npz", **{name: value for name, value in arrays.items() if value is not None})


def test_ece_by_hand():
    assert ece(BINS) == pytest.approx(0.4 * 0.25 + 0.6 * 0.05)


def test_reliability_curve_by_hand():
    found = pooled(BINS)
    assert found.loc[7].tolist() == pytest.approx([40, 25, 50])
    assert found.loc[14].tolist() == pytest.approx([60, 100, 95])
    assert found.loc[3, "share"] == 0
    assert math.isnan(found.loc[3, "accuracy"])


def test_pixels_count_alike_and_images_do_not(tmp_path):
    run = make_run(tmp_path, "mados", "scale_mae", "deflect")
    images = np.zeros((2, 15, 3))
    images[0, 7], images[1, 14] = BINS[7], BINS[14]
    rewrite(run, reliability=images.astype(np.float32), nll=np.array([3.0, 1.0], np.float32))
    found = load_calibration(load_study(tmp_path)).iloc[0]
    assert found.ece == pytest.approx(13)
    assert found.nll == pytest.approx(0.4)


def test_table_averages_over_seeds_then_gfms_then_all_cells(tmp_path):
    for gfm, seed, errors in (("scale_mae", 0, 0.2), ("scale_mae", 1, 0.4), ("dino_mc", 0, 0.9)):
        for dataset, factor in (("so2sat", 1.0), ("mados", 0.5)):
            run = make_run(tmp_path, dataset, gfm, "deflect", seed)
            bins = np.zeros((1, 15, 3))
            bins[0, 14] = 10, 10 - 10 * errors * factor, 10
            rewrite(run, reliability=bins, nll=np.array([10 * errors]))
    frame = calibration(load_study(tmp_path)).frame.set_index("dataset")
    assert frame.ece.to_dict() == {"so2sat": 60, "mados": 30, "average": 45}  # so2sat: (30 + 90) / 2
    assert frame.nll.to_dict() == pytest.approx({"so2sat": 0.6, "mados": 0.6, "average": 0.6})


def test_the_lowest_is_marked(tmp_path):
    for method, share in (("deflect", 0.1), ("lora", 0.3), ("full", 0.0)):
        bins = np.zeros((1, 15, 3))
        bins[0, 14] = 1, 1 - share, 1
        run = make_run(tmp_path, "so2sat", "scale_mae", method)
        rewrite(run, reliability=bins, nll=np.array([share]))
    text = markdown(calibration(load_study(tmp_path)).printed)
    assert "| DEFLECT | **10.0** | **10.0** |" in text
    assert "| LoRA | <u>30.0</u> | <u>30.0</u> |" in text
    assert "| Full fine-tuning | 0.0 | 0.0 |" in text


def test_runs_of_an_earlier_version_are_gaps_named_in_one_line(tmp_path):
    make_study(tmp_path, ["so2sat", "mados"], ["scale_mae"], ["deflect", "lora"])
    rewrite(tmp_path / "so2sat/scale_mae/lora/seed0", reliability=None, nll=None)
    study = load_study(tmp_path)
    frame, printed = calibration(study)
    rows = frame.set_index(["dataset", "method"])
    assert rows.loc[[("so2sat", "lora"), ("average", "lora")], ["ece", "nll"]].isna().all(axis=None)
    assert rows.drop([("so2sat", "lora"), ("average", "lora")]).notna().all(axis=None)
    assert f"| LoRA | {GAP} |" in markdown(printed)
    [note] = lacking_note(study, ["reliability", "nll"])
    assert note in printed.notes
    assert (
        "1 run of an earlier version has no reliability, nll in predictions.npz (so2sat/scale_mae/lora/seed0)" in note
    )
    assert "train it again" in note
    assert not load_overlap(study).empty  # what does not need them is unaffected
    assert figures.reliability(study).axes


def test_a_study_of_an_earlier_version_has_an_empty_figure_and_table(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", score=0.5)
    study = load_study(tmp_path)
    assert calibration(study).frame.ece.isna().all()
    assert "No run has kept" in figures.reliability(study).texts[-1].get_text()


def test_agreement_by_hand():
    first = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool)
    second = np.array([1, 1, 0, 1, 1, 0, 0, 0, 0, 0], bool)
    found = agreement(first, second)
    chance = 0.3 * 0.4 + 0.7 * 0.6
    assert found == pytest.approx((0.2, 0.12, (0.7 - chance) / (1 - chance)))
    assert agreement(first, first).kappa == pytest.approx(1)
    assert math.isnan(agreement(first & False, first & False).kappa)


def test_pairs_of_methods_share_the_seed_and_pairs_of_seeds_the_method(tmp_path):
    make_study(tmp_path, ["so2sat", "forestnet", "mados"], ["scale_mae"], ["deflect", "lora"], seeds=(0, 1))
    errors = {}
    for dataset in ("so2sat", "forestnet"):
        for method in ("deflect", "lora"):
            for seed in (0, 1):
                with np.load(tmp_path / dataset / f"scale_mae/{method}/seed{seed}/predictions.npz") as arrays:
                    errors[dataset, method, seed] = arrays["labels"] != arrays["predictions"]
    found = load_overlap(load_study(tmp_path)).set_index(["first", "second"])
    assert len(found) == 4
    pairs = [
        agreement(errors[dataset, "deflect", seed], errors[dataset, "lora", seed]).kappa
        for dataset in ("so2sat", "forestnet")
        for seed in (0, 1)
    ]
    assert found.loc[("deflect", "lora"), "kappa"] == pytest.approx(np.mean(pairs))
    assert found.loc[("lora", "deflect"), "kappa"] == pytest.approx(np.mean(pairs))
    own = [agreement(errors[d, "lora", 0], errors[d, "lora", 1]).both for d in ("so2sat", "forestnet")]
    assert found.loc[("lora", "lora"), "both"] == pytest.approx(np.mean(own))


def test_no_pairs_without_a_classification(tmp_path):
    make_study(tmp_path, ["mados"], ["scale_mae"], ["deflect", "lora"])
    study = load_study(tmp_path)
    assert load_overlap(study).empty
    assert "No two methods" in figures.error_overlap(study).texts[-1].get_text()
