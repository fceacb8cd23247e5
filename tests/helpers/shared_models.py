"""Tiny runs and the folders that `deflect share` writes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tiny_store import tiny_spec
from torch import Tensor

import deflect
from deflect.data.store import Store
from deflect.gfms import build, gfm_card
from deflect.gfms.weights import save_weights
from deflect.trained.share import share
from deflect.training.run import train

METHODS = {"classification": "deflect", "segmentation": "lora"}


@dataclass(frozen=True)
class Shared:
    """A finished run, the weights of its GFM, its folder for others, and logits of the run for its test images."""

    run: Path
    weights: Path
    folder: Path
    images: Tensor
    logits: Tensor


def share_tiny(root: Path, task: str = "classification", method: str = "", with_gfm: bool = True) -> Shared:
    """Train a tiny run on a mini GFM with a weight file, and share it."""
    weights = root / "scale_mae.safetensors"
    if not weights.exists():
        card = gfm_card("scale_mae", "mini")
        torch.manual_seed(1)
        save_weights(build(card).state_dict(), card, weights, {"made": "by a test"})
    spec = tiny_spec(root, task, method or METHODS[task], weights=weights, epochs=1)
    train(spec)
    folder = root / f"{task}-model"
    share(spec.out, folder, with_gfm=with_gfm)
    images, _ = Store(spec.store).split("test").batch(range(10))
    return Shared(spec.out, weights, folder, images, deflect.load_run(spec.out, device="cpu").predict(images))
