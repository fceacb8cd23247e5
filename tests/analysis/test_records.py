"""Records that do not belong together are left out, warned of or refused."""

from __future__ import annotations

import json
import math

import pytest
from make_records import make_run, make_study, seeds

from deflect.analysis import scores, tables
from deflect.analysis.records import load_records, load_study
from deflect.errors import DataError


def test_stale_records_are_listed_and_left_out(tmp_path):
    seeds(tmp_path, "deflect", [0.5, 0.5, 0.5])
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", 3, score=0.9, code__sha256="an older state")
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", 4, score=0.9, settings={"rank": 9})
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", 5, score=0.9, data__store_sha256="another split")
    study = load_study(tmp_path)
    assert list(study.stale.reason.str.extract(r"^(\w+ \w+)")[0]) == ["another state", "other settings", "other data"]
    row = scores.headline(tables.main(study)[0]).iloc[0]
    assert (row["mean"], row.n) == (50, 3)
    assert len(study.missing) == 3
    assert any("stale" in note for note in tables.gap_notes(study))


def test_on_a_tie_the_newest_code_stays(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", 0, code__sha256="old", finished="2026-01-01")
    make_run(tmp_path, "so2sat", "scale_mae", "lora", 0, code__sha256="new", finished="2026-02-01")
    assert list(load_study(tmp_path).runs.method) == ["lora"]


def test_runs_outside_the_grid_are_not_mixed_in(tmp_path):
    make_study(tmp_path, ["so2sat"], ["scale_mae"], ["deflect", "lora"])
    grid = {"datasets": ["so2sat"], "gfms": ["scale_mae"], "methods": ["deflect"], "seeds": [0]}
    study = load_study(tmp_path, {"blocks": [grid]})
    assert list(study.runs.method) == ["deflect"]
    assert study.stale.reason.tolist() == ["not in the configured grid"]


def test_runs_outside_the_grid_do_not_make_others_stale(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "deflect")
    for dataset in ("mados", "burn_scars"):  # not in the configuration any more
        make_run(tmp_path, dataset, "scale_mae", "deflect", code__sha256="an older state")
    grid = {"datasets": ["so2sat"], "gfms": ["scale_mae"], "methods": ["deflect"], "seeds": [0]}
    study = load_study(tmp_path, {"blocks": [grid]})
    assert list(study.runs.dataset) == ["so2sat"]
    assert study.missing == []
    assert set(study.stale.reason) == {"not in the configured grid"}


def test_a_run_left_out_does_not_count_for_other_reasons(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "lora")
    make_run(tmp_path, "so2sat", "scale_mae", "slr")
    for seed in (0, 1):  # two seeds of the old code and settings, one trained again
        old = {"code__sha256": "an older state", "settings": {"rank": 9}}
        make_run(tmp_path, "so2sat", "scale_mae", "deflect", seed, **old)
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", 2)
    study = load_study(tmp_path)
    assert sorted(study.runs.method) == ["deflect", "lora", "slr"]
    assert study.stale.run.tolist() == [f"so2sat/scale_mae/deflect/seed{seed}" for seed in (0, 1)]


def test_without_a_run_of_the_main_grid_the_message_names_one(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", variant="deflect+rank=1", settings={"rank": 1})
    with pytest.raises(DataError, match=r"expected runs of the main grid.*found 1 other runs, e.g. so2sat/.*rank=1"):
        load_study(tmp_path)
    grid = {"datasets": ["mados"], "gfms": ["scale_mae"], "methods": ["deflect"], "seeds": [0]}
    with pytest.raises(DataError, match=r"e\.g\. mados/scale_mae/deflect/seed0"):
        load_study(tmp_path, {"blocks": [grid]})


def test_different_devices_raise_a_warning(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "deflect")
    assert load_study(tmp_path).warnings == []
    make_run(tmp_path, "so2sat", "scale_mae", "lora", device__type="cuda", device__name="a GPU")
    assert "Runs on different devices: a GPU, made-up processor" in load_study(tmp_path).warnings[0]


def test_unchecked_data_raises_a_warning(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "deflect", data={"store_sha256": "0", "unchecked": True})
    warning = "So2Sat: sizes and statistics were not compared with the published ones."
    assert load_study(tmp_path).warnings == [warning]


def test_identical_metrics_of_different_models_raise_a_warning(tmp_path):
    for method in ("bitfit", "lora"):
        out = make_run(tmp_path, "so2sat", "scale_mae", method, score=0.5)
    twin = json.loads((tmp_path / "so2sat/scale_mae/bitfit/seed0/record.json").read_text())["metrics"]
    make_run(tmp_path, "so2sat", "scale_mae", "lora", score=0.5, metrics=twin)
    assert out.name == "seed0"
    [warning] = load_study(tmp_path).warnings
    assert "identical" in warning
    assert "bitfit" in warning
    assert "lora" in warning


def test_spectral_probes_on_several_gfms_may_be_equal(tmp_path):
    """They do not run the GFM; two seeds of one still must differ."""
    make_run(tmp_path, "so2sat", "scale_mae", "spectral_probe", score=0.5)
    twin = json.loads((tmp_path / "so2sat/scale_mae/spectral_probe/seed0/record.json").read_text())["metrics"]
    make_run(tmp_path, "so2sat", "cross_scale_mae", "spectral_probe", score=0.5, metrics=twin)
    assert not load_study(tmp_path).warnings
    make_run(tmp_path, "so2sat", "scale_mae", "spectral_probe", 1, score=0.5, metrics=twin)
    assert "identical" in load_study(tmp_path).warnings[0]


def test_unequal_training_raises_a_warning(tmp_path):
    make_run(tmp_path, "so2sat", "scale_mae", "deflect")
    make_run(tmp_path, "so2sat", "scale_mae", "lora", settings__training={"epochs": 9, "lr": 1e-4, "image_size": 64})
    assert load_study(tmp_path).warnings == ["So2Sat: training settings differ between runs: epochs."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score__value": "0.5"}, "key score.value: expected int or float, found '0.5'"),
        ({"score__value": math.nan}, "key score.value: expected a finite number"),
        ({"score__value": 53.2}, "key score.value: expected a fraction from 0 to 1, found 53.2"),
        ({"seed": True}, "key seed: expected int, found True"),
        ({"schema": 2}, "key schema: expected 1, found 2"),
        ({"parameters": {}}, "key parameters.gfm_params: expected int, found nothing"),
        ({"confusion": [[1]]}, "key confusion: expected 17 x 17 counts"),
    ],
)
def test_errors_in_a_record_name_file_and_key(tmp_path, change, message):
    out = make_run(tmp_path, "so2sat", "scale_mae", "deflect", **change)
    with pytest.raises(DataError) as error:
        load_records(tmp_path)
    assert str(error.value).startswith(f"{out / 'record.json'}: {message}")


@pytest.mark.parametrize(("key", "folder"), [("method", "so2sat/scale_mae/lora"), ("gfm", "so2sat/dino_mc/deflect")])
def test_a_record_in_another_runs_folder(tmp_path, key, folder):
    out = make_run(tmp_path, "so2sat", "scale_mae", "deflect")
    (tmp_path / folder).mkdir(parents=True)
    out.rename(tmp_path / folder / "seed0")
    with pytest.raises(DataError, match=rf"record.json: key {key}: the folder says .* move it back"):
        load_records(tmp_path)


def test_no_records_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run records"):
        load_study(tmp_path)
