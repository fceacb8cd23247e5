"""The workflow itself: a small real study through Snakemake and DVC, in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from own_data import image, write_folders, write_tiff
from paths import ROOT
from projects import change, copy_project, environment, run

from deflect.config import load
from deflect.files import sha256_file

GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
RESULTS = ("tables", "figures", "notebooks")
FIGURE = Path("results/mini/figures/parameter_efficiency.png")


def jobs(dry_run: str) -> dict[str, int]:
    """Rules and how often they would run, from the table of a dry run."""
    table = dry_run.split("Job stats:")[-1] if "Job stats:" in dry_run else ""
    found = {name: int(count) for name, count in re.findall(r"^([a-z_]+) +(\d+)$", table, re.MULTILINE)}
    return {name: count for name, count in found.items() if name not in ("total", "all")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A finished small study in a copy of the project, and what Snakemake printed."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    return folder, run(folder, "snakemake", "--cores", "2")


@pytest.fixture
def project(finished, tmp_path) -> Path:
    """A copy of the finished small study, for one test alone."""
    return Path(shutil.copytree(finished[0], tmp_path / "project", symlinks=True))


def test_study_writes_every_contracted_file(finished):
    results = finished[0] / "results/mini"
    for name in ("main", "patch_embed", "ablation", "comparison"):
        assert all((results / f"tables/{name}.{kind}").stat().st_size for kind in ("csv", "md", "tex"))
    assert all((results / f"figures/parameter_efficiency.{kind}").stat().st_size > 5000 for kind in ("png", "pdf"))
    assert len(list(results.glob("runs/*/*/*/seed0/record.json"))) == 6
    assert (results / "report.html").stat().st_size > 100_000
    main = (results / "tables/main.csv").read_text().splitlines()
    assert main[0] == (
        "study,dataset,gfm,method,bands,metric,mean,std,ci95,n,tuned_params,gfm_params,tuned_percent,head_params"
    )


def test_a_log_is_short(finished):
    lines = finished[1].splitlines()
    steps = max(int(total) for total in re.findall(r"^\d+ of (\d+) steps", finished[1], re.MULTILINE))
    assert len(lines) < 6 * steps + 50
    assert max(map(len, lines)) <= 400


def test_second_run_does_nothing(finished):
    assert "Nothing to be done" in run(finished[0], "snakemake", "--cores", "all")


def test_default_profile_is_read_by_itself(finished):
    assert "specific profile profiles/default" in run(finished[0], "snakemake", "-n")
    assert (ROOT / "profiles/slurm/profile.yaml").samefile(ROOT / "workflow/profiles/slurm/profile.yaml")


def test_touching_without_changing_reruns_nothing(project):
    record = "results/mini/runs/brick_kiln/scale_mae/lora/seed0/record.json"
    for path in ("src/deflect/methods/lora.py", "notebooks/tables.py", "config.yaml", record):
        (project / path).touch()
    assert not jobs(run(project, "snakemake", "-n"))


def test_one_figure_alone(project):
    before = {path: path.stat().st_mtime_ns for path in (project / "results/mini").rglob("*.*") if path.is_file()}
    bytes_before = (project / FIGURE).read_bytes()
    (project / FIGURE).unlink()
    run(project, "snakemake", "--cores", "1", str(FIGURE))
    assert (project / FIGURE).read_bytes() == bytes_before
    touched = {path.name for path, at in before.items() if path.stat().st_mtime_ns != at}
    own = {FIGURE.name, "parameter_efficiency.pdf", "parameter_efficiency.ipynb"}
    assert touched <= own


def test_change_of_one_methods_setting_reruns_that_method_alone(project):
    change(project, lambda config: config["methods"]["lora"].update(rank=2))
    dry = run(project, "snakemake", "-n")
    planned = jobs(dry)
    assert planned.pop("train") == 1
    assert re.findall(r"^Job \d+: train (\w+)", dry, re.MULTILINE) == ["lora"]
    assert all(name.startswith("notebook_") or name in ("records", "summary", "report") for name in planned)


def test_change_of_training_code_reruns_training_but_no_data(project):
    with open(project / "src/deflect/training/loop.py", "a") as file:
        file.write("\n# another line\n")
    planned = jobs(run(project, "snakemake", "-n"))
    assert planned["train"] == 3
    assert not {"simulate", "prepare", "pretrain"} & set(planned)


def test_code_that_decides_nothing_reruns_nothing(project):
    for name in ("cli", "config", "errors", "workflow", "data/fetch/status", "gfms/fetch", "training/needs"):
        with open(project / f"src/deflect/{name}.py", "a") as file:
            file.write("\n# another line\n")
    assert not jobs(run(project, "snakemake", "-n"))


def test_changed_record_makes_tables_and_figures_again_and_trains_nothing(project):
    with open(project / "results/mini/runs/brick_kiln/scale_mae/lora/seed0/record.json", "a") as file:
        file.write("\n")
    planned = jobs(run(project, "snakemake", "-n"))
    assert {"records", "summary", "report", "notebook_tables", "notebook_panels"} <= set(planned)
    assert not {"train", "simulate", "prepare", "pretrain"} & set(planned)


def test_lost_run_is_trained_again_and_its_neighbours_are_kept(project):
    runs = project / "results/mini/runs"
    lost, kept = (runs / f"{dataset}/scale_mae/lora/seed0/record.json" for dataset in ("brick_kiln", "burn_scars"))
    kept_before, lost_before = json.loads(kept.read_text()), json.loads(lost.read_text())
    lost.unlink()
    assert "train lora" not in run(project, "deflect", "report")  # shows it as a gap until then
    assert "missing: brick_kiln/scale_mae/lora/seed0" in (project / "results/mini/summary.html").read_text()
    run(project, "snakemake", "--cores", "2", "results/mini/summary.html")
    assert "missing:" not in (project / "results/mini/summary.html").read_text()
    assert json.loads(kept.read_text()) == kept_before  # its time of training too
    again = json.loads(lost.read_text())
    assert again["metrics"] == lost_before["metrics"]


def test_failed_run_is_told_keeps_its_neighbours_and_is_not_taken_for_done(project):
    change(project, lambda config: config["methods"].update(frozen={"patch_init": "zero", "bands": "all"}))
    array = project / "data/prepared/mini/burn_scars/train.images.npy"
    whole, state = array.read_bytes(), array.stat()
    array.write_bytes(whole[:1000])
    os.utime(array, ns=(state.st_atime_ns, state.st_mtime_ns))
    failed = run(project, "snakemake", "--cores", "2", expect=1)
    assert "Error in rule train" in failed
    assert "results/logs/train/mini/frozen.log" in failed
    assert "train.images.npy: damaged" in failed  # the log of the job, which the profile shows
    assert "`deflect --study mini report` makes tables and figures" in failed
    assert len(list((project / "results/mini/runs").glob("*/*/*/seed0/record.json"))) == 6
    array.write_bytes(whole)
    os.utime(array, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert jobs(run(project, "snakemake", "-n"))["train"] == 1


def test_configuration_from_another_file_reaches_every_step(project):
    config = yaml.safe_load((project / "config.yaml").read_text())
    other = {"study": "other", "studies": {"other": config["studies"]["mini"]}}
    (project / "other.yaml").write_text(yaml.safe_dump(other))
    shutil.copytree(project / "results/mini", project / "results/other")
    report = project / "results/other/report.html"
    run(project, "snakemake", "--configfile", "other.yaml", "--cores", "2", "--touch")
    report.unlink()
    run(project, "snakemake", "--configfile", "other.yaml", "--cores", "1", "--", str(report.relative_to(project)))
    report.unlink()
    run(project, "deflect", "--config", "other.yaml", "report")
    assert report.exists()


def test_printed_commands_can_be_repeated_by_hand(project):
    (project / FIGURE).unlink()
    [command] = commands(run(project, "snakemake", "-np", str(FIGURE)))
    assert command.startswith("python -m deflect --config config.yaml --study mini notebook parameter_efficiency &> ")
    run(project, "bash", "-c", command)
    assert (project / FIGURE).exists()
    text = run(project, "snakemake", "-np", "--config", "study=paper", "--", "results/paper/summary.html")
    assert all("--config config.yaml --study paper " in command for command in commands(text))


def test_printed_commands_name_a_copy_of_a_configuration_that_options_changed(project):
    (project / "other.yaml").write_text("methods: {lora: {rank: 2}}\n")
    found = commands(run(project, "snakemake", "-np", "--configfile", "other.yaml"))
    [path] = {re.search(r"--config(?:file)? (\S+)", command).group(1) for command in found}
    assert load(project / path).methods["lora"] == {"rank": 2}
    [command] = [command for command in found if " train " in command]
    assert command.startswith(f"python -m deflect --config {path} --study mini train --method lora --threads 1 &> ")


def commands(dry_run: str) -> list[str]:
    """The commands that a dry run prints."""
    found = re.findall(r"^Shell command: (.*)$", dry_run, re.MULTILINE)
    return [command for command in found if command != "None"]


def test_variants_of_a_method_outside_the_study_run(project):
    def add(config):
        config["studies"]["mini"]["methods"] = ["deflect", "frozen"]
        settings = {"lora+rank=1": {"method": "lora", "settings": {"rank": 1}}}
        config["studies"]["mini"]["variants"] = {
            "datasets": ["brick_kiln"],
            "gfms": ["scale_mae"],
            "settings": settings,
        }

    change(project, add)
    dry = run(project, "snakemake", "-np")
    assert jobs(dry)["train_variants"] == 1
    assert any("train --method lora+rank=1 " in command for command in commands(dry))


BAD = [
    (["--config", "study=minni"], "unknown study 'minni'; did you mean 'mini'?"),
    (["--config", "studies={mini: {methods: [lorra]}}"], "did you mean 'lora'?"),
    (["--config", "studies={mini: {datasets: [brick_klin]}}"], "did you mean 'brick_kiln'?"),
    (["--config", "methods={lora: {rnk: 3}}"], "unknown key 'rnk'; did you mean 'rank'?"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_configuration_stops_before_anything_runs(finished, options, message):
    text = run(finished[0], "snakemake", "--cores", "1", *options, expect=1)
    assert message in text
    assert "Traceback" not in text
    assert len(list((finished[0] / "results/mini/runs").glob("*/*/*/seed0/record.json"))) == 6


def test_missing_raw_file_is_named_with_its_remedy(project):
    (project / "data/simulated/brick_kiln/default_partition.json").unlink()
    text = run(project, "deflect", "data", "prepare", "brick_kiln", expect=2)
    assert "default_partition.json" in text
    assert len(text.strip().splitlines()) == 1


def test_deleted_results_come_back_byte_for_byte_without_training(project):
    def digests():
        files = (path for kind in RESULTS for path in (project / "results/mini" / kind).iterdir())
        return {path: sha256_file(path) for path in files}

    before = digests()
    assert {path.suffix for path in before} == {".csv", ".md", ".tex", ".png", ".pdf", ".ipynb"}
    for kind in RESULTS:
        shutil.rmtree(project / "results/mini" / kind)
    text = run(project, "deflect", "report")
    assert digests() == before
    assert "train" not in jobs(text)


def test_own_dataset_joins_the_study_as_the_page_says(project):
    """docs/your_own_dataset.md, step by step, through DVC: its card, its config line, its commands."""
    page = (ROOT / "docs/your_own_dataset.md").read_text()
    card = re.search(r"```yaml\n(task: .*?)```", page, re.DOTALL).group(1)
    commands = re.findall(r"^\$ (.+)$", page, re.MULTILINE)
    assert commands == ["deflect data prepare fields", "dvc repro"]
    for command in (["git", "init", "-q"], ["git", "add", "."], [*GIT, "commit", "-qm", "study"]):
        run(project, *command)
    run(project, "dvc", "repro")

    folder = project / "data/raw/fields"
    write_folders(folder)
    (folder / "card.yaml").write_text(card)
    change(project, lambda config: config["studies"]["mini"]["datasets"].append("fields"))
    dry = run(project, "snakemake", "-n", "--quiet", "host")
    planned = jobs(dry)
    assert (planned.pop("prepare"), planned.pop("train")) == (1, 3)
    assert re.findall(r"^Job \d+: prepare (\w+)", dry, re.MULTILINE) == ["fields"]
    missing = [line for line in dry.splitlines() if "Missing output files: results/mini/runs/fields" in line]
    assert len(missing) == 3
    assert not re.findall(r"runs/(?!fields)\w+/[^,;]*", " ".join(line.split(";")[0] for line in missing))
    records = list((project / "results/mini/runs").glob("b*/*/*/*/record.json"))
    before = {path: json.loads(path.read_text()) for path in records}
    for command in commands:
        run(project, *command.split())
    assert {path: json.loads(path.read_text()) for path in records} == before
    assert ",fields,scale_mae,deflect,all,f1_macro," in (project / "results/mini/tables/main.csv").read_text()
    again = run(project, "dvc", "repro")
    assert "didn't change, skipping" in again
    assert "Data and pipelines are up to date" in again
    assert_dvc_shows_the_numbers_of_the_study(project)


def assert_dvc_shows_the_numbers_of_the_study(project):
    """``dvc metrics``, ``dvc plots`` and the tables: one and the same average per method."""
    main = pd.read_csv(project / "results/mini/tables/main.csv")
    main = main[main.metric == main.dataset.map(lambda name: "mIoU" if name == "burn_scars" else "f1_macro")]
    expected = main.groupby("method")["mean"].mean().round(3).to_dict()
    metrics = json.loads(run(project, "dvc", "metrics", "show", "--json"))
    (numbers,) = (found["data"] for found in metrics[""]["data"].values())
    assert {method: round(row["mean"], 3) for method, row in numbers.items()} == pytest.approx(expected, abs=2e-3)
    plots = json.loads(run(project, "dvc", "plots", "show", "--json"))
    assert "errors" not in plots
    drawn = [found[0]["content"]["data"]["values"] for name, found in plots["data"].items() if "average" in name]
    assert len(drawn) == 2
    for rows in drawn:
        assert {row["method"]: float(row["mean"]) for row in rows} == {m: row["mean"] for m, row in numbers.items()}


def test_own_images_behind_a_link_are_watched_and_the_manifest_is_not(project):
    elsewhere, folder = project / "elsewhere", project / "data/raw/linked"
    write_folders(elsewhere)
    folder.mkdir()
    shutil.move(elsewhere / "card.yaml", folder)
    for name in ("field", "forest"):
        (folder / name).symlink_to(elsewhere / name)
    change(project, lambda config: config["studies"]["mini"]["datasets"].append("linked"))
    store = "data/prepared/mini/linked/store.json"
    run(project, "snakemake", "--cores", "1", store)
    run(project, "deflect", "data", "verify", "linked")
    assert "Nothing to be done" in run(project, "snakemake", "-n", store)
    write_tiff(elsewhere / "field/field_0.tif", image(777))
    assert jobs(run(project, "snakemake", "-n", store)) == {"prepare": 1}
    os.utime(elsewhere / "field/field_0.tif", (1e9, 1e9))  # an older file in place of the first
    assert jobs(run(project, "snakemake", "-n", store)) == {"prepare": 1}


def test_lint_is_clean():
    run(ROOT, "snakemake", "--lint")


def test_paper_study_plans_every_run_as_a_job_of_its_own():
    text = run(ROOT, "snakemake", "-n", "--cores", "all", "--config", "study=paper")
    assert len(text) < 80_000
    planned = jobs(text)
    variants = len(yaml.safe_load((ROOT / "config.yaml").read_text())["studies"]["paper"]["variants"]["settings"])
    assert planned["train"] == 5 * 3 * 8 * 3 + 5 * variants * 3
    assert (planned["fetch"], planned["prepare"], planned["fetch_gfm"], planned["convert_gfm"]) == (5, 5, 3, 3)
    assert "simulate" not in planned


def test_a_run_that_finishes_after_snakemake_was_killed_is_kept(project):
    """Snakemake takes such a job for incomplete and would delete its outputs; `make kill-test` does this 60 times."""
    change(project, lambda config: config["studies"]["mini"].update(share_process=False))
    record = project / "results/mini/runs/brick_kiln/scale_mae/frozen/seed0/record.json"
    command = ["snakemake", "--cores", "1", str(record.relative_to(project))]
    record.unlink()
    snakemake = start(project, *command)
    log = project / "results/logs/train/mini/brick_kiln.scale_mae.frozen.0.log"
    wait_until(log.exists)
    os.kill(snakemake.pid, signal.SIGKILL)
    snakemake.wait()
    wait_until(record.exists)
    trained = record.read_text()
    run(project, "snakemake", "--unlock")
    assert "Finished jobid" in run(project, *command)
    assert record.read_text() == trained


def start(project: Path, *command: str) -> subprocess.Popen:
    """A command in the project that goes on while the test does."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=project, env=environment(), start_new_session=True, **silent)


def wait_until(holds) -> None:
    limit = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.05)
