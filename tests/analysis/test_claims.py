"""Verdicts on the paper's claims, on made-up records whose differences are known by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from make_records import make_run, make_study
from paths import ROOT

from deflect.analysis import ranks
from deflect.analysis.claims import CANNOT_TELL, FAILS, HOLDS, NOT_SUPPORTED, SUPPORTED, UNDECIDED, outcome, verdicts
from deflect.analysis.records import load_study
from deflect.analysis.render import markdown
from deflect.errors import DataError
from deflect.settings.claims import Claim, Claims, load_claims

FILE = ROOT / "references/claims.yaml"
TEXTS = {"title": "On par", "claim": "A claim.", "source": "abstract", "reading": "As it is."}


def judged(folder: Path, margin: float = 1.0, **rule) -> pd.DataFrame:
    """The comparisons of one claim about Burn Scars and Scale-MAE."""
    part = {"datasets": ["burn_scars"], "gfms": ["scale_mae"], "kind": "not_worse", "methods": ["lora"]}
    claim = Claim.model_validate(TEXTS | part | rule)
    return verdicts(load_study(folder), Claims(margin=margin, seeds=3, claims={"one": claim}), 200).frame


def runs(folder: Path, method: str, hits: int, dataset="burn_scars", gfm="scale_mae", seeds=range(3), **kw) -> None:
    """Runs with ``hits`` of 100 pixels of each of two classes right in every image: mIoU is hits / (200 - hits).

    All images are alike, so every resample has the same score and the interval is the difference itself.
    """
    counts = np.array([[hits, 100 - hits], [100 - hits, hits]])
    for seed in seeds:
        out = make_run(folder, dataset, gfm, method, seed, score=hits / (200 - hits), study="paper", **kw)
        np.savez(out / "predictions.npz", ids=np.array(["a", "b", "c"]), confusions=np.stack([counts] * 3))


def of_claim(frame: pd.DataFrame) -> tuple[str, str, str]:
    (found,) = set(frame[["in_study", "verdict", "reason"]].itertuples(index=False, name=None))
    return found


@pytest.mark.parametrize(
    ("low", "high", "bound", "expected"),
    [(-0.9, 2, -1, HOLDS), (-3, -1.1, -1, FAILS), (-1.1, 0.5, -1, UNDECIDED), (0, 0, 0, UNDECIDED), (0.1, 1, 0, HOLDS)],
)
def test_outcome_of_an_interval(low, high, bound, expected):
    assert outcome(low, high, bound) == expected


# 60 of 100 right is an mIoU of 42.8571 %, 61 of 100 43.8849 %, 1.0278 points more.
@pytest.mark.parametrize(
    ("hits", "margin", "kind", "verdict", "difference"),
    [
        (61, 1.1, "not_worse", SUPPORTED, -1.0278),
        (61, 1.0, "not_worse", NOT_SUPPORTED, -1.0278),
        (59, 1.0, "better", SUPPORTED, 1.0132),
        (61, 1.1, "better", NOT_SUPPORTED, -1.0278),
        (60, 1.0, "better", CANNOT_TELL, 0.0),
    ],
)
def test_verdicts_on_real_data(tmp_path, hits, margin, kind, verdict, difference):
    runs(tmp_path, "deflect", 60)
    runs(tmp_path, "lora", hits)
    (row,) = judged(tmp_path, margin, kind=kind).to_dict("records")
    assert row["verdict"] == verdict
    assert [row["value"], row["low"], row["high"]] == pytest.approx([difference] * 3, abs=1e-4)
    assert row["bound"] == (-margin if kind == "not_worse" else 0)


def test_a_claim_that_fails_against_one_method_does_not_hold(tmp_path):
    for method, hits in {"deflect": 60, "lora": 55, "slr": 70}.items():
        runs(tmp_path, method, hits)
    frame = judged(tmp_path, methods=["lora", "slr", "bitfit"])
    assert frame.outcome.tolist() == [HOLDS, FAILS, UNDECIDED]
    assert of_claim(frame) == (FAILS, NOT_SUPPORTED, "does not hold in 1 of 3 comparisons")


def test_an_absent_method_leaves_a_claim_open_and_is_named(tmp_path):
    for method in ("deflect", "frozen"):
        runs(tmp_path, method, 60 if method == "deflect" else 50)
    frame = judged(tmp_path, kind="better", methods=["frozen", "late_fusion"])
    in_study, verdict, reason = of_claim(frame)
    assert (in_study, verdict) == (UNDECIDED, CANNOT_TELL)
    assert reason.startswith("undecided in 1 of 2 comparisons: no runs of ")
    assert frame.set_index("method").loc["late_fusion", ["value", "low", "high"]].isna().all()


def test_missing_runs_leave_a_claim_open(tmp_path):
    for method in ("deflect", "lora"):
        runs(tmp_path, method, 60)
    (tmp_path / "burn_scars/scale_mae/lora/seed1/record.json").unlink()
    assert of_claim(judged(tmp_path))[1:] == (CANNOT_TELL, "undecided in 1 of 1 comparison: 1 run missing")


@pytest.mark.parametrize(
    ("rule", "seeds", "doubt"),
    [
        ({"datasets": ["burn_scars", "mados"]}, range(3), "without MADOS"),
        ({"gfms": ["scale_mae", "dino_mc"]}, range(3), "without DINO-MC"),
        ({}, range(2), "2 seeds, not 3"),
    ],
)
def test_a_smaller_study_holds_for_itself_only(tmp_path, rule, seeds, doubt):
    for method in ("deflect", "lora"):
        runs(tmp_path, method, 60, seeds=seeds)
    expected = (HOLDS, CANNOT_TELL, f"holds in 1 of 1 comparison; {doubt}")
    assert of_claim(judged(tmp_path, **rule)) == expected


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        ({"simulated": True}, "simulated data and small GFMs"),
        ({"weights__size": "mini"}, "GFMs without their published weights"),
    ],
)
@pytest.mark.parametrize(("hits", "in_study"), [(60, HOLDS), (70, FAILS)])
def test_a_study_that_is_not_comparable_gives_no_verdict_on_the_paper(tmp_path, change, doubt, hits, in_study):
    runs(tmp_path, "deflect", 60, **change)
    runs(tmp_path, "lora", hits, **change)
    assert of_claim(judged(tmp_path)) == (in_study, CANNOT_TELL, f"{in_study} in 1 of 1 comparison; {doubt}")


def test_without_predictions_nothing_is_compared(tmp_path):
    for method in ("deflect", "lora"):
        runs(tmp_path, method, 60)
    (tmp_path / "burn_scars/scale_mae/lora/seed1/predictions.npz").unlink()
    assert judged(tmp_path).why.tolist() == ["no predictions"]


def test_runs_without_a_common_seed_are_not_compared(tmp_path):
    runs(tmp_path, "deflect", 60)
    runs(tmp_path, "deflect", 55, seeds=[7], variant="deflect+no_attention", settings={"attention": False})
    assert judged(tmp_path, methods=["deflect+no_attention"]).why.tolist() == ["no common seeds"]


def test_an_interval_around_the_margin_leaves_a_claim_open(tmp_path):
    make_study(tmp_path, ["brick_kiln"], ["scale_mae"], ["deflect", "lora"], (0, 1, 2), "paper")
    frame = judged(tmp_path, datasets=["brick_kiln"])
    assert frame.low[0] < -1 < frame.high[0]
    assert of_claim(frame)[1:] == (CANNOT_TELL, "undecided in 1 of 1 comparison: the interval includes −1")
    test = ranks.ranks(load_study(tmp_path), resamples=200).frame.set_index("method").loc["lora"]
    assert frame[["value", "low", "high"]].iloc[0].tolist() == test[["difference", "low", "high"]].tolist()


def test_each_part_is_compared_apart(tmp_path):
    for gfm, hits in {"scale_mae": 60, "dino_mc": 50}.items():
        runs(tmp_path, "deflect", hits, gfm=gfm)
        runs(tmp_path, "lora", 55, gfm=gfm)
    both = {"gfms": ["scale_mae", "dino_mc"]}
    assert judged(tmp_path, **both).outcome.tolist() == [HOLDS]  # 4.9 points higher and 4.6 lower
    frame = judged(tmp_path, **both, each="gfm")
    assert dict(zip(frame.part, frame.outcome, strict=True)) == {"scale_mae": HOLDS, "dino_mc": FAILS}
    assert of_claim(frame)[1] == NOT_SUPPORTED


def test_a_variant_is_compared_where_it_ran(tmp_path):
    runs(tmp_path, "deflect", 60)
    runs(tmp_path, "deflect", 10, dataset="mados", metrics__test={"mIoU": 10 / 190})
    runs(tmp_path, "deflect", 55, variant="deflect+no_attention", settings={"attention": False})
    frame = judged(tmp_path, kind="better", methods=["deflect+no_attention"], datasets=["burn_scars", "mados"])
    assert frame.value[0] == pytest.approx(100 * (60 / 140 - 55 / 145), abs=1e-3)
    assert of_claim(frame) == (HOLDS, CANNOT_TELL, "holds in 1 of 1 comparison; without MADOS")


@pytest.mark.parametrize(
    ("patch_embed", "ratio", "expected", "why"),
    [(True, 12.0, SUPPORTED, "more than 10 times fewer"), (False, 4.0, NOT_SUPPORTED, "")],
)
def test_ratio_of_parameters_by_hand(tmp_path, patch_embed, ratio, expected, why):
    counts = {"deflect": {"uatt.*.up": 1000}, "lora": {"gfm.patch_embed.proj.weight": 8000, "gfm.blocks.*.up": 4000}}
    for method, modules in counts.items():
        tuned = {"parameters__modules": modules, "parameters__tuned_params": sum(modules.values())}
        runs(tmp_path, method, 60, seeds=[0], **tuned)
    rule = {"kind": "parameters_ratio", "low": 5, "high": 10, "patch_embed": patch_embed}
    (row,) = judged(tmp_path, **rule).to_dict("records")
    assert (row["value"], row["verdict"], row["why"]) == (ratio, expected, why)


def test_without_counts_by_module_the_patch_embedding_cannot_be_left_out(tmp_path):
    for method in ("deflect", "lora"):
        runs(tmp_path, method, 60)
    frame = judged(tmp_path, kind="parameters_ratio", low=5, high=10, patch_embed=False)
    assert math.isnan(frame.value[0])
    assert of_claim(frame)[1:] == (CANNOT_TELL, "undecided in 1 of 1 comparison: no counts by module in the records")


# ---------------------------------------------------------------------- the file


def test_the_printed_table_has_every_claim(tmp_path):
    make_study(tmp_path, ["brick_kiln", "mados"], ["scale_mae"], ["deflect", "lora", "full"])
    claims = load_claims(FILE)
    frame, printed = verdicts(load_study(tmp_path), claims, 50)
    assert set(frame.claim) == set(claims.claims)
    assert set(frame.verdict) == {CANNOT_TELL}
    text = markdown(printed)
    for claim in claims.claims.values():
        assert f"| {claim.title} |" in text
        assert f"{claim.title}: {claim.claim}" in text


def test_variants_of_the_claims_are_run_by_the_paper_study():
    known = yaml.safe_load((ROOT / "config.yaml").read_text())["studies"]["paper"]["variants"]
    for claim in load_claims(FILE).claims.values():
        if variants := {method for method in claim.methods if "+" in method}:
            assert variants <= set(known["settings"])
            assert list(claim.gfms) == known["gfms"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("margin: 1.0 ", "margin: -1 ", "margin: expected greater than or equal to 0, found -1"),
        ("kind: better", "kind: best", "claims.spectral_information.kind: unknown value 'best'; did you mean 'better'"),
        ("[so2sat, brick", "[so2st, brick", "claims.classification.datasets.0: unknown value 'so2st'; did you mean"),
        ("[full]", "[fulll]", "claims.close_to_full.methods.0: unknown method 'fulll'; did you mean 'full'"),
        ("    high: 10\n", "", "claims.fewer_parameters: low and high belong to kind parameters_ratio"),
        ("    each: gfm", "    every: gfm", "claims.fewer_parameters: unknown key 'every'"),
        ("seeds: 3 ", "seeds: [3 ", "not a YAML mapping"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path, old, new, message):
    path = tmp_path / "claims.yaml"
    path.write_text(FILE.read_text().replace(old, new, 1))
    with pytest.raises(DataError) as error:
        load_claims(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
