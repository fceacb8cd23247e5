"""Runs of a study with a GFM of the user's own and with methods of the `peft` library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from own_vit import TIMM, own_study, save_half, trained
from tiny_store import tiny_store

from deflect.files import read_json, write_json
from deflect.gfms.own import convert_own
from deflect.settings.study import Config, RunName
from deflect.trained.evaluate import evaluate
from deflect.training import grid
from deflect.training.run import train

TRAINING = {"image_size": 40, "epochs": 2, "checkpoint_every": 0, "calibration_images": 8}
STUDY: dict[str, Any] = {
    "datasets": ["brick_kiln"],
    "methods": ["deflect", "lora", "vpt", "peft:dora"],
    "training": {"classification": TRAINING, "segmentation": TRAINING},
}


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A study in the working directory, whose own GFM is converted; the parameter is its name in timm."""
    monkeypatch.chdir(tmp_path)
    name = getattr(request, "param", TIMM)
    save_half(trained(name), tmp_path / "mine.safetensors")
    config = own_study("mine.safetensors", name, **STUDY)
    config.methods["peft:dora"] = {"options": {"r": 2}}
    convert_own("my_vit", config.study.own_gfms["my_vit"], config.study.gfm_weights("my_vit"))
    tiny_store(config.study.prepared("brick_kiln"), "classification", size=40)
    return config


@pytest.mark.parametrize("method", ["vpt", "peft:dora"])
def test_run_is_recorded_and_evaluated_to_the_last_bit(config: Config, method: str) -> None:
    (spec,) = grid.grid(config, {"gfm": ["my_vit"], "method": [method]}, "cpu", 1)
    record = train(spec)
    assert spec.out == Path("results/mini/runs/brick_kiln/my_vit") / method / "seed0"
    assert record["settings"]["training"]["image_size"] == 48  # the multiple of 16 nearest to 40
    assert (record["method"], record["weights"]["size"]) == (method, "own")
    assert evaluate(spec.out).identical
    written = (spec.out / "record.json").read_bytes()
    assert train(spec)["finished"] == record["finished"]
    assert (spec.out / "record.json").read_bytes() == written


@pytest.mark.slow
@pytest.mark.parametrize("config", ["vit_small_patch16_dinov3"], indirect=True)
def test_rotary_positions_in_a_study(config: Config) -> None:
    (spec,) = grid.grid(config, {"gfm": ["my_vit"], "method": ["deflect"]}, "cpu", 1)
    train(spec)
    assert evaluate(spec.out).identical


def test_published_gfm_keeps_the_image_size(config: Config) -> None:
    weights = config.study.gfm_weights("scale_mae")
    assert grid.grid(config, {"gfm": ["scale_mae"], "method": ["lora"]}, "cpu", 1)[0].training.image_size == 40
    assert not weights.exists()


@pytest.mark.parametrize(("change", "same"), [({"rgb_mean": [0.1, 0.2, 0.3]}, False), ({"title": "Mine"}, True)])
def test_a_run_belongs_to_the_card_of_its_weights(config: Config, change: dict[str, Any], same: bool) -> None:
    run = RunName("brick_kiln", "my_vit", "lora", 0)
    before, path = grid.fingerprint(config, run), config.study.gfm_weights("my_vit").with_suffix(".json")
    card = read_json(path)
    card.pop("seal", None)
    write_json(path, card | change, seal=True)
    assert (grid.fingerprint(config, run) == before) == same
