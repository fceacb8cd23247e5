"""Pretraining the mini GFMs on RGB images, each with the task of the published model of its name.

The same seed, machine and number of threads give the same bytes.
"""

from __future__ import annotations

import logging
from math import cos, pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from deflect.errors import ModelError
from deflect.gfms.card import GFMCard, gfm_card
from deflect.gfms.distill import SelfDistillation
from deflect.gfms.masked import CrossScaleReconstruction, MaskedReconstruction
from deflect.gfms.vit import SinCosViT, build
from deflect.gfms.weights import save_weights
from deflect.settings.pretraining import PretrainSettings

if TYPE_CHECKING:
    from deflect.settings.study import Study

log = logging.getLogger(__name__)
Objective = MaskedReconstruction | SelfDistillation
OBJECTIVES: dict[str, Any] = {
    "scale_mae": MaskedReconstruction,
    "dino_mc": SelfDistillation,
    "cross_scale_mae": CrossScaleReconstruction,
}


def pretrain(name: str, images: np.ndarray, out: Path, settings: PretrainSettings, seed: int) -> GFMCard:
    """Pretrain the mini GFM ``name`` and write ``out`` (``.safetensors``) and its card.

    ``images`` is reflectance (N, 3, H, W) of unlabelled scenes in the order red, green, blue, with H = W >= 16. All
    random numbers are of ``seed``.
    """
    rgb = _checked(images)
    card = gfm_card(name, "mini")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective = make_objective(card, settings)
        losses = optimise(objective, rgb, settings)
    gfm = objective.gfm
    if isinstance(gfm, SinCosViT):
        gfm.set_gsd(1.0)  # the reference; load_gfm sets that of its images
    origin = {"pretrained_on": f"{len(rgb)} RGB images", "settings": settings.model_dump(), "seed": seed}
    return save_weights(gfm.state_dict(), card, out, origin | {"loss": losses[-1]})


def pretrain_study(study: Study, name: str) -> GFMCard:
    """Pretrain the mini GFM ``name`` with the settings of ``study``, on its simulated RGB images."""
    if not study.rgb_images.is_file():
        raise FileNotFoundError(f"{study.rgb_images}: no such file; run `deflect data simulate --rgb` first")
    settings = PretrainSettings(**study.pretraining)
    return pretrain(name, np.load(study.rgb_images), study.gfm_weights(name), settings, study.simulation["seed"])


def make_objective(card: GFMCard, settings: PretrainSettings) -> Objective:
    """The pretraining task of the GFM of ``card``, with an untrained model.

    Its weights are Xavier-uniform as in MAE: timm's 0.02 is for wide models, and far too small here.
    """
    gfm = build(card)
    for module in gfm.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    nn.init.xavier_uniform_(gfm.patch_embed.proj.weight.data.flatten(1))
    return OBJECTIVES[card.name](gfm, settings)


def optimise(objective: Objective, rgb: Tensor, settings: PretrainSettings) -> list[float]:
    """Train ``objective`` on batches of ``rgb`` (N, 3, H, W); returns the loss of every step."""
    trained = [p for p in objective.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim in (2, 4)], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim not in (2, 4)], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.95))
    losses = []
    for step in range(settings.steps):
        progress = step / settings.steps
        for group in optimiser.param_groups:
            group["lr"] = settings.lr * min(10 * (step + 1) / settings.steps, (1 + cos(pi * progress)) / 2)
        loss = objective(rgb[torch.randint(len(rgb), (settings.batch_size,))])
        if not loss.isfinite():
            raise ModelError(f"pretraining: the loss is {loss.item()} at step {step}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        objective.after_step(progress)
        losses.append(loss.item())
    log.info("pretraining: loss %.4f at the first step, %.4f at the last of %d", losses[0], losses[-1], len(losses))
    return losses


def _checked(images: np.ndarray) -> Tensor:
    """``images`` as a float32 tensor; a wrong layout and digital numbers are errors."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or images.shape[2] < 16:
        raise ModelError(f"pretraining images: expected (N, 3, S, S) with S >= 16, found {images.shape}")
    rgb = torch.from_numpy(np.array(images, dtype=np.float32))
    if not rgb.isfinite().all() or not 0.001 < rgb.mean() < 1.5:
        raise ModelError(
            f"pretraining images: expected finite reflectance (about 0 to 1), found a mean of {rgb.mean():.4g}"
        )
    return rgb
