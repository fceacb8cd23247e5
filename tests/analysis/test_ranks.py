"""Ranks and paired tests, against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from make_records import make_run, make_study

from deflect.analysis import bootstrap, ranks
from deflect.analysis.paired import resampled_averages
from deflect.analysis.records import load_study
from deflect.analysis.render import GAP
from deflect.errors import DataError

CONFUSION = np.array([[[3.0, 1, 0], [1, 2, 0], [0, 0, 0]]])  # of one image


def test_scores_of_a_confusion_by_hand():
    assert bootstrap.score(CONFUSION, "f1_macro") == pytest.approx((6 / 8 + 4 / 6) / 2)  # the absent class is left out
    assert bootstrap.score(CONFUSION, "mIoU") == pytest.approx((3 / 5 + 2 / 4) / 2)
    assert bootstrap.score(CONFUSION, "mIoU", "zero") == pytest.approx((3 / 5 + 2 / 4) / 3)
    assert bootstrap.score(CONFUSION, "f1_micro", "zero") == pytest.approx(5 / 7)


@pytest.mark.parametrize("metric", ["f1_macro", "f1_micro", "mIoU"])
def test_vectorised_bootstrap_equals_a_plain_loop(metric):
    images = np.random.default_rng(1).integers(0, 5, size=(2, 12, 3, 3)).astype(float)
    found = bootstrap.bootstrap_scores(list(images), [bootstrap.Rule(metric)] * 2, 50, seed=4)
    [weights] = bootstrap.resamples(12, 50, seed=4)
    plain = [[bootstrap.score(np.tensordot(w, run, 1)[None], metric) for w in weights] for run in images]
    np.testing.assert_allclose(found, plain, rtol=1e-12)
    assert (weights.sum(axis=1) == 12).all()


def test_absent_classes_count_as_zero_in_every_resample():
    images = np.zeros((6, 3, 3))
    images[:, 0, 0] = images[::2, 1, 1] = 1
    kept, zero = bootstrap.bootstrap_scores(
        [images, images], [bootstrap.Rule("mIoU"), bootstrap.Rule("mIoU", "zero")], 20, seed=0
    )
    np.testing.assert_allclose(zero, kept * 2 / 3)  # the third class is nowhere in the split


def test_p_values():
    assert bootstrap.two_sided_p(np.zeros(99)) == 1
    assert bootstrap.two_sided_p(np.ones(99)) == pytest.approx(0.02)
    assert bootstrap.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_mean_ranks_by_hand(tmp_path):
    values = {"so2sat": (0.9, 0.8, 0.8), "brick_kiln": (0.5, 0.7, 0.6)}
    for dataset, row in values.items():
        for method, value in zip(("deflect", "lora", "slr"), row, strict=True):
            make_run(tmp_path, dataset, "scale_mae", method, score=value)
        make_run(tmp_path, dataset, "scale_mae", "full", score=0.99)
    frame, sheet = ranks.ranks(load_study(tmp_path), resamples=10)
    frame = frame.set_index("method")
    assert frame.mean_rank.dropna().to_dict() == {"lora": 1.75, "deflect": 2.0, "slr": 2.25}  # ties share rank 2.5
    assert frame.wins.dropna().to_dict() == {"lora": 1, "deflect": 1, "slr": 0}
    assert frame.p.isna().all()  # no predictions, no test
    assert frame.average.to_dict() == {"lora": 75, "deflect": 70, "slr": 70, "full": 99}
    assert [[cell.text for cell in row[:4]] for row in sheet.rows] == [
        ["LoRA", "1.75", "1", "75.0"],
        ["DEFLECT", "2.00", "1", "70.0"],
        ["SLR", "2.25", "0", "70.0"],
        ["Full fine-tuning", GAP, "", "99.0"],
    ]
    assert sheet.notes[0].startswith("Rank 1 is best, over the 2 cells")
    assert "support no statement" in sheet.notes[3]


def test_mean_ranks_have_four_decimals(tmp_path):
    for dataset, first in (("so2sat", "deflect"), ("brick_kiln", "deflect"), ("mados", "lora")):
        for method in ("deflect", "lora"):
            make_run(tmp_path, dataset, "scale_mae", method, score=0.6 if method == first else 0.5)
    frame, _ = ranks.ranks(load_study(tmp_path), resamples=10)
    assert frame.mean_rank.tolist() == [1.3333, 1.6667]
    assert frame.average.tolist() == [56.6667, 53.3333]


def test_interval_is_that_of_paired_differences(tmp_path):
    make_study(tmp_path, ["so2sat", "mados"], ["scale_mae", "dino_mc"], ["deflect", "lora", "full"])
    study = load_study(tmp_path)
    frame, _ = ranks.ranks(study, resamples=200, seed=3)
    frame = frame.set_index("method")
    averages = resampled_averages(study.main, "method", 200, 3)
    assert {len(values) for values in averages.values()} == {200}
    for method in ("lora", "full"):
        low, high = np.quantile(averages["deflect"] - averages[method], [0.025, 0.975])
        assert frame.loc[method, ["low", "high"]].tolist() == pytest.approx([100 * low, 100 * high], abs=1e-4)
        assert frame.loc[method, "difference"] == pytest.approx(
            frame.loc["deflect", "average"] - frame.loc[method, "average"], abs=1e-3
        )
    assert frame.loc["full", "difference"] < 0, "the sign is DEFLECT minus the method"
    assert frame.loc["deflect", ["difference", "p"]].isna().all()


def test_evidence_follows_the_tests(tmp_path):
    make_study(tmp_path, ["mados"], ["scale_mae"], ["deflect", "frozen", "lora", "full"])
    study = load_study(tmp_path)
    frame, _ = ranks.ranks(study, resamples=500)
    by_method = frame.set_index("method")
    assert by_method.loc["frozen", "p_holm"] < 0.05
    low, difference, high = by_method.loc["frozen", ["low", "difference", "high"]]
    assert 0 < low < difference < high
    sentence = ranks.evidence(frame, study)
    assert "above" in sentence.split("Frozen (RGB)")[0]
    assert "simulated data" in sentence
    assert "one training each" in sentence


def test_evidence_has_the_number_of_seeds(tmp_path):
    make_study(tmp_path, ["mados"], ["scale_mae"], ["deflect", "lora"], seeds=(0, 1))
    (tmp_path / "mados/scale_mae/lora/seed1/record.json").unlink()
    study = load_study(tmp_path)
    frame, sheet = ranks.ranks(study, resamples=50)
    assert "over test images, Holm-adjusted p < 0.05; 1–2 trainings each" in ranks.evidence(frame, study)
    assert "50 paired resamples of the test images;" in sheet.notes[1]


def test_several_seeds_are_resampled_with_the_images_and_the_note_says_so(tmp_path):
    make_study(tmp_path, ["mados"], ["scale_mae"], ["deflect", "lora"], seeds=(0, 1, 2))
    study = load_study(tmp_path)
    frame, sheet = ranks.ranks(study, resamples=50)
    assert "over test images and seeds, Holm-adjusted p < 0.05; 3 trainings each" in ranks.evidence(frame, study)
    assert "50 paired resamples of the test images and seeds;" in sheet.notes[1]
    make_study(tmp_path, ["so2sat"], ["scale_mae"], ["deflect", "lora"], seeds=(0,))
    assert "images, and of seeds where all methods share several;" in ranks.ranks(load_study(tmp_path), 50)[1].notes[1]


def test_no_test_while_all_methods_lack_runs(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "deflect")
    grid = {"datasets": ["so2sat", "mados"], "gfms": ["scale_mae"], "methods": ["deflect", "lora"], "seeds": [0]}
    frame, sheet = ranks.ranks(load_study(tmp_path, {"blocks": [grid]}), resamples=10)
    assert frame.p.isna().all()
    assert "support no statement" in sheet.notes[3]


def test_equal_predictions_are_not_significantly_different(tmp_path):
    for method in ("deflect", "lora"):
        make_run(tmp_path, "so2sat", "scale_mae", method)
    folder = tmp_path / "so2sat/scale_mae"
    for name in ("predictions.npz", "record.json"):
        (folder / "lora/seed0" / name).write_bytes((folder / "deflect/seed0" / name).read_bytes())
    record = (folder / "lora/seed0/record.json").read_text().replace('"method": "deflect"', '"method": "lora"')
    (folder / "lora/seed0/record.json").write_text(record)
    study = load_study(tmp_path)
    frame, _ = ranks.ranks(study, resamples=200)
    assert frame.set_index("method").loc["lora", ["difference", "p"]].tolist() == [0, 1]
    assert "not told apart from LoRA" in ranks.evidence(frame, study)


def test_predictions_must_give_the_recorded_score(tmp_path):
    make_study(tmp_path, ["mados"], ["scale_mae"], ["deflect", "lora"])
    make_run(tmp_path, "mados", "scale_mae", "lora", score=0.123)
    with pytest.raises(DataError, match=r"predictions give mIoU 0\.\d+, record.json says 0.123"):
        ranks.ranks(load_study(tmp_path), resamples=10)
