"""The workflow with a GFM of the user's own and a method of the `peft` library, in real Snakemake."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_vit import TIMM, save_half, trained
from projects import change, copy_project, run

from deflect.cli import main
from deflect.cli.doctor import own_gfms
from deflect.config import load
from deflect.workflow import grid

CARD = "weights/mini/my_vit.json"
RECORD = "results/mini/runs/burn_scars/my_vit/peft:dora/seed0/record.json"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_project(tmp_path_factory.mktemp("project"))
    save_half(trained(), folder / "weights/mine.safetensors")

    def edit(config: dict) -> None:
        mini = config["studies"]["mini"]
        mini |= {"gfms": ["scale_mae", "my_vit"], "methods": ["deflect", "peft:dora"]}
        mini["own_gfms"] = {"my_vit": {"timm": TIMM, "weights": "weights/mine.safetensors"}}

    change(folder, edit)
    return folder


def planned(project: Path, *arguments: str) -> str:
    return run(project, "snakemake", "-n", *arguments)


def test_own_weights_are_converted_and_published_ones_pretrained(project: Path) -> None:
    text = planned(project, RECORD)
    for job in ("convert and verify my_vit", "pretrain scale_mae", "train peft:dora"):
        assert f": {job}\n" in text
    assert "pretrain my_vit" not in text


@pytest.mark.slow
def test_changed_weights_and_settings_are_converted_again(project: Path) -> None:
    run(project, "snakemake", "--cores", "1", CARD)
    assert "Nothing to be done" in planned(project, CARD)
    model = trained()
    model.norm.weight.data += 1
    save_half(model, project / "weights/mine.safetensors")
    assert "convert and verify my_vit" in planned(project, CARD)
    run(project, "snakemake", "--cores", "1", CARD)
    change(project, lambda config: config["studies"]["mini"]["own_gfms"]["my_vit"].update(white=0.2))
    assert "convert and verify my_vit" in planned(project, CARD)


def test_every_command_knows_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    assert main(["gfm", "fetch", "my_vit"]) == 0
    assert capsys.readouterr().out == "my_vit: weights/mine.safetensors can be read\n"
    assert main(["gfm", "convert", "my_vti"]) == main(["gfm", "pretrain", "my_vit"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "deflect: unknown GFM 'my_vti'; did you mean 'my_vit'?",
        "deflect: my_vit: your own GFM has its weights already; run `deflect gfm convert my_vit`",
    ]
    assert grid(load().study)["titles"] == {"my_vit": TIMM}
    found = list(own_gfms(load().study))
    assert found == [("ok", "GFM my_vit: test_vit, width 64, depth 6, patch 16; weights: weights/mine.safetensors")]
