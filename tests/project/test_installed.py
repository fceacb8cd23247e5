"""The packages in empty environments, and the path of a stranger: from `pip install` to an adapted model."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from packages import CLEAN, build, empty_environment, install, interpreter
from page_code import python_blocks
from paths import ROOT
from projects import copy_project

#: After the code of the README: the file of the adapter gives the model back, and the core is small beside torch.
CHECK = """
import importlib.metadata, sys
again = deflect.load_adapter(vit, "my_adapter").eval()
assert torch.equal(again.forward_features(images), adapted.eval().forward_features(images))
others = [d for d in importlib.metadata.distributions() if not d.name.startswith(("torch", "triton", "nvidia", "cuda"))]
size = sum(path.stat().st_size for d in others for file in d.files if (path := file.locate()).is_file())
print(f"{len(others)} packages beside torch's, {size / 1e6:.0f} MB")
assert len(others) <= 40 and size < 300e6
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"))[0]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Path]:
    """The folder of an environment; gigabytes, so it is not kept."""
    yield tmp_path / "venv"
    shutil.rmtree(tmp_path / "venv", ignore_errors=True)


def readme_code() -> str:
    """The code of the README, without the download of weights."""
    return "".join(python_blocks("README.md", "Adapt your own model")).replace("pretrained=True", "pretrained=False")


def run(program: Path, *arguments: str) -> str:
    """Run a program of an environment in its folder, without this project on the path."""
    folder = program.parents[2]
    done = subprocess.run([program, *arguments], cwd=folder, env=CLEAN, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def test_the_first_code_of_the_readme_has_ten_lines() -> None:
    block = python_blocks("README.md", "Adapt your own model")[0]
    assert len([line for line in block.splitlines() if line]) <= 10


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_core_adapts_trains_saves_and_loads(version: str, wheel: Path, environment: Path) -> None:
    python = empty_environment(environment, version)
    install(python, wheel)
    print(run(python, "-c", readme_code() + CHECK))
    assert "usage: deflect" in run(python.with_name("deflect"), "--help")


@pytest.mark.slow
def test_a_strangers_path_from_pip_to_an_adapted_model(wheel: Path, environment: Path) -> None:
    """Times depend on the network and the machine; README.md has those of one."""
    subprocess.run([interpreter("3.12"), "-m", "venv", environment], check=True, env=CLEAN)
    command = [environment / "bin/pip", "install", "--quiet", "--no-cache-dir", wheel]
    installing = seconds(lambda: subprocess.run(command, check=True, env=CLEAN))
    block = python_blocks("README.md", "Adapt your own model")[0].replace("pretrained=True", "pretrained=False")
    code = [seconds(lambda: run(environment / "bin/python", "-c", block)) for _ in range(2)]
    print(f"pip install {installing:.0f} s, code {code[0]:.1f} s, again {code[1]:.1f} s")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_the_study_runs_with_its_extra(version: str, wheel: Path, environment: Path) -> None:
    python = empty_environment(environment, version)
    install(python, f"{wheel}[study]")
    shutil.copy(ROOT / "config.yaml", environment.parent)
    run(python.with_name("deflect"), "data", "simulate", "mados")
    assert "config: study mini" in run(python.with_name("deflect"), "doctor")
    run(python, "-c", "import altair, dvc, papermill, peft, rasterio, seaborn, snakemake, torchgeo, wandb")


@pytest.mark.slow
def test_pip_refuses_an_older_python(wheel: Path, environment: Path) -> None:
    subprocess.run([interpreter("3.10"), "-m", "venv", environment], check=True, env=CLEAN)
    command = [environment / "bin/pip", "install", "--no-deps", wheel]
    done = subprocess.run(command, capture_output=True, text=True, env=CLEAN)
    assert done.returncode == 1
    assert "requires a different Python: 3.10" in done.stderr


@pytest.mark.slow
def test_the_conda_environment_has_the_project(environment: Path, tmp_path: Path) -> None:
    """Its pip section, installed as conda does: by `pip install -U -r FILE` in the folder of environment.yml."""
    project = copy_project(tmp_path / "project")
    for name in ("README.md", "LICENSE", "hatch_build.py"):
        shutil.copy(ROOT / name, project)
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    (project / "condaenv.requirements.txt").write_text("\n".join(content["dependencies"][-1]["pip"]))
    python = empty_environment(environment, "3.11")
    install(python, "-U", "-r", "condaenv.requirements.txt", cwd=project)
    found = run(python, "-c", "import deflect; print(deflect.__file__)").strip()
    assert Path(found) == project / "src/deflect/__init__.py"
    assert "config: study mini" in run(python.with_name("deflect"), "--config", str(project / "config.yaml"), "doctor")
