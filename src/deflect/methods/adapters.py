"""Adapters on disk: tensors that a method added or tuned (safetensors), and how to rebuild the model (JSON)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from deflect.bands import BandSet, BandStatistics
from deflect.errors import ModelError
from deflect.files import atomic_path, read_json, save_tensors, sha256_file, sha256_once, write_json
from deflect.gfms.card import from_json, json_fields
from deflect.gfms.vit import ViT
from deflect.methods.base import AdaptedGFM
from deflect.methods.inputs import RGBInput
from deflect.methods.registry import adapt_as, method_config
from deflect.methods.report import parameter_report

WEIGHTS, CARD = "adapter.safetensors", "adapter.json"


def save_adapter(model: AdaptedGFM, folder: Path) -> None:
    """Write ``adapter.safetensors`` and ``adapter.json`` into ``folder``, without the frozen weights of the GFM."""
    if model.merged:
        raise ModelError("save_adapter: this model was merged; save the adapter of the unmerged one, or its state_dict")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / WEIGHTS) as aside:
        save_tensors(_unshared(model.adapter_state()), aside)
    write_json(folder / CARD, adapter_card(model) | {"sha256": sha256_file(folder / WEIGHTS)}, seal=True)


def adapter_card(model: AdaptedGFM) -> dict[str, Any]:
    """The content of ``adapter.json``."""
    return {
        "schema": 1,
        "method": model.method,
        "config": model.config.model_dump(exclude={"name"} if model.method.startswith("peft:") else None),
        "bands": model.bands.to_dict(),
        "statistics": None if model.statistics is None else asdict(model.statistics),
        "rgb_input": json_fields(model.rgb),
        "gfm": {"name": model.rgb.name, "fingerprint": model.gfm_fingerprint, "positions": model.gfm_positions},
        "parameters": parameter_report(model).to_dict(),
        **model.describe(),
    }


def load_adapter(gfm: ViT, folder: Path) -> AdaptedGFM:
    """The model saved by ``save_adapter``, on the GFM that was adapted; outputs are exactly reproduced.

    Raises:
        FileNotFoundError: a file of the adapter is missing.
        ModelError: ``gfm`` has other weights, the tensors changed after they were saved, or some are missing,
            unexpected or have another shape.
    """
    folder = Path(folder)
    card = read_json(folder / CARD)
    saved = card["gfm"]
    model = adapt_again(gfm, card)
    if model.gfm_fingerprint != saved["fingerprint"]:
        raise ModelError(
            f"{folder}: this adapter belongs to {saved['name']} with weights {saved['fingerprint']}, "
            f"found weights {model.gfm_fingerprint}; load the GFM it was trained on"
        )
    expected, found = saved.get("positions"), model.gfm_positions
    if expected and found and expected["grid"] == found["grid"] and expected["digest"] != found["digest"]:
        raise ModelError(
            f"{folder}: this adapter belongs to {saved['name']} with position embeddings {expected['digest']}, "
            f"found {found['digest']} on the same grid of patches; load the GFM it was trained on"
        )
    if card.get("sha256") not in (None, sha256_once(folder / WEIGHTS)):
        raise ModelError(f"{folder / WEIGHTS}: differs from the sha256 in {CARD}; restore it or train the run again")
    _fill(model, load_file(folder / WEIGHTS), folder / WEIGHTS)
    return model


def adapt_again(gfm: ViT, card: dict[str, Any]) -> AdaptedGFM:
    """``gfm`` adapted as the content of ``adapter.json`` says, with new tensors."""
    statistics = card["statistics"] and BandStatistics(**card["statistics"])
    rgb = RGBInput(**from_json(card["rgb_input"]))
    config = method_config(card["method"], **card["config"])
    return adapt_as(gfm, card["method"], config, BandSet.from_dict(card["bands"]), statistics, rgb)


def _fill(model: AdaptedGFM, saved: dict[str, Tensor], path: Path) -> None:
    """Copy ``saved``, which must have the tensors of the adapter and no others, into ``model``."""
    state = model.state_dict()
    errors = [f"missing {name}" for name in _unshared(model.adapter_state()) if name not in saved]
    for name, value in saved.items():
        if name not in state:
            errors.append(f"unexpected {name}")
        elif value.shape != state[name].shape:
            errors.append(f"{name} has shape {tuple(value.shape)}, expected {tuple(state[name].shape)}")
    if errors:
        raise ModelError(f"{path}: does not fit this model: {'; '.join(errors[:5])}{' ...' * (len(errors) > 5)}")
    model.load_state_dict(saved, strict=False)


def _unshared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One name per tensor: methods such as VeRA share a projection among layers."""
    first: dict[tuple[int, torch.Size], str] = {}
    return {n: v for n, v in state.items() if first.setdefault((v.data_ptr() or id(v), v.shape), n) == n}
