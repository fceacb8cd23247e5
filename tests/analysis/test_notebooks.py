"""Notebooks run on made-up records, refuse unknown parameters and give the same bytes again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from make_records import make_run, make_store, make_study
from paths import ROOT

from deflect.analysis.notebook import execute, find_root, parameter_names
from deflect.errors import DataError

NOTEBOOKS = ROOT / "notebooks"
#: Parameters besides `runs` and `grid`, and the files that each notebook writes.
OUTPUTS = {
    "tables": (
        ["references", "claims", "resamples", "tables"],
        ["tables/main", "tables/ranks", "tables/comparison", "tables/claims"],
    ),
    "parameter_efficiency": (["figures"], ["figures/parameter_efficiency"]),
    "panels": (
        ["figures"],
        ["figures/parameter_efficiency_per_gfm", "figures/parameter_efficiency_per_dataset", "figures/cost"],
    ),
    "ablation": (["resamples", "tables"], ["tables/ablation", "tables/patch_embed", "tables/tuned"]),
    "sensitivity": (["decisions", "tables"], ["tables/sensitivity"]),
    "statistics": (
        ["tables", "figures"],
        ["tables/calibration", "figures/reliability", "figures/error_overlap"],
    ),
    "qualitative": (
        ["prepared", "datasets", "gfm", "samples", "figures"],
        ["figures/training_curves", "figures/confusion_matrices", "figures/segmentation_maps_burn_scars"],
    ),
    "few_labels": (["tables", "figures"], ["tables/few_labels", "figures/few_labels"]),
    "inside_deflect": (
        ["gfm", "figures"],
        ["figures/inside_deflect", "figures/inside_deflect_classes", "figures/index_importance"],
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    make_study(folder / "runs", ["brick_kiln", "burn_scars"], ["scale_mae"], ["deflect", "lora", "frozen", "full"])
    make_run(folder / "runs", "burn_scars", "scale_mae", "deflect", variant="deflect+rank=1", settings={"rank": 1})
    make_run(folder / "runs", "burn_scars", "scale_mae", "lora", variant="zero", settings={"patch_init": "zero"})
    make_store(folder / "prepared/burn_scars", "burn_scars")
    return folder


def parameters(name: str, folder: Path) -> dict[str, object]:
    values = {
        "tables": str(folder / "tables"),
        "figures": str(folder / "figures"),
        "prepared": str(folder / "prepared"),
        "datasets": ["burn_scars"],
        "resamples": 200,
        "samples": 1,
    }
    own = {key: value for key, value in values.items() if key in OUTPUTS[name][0]}
    return {"runs": str(folder / "runs"), **own}


def test_every_notebook_is_listed_here_and_in_the_workflow():
    assert {path.stem for path in NOTEBOOKS.glob("*.py")} == set(OUTPUTS)
    rules = (ROOT / "workflow/rules/report.smk").read_text()
    outputs = re.findall(r"^ *rule notebook_(\w+):.*?output:(.*?)log:", rules, re.MULTILINE | re.DOTALL)
    declared = {
        name: {f"{kind}s/{base}" for kind, base in re.findall(r'(table|figure)\("(\w+)"\)', text)}
        for name, text in outputs
    }
    written = {
        name: {base for base in bases if "segmentation_maps" not in base} for name, (_, bases) in OUTPUTS.items()
    }
    assert declared == written


@pytest.mark.parametrize("name", OUTPUTS)
def test_notebook_writes_its_outputs(name, folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    output = folder / f"notebooks/{name}.ipynb"
    execute(NOTEBOOKS / f"{name}.py", output, parameters(name, folder))
    for base in OUTPUTS[name][1]:
        for kind in ("csv", "md", "tex") if base.startswith("tables/") else ("png", "pdf"):
            assert (folder / f"{base}.{kind}").stat().st_size > 0
    cells = nbformat.read(output, as_version=4).cells
    assert not [o for cell in cells for o in cell.get("outputs", []) if o.output_type in ("error", "stream")]


def test_rerun_gives_the_same_bytes(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    name = "parameter_efficiency"
    runs = []
    for _ in range(2):
        execute(NOTEBOOKS / f"{name}.py", tmp_path / "out.ipynb", parameters(name, folder) | {"figures": str(tmp_path)})
        runs.append({path.name: path.read_bytes() for path in sorted(tmp_path.iterdir())})
        for path in tmp_path.iterdir():
            path.unlink()
    assert len(runs[0]) == 3
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", OUTPUTS)
def test_parameter_names(name):
    assert parameter_names(NOTEBOOKS / f"{name}.py") == ["runs", "grid", *OUTPUTS[name][0]]


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(DataError, match=r"tables.py: no parameter run; it has runs, grid"):
        execute(NOTEBOOKS / "tables.py", tmp_path / "out.ipynb", {"run": "x"})
    assert not (tmp_path / "out.ipynb").exists()


def test_a_failing_notebook_is_kept_with_its_traceback(tmp_path):
    source = tmp_path / "failing.py"
    source.write_text('# %% tags=["parameters"]\nx = 1\n\n# %%\nraise RuntimeError("no luck")\n')
    with pytest.raises(DataError, match="RuntimeError: no luck"):
        execute(source, tmp_path / "out.ipynb", {"x": 2})
    assert "no luck" in (tmp_path / "out.ipynb").read_text()


def test_a_notebook_finds_the_project_from_a_subfolder(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path / "notebooks")
    assert find_root() == tmp_path
