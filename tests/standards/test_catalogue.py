"""What the Snakemake workflow catalogue looks for, with the checks of its scripts/generate-catalog.py.

Its ``snakemake --lint`` in the main folder is ``test_lint_is_clean``.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import yaml
from paths import ROOT
from projects import run

RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))


def test_readme_is_found_by_the_search_of_the_catalogue() -> None:
    """GitHub's search for "snakemake workflow in:readme"."""
    text = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in text
    assert "workflow" in text


def test_usage_is_standardised_and_says_what_the_rules_have() -> None:
    (usage,) = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text()).values()
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    deployment = usage["software-stack-deployment"]
    assert set(deployment) == {"conda", "singularity", "singularity+conda"}
    text = "".join(path.read_text() for path in RULES)
    commands = len(re.findall(r"^ +shell:", text, re.MULTILINE))
    assert deployment["conda"] == (len(re.findall(r"^ +conda:", text, re.MULTILINE)) == commands)
    assert deployment["singularity"] == ("container:" in text or "containerized:" in text)
    assert usage["report"] == (" report(" in text)


def test_instructions_name_keys_of_the_configuration() -> None:
    keys = re.findall(r"^\| `([\w.]+)`", (ROOT / "config/README.md").read_text(), re.MULTILINE)
    known = re.findall(r"^\| `([\w.]+)`", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    assert len(keys) > 5
    assert set(keys) <= set(known)


def test_the_folder_config_has_the_one_configuration(tmp_path: Path) -> None:
    """``snakedeploy deploy-workflow`` copies this folder."""
    assert (ROOT / "config/config.yaml").is_symlink()
    shutil.copytree(ROOT / "config", tmp_path / "config")
    assert (tmp_path / "config/config.yaml").read_text() == (ROOT / "config.yaml").read_text()


def test_rules_are_formatted() -> None:
    run(ROOT, "snakefmt", "--check", "-v", "workflow/Snakefile", *map(str, RULES))


def test_graph_of_the_rules_is_drawn() -> None:
    options = ("-s", "workflow/Snakefile", "-c", "1", "-d", ".test", "--forceall", "--rulegraph")
    assert 'label = "train"' in run(ROOT, "snakemake", *options)
