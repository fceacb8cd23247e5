"""GFMs of the user's own: plain Vision Transformers of timm, with weights of a file, of timm or of Hugging Face's hub.

Weights have timm's names, under any prefix: where a checkpoint holds several encoders, the teacher's or the averaged
one is taken. None of a file's code is run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import load_state_dict_from_hf
from torch import Tensor

from deflect.errors import DownloadError, ModelError, flat
from deflect.files import sha256_file
from deflect.gfms.card import ARCHITECTURE, GFMCard, gfm_card
from deflect.gfms.checkpoint import read_checkpoint
from deflect.gfms.convert import write_checked
from deflect.gfms.vit import ViT, build
from deflect.settings.own_gfm import HUB, OwnGFM

if TYPE_CHECKING:
    from deflect.settings.study import Study

PATCHES = "patch_embed.proj.weight"
#: Parts used in pretraining only. A key of the encoder that is neither here nor in the model is an error.
DROPPED = r"(head|head_dist|fc_norm|dino_head|ibot_head|predictor|projector)\.|decoder|mask_token"


def card_in(study: Study, name: str) -> GFMCard:
    """The card of a GFM of a study, its own or a published one.

    Raises:
        ModelError: timm has no such model, or it is no plain Vision Transformer.
    """
    own = study.own_gfms.get(name)
    return own_card(name, own) if own else gfm_card(name, study.size_of(name))


@cache
def own_card(name: str, own: OwnGFM) -> GFMCard:
    """The card of a user's own GFM before its weights are read.

    Raises:
        ModelError: timm has no such model, or it is no plain Vision Transformer.
    """
    try:
        with torch.device("meta"):
            model: Any = timm.create_model(own.timm, num_classes=0)
    except RuntimeError as error:
        near = difflib.get_close_matches(own.timm, {*timm.list_models(), *timm.list_models(pretrained=True)}, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "`timm.list_models('vit*')` lists them"
        raise ModelError(f"own_gfms.{name}.timm: {flat(error)}; {remedy}") from error
    if not issubclass(type(model), ViT):
        raise ModelError(
            f"own_gfms.{name}.timm: expected a model of timm's class VisionTransformer or Eva, {own.timm} is of "
            f"{type(model).__name__}"
        )
    embed, attn = model.patch_embed, model.blocks[0].attn
    sizes = (embed.img_size[0], embed.patch_size[0], model.embed_dim, len(model.blocks), attn.num_heads)
    learned = getattr(model, "pos_embed", None) is not None
    if own.gsd == "image" and not (learned and model.pos_embed.shape[1] == embed.num_patches + model.num_prefix_tokens):
        raise ModelError(f"own_gfms.{name}.gsd: {own.timm} has no position for every token; expected `none`")
    return GFMCard(
        name=name,
        title=own.title or own.timm,
        size="own",
        positions="gsd_sincos" if own.gsd == "image" else "learned" if learned else "rotary",
        block="pre_norm",
        architecture=dict(zip(ARCHITECTURE, sizes, strict=True)),
        rgb_mean=own.mean or tuple(model.pretrained_cfg["mean"]),
        rgb_std=own.std or tuple(model.pretrained_cfg["std"]),
        reflectance_white=own.white,
        apply_final_norm=True,
        gsd_mode=own.gsd,
        licence=own.licence,
        citation="",
        timm=own.timm,
    )


def fetch_own(name: str, own: OwnGFM) -> str:
    """Download the weights into the cache of Hugging Face, if they come from there; returns where they are.

    Raises:
        DownloadError: they are neither in the cache nor can they be downloaded.
        FileNotFoundError: there is no such file.
    """
    _content(name, own)
    return own.weights


def convert_own(name: str, own: OwnGFM, out: Path) -> GFMCard:
    """Write ``out`` (``.safetensors``, float32) and its card from the weights of a user's own GFM.

    The size of the images is that of the weights' positions. ``mean`` and ``std`` are timm's where none are given.

    Raises:
        ModelError: the model is unknown, the file would run code, or its weights are not those of the model.
        DownloadError: the weights are neither in the cache nor can they be downloaded.
        FileNotFoundError: there is no such file.
    """
    card, where = own_card(name, own), f"own_gfms.{name}.weights: {own.weights}"
    with torch.device("meta"):
        wanted = build(card).state_dict()
    state = encoder(_content(name, own), wanted, where)
    card = replace(card, architecture=_architecture(card, state, wanted, where))
    origin = {"weights": own.weights}
    if not own.from_hub:
        origin["checkpoint_sha256"] = sha256_file(Path(own.weights))
    return write_checked(state, card, where, out, origin)


def _content(name: str, own: OwnGFM) -> Mapping[str, Any]:
    """What the weights' file holds."""
    if own.from_hub:
        try:
            if own.weights == "timm":
                return timm.create_model(own.timm, pretrained=True, num_classes=0).state_dict()
            return load_state_dict_from_hf(own.weights.removeprefix(HUB))
        except Exception as error:  # of Hugging Face's client and of what it calls
            raise DownloadError(
                f"own_gfms.{name}.weights: {own.weights}: neither in the cache of Hugging Face nor downloaded "
                f"({flat(error)}); run `deflect gfm fetch {name}` with a connection, or name a file"
            ) from error
    path = Path(own.weights)
    if not path.is_file():
        raise FileNotFoundError(f"own_gfms.{name}.weights: {path}: no such file; expected a file, timm or hf:USER/NAME")
    if path.suffix != ".safetensors":
        return read_checkpoint(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{path}: damaged, or no safetensors file ({flat(error)})") from error


def encoder(content: Mapping[str, Any], wanted: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The float32 tensors of one encoder in ``content``, without their prefix and what only pretraining needs.

    Raises:
        ModelError: there is no encoder under timm's names, there are several, or one of its values is no number.
    """
    tensors = dict(_tensors(content))
    prefixes = [key.removesuffix(PATCHES) for key in tensors if key.endswith(PATCHES)]
    if len(prefixes) > 1:
        prefixes = [prefix for prefix in prefixes if re.search("teacher|ema|target", prefix)] or prefixes
    if len(prefixes) != 1:
        several, none = f"it under {', '.join(map(repr, prefixes))}", f"only {', '.join([*tensors][:6])} ..."
        raise ModelError(f"{where}: expected one {PATCHES} (timm's name), found {several if prefixes else none}")
    inner = {key.removeprefix(prefixes[0]): value for key, value in tensors.items() if key.startswith(prefixes[0])}
    kept = {key: value for key, value in inner.items() if key in wanted or not re.match(DROPPED, key)}
    if strange := [key for key, value in kept.items() if not value.is_floating_point()]:
        raise ModelError(f"{where}: expected floating-point numbers, found others in {', '.join(strange)}")
    return {key: value.float().contiguous() for key, value in kept.items()}


def _tensors(content: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested dictionaries by dotted keys."""
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{above}{key}", value
        elif isinstance(value, Mapping):
            yield from _tensors(value, f"{above}{key}.")


def _architecture(
    card: GFMCard, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str
) -> dict[str, int]:
    """The card's architecture with the image size of the weights' positions; another model is an error."""
    kernel, expected = tuple(state[PATCHES].shape), tuple(wanted[PATCHES].shape)
    depth = len({key.split(".")[1] for key in state if re.match(r"blocks\.\d+\.", key)})
    if (kernel, depth) != (expected, card.architecture["depth"]):
        raise ModelError(
            f"{where}: {card.timm} has {card.architecture['depth']} blocks and kernels {expected}, "
            f"these weights have {depth} and {kernel}"
        )
    patch, positions = card.architecture["patch_size"], state.get("pos_embed")
    if positions is None or "pos_embed" not in wanted or positions.ndim != 3:
        return card.architecture
    patches = positions.shape[1] - wanted["pos_embed"].shape[1] + (card.architecture["img_size"] // patch) ** 2
    return card.architecture | {"img_size": isqrt(max(patches, 1)) * patch}
