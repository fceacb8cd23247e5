"""Comparison with the paper: differences and verdicts by hand; unknown cells stay empty."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_records import make_run
from paths import ROOT

from deflect.analysis.comparison import comparison, load_references, verdict_counts
from deflect.analysis.records import load_study
from deflect.analysis.render import markdown
from deflect.analysis.summary import differences
from deflect.errors import DataError

REFERENCES = ROOT / "references/paper.csv"


def compared(folder: Path, score: float, study: str = "paper"):
    make_run(folder, "mados", "scale_mae", "deflect", score=score, study=study)
    make_run(folder, "mados", "scale_mae", "lora", score=0.5, study=study)
    make_run(
        folder, "so2sat", "scale_mae", "full", study=study, metrics__test={"f1_macro": 0.5, "accuracy": 0.55}, score=0.5
    )
    return comparison(load_study(folder), load_references(REFERENCES))


def test_the_reference_file_holds_the_known_numbers():
    table = load_references(REFERENCES)
    known = table[(table.source == "Table 2") & (table.method == "deflect") & (table.dataset != "")]
    numbers = {"so2sat": 53.2, "brick_kiln": 97.8, "forestnet": 44.1, "burn_scars": 77.3, "mados": 50.6}
    assert known.set_index("dataset").value.to_dict() == numbers
    assert set(table.confidence) == {"medium", "high"}


@pytest.mark.parametrize(("score", "difference", "verdict"), [(0.526, 2.0, "inside"), (0.4850, -2.1, "outside")])
def test_difference_and_verdict_by_hand(tmp_path, score, difference, verdict):
    frame, _ = compared(tmp_path, score)
    row = frame[(frame.source == "Table 2") & (frame.dataset == "mados")].iloc[0]
    assert (row.paper, row.tolerance, row.verdict) == (50.6, 2.0, verdict)
    assert row.difference == pytest.approx(difference)
    assert row.our_share == pytest.approx(0.26)


def test_ranges_and_absent_runs(tmp_path):
    frame, sheet = compared(tmp_path, 0.5)
    ranges = frame[frame.source == "GEO-Bench baselines"].set_index("dataset")
    assert (ranges.loc["so2sat", "ours"], ranges.loc["so2sat", "verdict"]) == (55, "inside")
    assert ranges.loc["forestnet", "verdict"] == "no run"
    assert verdict_counts(frame)["no run"] == 14
    assert "44.93–60.95" in markdown(sheet)


def test_unknown_cells_stay_empty(tmp_path):
    frame, _ = compared(tmp_path, 0.5)
    ours_alone = frame[(frame.method == "lora") & (frame.dataset == "mados")].iloc[0]
    assert ours_alone.ours == 50
    assert ours_alone[["source", "paper", "low", "high", "difference"]].isna().all()
    nameless = frame[frame.paper == 52.6].iloc[0]
    assert (nameless.method, nameless.verdict, nameless.n) == ("", "", 0)
    assert nameless[["ours", "difference"]].isna().all()


def test_a_simulated_study_is_not_comparable(tmp_path):
    frame, sheet = compared(tmp_path, 0.506, study="mini")
    assert set(verdict_counts(frame)) == {"not comparable"}
    assert frame.difference.isna().all()
    assert "Not comparable" in markdown(sheet)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("53.2,,,0.2,2.0", "53.2,,,0.2,", "line 2: expected a value with its tolerance"),
        ("confidence", "trust", "columns"),
    ],
)
def test_a_broken_reference_file_is_an_error(tmp_path, old, new, message):
    path = tmp_path / "paper.csv"
    path.write_text(REFERENCES.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=f"{path}: .*{message}"):
        load_references(path)


@pytest.mark.parametrize("weights", [{"size": "mini", "sha256": "of a small GFM"}, {"size": "full", "sha256": None}])
def test_gfms_without_their_published_weights_are_not_comparable(tmp_path, weights):
    make_run(tmp_path, "mados", "scale_mae", "deflect", study="paper", weights={"name": "scale_mae"} | weights)
    study = load_study(tmp_path)
    frame, sheet = comparison(study, load_references(REFERENCES))
    assert set(verdict_counts(frame)) == {"not comparable"}
    assert "GFMs without their published weights" in markdown(sheet)
    assert differences(study, frame)[-1] == "No number is compared with the paper's."
