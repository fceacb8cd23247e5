"""tables/sensitivity from made-up records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from make_records import make_run, make_study
from paths import ROOT

from deflect import config
from deflect.analysis import variants
from deflect.analysis.records import load_study
from deflect.analysis.sensitivity import sensitivity
from deflect.files import read_json

DECISIONS = config.decisions(ROOT / config.DECISIONS)


def alternative(folder: Path, dataset: str, name: str, seed: int = 0) -> float:
    """Write a run of a decision's alternative; returns its score."""
    run = make_run(folder, dataset, "scale_mae", name.partition("+")[0], seed, variant=name, part="decisions")
    return read_json(run / "record.json")["score"]["value"]


def test_decisions_are_ranked_by_the_points_that_they_move(tmp_path: Path) -> None:
    make_study(tmp_path, ["so2sat", "mados"], ["scale_mae"], ["deflect", "lora"])
    own = {
        name: [alternative(tmp_path, dataset, name) for dataset in ("so2sat", "mados")]
        for name in ("deflect+gsd=image", "lora+gsd=image", "deflect+scale=2d")
    }
    study = load_study(tmp_path)
    main = study.main.set_index(["method", "dataset"]).score
    frame, printed = sensitivity(study, DECISIONS, resamples=200)
    for row in frame.itertuples():
        scores = own[f"{row.method}+{row.decision}={row.alternative}"]
        by_hand = 100 * np.mean([scores[0] - main[row.method, "so2sat"], scores[1] - main[row.method, "mados"]])
        assert row.difference == pytest.approx(by_hand, abs=1e-3)
        assert row.low <= row.difference <= row.high
        assert (row.cells, row.detectable > 0) == (2, True)
    assert frame.moves.is_monotonic_decreasing
    first = frame[frame.decision == frame.decision[0]]
    assert frame.moves[0] == first.difference.abs().max() == frame.difference.abs().max()
    titles = [row for row in printed.rows if isinstance(row, str)]
    assert set(titles) == {f"{DECISIONS[name].title}: {DECISIONS[name].choice.text}" for name in ("gsd", "scale")}
    assert "v_P + v_A" not in str(printed.rows)
    assert DECISIONS["values"].not_varied in printed.notes[-1]


def test_an_alternative_is_compared_over_the_cells_that_it_has(tmp_path: Path) -> None:
    make_study(tmp_path, ["so2sat", "mados"], ["scale_mae"], ["deflect"])
    alternative(tmp_path, "mados", "deflect+crop=random")
    [row] = sensitivity(load_study(tmp_path), DECISIONS, resamples=50).frame.itertuples()
    assert row.cells == 1


def test_a_study_without_alternatives_says_so(tmp_path: Path) -> None:
    make_study(tmp_path, ["so2sat"], ["scale_mae"], ["deflect"])
    frame, printed = sensitivity(load_study(tmp_path), DECISIONS)
    assert frame.empty
    assert "No such runs in this study" in printed.notes[0]


def test_the_ablation_leaves_them_out(tmp_path: Path) -> None:
    make_study(tmp_path, ["so2sat"], ["scale_mae"], ["deflect"])
    alternative(tmp_path, "so2sat", "deflect+scale=2d")
    assert variants.ablation(load_study(tmp_path)).frame.empty
