"""The results of a study are a valid Workflow Run RO-Crate, and its hashes are those of records and files."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import rocrate
import torch
from make_records import make_study
from paths import HELPERS, ROOT
from projects import change, small
from tiny_store import tiny_spec, tiny_store

from deflect.cli import main
from deflect.data.card import read_card
from deflect.data.catalog import DATASETS
from deflect.files import read_json, sha256_file, write_text
from deflect.gfms import build, gfm_card
from deflect.gfms.weights import save_weights
from deflect.training.run import train

PROGRAMS = ROOT / ".venv/standards/bin"
#: Recommendations that are not met, and why.
UNMET = {
    "process-run-crate-0.5_3.2": "url of an application: this project has no public address yet",
    "process-run-crate-0.5_5.1": "absolute URI of an application: the same",
    "process-run-crate-0.5_8.6": "agent: records do not say who ran a study",
    "ro-crate-1.1_22.2": "author: the same",
    "ro-crate-1.1_22.3": "publisher: the same",
    "ro-crate-1.1_30.2": "affiliation of the paper's authors: CITATION.cff has none",
    "ro-crate-1.1_30.3": "the same",
    "workflow-ro-crate-1.0_6.1": "README.md: it is optional, summary.html says what the results are",
    "workflow-ro-crate-1.0_6.2": "the same",
}
RUNS = ("brick_kiln/scale_mae/deflect/seed0", "brick_kiln/scale_mae/lora/seed0")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """An HTTP cache with the context of RO-Crate, with which the validator needs no network."""
    path = tmp_path_factory.mktemp("cache") / "http.sqlite"
    context = Path(rocrate.__file__).with_name("data") / "ro-crate.jsonld"
    subprocess.run([PROGRAMS / "python", HELPERS / "crate_cache.py", path, context], check=True)
    return path


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Path]:
    """Two real runs of a few seconds on a tiny store, and some results beside them."""
    folder = tmp_path_factory.mktemp("project")
    write_text(folder / "config.yaml", (ROOT / "config.yaml").read_text())
    change(folder, small)
    grid = {"datasets": ["brick_kiln"], "methods": ["deflect", "lora"]}
    change(folder, lambda config: config["studies"]["mini"].update(grid))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        card, weights = gfm_card("scale_mae", "mini"), Path("weights/mini/scale_mae.safetensors")
        torch.manual_seed(1)
        save_weights(build(card).state_dict(), card, weights, {"made": "by a test"})
        store = Path("data/prepared/mini/brick_kiln")
        tiny_store(store, "classification")
        for run in RUNS:
            spec = tiny_spec(folder, method=run.split("/")[2], epochs=1, weights=weights)
            train(replace(spec, dataset="brick_kiln", store=store, out=Path("results/mini/runs") / run))
        make_results(folder / "results/mini")
        assert main(["crate"]) == 0
        yield folder


def make_results(results: Path) -> None:
    for name in ("tables/main.csv", "figures/cost of a step.png", "report.html", "runs/index.csv", ".locks/hidden"):
        write_text(results / name, name)


def graph(results: Path) -> dict[str, dict[str, Any]]:
    return {entity["@id"]: entity for entity in read_json(results / "ro-crate-metadata.json")["@graph"]}


def failures(results: Path, cache: Path, severity: str) -> dict[str, set[str]]:
    """The failed checks by severity, without network."""
    report = cache.with_name("report.json")
    command = [
        PROGRAMS / "rocrate-validator",
        "validate",
        "--offline",
        "--cache-path",
        cache,
        "--skip-availability-check",
    ]
    command += ["-p", "provenance-run-crate", "-l", severity, "--no-paging", "-f", "json", "-o", report, results]
    subprocess.run(command, capture_output=True, timeout=120)
    found: dict[str, set[str]] = {"REQUIRED": set(), "RECOMMENDED": set()}
    for issue in json.loads(report.read_text())["issues"]:
        found[issue["severity"]].add(issue["check"]["identifier"])
    report.unlink()
    return found


def test_crate_is_valid_and_only_known_recommendations_are_unmet(project, cache):
    assert failures(project / "results/mini", cache, "recommended") == {"REQUIRED": set(), "RECOMMENDED": set(UNMET)}


def no_instrument(results: Path) -> None:
    change_graph(results, lambda found: found[f"#run-{RUNS[0]}"].pop("instrument"))


def no_profile(results: Path) -> None:
    change_graph(results, lambda found: found["./"].pop("conformsTo"))


def no_file(results: Path) -> None:
    (results / "tables/main.csv").unlink()


def change_graph(results: Path, edit: Callable[[dict[str, dict[str, Any]]], object]) -> None:
    path = results / "ro-crate-metadata.json"
    document = read_json(path)
    edit({entity["@id"]: entity for entity in document["@graph"]})
    write_text(path, json.dumps(document))


@pytest.mark.parametrize(
    "damage", [no_instrument, *(pytest.param(damage, marks=pytest.mark.slow) for damage in (no_profile, no_file))]
)
def test_a_damaged_crate_is_not_valid(project, cache, tmp_path, damage):
    results = Path(shutil.copytree(project / "results/mini", tmp_path / "mini"))
    damage(results)
    assert failures(results, cache, "required")["REQUIRED"]


def test_every_hash_is_that_of_the_file_on_disk(project):
    results = project / "results/mini"
    files = {name: entity for name, entity in graph(results).items() if "sha256" in entity and not name.startswith("#")}
    assert {unquote(name): entity["sha256"] for name, entity in files.items()} == {
        path.relative_to(results).as_posix(): sha256_file(path)
        for path in results.rglob("*")
        if path.is_file() and "/." not in str(path.relative_to(project)) and path.name != "ro-crate-metadata.json"
    }


def test_runs_have_the_inputs_parameters_and_outputs_of_their_records(project):
    found = graph(project / "results/mini")
    for run in RUNS:
        action, record = found[f"#run-{run}"], read_json(project / f"results/mini/runs/{run}/record.json")
        inputs = [found[part["@id"]] for part in action["object"]]
        values = {entity["name"]: entity["value"] for entity in inputs if entity["@type"] == "PropertyValue"}
        assert values["training.lr"] == record["settings"]["training"]["lr"]
        assert values["method.rank"] == record["settings"]["method"]["rank"]
        assert values["seed"] == record["seed"]
        store, weights = (entity for entity in inputs if entity["@type"] == "CreativeWork")
        assert found[store["identifier"]["@id"]]["value"] == record["data"]["store_sha256"]
        assert weights["sha256"] == record["weights"]["sha256"]
        outputs = found[action["result"]["@id"]]["hasPart"]
        hashes = {found[part["@id"]]["name"]: found[part["@id"]]["sha256"] for part in outputs}
        assert hashes.items() >= record["files"].items()
        assert set(hashes) - set(record["files"]) == {"record.json"}
        assert (action["startTime"], action["endTime"]) == (record["started"], record["finished"])
        software = found[action["instrument"]["@id"]]
        assert record["code"]["revision"] in software["softwareVersion"]
        needed = [found[part["@id"]] for part in software["softwareRequirements"]]
        versions = {entity["name"]: entity["softwareVersion"] for entity in needed}
        assert versions.items() >= {name: record["packages"][name] for name in ("torch", "timm", "numpy")}.items()


def test_stores_and_weights_have_the_hashes_of_their_files(project):
    found, store = graph(project / "results/mini"), project / "data/prepared/mini/brick_kiln"
    arrays = [found[part["@id"]] for part in found["#store-brick_kiln"]["hasPart"]]
    assert {array["name"]: array["sha256"] for array in arrays} == {
        path.name: sha256_file(path) for path in store.glob("*.*") if path.name != "store.json"
    }
    assert found["#store_sha256-brick_kiln"]["value"] == read_card(store).sha256
    assert found["#weights-scale_mae"]["sha256"] == sha256_file(project / "weights/mini/scale_mae.safetensors")


def test_a_run_that_changed_is_not_described(project, tmp_path, monkeypatch, capsys):
    copy = Path(shutil.copytree(project, tmp_path / "project"))
    monkeypatch.chdir(copy)
    history = Path(f"results/mini/runs/{RUNS[0]}/history.csv")
    history.write_text(history.read_text() + "\n")
    assert main(["crate"]) == 2
    assert "history.csv: changed since the run wrote it" in capsys.readouterr().err


def test_a_file_that_was_left_out_is_named_with_its_hash(project, tmp_path, monkeypatch, cache):
    copy = Path(shutil.copytree(project, tmp_path / "project"))
    monkeypatch.chdir(copy)
    run = Path(f"results/mini/runs/{RUNS[0]}")
    (run / "head.safetensors").unlink()
    assert main(["crate"]) == 0
    sha256 = read_json(run / "record.json")["files"]["head.safetensors"]
    left_out = graph(Path("results/mini"))[f"#runs/{RUNS[0]}/head.safetensors"]
    assert left_out.items() >= {"sha256": sha256, "@type": "CreativeWork"}.items()
    assert failures(Path("results/mini"), cache, "required")["REQUIRED"] == set()


@pytest.fixture
def real(tmp_path, monkeypatch) -> Path:
    """Results of an unfinished study on real data, from made-up records, without stores and weights."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "config.yaml", "config.yaml")
    results = Path("results/paper")
    make_study(results / "runs", ["mados"], ["dino_mc"], ["deflect", "lora"], study="paper")
    make_results(results)
    assert main(["--study", "paper", "crate"]) == 0
    return results


def test_real_data_come_from_the_published_archive_and_missing_runs_are_named(real):
    found, source = graph(real), DATASETS["mados"].source
    assert found[source.url].items() >= {"md5": source.md5, "contentSize": str(source.bytes), "@type": "File"}.items()
    assert found["#store-mados"]["isBasedOn"] == {"@id": source.url}
    assert "real images" in found["#run-mados/dino_mc/lora/seed0"]["description"]
    assert "Missing runs:" in found["#study"]["description"]
    assert "actionStatus" not in found["#study"]


@pytest.mark.slow
def test_crate_of_an_unfinished_study_on_real_data_is_valid(real, cache):
    assert failures(real, cache, "required")["REQUIRED"] == set()
