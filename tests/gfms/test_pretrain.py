"""Mini pretraining learns, is repeatable, and writes weights that load and pass `verify`.

docs/gfms.md compares frozen features with random ones; this takes too long for a test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deflect.errors import ConfigError, ModelError
from deflect.files import read_json
from deflect.gfms import GFMS, build, card_of, gfm_card, load_gfm
from deflect.gfms.convert import save_weights
from deflect.gfms.distill import spread
from deflect.gfms.masked import MaskedReconstruction, agreement
from deflect.gfms.pretrain import make_objective, optimise, pretrain
from deflect.gfms.verify import verify
from deflect.gfms.views import encode, random_view
from deflect.gfms.vit import sincos_positions
from deflect.settings.pretraining import PretrainSettings
from deflect.settings.reading import read


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
def test_pretraining_lowers_the_loss_of_unseen_scenes(name: str) -> None:
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


def test_verify_accepts_pretrained_weights(tmp_path: Path) -> None:
    weights = tmp_path / "scale_mae.safetensors"
    pretrain("scale_mae", scenes(48, seed=1), weights, PretrainSettings(steps=25, batch_size=8), seed=0)
    report = verify("scale_mae", weights)
    assert report["parameters"] == 216_640
    assert all(check["passed"] for check in report["checks"].values())


def test_verify_detects_shuffled_learned_positions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, weights = build(gfm_card("dino_mc", "mini")), tmp_path / "dino_mc.safetensors"
    for key, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in key), std=0.1)
    smooth = sincos_positions((8, 8), 64)
    for order, passes in ((torch.arange(64), True), (torch.randperm(64), False)):
        model.pos_embed.data[:, 1:] = smooth[:, 1:][:, order]
        save_weights(model.state_dict(), card_of(model), weights, {})
        if passes:
            assert verify("dino_mc", weights)["name"] == "dino_mc"
        else:
            with pytest.raises(ModelError, match="positions is"):
                verify("dino_mc", weights)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((4, 64, 64, 3), 0.1), r"expected \(N, 3, S, S\)"),
        (np.full((4, 3, 64, 64), 1200.0), "expected finite reflectance"),
        (np.full((4, 3, 64, 64), np.nan), "expected finite reflectance"),
    ],
)
def test_wrong_images_are_an_error_and_write_no_file(images: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        pretrain("dino_mc", images, tmp_path / "w.safetensors", PretrainSettings(steps=1, batch_size=2), seed=0)
    assert not list(tmp_path.iterdir())


def test_invalid_settings_are_an_error() -> None:
    for field, value in (("steps", 0), ("batch_size", 1), ("mask_ratio", 1.0), ("momentum", 0.0)):
        with pytest.raises(ConfigError, match=f"pretraining.{field}: expected"):
            read(PretrainSettings, {field: value}, "pretraining")


def test_encoder_does_not_depend_on_hidden_patches() -> None:
    torch.manual_seed(0)
    gfm = build(gfm_card("scale_mae", "mini")).eval()
    images, kept = torch.randn(1, 3, 64, 64), torch.tensor([[0, 1, 8]])
    hidden_changed = images.clone()
    hidden_changed[:, :, 16:, 16:] += 1
    seen_changed = images.clone()
    seen_changed[:, :, :8, :8] += 1
    with torch.no_grad():
        features = encode(gfm, images, kept)
        assert torch.equal(encode(gfm, hidden_changed, kept), features)
        assert not torch.equal(encode(gfm, seen_changed, kept), features)


def test_a_perfect_prediction_of_the_hidden_patches_has_no_loss() -> None:
    """The order of patches survives masking and restoring: a decoder that knows the targets gets exactly 0."""
    torch.manual_seed(0)
    objective = MaskedReconstruction(build(gfm_card("scale_mae", "mini")), PretrainSettings())
    rgb = torch.randn(2, 3, 64, 64)
    objective.decode = lambda encoded, restore: objective.targets(rgb)  # type: ignore[method-assign]
    assert objective.reconstruct(rgb)[0] == 0


def test_positions_follow_the_crop() -> None:
    """Half of a 64-pixel image of 10 m, at 64 pixels again, has pixels of 5 m."""
    objective = MaskedReconstruction(build(gfm_card("scale_mae", "mini")), PretrainSettings())
    objective.view(torch.rand(2, 3, 64, 64), 0.5)
    assert objective.gfm.gsd == 5.0
    objective.view(torch.rand(2, 3, 48, 48), 1.0)
    assert objective.gfm.gsd == 7.5


def test_a_full_size_view_is_the_image_or_its_mirror() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 16, 16)
    mirrors = [image, image.flip(2), image.flip(3), image.flip(2, 3)]
    for _ in range(8):
        view = random_view(image, 1.0, 16)
        assert min((view - mirror).abs().max() for mirror in mirrors) < 1e-5


def test_assignments_are_spread_evenly() -> None:
    torch.manual_seed(0)
    even = spread((torch.randn(32, 8) * 3 + torch.arange(8)).softmax(1), rounds=50)
    torch.testing.assert_close(even.sum(1), torch.ones(32))
    torch.testing.assert_close(even.sum(0), torch.full((8,), 4.0), rtol=1e-2, atol=1e-2)


def test_agreement_is_lowest_for_the_right_partner() -> None:
    views = torch.eye(6)
    assert agreement(views, views, 0.1) < 1e-2 < agreement(views, views.roll(1, 0), 0.1)
