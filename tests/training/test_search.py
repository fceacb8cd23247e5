"""A search chooses by validation alone, gives every method the same budget, and survives being killed."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from paths import HELPERS, ROOT
from tiny_store import BANDS, tiny_spec, tiny_store

from deflect.config import parse
from deflect.data.store import Store
from deflect.errors import ConfigError, DataError, ModelError
from deflect.files import read_json, sha256_file
from deflect.gfms import build, gfm_card
from deflect.gfms.weights import save_weights
from deflect.record import read_record
from deflect.settings import METHODS
from deflect.settings.study import Config
from deflect.settings.tuning import Tuning
from deflect.training import search as module
from deflect.training.checkpoint import Checkpoint
from deflect.training.grid import grid, searches, train_all, tune_all
from deflect.training.run import train
from deflect.training.search import Search
from deflect.training.spec import RunSpec

TUNING = Tuning(trials=4, ranks=(1, 2))
CHILD = """
import logging, sys
logging.basicConfig(level=logging.INFO)
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from test_search import search_in
search_in(Path(sys.argv[3])).run()
"""


def search_in(root: Path, method: str = "lora", tuning: Tuning = TUNING, **changes: object) -> Search:
    spec = tiny_spec(root, method=method, **{"epochs": 2, **changes})
    path = root / "tuning" / f"{method}.json"
    return Search(replace(spec, variant="trial", out=path.with_suffix("")), tuning, path)


def started(root: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", CHILD, str(HELPERS), str(Path(__file__).parent), str(root)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def outcome(result: dict) -> dict:
    """All but times and places."""
    trials = [{key: value for key, value in trial.items() if key != "seconds"} for trial in result["trials"]]
    return {key: result[key] for key in ("chosen", "val", "budget", "seed", "fingerprint")} | {"trials": trials}


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return outcome(search_in(tmp_path_factory.mktemp("unkilled")).run())


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trials that are trained, by name."""
    names: list[str] = []
    validate = module.validate
    monkeypatch.setattr(module, "validate", lambda spec: names.append(spec.variant) or validate(spec))
    return names


def scored(monkeypatch: pytest.MonkeyPatch, score: Callable[[RunSpec], float]) -> None:
    """Give trials a validation score instead of training; they diverge where it is NaN."""

    def validate(spec: RunSpec) -> tuple[float, float]:
        if math.isnan(score(spec)):
            raise ModelError(f"epoch 1: expected a finite training loss, found nan with lr {spec.training.lr:.1g}")
        return score(spec), 5.0

    monkeypatch.setattr(module, "validate", validate)


# ---------------------------------------------------------------- the choice


def test_the_best_validation_score_is_chosen_and_the_first_trial_is_the_default(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    result = search.run()
    assert result == read_json(search.path)
    first, *others = result["trials"]
    assert first["settings"] == {"lr": 1e-3, "rank": 16}
    assert first["val"] == train(tiny_spec(tmp_path, epochs=2))["score"]["val"]  # a trial is a run without its test
    best = max(result["trials"], key=lambda trial: trial["val"])
    assert (result["chosen"], result["val"]) == (best["settings"], best["val"])
    assert best["val"] > first["val"]  # else this test shows little
    assert all(1e-5 <= trial["settings"]["lr"] <= 1e-2 and trial["settings"]["rank"] in (1, 2) for trial in others)
    assert result["seconds"] == sum(trial["seconds"] for trial in result["trials"]) > 0
    assert not search.spec.out.exists()  # nothing of the trials is left


def test_equal_scores_keep_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(monkeypatch, lambda spec: 0.5)
    result = search_in(tmp_path).run()
    assert result["chosen"] == {"lr": 1e-3, "rank": 16}
    assert result["seconds"] == 4 * 5.0


def test_a_search_does_not_open_the_test_split(tmp_path: Path, unkilled: dict) -> None:
    search = search_in(tmp_path)
    for part in ("images.npy", "labels.npy", "ids.txt"):
        (search.spec.store / f"test.{part}").unlink()
    assert outcome(search.run()) == unkilled
    with pytest.raises(DataError, match=r"test\.images\.npy: missing"):  # a run does need it
        train(tiny_spec(tmp_path))
    (search.spec.store / "val.ids.txt").write_text("other")
    with pytest.raises(DataError, match=r"val\.ids\.txt: differs"):  # and what a search reads is checked
        module.validate(search.spec)


def test_more_epochs_and_other_data_give_another_search(tmp_path: Path, trained: list[str]) -> None:
    first = search_in(tmp_path, tuning=Tuning(trials=1)).run()
    for changed in (
        search_in(tmp_path, tuning=Tuning(trials=1), epochs=3),
        search_in(tmp_path, tuning=Tuning(trials=1, lr=(1e-4, 1e-2))),
        search_in(tmp_path, tuning=Tuning(trials=1), method_settings={"alpha": 3.0}),
    ):
        assert changed.run()["fingerprint"] != first["fingerprint"]
    assert len(trained) == 4
    assert search_in(tmp_path, tuning=Tuning(trials=1)).run() == first  # still in the database
    assert len(trained) == 4
    tiny_store(tmp_path / "stores/classification", "classification", sizes={"train": 24, "val": 6, "test": 10})
    assert search_in(tmp_path, tuning=Tuning(trials=1)).run()["fingerprint"] != first["fingerprint"]


# ---------------------------------------------------------------- budget


def test_every_method_gets_the_same_trials(tmp_path: Path) -> None:
    tuning = Tuning(trials=6)
    plans = {method: search_in(tmp_path, method, tuning).planned() for method in METHODS}
    assert {len(plan) for plan in plans.values()} == {6}
    rates = {tuple(settings["lr"] for settings in plan) for plan in plans.values()}
    assert len(rates) == 1
    assert len(set(rates.pop())) == 6
    ranked = {method for method, plan in plans.items() if "rank" in plan[0]}
    assert ranked == {"deflect", "lora", "slr"}
    assert plans["lora"][1:] == plans["slr"][1:] == plans["deflect"][1:]


def test_settings_depend_on_seed_and_number_only(tmp_path: Path) -> None:
    four, six, other = (
        search_in(tmp_path, tuning=Tuning(**settings)).planned()
        for settings in ({"trials": 4}, {"trials": 6}, {"trials": 6, "seed": 1})
    )
    assert six[:4] == four
    assert six[1:] != other[1:]
    assert six[0] == other[0]
    without = search_in(tmp_path, tuning=Tuning(trials=6, ranks=())).planned()
    assert [list(settings) for settings in without] == [["lr"]] * 6


def test_more_trials_keep_those_that_are_finished(tmp_path: Path, trained: list[str]) -> None:
    two, four = Tuning(trials=2, ranks=(1, 2)), TUNING
    few = search_in(tmp_path, tuning=two).run()
    many = search_in(tmp_path, tuning=four).run()
    assert trained == ["trial0", "trial1", "trial2", "trial3"]
    assert many["trials"][:2] == few["trials"]
    assert search_in(tmp_path, tuning=two).run() == few


# ---------------------------------------------------------------- failures


def test_a_diverged_trial_is_kept_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = search_in(tmp_path)
    lowest = min(settings["lr"] for settings in search.planned())
    scored(monkeypatch, lambda spec: math.nan if spec.training.lr == lowest else 1 - spec.training.lr)
    result = search.run()
    failed = [trial for trial in result["trials"] if trial["val"] is None]
    assert [trial["settings"]["lr"] for trial in failed] == [lowest]
    assert result["chosen"]["lr"] == sorted(settings["lr"] for settings in search.planned())[1]
    assert all("expected a finite training loss, found nan" in trial["error"] for trial in failed)
    monkeypatch.setattr(module, "validate", None)  # neither failed nor finished trials are repeated
    assert search.run() == result


def test_all_trials_failed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(monkeypatch, lambda spec: math.nan)
    search = search_in(tmp_path)
    with pytest.raises(ModelError, match=r"lora\.db: all 4 trials failed, the first with: epoch 1: .* lr 0\.001$"):
        search.run()
    assert not search.path.exists()


def test_a_real_divergence_fails_and_others_go_on(tmp_path: Path) -> None:
    search = search_in(tmp_path, tuning=Tuning(trials=2), lr=1e30, method="frozen")
    first, second = search.run()["trials"]
    assert first["val"] is None
    assert "finite" in first["error"]
    assert second["val"] > 0
    assert not search.spec.out.exists()


def test_a_damaged_database_is_one_line(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    search.database.parent.mkdir()
    search.database.write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match=r"lora\.db: cannot be used \(.*not a database.*delete it and run again"):
        search.run()


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        search_in(tmp_path).run()


# ---------------------------------------------------------------- killed and resumed


def test_sigkill_in_a_trial(tmp_path: Path, unkilled: dict, trained: list[str]) -> None:
    search = search_in(tmp_path)
    process = started(tmp_path)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "trial2/seed0: starts" in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not search.path.exists(), lines
    assert outcome(search.run()) == unkilled
    assert trained == ["trial2", "trial3"]


def test_killed_while_the_database_is_made(tmp_path: Path, unkilled: dict) -> None:
    search, limit = search_in(tmp_path), time.monotonic() + 60
    process = started(tmp_path)
    while not search.database.exists() and time.monotonic() < limit:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert outcome(search.run()) == unkilled


def test_killed_in_every_epoch(tmp_path: Path, unkilled: dict) -> None:
    """A trial resumes from its checkpoint, with the seconds before it."""
    search, save = search_in(tmp_path), Checkpoint.save

    def die(self: Checkpoint, state: dict) -> None:
        save(self, state)
        raise KeyboardInterrupt

    for _ in range(4 * 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpoint, "save", die)
            with pytest.raises(KeyboardInterrupt):
                search.run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", die)  # not called: every trial resumes after its last epoch
        assert outcome(search.run()) == unkilled


def test_a_second_process_waits_for_the_first(tmp_path: Path, unkilled: dict) -> None:
    search_in(tmp_path)  # writes the store
    processes = [started(tmp_path) for _ in "ab"]
    messages = "".join(process.communicate(timeout=120)[1] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert len(re.findall(r"lora: waiting for process \d+ on \S+, which works on it", messages)) == 1
    assert messages.count(": starts") == 4
    assert outcome(read_json(search_in(tmp_path).path)) == unkilled


# ---------------------------------------------------------------- the tuned runs of a study


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A study with one tiny dataset, two methods and two seeds, in the current directory."""
    monkeypatch.chdir(tmp_path)
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    mini = raw["studies"]["mini"]
    mini |= {"datasets": ["so2sat"], "gfms": ["scale_mae"], "methods": ["lora", "frozen"], "seeds": [3, 4]}
    mini["training"]["classification"] = {"image_size": 32, "epochs": 2, "lr": 0.002}
    mini["variants"] = {"datasets": ["so2sat"], "gfms": ["scale_mae"]}
    mini["tuning"] = {"trials": 3, "ranks": [1, 2], "epochs": 1}
    config = parse(raw)
    tiny_store(config.study.prepared("so2sat"), "classification", bands=BANDS)
    card = gfm_card("scale_mae", "mini")
    save_weights(build(card).state_dict(), card, config.study.gfm_weights("scale_mae"), {})
    return config


def test_tuned_runs_have_the_chosen_settings_and_name_their_search(config: Config) -> None:
    with pytest.raises(DataError, match=r"so2sat/scale_mae/lora\.json: not found; run `deflect tune` first"):
        grid(config, {"method": ["lora+tuned"]}, "cpu", 1)
    assert tune_all(searches(config, {"method": ["lora"]}, "cpu", 1)) == 0
    result = read_json(path := config.study.search("so2sat", "scale_mae", "lora"))
    assert path == Path("results/mini/tuning/so2sat/scale_mae/lora.json")
    assert (result["seed"], result["budget"]["epochs"], len(result["trials"])) == (3, 1, 3)

    specs = grid(config, {"method": ["lora+tuned", "lora"]}, "cpu", 1)
    assert train_all(specs) == 0
    records = {spec.slug.split("/", 2)[2]: read_record(spec.out) for spec in specs}
    assert sorted(records) == ["lora+tuned/seed3", "lora+tuned/seed4", "lora/seed3", "lora/seed4"]
    for name, record in records.items():
        settings = record["settings"]
        chosen = result["chosen"] if "tuned" in name else {"lr": 0.002, "rank": 16}
        assert {"lr": settings["training"]["lr"], "rank": settings["method"]["rank"]} == chosen
        assert settings["training"]["epochs"] == 2  # of the run, not of a trial
    assert records["lora/seed3"]["search"] is None
    assert records["lora+tuned/seed4"]["part"] == "tuned"
    facts = {"path": str(path), "sha256": sha256_file(path), "trials": 3}
    assert records["lora+tuned/seed4"]["search"] == facts | {key: result[key] for key in ("val", "seconds")}
    assert len({record["fingerprint"] for record in records.values()}) == 4


def test_a_search_of_other_settings_is_refused(config: Config) -> None:
    assert tune_all(searches(config, {"method": ["frozen"]}, "cpu", 1)) == 0
    config.study.training["classification"]["lr"] = 0.003
    with pytest.raises(DataError, match=r"frozen\.json: from other settings, data or code .*run `deflect tune` again"):
        grid(config, {"method": ["frozen+tuned"]}, "cpu", 1)


def test_searches_of_a_study(config: Config, capsys: pytest.CaptureFixture) -> None:
    found = searches(config, {"dataset": None, "gfm": None, "method": None}, "cpu", 1)
    assert [search.path.stem for search in found] == ["lora", "frozen"]
    with pytest.raises(ConfigError, match="--method: 'slr' is not in this study; it has lora, frozen"):
        searches(config, {"method": ["slr"]}, "cpu", 1)
    Store(config.study.prepared("so2sat")).folder.joinpath("val.labels.npy").unlink()
    assert tune_all(found) == 1
    assert "2 of 2 searches failed" in capsys.readouterr().err
    without = Config(config.study.model_copy(update={"tuning": None}), config.methods, config.wandb)
    with pytest.raises(ConfigError, match=r"studies\.mini: no searches; `tuning` asks for them"):
        searches(without, {}, "cpu", 1)
