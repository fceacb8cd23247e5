"""A small study through Snakemake and DVC, in copies of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
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
from deflect.workflow import PRESENT_RUNS

GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
RESULTS = ("tables", "figures", "notebooks")
FIGURE = Path("results/mini/figures/parameter_efficiency.png")
RECORDS = "results/mini/runs/*/*/*/seed0/record.json"
LORA = "results/mini/runs/brick_kiln/scale_mae/lora/seed0/record.json"


def jobs(text: str) -> dict[str, int]:
    """The number of jobs by rule, from what Snakemake printed."""
    table = text.partition("Job stats:")[2]
    found = re.findall(r"^([a-z_]+) +(\d+)$", table, re.MULTILINE)
    return {name: int(count) for name, count in found if name not in ("total", "all")}


def planned(project: Path, *options: str) -> dict[str, int]:
    """The number of jobs by rule that would run."""
    return jobs(run(project, "snakemake", "-n", *options))


def commands(text: str) -> list[str]:
    """The shell commands that a dry run printed."""
    found = re.findall(r"^Shell command: (.*)$", text, re.MULTILINE)
    return [command for command in found if command != "None"]


def add_a_line(project: Path, *modules: str) -> None:
    for name in modules:
        with open(project / f"src/deflect/{name}.py", "a") as file:
            file.write("\n# another line\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A copy of the project with a finished small study, and what Snakemake printed. Tests only read it."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    return folder, run(folder, "snakemake", "--cores", "2")


@pytest.fixture
def project(finished, tmp_path) -> Path:
    """A copy of the finished small study, which the test may change."""
    return Path(shutil.copytree(finished[0], tmp_path / "project", symlinks=True))


def test_study_writes_every_contracted_file(finished):
    results = finished[0] / "results/mini"
    names = ("main", "patch_embed", "ablation", "sensitivity", "tuned", "comparison", "claims", "calibration")
    for name in names:
        assert all((results / f"tables/{name}.{kind}").stat().st_size for kind in ("csv", "md", "tex"))
    assert all((results / f"figures/parameter_efficiency.{kind}").stat().st_size > 5000 for kind in ("png", "pdf"))
    assert len(list(finished[0].glob(RECORDS))) == 6
    found = json.loads((results / "duplicates/brick_kiln.json").read_text())
    text = f"Brick Kiln {found['test']['near']} of {found['test']['images']}"
    assert f"near-duplicate in the training split: {text}" in (results / "summary.html").read_text()
    assert (results / "report.html").stat().st_size > 100_000
    assert 'href="#run=brick_kiln/' in (results / "explore.html").read_text()
    assert "runs/brick_kiln/scale_mae/lora/seed0/record.json" in (results / "ro-crate-metadata.json").read_text()
    main = (results / "tables/main.csv").read_text().splitlines()
    assert main[0] == (
        "study,dataset,gfm,method,bands,metric,mean,std,ci95,n,tuned_params,gfm_params,tuned_percent,head_params"
    )


def test_log_is_short(finished):
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
    for path in ("src/deflect/methods/lora.py", "notebooks/tables.py", "config.yaml", LORA):
        (project / path).touch()
    assert not planned(project)


def test_one_figure_alone(project):
    results, content = project / "results/mini", (project / FIGURE).read_bytes()
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*.*") if path.is_file()}
    (project / FIGURE).unlink()
    run(project, "snakemake", "--cores", "1", str(FIGURE))
    assert (project / FIGURE).read_bytes() == content
    written = {path.name for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert written <= {FIGURE.name, "parameter_efficiency.pdf", "parameter_efficiency.ipynb"}


def test_change_of_a_methods_setting_reruns_only_that_method(project):
    change(project, lambda config: config["methods"]["lora"].update(rank=2))
    dry_run = run(project, "snakemake", "-n")
    plan = jobs(dry_run)
    assert plan.pop("train") == 1
    assert re.findall(r"^Job \d+: train (\w+)", dry_run, re.MULTILINE) == ["lora"]
    from_records = ("records", "summary", "explore", "report", "crate")
    assert all(name.startswith("notebook_") or name in from_records for name in plan)


def test_change_of_training_code_reruns_training_but_no_data(project):
    add_a_line(project, "training/loop")
    plan = planned(project)
    assert plan["train"] == 3
    assert not {"simulate", "prepare", "pretrain"} & set(plan)


def test_change_of_code_that_decides_no_result_reruns_nothing(project):
    add_a_line(project, "cli", "config", "errors", "workflow", "data/fetch/status", "gfms/fetch", "training/needs")
    assert not planned(project)


def test_changed_record_remakes_tables_and_figures_without_training(project):
    with open(project / LORA, "a") as file:
        file.write("\n")
    plan = planned(project)
    assert {"records", "summary", "explore", "report", "notebook_tables", "notebook_panels"} <= set(plan)
    assert not {"train", "simulate", "prepare", "pretrain"} & set(plan)


def test_lost_run_is_a_gap_and_then_trained_again_while_others_are_kept(project):
    lost, kept = project / LORA, project / LORA.replace("brick_kiln", "burn_scars")
    summary = project / "results/mini/summary.html"
    kept_before, lost_before = kept.read_text(), json.loads(lost.read_text())
    lost.unlink()
    target = ["snakemake", "--cores", "2", "results/mini/summary.html"]
    assert "train" not in jobs(run(project, *target, **{PRESENT_RUNS: "1"}))
    assert "missing: brick_kiln/scale_mae/lora/seed0" in summary.read_text()
    run(project, *target)
    assert "missing:" not in summary.read_text()
    assert kept.read_text() == kept_before
    assert json.loads(lost.read_text())["metrics"] == lost_before["metrics"]


def test_failed_run_is_reported_and_planned_again_while_others_are_kept(project):
    change(project, lambda config: config["methods"].update(frozen={"patch_init": "zero", "bands": "all"}))
    array = project / "data/prepared/mini/burn_scars/train.images.npy"
    whole, state = array.read_bytes(), array.stat()
    array.write_bytes(whole[:1000])
    os.utime(array, ns=(state.st_atime_ns, state.st_mtime_ns))
    failed = run(project, "snakemake", "--cores", "2", expect=1)
    assert "Error in rule train" in failed
    assert "results/logs/train/mini/frozen.log" in failed
    assert "train.images.npy: damaged" in failed  # from the job's log
    assert "`deflect --study mini report` makes tables and figures" in failed
    assert len(list(project.glob(RECORDS))) == 6
    array.write_bytes(whole)
    os.utime(array, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert planned(project)["train"] == 1


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


def test_variants_of_a_method_outside_the_study_run(project):
    settings = {"lora+rank=1": {"method": "lora", "settings": {"rank": 1}}}
    variants = {"datasets": ["brick_kiln"], "gfms": ["scale_mae"], "settings": settings}
    study = {"methods": ["deflect", "frozen"], "variants": variants}
    change(project, lambda config: config["studies"]["mini"].update(study))
    dry_run = run(project, "snakemake", "-np")
    assert jobs(dry_run)["train_additional"] == 1
    assert any("train --method lora+rank=1 " in command for command in commands(dry_run))


@pytest.mark.parametrize("share_process", [True, False])
def test_searches_run_before_tuned_runs(project, share_process):
    variants = {"datasets": ["brick_kiln", "burn_scars"], "gfms": ["scale_mae"]}
    variants["settings"] = {"lora+rank=1": {"method": "lora", "settings": {"rank": 1}}}
    study = {"variants": variants, "tuning": {"methods": ["lora", "frozen"]}, "share_process": share_process}
    change(project, lambda config: config["studies"]["mini"].update(study))
    dry_run = run(project, "snakemake", "-np")
    plan, found = jobs(dry_run), [command for command in commands(dry_run) if "tune" in command]
    assert (plan["tune"], plan["train_tuned"]) == ((2, 1) if share_process else (4, 4))
    searches, tuned = found[: plan["tune"]], found[plan["tune"] :]
    assert all(" tune " in command and "+tuned" not in command for command in searches)
    assert all(" train " in command and "+tuned" in command for command in tuned)
    if share_process:
        assert plan["train_additional"] == 1
        assert tuned[0].startswith(f"{searches[0].partition(' tune ')[0]} train --method lora+tuned frozen+tuned ")


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
    assert len(list(finished[0].glob(RECORDS))) == 6


def test_missing_raw_file_is_named_in_one_line(project):
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
    page = (ROOT / "docs/your_own_dataset.md").read_text()
    card = re.search(r"```yaml\n(task: .*?)```", page, re.DOTALL).group(1)
    steps = re.findall(r"^\$ (.+)$", page, re.MULTILINE)
    assert steps == ["deflect data prepare fields", "deflect data check fields", "dvc repro"]
    for command in (["git", "init", "-q"], ["git", "add", "."], [*GIT, "commit", "-qm", "study"]):
        run(project, *command)
    run(project, "dvc", "repro")

    folder = project / "data/raw/fields"
    write_folders(folder)
    (folder / "card.yaml").write_text(card)
    change(project, lambda config: config["studies"]["mini"]["datasets"].append("fields"))
    dry_run = run(project, "snakemake", "-n", "--quiet", "host")
    plan = jobs(dry_run)
    assert (plan["prepare"], plan["train"]) == (1, 3)
    assert re.findall(r"^Job \d+: prepare (\w+)", dry_run, re.MULTILINE) == ["fields"]
    missing = [line for line in dry_run.splitlines() if "Missing output files: results/mini/runs/fields" in line]
    assert len(missing) == 3
    assert not re.findall(r"runs/(?!fields)\w+/[^,;]*", " ".join(line.split(";")[0] for line in missing))
    before = {path: path.read_text() for path in project.glob(RECORDS)}
    for step in steps:
        run(project, *step.split())
    assert {path: path.read_text() for path in before} == before
    assert ",fields,scale_mae,deflect,all,f1_macro," in (project / "results/mini/tables/main.csv").read_text()
    again = run(project, "dvc", "repro")
    assert "didn't change, skipping" in again
    assert "Data and pipelines are up to date" in again
    assert_dvc_shows_the_numbers_of_the_study(project)


def assert_dvc_shows_the_numbers_of_the_study(project):
    """``dvc metrics`` and ``dvc plots`` have the averages of the main table."""
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


def test_changed_images_behind_a_link_are_prepared_again(project):
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
    assert planned(project, store) == {"prepare": 1}
    os.utime(elsewhere / "field/field_0.tif", (1e9, 1e9))  # as if replaced by an older file
    assert planned(project, store) == {"prepare": 1}


def test_lint_is_clean():
    run(ROOT, "snakemake", "--lint")


def test_paper_study_plans_one_job_per_run():
    text = run(ROOT, "snakemake", "-n", "--cores", "all", "--config", "study=paper")
    assert len(text) < 80_000
    plan = jobs(text)
    variants = len(yaml.safe_load((ROOT / "config.yaml").read_text())["studies"]["paper"]["variants"]["settings"])
    assert plan["train"] == 5 * 3 * 10 * 3 + 5 * variants * 3
    assert (plan["fetch"], plan["prepare"], plan["fetch_gfm"], plan["convert_gfm"]) == (5, 5, 3, 3)
    assert "simulate" not in plan


def test_few_labels_are_planned_and_get_their_table_and_figure(tmp_path):
    project = copy_project(tmp_path)
    assert "notebook_few_labels" not in planned(project)
    part = {"variants": {"datasets": ["brick_kiln"], "gfms": ["scale_mae"]}, "label_fractions": [0.5, 1]}
    change(project, lambda config: config["studies"]["mini"].update(part))
    text = run(project, "snakemake", "-np")
    assert jobs(text)["notebook_few_labels"] == jobs(text)["train_additional"] == 1
    (command,) = [command for command in commands(text) if "+labels" in command]
    assert all(f"{method}+labels=0.5" in command for method in ("deflect", "lora", "frozen"))


def test_run_that_finishes_after_snakemake_was_killed_is_kept(project):
    """Snakemake considers such a job incomplete. `make kill-test` kills a study 60 times."""
    change(project, lambda config: config["studies"]["mini"].update(share_process=False))
    record = project / "results/mini/runs/brick_kiln/scale_mae/frozen/seed0/record.json"
    command = ["snakemake", "--cores", "1", str(record.relative_to(project))]
    record.unlink()
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    snakemake = subprocess.Popen(command, cwd=project, env=environment(), start_new_session=True, **silent)
    wait_for(project / "results/logs/train/mini/brick_kiln.scale_mae.frozen.0.log")
    snakemake.kill()
    snakemake.wait()
    wait_for(record)
    trained = record.read_text()
    run(project, "snakemake", "--unlock")
    assert "Finished jobid" in run(project, *command)
    assert record.read_text() == trained


def wait_for(path: Path) -> None:
    for _ in range(2400):
        if path.exists():
            return
        time.sleep(0.05)
    pytest.fail(f"{path} was not written")
