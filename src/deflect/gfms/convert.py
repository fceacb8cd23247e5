"""Conversion of a published checkpoint to safetensors under timm's names, with its card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deflect.errors import ModelError
from deflect.files import sha256_file
from deflect.gfms.card import CARDS, GFMCard, gfm_card
from deflect.gfms.checkpoint import is_post_norm, read_checkpoint, state_dict
from deflect.gfms.vit import build, sincos_positions
from deflect.gfms.weights import check_state, save_weights


def convert(name: str, checkpoint: Path, out: Path, *, size: str = "", sha256: str = "") -> GFMCard:
    """Write ``out`` (``.safetensors``) and its card from a published checkpoint of the GFM ``name``.

    The size (ViT-B or ViT-L), the block and, for DINO-MC, the patch size are read from the weights.

    Args:
        checkpoint: a file, or the folder into which :func:`deflect.gfms.fetch.fetch` downloaded it.
        size: the size that the weights must have, e.g. ``full``; empty accepts any.
        sha256: checksum of the checkpoint when it was fetched; empty where unknown.

    Raises:
        ModelError: the file is not the fetched one, would run code or has another size, or a key is missing,
            unexpected, of another shape or not finite.
        FileNotFoundError: there is no such file.
    """
    gfm_card(name)
    checkpoint = _checkpoint_file(name, Path(checkpoint))
    found = sha256_file(checkpoint)
    if sha256 and found != sha256:
        raise ModelError(f"{checkpoint}: sha256 {sha256} when it was fetched, {found} now; fetch it again")
    content = read_checkpoint(checkpoint)
    state = {key: value.float() for key, value in state_dict(name, content, str(checkpoint)).items()}
    card = recognise(name, state, str(checkpoint))
    if size and card.size != size:
        raise ModelError(
            f"{checkpoint}: {name} of size {size} expected, these are weights of {card.title} ({card.size})"
        )
    if is_post_norm(name, content):
        card = replace(card, block="post_norm")
    origin = {"checkpoint": checkpoint.name, "checkpoint_sha256": found}
    return write_checked(state, card, str(checkpoint), out, origin)


def write_checked(state: dict[str, Tensor], card: GFMCard, where: str, out: Path, origin: dict[str, Any]) -> GFMCard:
    """Write ``out`` and its card if ``state`` is that of the model of ``card``; ``where`` begins the error messages.

    Raises:
        ModelError: a key is missing, unexpected, of another shape or not finite.
    """
    with torch.device("meta"):
        model = build(card)
    _check_positions(card, state, where)
    check_state(model, state, where)
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise ModelError(f"{where}: not finite: {', '.join(sorted(broken))}; fetch the file again")
    return save_weights(state, card, out, origin)


def _checkpoint_file(name: str, path: Path) -> Path:
    """``path``, or the one checkpoint in the folder ``path``."""
    found = sorted(path.glob("*.pth")) if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise FileNotFoundError(f"{path}: no checkpoint of {name}; run `deflect gfm fetch {name}` first")
    if len(found) > 1:
        raise ModelError(f"{path}: expected one checkpoint, found {', '.join(p.name for p in found)}; name the file")
    return found[0]


def recognise(name: str, state: Mapping[str, Tensor], where: str) -> GFMCard:
    """The card of the published or mini model of ``name`` with the width and depth of ``state``."""
    kernel = state.get("patch_embed.proj.weight")
    if kernel is None or kernel.ndim != 4:
        raise ModelError(f"{where}: no patch_embed.proj.weight (D, 3, p, p) among {', '.join(sorted(state)[:8])} ...")
    depth = len({key.split(".")[1] for key in state if re.match(r"blocks\.\d+\.", key)})
    width = kernel.shape[0]
    known = [card for (gfm, _), card in CARDS.items() if gfm == name]
    for card in known:
        if (card.architecture["embed_dim"], card.architecture["depth"]) == (width, depth):
            return _with_grid(card, kernel, state.get("pos_embed")) if card.positions == "learned" else card
    sizes = ", ".join(f"{card.architecture['embed_dim']} x {card.architecture['depth']}" for card in known)
    raise ModelError(f"{where}: {name} has width x depth {sizes}; these weights have {width} x {depth}")


def _with_grid(card: GFMCard, kernel: Tensor, positions: Tensor | None) -> GFMCard:
    """``card`` with the patch size of the kernel and the image size of the learned positions."""
    patch = kernel.shape[-1]
    grid = round((positions.shape[1] - 1) ** 0.5) if positions is not None and positions.ndim == 3 else 0
    size = grid * patch or card.architecture["img_size"]
    title = re.sub(r"/\d+$", f"/{patch}", card.title)
    return replace(card, title=title, architecture=card.architecture | {"patch_size": patch, "img_size": size})


def _check_positions(card: GFMCard, state: dict[str, Tensor], where: str) -> None:
    """Replace fixed positions by computed ones, which must be equal.

    Scale-MAE computes them in every forward pass: those in its checkpoint were never used, and may be absent.
    """
    if card.positions in ("learned", "rotary"):
        return
    side = card.architecture["img_size"] // card.architecture["patch_size"]
    expected = sincos_positions((side, side), card.architecture["embed_dim"])
    found = state.get("pos_embed", expected if card.positions == "gsd_sincos" else None)
    if found is not None and found.shape == expected.shape:
        if card.positions == "fixed_sincos" and not torch.allclose(found, expected, atol=1e-4):
            raise ModelError(f"{where}: pos_embed is not the {side} x {side} sine-cosine grid of {card.name}")
        state["pos_embed"] = expected
