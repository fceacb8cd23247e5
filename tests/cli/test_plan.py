"""``deflect plan``: counts, time and memory of a study without data or weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from own_data import write_card
from paths import ROOT

from deflect.cli import main, parser
from deflect.cli import plan as command
from deflect.config import load, parse, read
from deflect.errors import DataError
from deflect.gfms import gfm_card
from deflect.methods.report import published_report
from deflect.settings.study import Config, RunName
from deflect.training import hours
from deflect.training.hours import Estimate, planned_cards
from deflect.training.timing import Cost, cost_class

CPU = torch.device("cpu")
SECOND = Cost(gradients=1.0, predict=0.25, update=2.0, activations=1e6, casts=0.0, joules=math.nan, seconds=1.0)
LINEAR = Cost(gradients=0.0, predict=0.0, update=0.0, activations=0.0, casts=0.0, joules=math.nan, seconds=0.0)
HEAD = Cost(gradients=0.5, predict=0.125, update=1.0, activations=0.0, casts=0.0, joules=math.nan, seconds=1.0)


def small(**changes: Any) -> Config:
    """The mini study on two datasets, one GFM and few methods, without additional runs."""
    raw = read(ROOT / "config.yaml")
    study = raw["studies"]["mini"] | {"datasets": ["so2sat", "burn_scars"], "gfms": ["scale_mae"], "variants": {}}
    raw["studies"]["mini"] = study | {"methods": ["deflect", "lora", "frozen"]} | changes
    return parse(raw | {"study": "mini"})


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every encoder step takes a second an image, a head of segmentation half a second; there are no data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hours, "time_model", lambda *given: SECOND)
    monkeypatch.setattr(
        hours, "time_head", lambda model, card, context: (LINEAR if card.task == "classification" else HEAD, 100)
    )


def test_own_datasets_alone_have_to_be_prepared_first(timed: None) -> None:
    write_card(Path("data/raw/fields"))
    with pytest.raises(DataError, match="fields: not prepared yet, so of unknown size; run `deflect data prepare`"):
        Estimate(small(datasets=["fields"]), CPU)


def test_the_time_of_a_run_computed_by_hand(timed: None) -> None:
    costs = Estimate(small(), CPU).costs
    # 153 training images in batches of 16, 51 to validate, 102 to test, 6 epochs; DEFLECT tests twice
    steps, passes = 6 * 153 / 16, 6 * 153
    assert costs["so2sat", "scale_mae", "lora"].seconds == pytest.approx(passes + 2 * steps + (6 * 51 + 102) / 4)
    assert costs["so2sat", "scale_mae", "deflect"].seconds == pytest.approx(passes + 2 * steps + (6 * 51 + 204) / 4)
    assert costs["so2sat", "scale_mae", "lora"].images == passes


def test_features_of_a_frozen_encoder_are_computed_once(timed: None) -> None:
    frozen = Estimate(small(), CPU).costs["so2sat", "scale_mae", "frozen"].seconds
    steps = 6 * 153 / 16
    assert frozen == pytest.approx((153 + 51 + 102) / 4 + 2 * steps)


def test_images_that_are_cut_are_encoded_in_every_epoch_and_tested_in_windows(timed: None) -> None:
    sizes = {
        "so2sat": {"train": 1, "val": 1, "test": 1},
        "burn_scars": {"train": 40, "val": 12, "test": 20, "pixels": 60},
    }
    simulation = load(ROOT / "config.yaml", "mini").study.simulation | {"sizes": sizes}
    cost = Estimate(small(simulation=simulation), CPU).costs["burn_scars", "scale_mae", "frozen"]
    steps, windows = 8 * 40 / 4, 4  # 60 pixels need two windows of 48 along each side
    per_window = 0.25 + 0.125
    assert cost.seconds == pytest.approx(8 * 40 * 1.5 + 3 * steps + windows * per_window * (8 * 12 + 20))


def test_memory_is_weights_gradients_moments_and_activations(timed: None) -> None:
    config = small(methods=["full", "lora"])
    costs = Estimate(config, CPU).costs
    full, lora = (costs["so2sat", "scale_mae", name].memory for name in ("full", "lora"))
    assert 16 * 1e6 < lora < full
    tuned = published_report("full", {"patch_init": "repeat"}, size="mini").tuned_params
    fixed = 785 * 64 + 128  # positions of 224 px and final norm
    # weights, gradients and two moments, 4 bytes each; of what is not trained the weights alone
    assert full - 16 * 1e6 == pytest.approx(16 * tuned + 4 * fixed)


def test_methods_that_differ_in_layers_or_share_trained_are_timed_apart() -> None:
    found = {
        name: cost_class(hours._bare(name, "{}", gfm_card("scale_mae", "mini")))
        for name in ("deflect", "lora", "slr", "norm_tuning", "bitfit", "frozen", "full")
    }
    assert found["norm_tuning"] == found["bitfit"]
    assert len(set(found.values())) == 6


def test_sizes_come_from_the_catalog_or_the_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mini, paper = (planned_cards(load(ROOT / "config.yaml", name).study) for name in ("mini", "paper"))
    assert (mini["burn_scars"].image_size, mini["burn_scars"].splits["train"]["n"]) == (48, 40)
    assert (paper["burn_scars"].image_size, paper["burn_scars"].splits["train"]["n"]) == (512, 486)


def test_the_plan_of_a_small_study_names_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With real timings of mini models, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    config = small(datasets=["so2sat"], methods=["lora", "frozen"])
    monkeypatch.setattr(command, "load", lambda path, study: config)
    assert main(["plan", "--study", "mini", "--devices", "2"]) == 0
    out = capsys.readouterr().out
    assert "runs       2: 2 main grid" in out
    assert "done       0 of 2" in out
    assert "images     153 to train on, 51 to validate, 102 to test; 1,836 in all" in out
    assert "with 2 about" in out
    assert max(map(len, out.splitlines())) <= 90


def test_the_trainings_of_searches_are_counted(timed: None) -> None:
    part = {"datasets": ["so2sat"], "gfms": ["scale_mae"]}
    config = small(variants=part, tuning={"trials": 3, "methods": ["lora"]}, seeds=[0, 1])
    estimate = Estimate(config, CPU)
    tuned = RunName("so2sat", "scale_mae", "lora+tuned", 0)
    tried = command.trials(config.study, estimate.runs)
    assert tried == [tuned] * 3  # with the first seed alone
    assert dict(command.lines(config, estimate, 1))["searches"].startswith("3 trainings")
    hours = command.hours_table(config, estimate).splitlines()
    total = command.seconds(estimate, estimate.runs) + 3 * estimate.cost(tuned).seconds
    assert hours[-1].split()[:2] == ["all", str(len(estimate.runs) + 3)]
    assert float(hours[-1].split()[-1].replace(",", "")) == pytest.approx(total / 3600, rel=0.01)


def test_finished_runs_are_compared_with_their_estimate(timed: None) -> None:
    estimate = Estimate(small(), CPU)
    run = RunName("so2sat", "scale_mae", "lora", 0)
    from deflect.training.provenance import device_facts

    took = estimate.cost(run).seconds / 2
    record = {"device": device_facts(CPU), "time": {"train_s": took - 1, "test_s": 1.0}}
    assert "2.00 of what they took" in command.check(estimate, {run: record})
    record["device"] = {"name": "another"}
    assert command.check(estimate, {run: record}).startswith("no finished run on this device")


@pytest.mark.parametrize("words", ["--study paper plan", "plan --study paper"])
def test_the_study_can_be_named_before_and_after_the_command(words: str) -> None:
    assert parser().parse_args(words.split()).study == "paper"
