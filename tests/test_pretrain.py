"""Mini pretraining makes features better than random ones, is repeatable, and leaves whole files or none."""

from __future__ import annotations

from dataclasses import replace
from math import pi
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from deflect.files import read_json
from deflect.gfms import GFMS, GFMError, gfm_card, load_gfm, scale_rgb
from deflect.gfms.convert import save_weights
from deflect.gfms.distill import SelfDistillation, spread
from deflect.gfms.masked import MaskedReconstruction, agreement
from deflect.gfms.pretrain import PretrainSettings, fresh, make_objective, optimise, pretrain
from deflect.gfms.verify import verify
from deflect.gfms.views import encode, random_view

torch.set_num_threads(1)
QUICK = PretrainSettings(steps=3, batch_size=8)


def fields(count: int, seed: int) -> tuple[np.ndarray, Tensor]:
    """Striped fields (N, 3, 64, 64) in any light and colour; the label is the stripes' direction and width."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 8
    y, x = np.mgrid[:64, :64]
    angle = labels % 4 * pi / 4 + rng.normal(0, 0.08, count)
    length = np.where(labels < 4, 9.0, 14.0)
    along = x * np.cos(angle)[:, None, None] + y * np.sin(angle)[:, None, None]
    stripes = np.sin(2 * pi * along / length[:, None, None] + rng.uniform(0, 2 * pi, (count, 1, 1)))
    colour, contrast = rng.uniform(0.05, 0.2, (count, 3, 1, 1)), rng.uniform(0.03, 0.06, (count, 1, 1, 1))
    images = colour + contrast * stripes[:, None] + rng.normal(0, 0.006, (count, 3, 64, 64))
    return images.clip(0).astype(np.float32), torch.from_numpy(labels)


@torch.no_grad()
def features(gfm: VisionTransformer, images: np.ndarray) -> Tensor:
    rgb = scale_rgb(torch.from_numpy(images), gfm.card)
    return gfm.eval().forward_features(rgb)[:, 1:].mean(1)


def probe(gfm: VisionTransformer) -> float:
    """Accuracy of a linear probe on frozen features."""
    (images, labels), (held_out, truth) = fields(144, 1), fields(288, 2)
    x, y = features(gfm, images), features(gfm, held_out)
    x, y = (x - x.mean(0)) / x.std(0), (y - x.mean(0)) / x.std(0)
    linear = nn.Linear(x.shape[1], 8)
    optimiser = torch.optim.LBFGS(linear.parameters(), max_iter=30)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(linear(x), labels) + 1e-2 * linear.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return (linear(y).argmax(1) == truth).float().mean().item()
