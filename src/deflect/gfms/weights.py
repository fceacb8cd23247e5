"""Writing and loading weight files of GFMs: safetensors with a JSON card of the same name. Every key is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from deflect.errors import ModelError
from deflect.files import atomic_path, read_json, save_tensors, sha256_file, sha256_once, write_json
from deflect.gfms.card import GFMCard, gfm_card
from deflect.gfms.vit import build, set_input

AGAIN = "make it again with `deflect gfm convert` or `pretrain`"


def load_gfm(
    name: str, weights: Path | None = None, *, size: str = "full", img_size: int = 224, gsd: float | None = None
) -> VisionTransformer:
    """The GFM ``name`` as a timm ``VisionTransformer`` with an attribute ``card``.

    Args:
        weights: safetensors file with its JSON card, as written by `deflect gfm convert` and `pretrain`; the card
            gives the architecture. None: random weights from torch's generator.
        size: ``full``, ``mini``, ``large`` (Cross-Scale MAE), or ``own`` (of the user). With weights,
            ``full`` accepts every size but ``mini``.
        img_size: side of the input in pixels. Learned positions are interpolated, fixed ones computed again.
        gsd: metres per pixel of the input after resizing, used by Scale-MAE only; None is PANGAEA's constant 1.0.

    Raises:
        ModelError: unknown name or size, weights of another GFM, or a missing, unexpected or wrongly shaped key.
        FileNotFoundError: the weights or their card are missing.
    """
    if weights is None:
        return build(gfm_card(name, size), img_size, gsd)
    weights, card = Path(weights), read_card(Path(weights))
    if not card.timm:
        gfm_card(name, size)
    accepted = {card.size} if card.size == "mini" else {card.size, "full"}
    if card.name != name or size not in accepted:
        raise ModelError(f"{weights}: expected weights of {name} ({size}), found {card.name} ({card.size})")
    with torch.device("cpu" if card.timm else "meta"):  # some models of timm compute buffers that no file has
        model = build(card)
    if card.origin.get("sha256", "") not in ("", sha256_once(weights)):
        raise ModelError(f"{weights}: differs from the sha256 on its card; {AGAIN}")
    try:
        state = load_file(weights)
    except SafetensorError as error:
        raise ModelError(f"{weights}: damaged ({error}); {AGAIN}") from error
    check_state(model, state, str(weights))
    model.load_state_dict(state, strict=True, assign=True)
    set_input(model, img_size, gsd)
    return model


def save_weights(state: Mapping[str, Tensor], card: GFMCard, out: Path, origin: dict[str, Any]) -> GFMCard:
    """Write ``state`` to ``out``, and its card with ``origin`` and the checksum. Each write is atomic."""
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ModelError(f"{out}: weights are written as .safetensors")
    out.with_suffix(".json").unlink(missing_ok=True)  # never an old card with new weights
    with atomic_path(out) as aside:
        save_tensors(state, aside)
    card = replace(card, origin={**origin, "sha256": sha256_file(out)})
    write_json(out.with_suffix(".json"), card.to_dict(), seal=True)
    return card


def read_card(weights: Path) -> GFMCard:
    """The card of a weight file (same name, ``.json``); both files must exist."""
    card = weights.with_suffix(".json")
    for path, what in ((weights, "weights"), (card, "card of the weights")):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no {what}; make them with `deflect gfm convert` or `deflect gfm pretrain`"
            )
    return GFMCard.from_dict(read_json(card))


def check_state(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Check that ``state`` has the keys, shapes and float32 of ``model``, which may be on the meta device."""
    wanted = model.state_dict()
    shared = sorted(wanted.keys() & state.keys())
    problems = {
        "missing": sorted(wanted.keys() - state.keys()),
        "unexpected": sorted(state.keys() - wanted.keys()),
        "wrong shape": [
            f"{k} {tuple(state[k].shape)}, expected {tuple(wanted[k].shape)}"
            for k in shared
            if state[k].shape != wanted[k].shape
        ],
        "not float32": [f"{k} {state[k].dtype}" for k in shared if state[k].dtype != torch.float32],
    }
    found = "; ".join(f"{what}: {', '.join(keys)}" for what, keys in problems.items() if keys)
    if found:
        raise ModelError(f"{where}: the keys are not those of the model. {found}")
