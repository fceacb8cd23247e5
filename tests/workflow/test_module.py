"""Another workflow imports this one as docs/module.md shows, runs one figure and uses its results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from paths import ROOT
from projects import copy_project, run

PAGE = (ROOT / "docs/module.md").read_text()
RULE = """
rule environment:
    output:
        "environment.txt",
    shell:
        "env > {output}"
"""


def block(kind: str) -> str:
    """The code of the page in a language."""
    (code,) = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return code


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A folder with the page's Snakefile and config.yaml, and with files that are named like the project's."""
    folder = tmp_path / "a study of mine"
    copy_project(folder / "external/deflect")
    for name in ("notebooks/parameter_efficiency.py", "references/paper.csv", "workflow/report/main.rst"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("not the project's")
    (folder / "config.yaml").write_text(block("yaml"))
    (folder / "Snakefile").write_text(block("python") + RULE)
    return folder


def replace(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


@pytest.mark.slow
def test_page_works_and_writes_into_the_users_folder_only(user: Path) -> None:
    before = files(user / "external/deflect")
    run(user, "snakemake", "--cores", "2")
    assert (user / "paper/parameter_efficiency.png").stat().st_size > 5000
    assert ",brick_kiln,scale_mae,lora,all,f1_macro," in (user / "paper/main.csv").read_text()
    assert len(list(user.glob("results/small/runs/*/*/*/seed0/record.json"))) == 2
    assert files(user / "external/deflect") == before
    assert "Nothing to be done" in run(user, "snakemake", "-n")


def test_rules_that_keep_their_names_run_in_the_users_folder_and_leave_its_rules_alone(user: Path) -> None:
    before = files(user / "external/deflect")
    replace(user / "Snakefile", " as deflect_*", "")
    run(user, "snakemake", "--cores", "2", "simulate_rgb", "environment")
    assert (user / "data/simulated/rgb.npy").exists()
    assert files(user / "external/deflect") == before
    assert "external/deflect" not in (user / "environment.txt").read_text()


def test_page_is_planned_with_a_configuration_that_is_a_part_of_the_users(user: Path) -> None:
    config = {"samples": "samples.csv", "deflect": yaml.safe_load((user / "config.yaml").read_text())}
    (user / "config.yaml").write_text(yaml.safe_dump(config))
    replace(user / "Snakefile", "        config\n", '        config["deflect"]\n')
    text = run(user, "snakemake", "-np", "paper", "deflect_all")
    assert re.search(r"^deflect_train +2$", text, re.MULTILINE)
    (path,) = set(re.findall(r"deflect --config (\S+)", text))
    assert yaml.safe_load((user / path).read_text()) == config["deflect"]
    assert "snakemake results --snakefile external/deflect/Snakefile " in text


def test_a_prefix_of_paths_is_refused(user: Path) -> None:
    replace(user / "Snakefile", "        config\n", '        config\n    prefix:\n        "elsewhere"\n')
    assert "`prefix` and `replace_prefix` are not supported" in run(user, "snakemake", "-n", expect=1)
