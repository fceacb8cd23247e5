"""Every command and every Python example in README.md and docs/ works.

A new command must be listed here with the test that runs it, or the reason why none does.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from own_data import write_folders
from page_code import python_blocks
from paths import ROOT
from projects import copy_project, run

import deflect
from deflect.cli import parser

sys.path.append(str(ROOT / "workflow/plugins"))  # the executors of the cluster profiles
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
PROGRAMS = ("deflect", "snakemake", "make", "dvc", "python", "pytest", "wandb", "git", "source", "conda", "pip", "uv")
CONTAINERS = ("docker", "podman", "apptainer")
NO_ENGINE = "needs a container engine; test_container.py checks the file"
#: Each command of the pages: the test that runs it as it is or made small, or why it cannot run here.
COVERED = {
    "apptainer build deflect.sif docker-archive:deflect.tar": NO_ENGINE,
    'apptainer run --nv --bind "$PWD":/study --pwd /study deflect.sif --cores all --config study=paper': NO_ENGINE,
    "conda env create -f environment.yml": "test_the_conda_environment_has_the_project",
    "docker build -f Containerfile -t deflect .": NO_ENGINE,
    'docker run --rm --gpus all --ipc host --user "$(id -u):$(id -g)" -v "$PWD":/study deflect --cores all '
    "--config study=paper": NO_ENGINE,
    "docker save deflect -o deflect.tar": NO_ENGINE,
    "podman build -t deflect .": NO_ENGINE,
    'podman run --rm --device nvidia.com/gpu=all --ipc host --userns keep-id -v "$PWD":/study deflect --cores all '
    "--config study=paper": NO_ENGINE,
    "deflect --config tutorial.yaml data prepare carolina": "test_the_tutorial_ends_in_a_map",
    "deflect --config tutorial.yaml gfm convert my_vit": "test_the_tutorial_ends_in_a_map",
    "deflect --config tutorial.yaml gfm fetch my_vit": "test_the_tutorial_ends_in_a_map",
    "deflect --config tutorial.yaml gfm verify my_vit": "test_the_tutorial_ends_in_a_map",
    "deflect --config tutorial.yaml train": "test_the_tutorial_ends_in_a_map",
    "pip install 'deflect-gfm[export]'": "installs packages; test_missing_packages_are_named",
    "deflect crate": "test_crate_is_valid_and_only_known_recommendations_are_unmet",
    "deflect data check fields": "test_the_command_prepares_and_writes_a_page_of_a_users_data",
    "deflect data check NAME": "test_the_command_prepares_and_writes_a_page_of_a_users_data",
    "deflect data check brick_kiln": "test_the_command_prepares_and_writes_a_page_of_a_users_data",
    "deflect data fetch brick_kiln": "downloads; test_fetch_dataset.py has a server of its own",
    "deflect data prepare brick_kiln": "test_a_small_study_reaches_its_report",
    "deflect data simulate --rgb": "the rule of this name; test_a_small_study_reaches_its_report",
    "deflect data simulate --all": "executed in docs/tutorials/records.py; test_the_tutorials_show_their_results",
    "deflect data duplicates NAME": "what the rule of this name calls; test_a_small_study_reaches_its_report",
    "deflect data fetch NAME": "downloads; test_fetch_dataset.py has a server of its own",
    "deflect data prepare fields": "test_own_dataset_joins_the_study_as_the_page_says",
    "deflect data prepare NAME --part 2/8": "test_jobs_prepare_parts_and_one_finishes_the_store",
    "deflect data simulate": "test_a_small_study_reaches_its_report",
    "deflect data status": "test_a_command_works_or_names_what_it_needs",
    "deflect doctor": "test_doctor_shows_what_was_missing",
    "deflect evaluate RUN ...": "test_a_command_works_or_names_what_it_needs",
    "deflect export RUN --to onnx": "test_the_file_of_a_run",
    "deflect export RUN --to pt2 -o fields.pt2": "test_the_file_of_a_run",
    "deflect gfm fetch my_vit": "test_every_command_knows_it",
    "deflect gfm pretrain NAME": "test_a_small_study_reaches_its_report",
    "deflect gfm pretrain scale_mae": "executed in docs/tutorials/records.py; test_the_tutorials_show_their_results",
    "deflect notebook NAME": "test_a_command_works_or_names_what_it_needs",
    "deflect notebook tables": "what the rule of this name calls; test_a_small_study_reaches_its_report",
    "deflect plan": "test_the_plan_of_a_small_study_names_what_it_takes",
    "deflect plan --study paper": "test_the_study_can_be_named_before_and_after_the_command",
    "deflect predict RUN B2=blue.tif B3=green.tif B4=red.tif": "test_a_real_scene_of_six_files_is_mapped_on_its_grid",
    "deflect predict RUN a.tif b.tif -o labels.csv": "test_a_table_has_the_probabilities_of_the_test",
    "deflect predict RUN scene.tif": "test_maps_of_test_images_are_the_predictions_of_the_test",
    "deflect predict RUN scene.tif --stride 16": "test_a_classification_maps_the_window_around_each_cell",
    "deflect predict RUN scene.tif -o map.tif --embeddings": "test_embeddings_are_features_of_patches_on_their_grid",
    "deflect predict RUN scene.tif -o map.tif --overlap 0.5": "test_a_real_scene_of_six_files_is_mapped_on_its_grid",
    "deflect predict RUN scene.vrt -o percent.tif --probabilities": "test_probabilities_are_percent_of_each_class",
    "deflect records": "what the rule of this name calls; test_a_small_study_reaches_its_report",
    "deflect report": "test_deleted_results_come_back_byte_for_byte_without_training",
    "deflect share RUN FOLDER": "test_a_shared_folder_predicts_as_the_run",
    "deflect share RUN FOLDER --push USER/NAME": "test_push_uploads_the_files_of_the_folder_and_no_others",
    "deflect share RUN FOLDER --with-gfm": "test_a_shared_folder_predicts_as_the_run",
    "deflect train --dataset brick_kiln --gfm scale_mae --method deflect lora": "test_a_small_study_reaches_its_report",
    "deflect tune": "test_tuned_runs_have_the_chosen_settings_and_name_their_search",
    "dvc add": "test_dvc_sees_what_was_added",
    "dvc add data/raw/fields": "test_dvc_sees_what_was_added",
    "dvc commit": "test_no_large_file_is_copied_and_a_second_repro_does_nothing",
    "dvc gc --workspace": "asks before it deletes",
    "dvc metrics": "a family; `dvc metrics show` is run",
    "dvc metrics diff": "needs two commits of a finished study",
    "dvc metrics diff main my-branch": "needs two branches of a finished study",
    "dvc metrics show": "test_own_dataset_joins_the_study_as_the_page_says",
    "dvc plots": "a family; `dvc plots show` is run",
    "dvc plots diff": "needs two commits of a finished study",
    "dvc plots show": "test_own_dataset_joins_the_study_as_the_page_says",
    "dvc pull": "needs a remote; measured by hand",
    "dvc push": "test_dvc_sees_what_was_added",
    "dvc remove data/raw/fields.dvc": "of DVC alone; its effect was looked at by hand",
    "dvc repro --pull": "needs a remote; measured by hand",
    "dvc status": "test_no_large_file_is_copied_and_a_second_repro_does_nothing",
    "dvc repro": "test_own_dataset_joins_the_study_as_the_page_says",
    "make bench": "measures for minutes",
    "make docs": "test_configuration_page_is_the_one_that_the_code_generates",
    "make env": "made the environment that these tests run in",
    "make kill-test": "kills a study for half an hour",
    "make mutation": "measures for half an hour",
    "make geobench-check": "installs a package from the network",
    "make help": "lists the targets of the Makefile",
    "make mini-schedule": "ten minutes of training; its parts are in tests/training/test_search.py",
    "make real-scene": "trains for a quarter of an hour on data that few machines have",
    "make rehearsal ARGUMENTS=FOLDER": "takes 25 GB and a quarter of an hour",
    "make test-gpu": "needs a GPU",
    "make pictures": "needs the finished mini study",
    "make reproduce": "the whole mini study takes minutes; test_a_small_study_reaches_its_report",
    "make schema": "test_schema_is_the_one_that_the_code_generates",
    "make site": "test_the_tutorials_show_their_results",
    "make test": "runs these very tests",
    "pip install -e 'external/deflect[study]'": "installs packages",
    "pip install deflect-gfm --find-links dist": "test_a_strangers_path_from_pip_to_an_adapted_model",
    "python -m deflect": "what every rule calls; test_a_small_study_reaches_its_report",
    "python -m venv": "what fake_conda.py makes environments with",
    "snakemake --cores 1 results/mini/figures/parameter_efficiency.png": "test_one_figure_alone",
    "snakemake --cores 4 --config study=paper --until fetch fetch_gfm": "downloads; planned here",
    "snakemake --cores all": "test_a_small_study_reaches_its_report",
    "snakemake --cores all --config study=paper": "needs a GPU and days; planned here",
    "snakemake --cores all --config study=mini_evidence": "takes twenty minutes; planned here",
    "snakemake --cores all --config study=sensitivity": "needs a GPU and days; planned here",
    "snakemake --cores all --configfile tutorial.yaml": "needs the tutorial's file",
    "snakemake --cores all --directory DIR": "test_a_small_study_reaches_its_report",
    "snakemake --cores all --forcerun train": "planned here",
    "snakemake --cores all --resources gpu=4": "needs a GPU; planned here",
    "snakemake --unlock": "tried by hand, after a kill",
    "snakemake --cores all --use-conda": "test_a_small_study_reaches_its_report",
    "snakemake --cores all -n": "planned here",
    "snakemake --cores all data/prepared/mini/brick_kiln/store.json": "planned here",
    "snakemake --cores all results/mini/runs/brick_kiln/scale_mae/deflect/seed0/record.json": "planned here",
    "snakemake --report": "test_a_small_study_reaches_its_report",
    "snakemake --workflow-profile workflow/profiles/kubernetes --config study=paper": "test_kubernetes.py",
    "snakemake --workflow-profile workflow/profiles/slurm --config study=paper": "needs a cluster; planned here",
    "snakemake --workflow-profile workflow/profiles/slurm_packed --config study=paper": "test_slurm.py",
    "snakemake -n": "planned here",
    "snakemake -np": "test_printed_commands_can_be_repeated_by_hand",
    "snakemake -s PROJECT/Snakefile": "test_a_small_study_reaches_its_report",
    "source .venv/bin/activate": "the environment that `make env` makes and these tests run in",
    "uv build": "needs the network; test_packages.py builds both by hatchling",
    "wandb sync": "needs an account",
}


def commands(text: str) -> set[str]:
    """Commands of a page: lines of its shell blocks without their comments, and the longer ones between backquotes."""
    found = set()
    for kind, block in re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines = block.strip().splitlines()
        if kind == "console":
            found |= {line[2:] for line in lines if line.startswith("$ ")}
        elif kind in ("bash", "sh", "shell") or (not kind and lines[0].split()[0] in PROGRAMS):
            found |= {line for line in lines if line and not line.startswith("#")}
    plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", plain)
    found |= {span for span in spans if span.split()[0] in PROGRAMS and len(span.split()) > 1}
    return {re.sub(r"\s+# .*", "", command).strip() for command in found}


FOUND = {command: page for page, text in PAGES.items() for command in commands(text)}


def test_every_command_of_the_pages_is_covered():
    unknown = {command: page for command, page in FOUND.items() if command not in COVERED}
    assert not unknown, "list them in COVERED, with the test that runs them or the reason why none does"
    assert set(COVERED) == set(FOUND), "COVERED has commands that no page has"


def test_every_test_named_here_exists():
    paths = list(ROOT.glob("tests/**/test_*.py"))
    names = {name for path in paths for name in re.findall(r"def (test_\w+)", path.read_text())}
    files = {path.name for path in paths}
    named = {name for reason in COVERED.values() for name in re.findall(r"test_\w+(?:\.py)?", reason)}
    assert named <= names | files


def arguments(command: str) -> list[str]:
    """The words after the program, placeholders filled in, redirection left out."""
    words = shlex.split(command.partition(" > ")[0].replace(" ...", ""))
    filled = {"NAME": "scale_mae" if " gfm " in command else "so2sat", "PROJECT/Snakefile": "Snakefile"}
    return [filled.get(word, word) for word in words[1:]]


@pytest.mark.parametrize("command", sorted(FOUND))
def test_the_program_accepts_the_command(command):
    """The program's parser accepts its words, or the named target exists."""
    program, words = command.split()[0], arguments(command)
    if program == "deflect":
        parser().parse_args(words)
    elif program == "snakemake":
        from snakemake.cli import parse_args

        parse_args(words)
    elif program == "dvc":
        from dvc.cli import parse_args

        parse_args(words if len(words) > 1 or words == ["repro"] else [*words, "show"])
    elif program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "python":
        assert words[0] == "-m"
        assert importlib.util.find_spec(words[1])
    elif program == "wandb":
        from wandb.cli.cli import cli

        assert words[0] in cli.commands
    elif program in ("pip", "uv"):
        assert words[0] in subprocess.check_output([program, "--help"], text=True)
    elif program == "conda":
        assert (ROOT / words[-1]).is_file()
    elif program in CONTAINERS:
        assert (ROOT / "Containerfile").is_file()
    else:
        assert command == "source .venv/bin/activate"


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(command for command in FOUND if command.startswith("snakemake ")))
def test_snakemake_plans_the_command(command, tmp_path):
    """With `-n` in a new copy of the project."""
    if command == "snakemake --report":
        pytest.skip("reports on finished results alone")
    if "tutorial.yaml" in command:
        pytest.skip("the tutorial writes this file")
    if "--use-conda" in command and not shutil.which("conda"):
        pytest.skip("Snakemake asks conda before it plans")
    if "--unlock" in command:
        pytest.skip("plans nothing")
    project = copy_project(tmp_path)
    words = [word.replace("DIR", "other") for word in arguments(command)]
    text = run(project, "snakemake", "-n", *words, PYTHONPATH=str(project / "workflow/plugins"))
    assert "This was a dry-run" in text


def python_of(page: str) -> str:
    (block,) = python_blocks(page)
    return block


def test_every_page_with_python_is_run_here():
    assert {page for page, text in PAGES.items() if "```python" in text} == {
        "README.md",
        "docs/fit.md",  # run in tests/docs/test_fit.py
        "docs/methods.md",
        "docs/module.md",  # a Snakefile, run in tests/workflow/test_module.py
        "docs/tutorial.md",  # run in tests/docs/test_tutorial.py
        "docs/using.md",  # run in tests/trained, section by section
        "docs/your_own_dataset.md",
    }


def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "".join(python_blocks("README.md")).replace("pretrained=True", "pretrained=False")
    exec(code.replace("vit_small", "vit_tiny").replace("range(5)", "range(1)"), given := {})
    assert given["tokens"].shape == (8, 1 + 196, 192)
    again = deflect.load_adapter(given["vit"], "my_adapter").eval()
    assert torch.equal(
        again.forward_features(given["images"]), given["adapted"].eval().forward_features(given["images"])
    )


def test_python_of_the_methods_page_runs(tmp_path, monkeypatch):
    """With a narrow ViT of Scale-MAE's depth in place of its weights."""
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 24, "num_heads": 2, "num_classes": 0}
    monkeypatch.setattr(deflect, "load_gfm", lambda name, weights: timm.models.VisionTransformer(**size))
    monkeypatch.chdir(tmp_path)
    images = torch.rand(2, 6, 32, 32) * 0.3
    given = {"images": images, "batches_of_training_images": [images]}
    exec(python_of("docs/methods.md"), given)
    assert [tuple(each.shape) for each in given["maps"]] == [(2, 32, 4, 4)] * 4


def test_python_of_the_page_on_own_datasets_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folders(folder := Path("data/raw/fields"))
    page = PAGES["docs/your_own_dataset.md"]
    (folder / "card.yaml").write_text(re.search(r"```yaml\n(task: .*?)```", page, re.DOTALL).group(1))
    exec(python_of("docs/your_own_dataset.md"), {})
    assert Path("store/fields/store.json").exists()
