"""The table of tuned runs from made-up records, against values computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from make_records import make_run, make_study

from deflect.analysis import variants
from deflect.analysis.bootstrap import image_results, resamples, score
from deflect.analysis.records import load_study
from deflect.analysis.render import latex, markdown
from deflect.analysis.tuned import tuned


def make_tuned(folder: Path, dataset: str, method: str, seed: int = 0, gfm: str = "scale_mae", **changes) -> Path:
    given = {"lr": 1e-3, "rank": None, "seconds": 90.0, "trials": 4, **changes}
    search = {"path": "x.json", "sha256": "x", "val": 0.7, "trials": given["trials"], "seconds": given["seconds"]}
    return make_run(
        folder,
        dataset,
        gfm,
        method,
        seed,
        f"{method}+tuned",
        {"rank": given["rank"]} if given["rank"] else {},
        score=given.get("score"),
        part="tuned",
        search=search,
        settings__training__lr=given["lr"],
    )


def test_scores_settings_and_cost_by_hand(tmp_path):
    for dataset, main, better in (("so2sat", [0.50, 0.54], [0.56, 0.58]), ("brick_kiln", [0.70, 0.72], [0.69, 0.71])):
        for seed in (0, 1):
            settings = {"rank": 16}
            make_run(
                tmp_path, dataset, "scale_mae", "lora", seed, settings=settings, score=main[seed], time__train_s=30
            )
            lr = 3e-4 if dataset == "so2sat" else 2e-3
            make_tuned(tmp_path, dataset, "lora", seed, score=better[seed], rank=2, lr=lr, seconds=120)
    table = tuned(load_study(tmp_path))
    rows = table.frame.set_index("dataset")
    assert list(rows.index) == ["so2sat", "brick_kiln", "average"]
    assert rows.main.tolist() == [52, 71, 61.5]
    assert rows.tuned.tolist() == [57, 70, 63.5]
    assert rows.difference.tolist() == [5, -1, 2]
    assert rows.lr.tolist() == ["0.0003", "0.002", "0.0003–0.002"]
    assert rows.main_lr.tolist() == ["0.0001"] * 3
    assert (rows["rank"].tolist(), rows.main_rank.tolist()) == (["2"] * 3, ["16"] * 3)
    assert rows.search_minutes.tolist() == [2, 2, 4]  # a search counts once, however many seeds use it
    assert rows.search_trainings.tolist() == [4, 4, 4]
    assert set(rows.n) == {2}
    assert rows[["low", "high"]].isna().all(axis=None)  # these runs have no predictions
    text = markdown(table.printed)
    assert "| LoRA | 52.0 | 57.0 | +5.0 |  | 0.0001 → 0.0003 | 16 → 2 | 2 min, 4.0× |" in text
    assert "in 4 trials per dataset" in text
    assert r"0.0001 $\to$ 0.0003" in latex(table.printed)


def test_interval_is_the_paired_bootstrap_over_images(tmp_path):
    folders = []
    for gfm in ("scale_mae", "dino_mc"):
        folders.append(make_run(tmp_path, "burn_scars", gfm, "lora"))
        folders.append(make_tuned(tmp_path, "burn_scars", "lora", gfm=gfm))
    study = load_study(tmp_path)
    row = tuned(study, resamples=200).frame.set_index("dataset").loc["burn_scars"]
    runs = {row.folder: row.record for row in study.runs.itertuples()}
    images = [image_results(folder, runs[folder])[1] for folder in folders]
    differences = []
    for weights in np.concatenate(list(resamples(len(images[0]), 200, 0))):
        main1, tuned1, main2, tuned2 = (score(weights[:, None, None] * each, "mIoU") for each in images)
        differences.append(100 * (tuned1 - main1 + tuned2 - main2) / 2)
    low, high = np.quantile(differences, [0.025, 0.975])
    assert (row.low, row.high) == pytest.approx((low, high), abs=1e-3)
    assert row.low < row.difference < row.high


def test_equal_runs_differ_by_nothing(tmp_path):
    main = make_run(tmp_path, "so2sat", "scale_mae", "bitfit")
    value = load_study(tmp_path).runs.score[0]
    copy = make_tuned(tmp_path, "so2sat", "bitfit", score=value, lr=1e-4)
    (copy / "predictions.npz").write_bytes((main / "predictions.npz").read_bytes())
    row = tuned(load_study(tmp_path), resamples=50).frame.iloc[0]
    assert (row.difference, row.low, row.high, row["rank"]) == (0, 0, 0, "")


def test_a_method_that_lacks_a_run_has_a_gap(tmp_path):
    for dataset in ("so2sat", "mados"):
        for method in ("lora", "bitfit"):
            make_run(tmp_path, dataset, "scale_mae", method)
            if (dataset, method) != ("mados", "bitfit"):
                make_tuned(tmp_path, dataset, method)
    make_run(tmp_path, "so2sat", "scale_mae", "deflect")
    make_tuned(tmp_path, "so2sat", "slr")  # without a run of the main grid
    table = tuned(load_study(tmp_path), resamples=50)
    rows = table.frame.set_index(["dataset", "method"])
    assert math.isfinite(rows.tuned["average", "lora"])
    for gap in (("mados", "bitfit"), ("average", "bitfit"), ("so2sat", "slr"), ("average", "slr")):
        assert math.isnan(rows.tuned[gap]), gap
    assert "| BitFit | – | – |" in markdown(table.printed)


def test_tuned_runs_are_in_no_other_table_and_cause_no_warning(tmp_path):
    make_study(tmp_path, ["so2sat"], ["scale_mae"], ["lora", "frozen"])
    make_run(tmp_path, "so2sat", "scale_mae", "lora", variant="lora+init=zero", settings={"patch_init": "zero"})
    before = load_study(tmp_path)
    make_tuned(tmp_path, "so2sat", "lora", rank=2)
    make_tuned(tmp_path, "so2sat", "frozen")  # with another learning rate and the same settings of the method
    study = load_study(tmp_path)
    for table in (variants.ablation, variants.patch_embed):
        assert table(study).frame.equals(table(before).frame)
    assert study.warnings == before.warnings == []


def test_a_study_without_tuning(tmp_path):
    make_study(tmp_path, ["so2sat"], ["scale_mae"], ["deflect", "lora"])
    frame, printed = tuned(load_study(tmp_path))
    assert frame.empty
    assert "No such runs in this study; `tuning`" in markdown(printed).replace("\\", "")
