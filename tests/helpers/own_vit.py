"""A small Vision Transformer of timm with weights as training leaves them, and a study that has it as its own GFM."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from paths import ROOT
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from deflect.config import parse
from deflect.gfms.vit import sincos_positions
from deflect.settings.study import Config

TIMM = "test_vit"  # width 64, 6 blocks, patches of 16, 160 pixels
GOOD = yaml.safe_load((ROOT / "config.yaml").read_text())


def trained(name: str = TIMM, **kwargs: Any) -> VisionTransformer:
    """Every weight differs from its initial value; neighbouring positions are alike."""
    torch.manual_seed(7)
    model: Any = timm.create_model(name, num_classes=0, **kwargs).eval()
    for key, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=float("norm" in key and key.endswith("weight")), std=0.1)
    if model.pos_embed is not None:  # rotary positions are no weights
        extra = model.pos_embed.shape[1] - model.patch_embed.num_patches
        model.pos_embed.data += sincos_positions(model.patch_embed.grid_size, model.embed_dim, prefix_tokens=extra)
    return model


def save_half(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Write the weights in float16; returns them in float32."""
    half = {key: value.half() for key, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(half, path)
    return {key: value.float() for key, value in half.items()}


def in_hub_cache(folder: Path, repository: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Let Hugging Face's client be offline, with only this repository in its cache; returns its weights."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    cached = folder / f"models--{repository.replace('/', '--')}"
    state = save_half(trained(), cached / "snapshots" / ("a" * 40) / "model.safetensors")
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("a" * 40)
    return state


def own_study(weights: Path | str, name: str = TIMM, **changes: Any) -> Config:
    """The study mini with an own GFM ``my_vit``; ``changes`` are of the study."""
    config = copy.deepcopy(GOOD)
    mini = config["studies"]["mini"]
    mini |= {"gfms": ["scale_mae", "my_vit"], "own_gfms": {"my_vit": {"timm": name, "weights": str(weights)}}}
    del mini["variants"]
    mini |= changes
    return parse(config)
