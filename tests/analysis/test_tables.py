"""Tables from made-up records, against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from make_records import make_run, make_study, seeds

from deflect.analysis import scores, tables, variants
from deflect.analysis.records import load_study
from deflect.analysis.render import GAP, Cell, PrintedTable, latex, markdown, marks, pipe_table, share, span, thousands
from deflect.analysis.scores import percent, t975

MAIN = "study,dataset,gfm,method,bands,metric,mean,std,ci95,n,tuned_params,gfm_params,tuned_percent,head_params"


# ---------------------------------------------------------------------- statistics


def test_interval_by_hand():
    found = percent([0.5, 0.6, math.nan, 0.7])
    assert (found["mean"], found["std"], found["n"]) == (60, 10, 3)
    assert found["ci95"] == pytest.approx(4.302653 * 10 / math.sqrt(3), rel=1e-4)


def test_one_value_has_no_interval_and_none_is_a_gap():
    assert percent([0.5])["mean"] == 50
    assert math.isnan(percent([0.5])["ci95"])
    assert math.isnan(percent([math.nan])["mean"])


def test_t_quantiles_against_published_tables():
    known = {1: 12.7062, 2: 4.3027, 10: 2.2281, 11: 2.2010, 20: 2.0860, 30: 2.0423, 120: 1.9799}
    assert {n: t975(n) for n in known} == pytest.approx(known, abs=2e-4)


# ---------------------------------------------------------------------- main table


def test_main_table_by_hand(tmp_path):
    seeds(tmp_path, "deflect", [0.50, 0.60, 0.70])
    seeds(tmp_path, "lora", [0.61, 0.61, 0.64])
    seeds(tmp_path, "full", [0.9, 0.9, 0.9])
    frame, printed = tables.main(load_study(tmp_path))
    assert ",".join(frame.columns) == MAIN
    row = scores.headline(frame).set_index("method").loc["deflect"]
    assert (row.metric, row.n, row.bands) == ("f1_macro", 3, "all")
    assert [row["mean"], row["std"], row.ci95] == pytest.approx([60, 10, 24.8414], abs=1e-3)
    assert (row.tuned_params, row.gfm_params, row.tuned_percent) == (2600, 1_000_000, pytest.approx(0.26))
    text = markdown(printed)
    assert "| DEFLECT | 2.6 | 0.26 % | 1.1 | <u>60.0 ± 24.8</u> | <u>60.0 ± 24.8</u> |" in text
    assert "| LoRA | 24 | 2.4 % | 1.1 | **62.0 ± 4.3** |" in text
    assert "| Full fine-tuning | 1,000 | 100 % | 1.1 | 90.0 ± 0.0 |" in text  # the oracle is not ranked
    assert "simulated data" in text


def test_a_class_without_iou_is_a_gap_and_not_a_zero(tmp_path):
    make_run(tmp_path, "burn_scars", "scale_mae", "deflect", metrics__test__IoU={"Not burned": 0.8, "Burn scar": None})
    frame, _ = tables.main(load_study(tmp_path))
    row = frame.set_index("metric").loc["IoU:Burn scar"]
    assert math.isnan(row["mean"])
    assert row.n == 0
    assert frame.set_index("metric").loc["IoU:Not burned", "mean"] == 80


def test_average_over_cells_has_its_interval_over_seeds(tmp_path):
    seeds(tmp_path, "deflect", [0.50, 0.60], "so2sat")
    seeds(tmp_path, "deflect", [0.70, 0.90], "brick_kiln")
    row = scores.averages(load_study(tmp_path)).iloc[0]
    assert row["mean"] == pytest.approx(67.5)  # seeds: 60 and 75
    assert row.ci95 == pytest.approx(12.7062 * np.std([60, 75], ddof=1) / math.sqrt(2), rel=1e-4)
    assert (row.cells, row.n) == (2, 2)


def test_every_cell_counts_once_however_many_seeds_it_has(tmp_path):
    seeds(tmp_path, "deflect", [0.50, 0.60], "so2sat")
    seeds(tmp_path, "deflect", [0.90], "brick_kiln")
    row = scores.averages(load_study(tmp_path)).iloc[0]
    assert (row["mean"], row.n, row.lacking) == (72.5, 1, 0)  # over runs it would be 66.7, over seeds 65
    assert math.isnan(row.ci95)


def test_cells_that_lack_runs_are_counted(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "deflect")
    grid = {"datasets": ["so2sat", "mados", "forestnet"], "gfms": ["scale_mae"], "methods": ["deflect", "slr"]}
    frame = scores.averages(load_study(tmp_path, {"blocks": [grid | {"seeds": [0]}]})).set_index("method")
    assert frame.lacking.to_dict() == {"deflect": 2, "slr": 3}
    assert frame.cells.to_dict() == {"deflect": 3, "slr": 3}
    assert frame["mean"].isna().all()


def test_averages_within_a_dataset_and_within_a_gfm(tmp_path):
    values = {("so2sat", "scale_mae"): 0.5, ("so2sat", "dino_mc"): 0.7, ("mados", "scale_mae"): 0.1}
    values[("mados", "dino_mc")] = 0.3
    for (dataset, gfm), value in values.items():
        make_run(tmp_path, dataset, gfm, "deflect", score=value)
    study = load_study(tmp_path)
    assert scores.averages(study, ("dataset",)).set_index("dataset")["mean"].to_dict() == {"so2sat": 60, "mados": 20}
    assert scores.averages(study, ("gfm",)).set_index("gfm")["mean"].to_dict() == {"scale_mae": 30, "dino_mc": 50}
    assert scores.cell_means(study).deflect.to_dict() == {cell: 100 * value for cell, value in values.items()}


def test_scores_have_four_decimals_in_percent(tmp_path):
    seeds(tmp_path, "deflect", [1 / 3, 1 / 7])
    study = load_study(tmp_path)
    table = scores.headline(scores.by_cell(study))
    assert list(table.index) == [0]
    assert "index" not in table
    assert table["mean"].tolist() == scores.averages(study)["mean"].tolist() == [23.8095]
    assert table["std"].tolist() == [13.4687]


def test_missing_runs_are_gaps_with_a_note(tmp_path):
    for dataset in ("so2sat", "mados"):
        for method in ("deflect", "lora"):
            make_run(tmp_path, dataset, "scale_mae", method)
    (tmp_path / "mados/scale_mae/lora/seed0/record.json").unlink()
    study = load_study(tmp_path)
    assert study.missing == ["mados/scale_mae/lora/seed0"]
    table = tables.main(study)
    frame, printed = table
    gap = frame[(frame.dataset == "mados") & (frame.method == "lora")]
    assert (len(gap), gap.iloc[0].n, gap.iloc[0].metric) == (1, 0, "mIoU")
    assert gap[["mean", "std", "ci95", "tuned_params"]].isna().all(axis=None)
    lora = next(row for row in printed.rows if isinstance(row, list) and row[0].text == "LoRA")
    assert [cell.text for cell in lora[-2:]] == [GAP, GAP]  # no average over other cells
    assert any("mados/scale_mae/lora/seed0" in note for note in printed.notes)
    table.write(tmp_path / "out/main")
    assert ",lora,,mIoU,,,,0,,,," in (tmp_path / "out/main.csv").read_text()


def test_missing_runs_of_the_grid_without_any_folder(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "deflect")
    grid = {"datasets": ["so2sat"], "gfms": ["scale_mae"], "methods": ["deflect", "slr"], "seeds": [0, 1]}
    variants = {"datasets": ["so2sat"], "gfms": ["scale_mae"], "methods": ["no_uatt"], "seeds": [0]}
    study = load_study(tmp_path, {"blocks": [grid, variants]})
    assert {run.split("/", 2)[2] for run in study.missing} == {
        "slr/seed0",
        "deflect/seed1",
        "slr/seed1",
        "no_uatt/seed0",
    }
    assert study.cells().values.tolist() == [["so2sat", "scale_mae", "deflect"], ["so2sat", "scale_mae", "slr"]]


def test_parameters_are_averaged_over_cells_like_the_scores(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "lora", parameters__tuned_percent=1.0)
    for seed in (0, 1, 2):  # more seeds have no more weight
        make_run(tmp_path, "so2sat", "dino_mc", "lora", seed, parameters__tuned_percent=3.0)
    assert scores.averages(load_study(tmp_path)).tuned_percent.tolist() == [2.0]


# ---------------------------------------------------------------------- variants


def test_ablation_compares_equal_runs(tmp_path):
    seeds(tmp_path, "deflect", [0.60, 0.64, 0.99])
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", 0, "deflect+rank=1", {"rank": 1}, score=0.50)
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", 1, "deflect+rank=1", {"rank": 1}, score=0.52)
    frame, printed = variants.ablation(load_study(tmp_path))
    rows = frame[frame.dataset == "average"].set_index("variant")
    assert rows.loc["", "mean"] == pytest.approx(62)  # seed 2 has no variant
    assert rows.loc["rank=1", "difference"] == pytest.approx(-11)
    assert rows.loc["rank=1", "difference_ci95"] == pytest.approx(12.7062 * math.sqrt(2) / math.sqrt(2), rel=1e-3)
    assert rows.loc["rank=1", "changes"] == "rank=1"
    assert "−11.0 ± 12.7" in markdown(printed)


def test_ablation_gap_instead_of_an_average_over_fewer_runs(tmp_path):
    for dataset in ("so2sat", "mados"):
        make_run(tmp_path, dataset, "scale_mae", "deflect")
        make_run(tmp_path, dataset, "scale_mae", "deflect", variant="no_uatt", settings={"attention": False})
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", variant="hard", settings={"constraint": "hard"})
    frame, _ = variants.ablation(load_study(tmp_path))
    hard = frame[frame.variant == "hard"].set_index("dataset")
    assert math.isnan(hard.loc["average", "mean"])
    assert math.isfinite(hard.loc["so2sat", "mean"])


def test_ablation_counts_parameters_of_the_runs_that_it_compares(tmp_path):
    for gfm, tuned in (("scale_mae", 2.0), ("dino_mc", 8.0)):  # the variant ran on Scale-MAE alone
        make_run(tmp_path, "so2sat", gfm, "deflect", parameters__tuned_percent=tuned)
    lower = {"settings": {"rank": 1}, "parameters__tuned_percent": 1.0, "parameters__tuned_params": 10}
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", variant="deflect+rank=1", **lower)
    frame, printed = variants.ablation(load_study(tmp_path))
    average = frame[frame.dataset == "average"].set_index("variant")
    assert average.tuned_percent.to_dict() == {"": 2.0, "rank=1": 1.0}
    assert average.tuned_params["rank=1"] == 10
    assert "| DEFLECT, main table | 2 % |" in markdown(printed)
    assert "with Scale-MAE on" in printed.title  # not with all GFMs


def test_patch_embed_initialisations(tmp_path):
    seeds(tmp_path, "lora", [0.50, 0.70])
    for init, value in (("random", 0.4), ("zero", 0.6)):
        make_run(tmp_path, "so2sat", "scale_mae", "lora", 0, f"lora+init={init}", {"patch_init": init}, score=value)
    study = load_study(tmp_path)
    frame, printed = variants.patch_embed(study)
    assert frame.set_index("init")["mean"].to_dict() == {"random": 40, "repeat": 50, "zero": 60}
    assert "| So2Sat, Scale-MAE | 40.0 | <u>50.0</u> | **60.0** |" in markdown(printed)
    assert variants.ablation(study)[0].empty  # an initialisation is no ablation


def test_variant_tables_of_a_study_without_variants(tmp_path):
    make_study(tmp_path, ["so2sat"], ["scale_mae"], ["deflect", "lora"])
    study = load_study(tmp_path)
    for table in (variants.ablation, variants.patch_embed):
        frame, printed = table(study)
        assert frame.empty
        assert "No such runs" in markdown(printed)


# ---------------------------------------------------------------------- formats


def test_marks_share_a_tie_as_printed():
    assert marks([50.04, 49.96, math.nan, 40, 40.01]) == ["best", "best", "", "second", "second"]
    assert marks([math.nan]) == [""]


def test_numbers_as_printed():
    assert [thousands(n) for n in (0, 130, 24_576, 303_301_632)] == ["0", "0.13", "24.6", "303,302"]
    assert [share(p) for p in (0, 0.2049, 2.15, 52.6, 112.8)] == ["0 %", "0.2 %", "2.1 %", "53 %", "113 %"]
    assert [span(["1", "1"]), span(["1", "2", "3"]), span([])] == ["1", "1–3", GAP]


def test_a_wide_latex_table_spans_the_page_and_is_scaled():
    narrow, wide = (latex(PrintedTable("T", ["x"] * columns, [])) for columns in (3, 10))
    assert (narrow.count("{table}"), wide.count("{table*}")) == (2, 2)
    assert r"\resizebox{\ifdim\width>\linewidth" in wide


def test_markdown_and_latex():
    row = [Cell("a_b | c"), Cell("50 % ± 1", "best"), Cell("−2", "second")]
    printed = PrintedTable("T & U", ["x", "y", "z"], ["Part", row], ["1 – 2"])
    assert r"| a_b \| c | **50 % ± 1** | <u>−2</u> |" in markdown(printed)
    text = latex(printed)
    assert r"a\_b $|$ c & \textbf{50 \% $\pm$ 1} & \underline{$-$2} \\" in text
    assert r"\caption{T \& U}" in text
    assert text.count(r"\midrule") == 1
    assert text.count("{tabular}") == 2
    assert "$<$ x\\textasciicircum{}2 $|$" in latex(
        PrintedTable("< x^2 |", ["x"], [])
    )  # else an error, or other signs in print


def test_a_bar_in_a_cell_is_escaped_once():
    assert pipe_table(["a"], [["x | y"], [r"x \| y"]]) == "| a |\n| --- |\n| x \\| y |\n| x \\| y |\n"
