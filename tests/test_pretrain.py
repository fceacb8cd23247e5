"""Mini pretraining makes features better than random ones, is repeatable, and leaves whole files or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deflect.files import read_json
from deflect.gfms import GFMS, gfm_card, load_gfm
from deflect.gfms.pretrain import PretrainSettings, make_objective, optimise, pretrain

torch.set_num_threads(1)
QUICK = PretrainSettings(steps=3, batch_size=8)


def scenes(count: int, seed: int) -> np.ndarray:
    """Fields of a few colours and rows in one direction: (N, 3, 64, 64) reflectance."""
    rng = np.random.default_rng(seed)
    images = np.empty((count, 3, 64, 64), np.float32)
    y, x = np.mgrid[:64, :64]
    for image in images:
        sites, colours = rng.uniform(0, 64, (6, 2)), rng.uniform(0.02, 0.25, (6, 3))
        field = ((y[..., None] - sites[:, 0]) ** 2 + (x[..., None] - sites[:, 1]) ** 2).argmin(-1)
        rows = np.sin((x * rng.normal() + y * rng.normal()) * rng.uniform(0.3, 0.8))
        image[:] = colours[field].transpose(2, 0, 1) * (1 + 0.3 * rows)
    return images


#: To what share of its start the loss must fall. A teacher's targets sharpen while it learns, so it falls little.
FALL = {"scale_mae": 0.85, "dino_mc": 0.97, "cross_scale_mae": 0.85}


@pytest.mark.parametrize("name", GFMS)
def test_pretraining_learns_what_holds_for_unseen_scenes(name: str) -> None:
    torch.manual_seed(0)
    settings = PretrainSettings(steps=40, batch_size=16)
    objective = make_objective(gfm_card(name, "mini"), settings)
    unseen = torch.from_numpy(scenes(32, seed=2))

    @torch.no_grad()
    def loss() -> float:
        torch.manual_seed(1)
        return float(np.mean([objective(unseen).item() for _ in range(4)]))

    before = loss()
    optimise(objective, torch.from_numpy(scenes(96, seed=1)), settings)
    assert loss() < FALL[name] * before


@pytest.mark.parametrize("name", GFMS)
def test_pretrained_weights_load_verify_and_repeat(name: str, tmp_path: Path) -> None:
    images, settings = scenes(48, seed=1), PretrainSettings(steps=25, batch_size=8)
    card = pretrain(name, images, tmp_path / "a.safetensors", settings, seed=3)
    pretrain(name, images, tmp_path / "b.safetensors", settings, seed=3)
    pretrain(name, images, tmp_path / "c.safetensors", settings, seed=4)
    first, again, other = ((tmp_path / f"{x}.safetensors").read_bytes() for x in "abc")
    assert first == again
    assert first != other
    assert card.origin["settings"]["steps"] == 25
    assert (
        read_json(tmp_path / "a.json")
        == read_json(tmp_path / "b.json")
        == card.to_dict()
        | {
            "sources": [],
            "rgb_mean": list(card.rgb_mean),
            "rgb_std": list(card.rgb_std),
        }
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{x}.{end}" for x in "abc" for end in ("json", "safetensors")
    ]
    model = load_gfm(name, tmp_path / "a.safetensors", size="mini", img_size=48, gsd=5.0)
    assert model.patch_embed.grid_size == (6, 6)
