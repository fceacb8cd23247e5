"""Adapters on disk: the tensors a method added or tuned in safetensors, and in JSON what is needed to use them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from deflect.bands import BandSet, BandStatistics
from deflect.errors import ModelError
from deflect.files import atomic_path, read_json, save_tensors, sha256_file, sha256_once, write_json
from deflect.methods.base import AdaptedGFM
from deflect.methods.inputs import RGBInput
from deflect.methods.registry import adapt_as, method_config
from deflect.methods.report import parameter_report

WEIGHTS, CARD = "adapter.safetensors", "adapter.json"


def save_adapter(model: AdaptedGFM, folder: Path) -> None:
    """Write ``adapter.safetensors`` and ``adapter.json`` into ``folder``; the GFM's frozen weights are not among them.

    Raises:
        ModelError: the model was merged, so that there is no adapter left to save.
    """
    if model.merged:
        raise ModelError("save_adapter: this model was merged; save the adapter of the unmerged one, or its state_dict")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / WEIGHTS) as aside:
        save_tensors(_unshared(model.adapter_state()), aside)
    write_json(folder / CARD, adapter_card(model) | {"sha256": sha256_file(folder / WEIGHTS)}, seal=True)


def adapter_card(model: AdaptedGFM) -> dict[str, Any]:
    """The content of ``adapter.json``: what ``load_adapter`` needs apart from the tensors."""
    settings = model.config.model_dump(exclude={"name"} if model.method.startswith("peft:") else None)
    return {
        "schema": 1,
        "method": model.method,
        "config": settings,
        "bands": model.bands.to_dict(),
        "statistics": None if model.statistics is None else asdict(model.statistics),
        "rgb_input": model.rgb.to_dict(),
        "gfm": {
            "name": model.rgb.name,
            "fingerprint": model.gfm_fingerprint,
            "positions": model.gfm_positions,
        },
        "parameters": parameter_report(model).to_dict(),
        **model.describe(),
    }


def load_adapter(gfm: VisionTransformer, folder: Path) -> AdaptedGFM:
    """The adapted model that ``save_adapter`` wrote, on the GFM it was made for; it reproduces the outputs exactly.

    Raises:
        FileNotFoundError: a file of the adapter is missing.
        ModelError: ``gfm`` has other weights than the one adapted, the file of tensors changed since it was saved, or
            tensors are missing, unexpected or misshaped.
    """
    folder = Path(folder)
    card = read_json(folder / CARD)
    statistics = card["statistics"] and BandStatistics(
        tuple(card["statistics"]["mean"]), tuple(card["statistics"]["std"])
    )
    rgb = RGBInput.from_dict(card["rgb_input"])
    config = method_config(card["method"], **card["config"])
    model = adapt_as(gfm, card["method"], config, BandSet.from_dict(card["bands"]), statistics, rgb)
    if model.gfm_fingerprint != card["gfm"]["fingerprint"]:
        raise ModelError(
            f"{folder}: this adapter belongs to {card['gfm']['name']} with weights {card['gfm']['fingerprint']}, "
            f"found weights {model.gfm_fingerprint}; load the GFM it was trained on"
        )
    theirs, ours = card["gfm"].get("positions"), model.gfm_positions
    if theirs and ours and theirs["grid"] == ours["grid"] and theirs["digest"] != ours["digest"]:
        raise ModelError(
            f"{folder}: this adapter belongs to {card['gfm']['name']} with position embeddings {theirs['digest']}, "
            f"found {ours['digest']} on the same grid of patches; load the GFM it was trained on"
        )
    if card.get("sha256") not in (None, sha256_once(folder / WEIGHTS)):
        raise ModelError(f"{folder / WEIGHTS}: differs from the sha256 in {CARD}; restore it or train the run again")
    _fill(model, load_file(folder / WEIGHTS), folder / WEIGHTS)
    return model


def _fill(model: AdaptedGFM, saved: dict[str, Tensor], path: Path) -> None:
    """Copy the saved tensors into ``model``; every new tensor must be there, and no other."""
    state = model.state_dict()
    faults = [f"missing {name}" for name in _unshared(model.adapter_state()) if name not in saved]
    faults += [f"unexpected {name}" for name in saved if name not in state]
    faults += [
        f"{name} has shape {tuple(value.shape)}, expected {tuple(state[name].shape)}"
        for name, value in saved.items()
        if name in state and state[name].shape != value.shape
    ]
    if faults:
        raise ModelError(f"{path}: does not fit this model: {'; '.join(faults[:5])}{' ...' * (len(faults) > 5)}")
    model.load_state_dict(saved, strict=False)


def _unshared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One name per tensor: methods such as VeRA show the same projection in every layer."""
    first: dict[tuple[int, torch.Size], str] = {}
    return {n: v for n, v in state.items() if first.setdefault((v.data_ptr() or id(v), v.shape), n) == n}
