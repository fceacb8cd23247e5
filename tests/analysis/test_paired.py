"""Comparison of two sets of runs over test images and seeds, against values computed by hand."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from make_records import make_run, make_study

from deflect.analysis import bootstrap, paired
from deflect.analysis.records import load_study
from deflect.errors import DataError


def test_detectable_is_a_multiple_of_the_standard_error():
    differences = np.random.default_rng(0).normal(0.01, 0.02, 100_000)
    assert bootstrap.detectable(differences) == pytest.approx(2.8016 * 0.02, rel=0.01)


def test_a_difference_of_the_detectable_size_is_found_in_four_of_five_tests():
    error = 0.02
    smallest = bootstrap.detectable(np.random.default_rng(0).normal(0, error, 100_000))
    observed = np.random.default_rng(1).normal(smallest, error, 20_000)
    found = abs(observed) > NormalDist().inv_cdf(0.975) * error
    assert found.mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_resampled_seeds_have_the_unbiased_variance_of_their_mean(seeds):
    scores = np.random.default_rng(2).normal(0.6, 0.05, seeds)
    weights = bootstrap.seed_weights(seeds, 200_000, seed=1)
    assert weights.shape == (seeds, 200_000)
    np.testing.assert_allclose(weights.mean(axis=0), 1)
    means = scores @ weights / seeds
    assert means.mean() == pytest.approx(scores.mean(), abs=1e-3)
    assert means.std() == pytest.approx(scores.std(ddof=1) / seeds**0.5, rel=0.01)


def test_one_seed_has_weight_1():
    assert (bootstrap.seed_weights(1, 4, seed=0) == 1).all()


def test_two_levels_equal_a_plain_loop(tmp_path):
    make_study(tmp_path, ["so2sat"], ["scale_mae", "dino_mc"], ["deflect", "lora"], seeds=(0, 4))
    runs = load_study(tmp_path).main
    found = paired.resampled_averages(runs, "method", 20, 3)
    [images] = bootstrap.resamples(24, 20, seed=3)
    seeds = dict(zip((0, 4), bootstrap.seed_weights(2, 20, seed=3), strict=True))
    for method in ("deflect", "lora"):
        for resample in range(20):
            values = []
            for row in runs[runs.method == method].itertuples():
                _, confusions = bootstrap.image_results(row.folder, row.record)
                score = bootstrap.score(np.tensordot(images[resample], confusions, 1)[None], "f1_macro")
                values.append(seeds[row.seed][resample] * score)
            assert found[method][resample] == pytest.approx(np.mean(values))


def test_a_seed_that_a_cell_lacks_is_not_resampled(tmp_path):
    make_study(tmp_path, ["so2sat"], ["scale_mae", "dino_mc"], ["deflect", "lora"], seeds=(0, 1, 2))
    (tmp_path / "so2sat/dino_mc/lora/seed1/record.json").unlink()
    runs = load_study(tmp_path).main
    assert paired.shared_seeds(runs, "method") == [0, 2]
    expected = paired.resampled_averages(runs[runs.seed != 1], "method", 20, 0)
    for method, values in paired.resampled_averages(runs, "method", 20, 0).items():
        np.testing.assert_array_equal(values, expected[method])


def test_a_variant_is_compared_with_its_method_on_the_runs_that_both_have(tmp_path):
    make_study(tmp_path, ["so2sat", "mados"], ["scale_mae"], ["deflect", "lora"], seeds=(0, 1))
    for seed in (0, 1):
        make_run(tmp_path, "mados", "scale_mae", "deflect", seed, "deflect+rank=1", {"rank": 1})
    runs = load_study(tmp_path).runs
    variant, base = runs[runs.variant == "rank=1"], runs[(runs.variant == "") & (runs.method == "deflect")]
    found = paired.compare(variant, base, resamples=200)
    assert found.difference == pytest.approx(
        100 * (variant.score.mean() - base[base.dataset == "mados"].score.mean()), abs=1e-3
    )
    assert found.low < found.difference < found.high
    same = paired.compare(base, base, resamples=200)
    assert same == (0, 0, 0, 1, 0)
    with pytest.raises(DataError, match=r"mados/scale_mae/deflect\+rank=1/seed0: expected a run with its dataset"):
        paired.compare(variant, base[base.dataset == "so2sat"])


def test_a_larger_difference_than_the_detectable_one_is_significant(tmp_path):
    make_study(tmp_path, ["mados"], ["scale_mae"], ["frozen", "full"])
    runs = load_study(tmp_path).main
    found = paired.compare(runs[runs.method == "full"], runs[runs.method == "frozen"], resamples=500)
    assert found.difference > found.detectable > 0
    assert found.p < 0.05
