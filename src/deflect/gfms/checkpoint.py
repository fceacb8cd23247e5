"""Reading published checkpoints: no code of theirs is run, and each of their keys becomes timm's or an error.

The layouts, recognised by the prefixes of their keys:

* Scale-MAE: timm names in the file itself (torchgeo's copy) or under ``model`` (the authors'), with a decoder.
* DINO-MC: ``teacher`` of a DINO checkpoint, with the prefixes ``module.`` and ``backbone.``, and a projection head.
* Cross-Scale MAE (a): ``encoder.N.*`` are timm's blocks.
* Cross-Scale MAE (b): ``encoder.encoders.N.wrap_att/wrap_ff.*`` are xFormers' post-norm blocks. The biases of the fused
  MLP of xFormers 0.0.19, the pinned version, are zeros that were neither trained nor saved.
"""

from __future__ import annotations

import argparse
import pathlib
import pickle
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deflect.errors import ModelError

_SCALAR = np.float64(0).__reduce__()[0]
#: What checkpoints of these projects contain apart from tensors: ``args``, and in the optimizer's state the learning
#: rate and weight decay that DINO takes from a NumPy schedule (``numpy.core`` until NumPy 2). Values, never called.
ALLOWED: list[Any] = [
    argparse.Namespace,
    (pathlib.PosixPath, "pathlib.PosixPath"),
    (pathlib.PosixPath, "pathlib._local.PosixPath"),  # as Python 3.13 names it
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")),
]
#: What torch's reader raises for a file that is no checkpoint.
READING_FAULTS: tuple[type[Exception], ...] = (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError)
READING_FAULTS += (LookupError, ValueError, TypeError, AttributeError)

#: Where the authors' checkpoint keeps the encoder. Lightning has ``state_dict``; else the file itself is one.
CONTAINERS = {"scale_mae": "model", "dino_mc": "teacher", "cross_scale_mae": "model"}

#: Parts that only pretraining needs. Whatever is neither here nor in the model is an error.
DROPPED = {
    "scale_mae": r"mask_token(_decoder)?$|decoder_|pos_emb_projection\.|fpn\.|fcn(_high|_low)?\.",
    "dino_mc": r"head\.",
    "cross_scale_mae": r"mask_token$|decoder_|decoder\.|predictor",
}

_XFORMERS = r"^encoder\.encoders\.(\d+)\."
_MLP = r"wrap_ff\.sublayer\.layer\.mlp\."
#: Cross-Scale MAE's names to timm's; in fused MLPs the indices of first bias and second weight are shifted by one.
RENAMED = [
    (r"^encoder_pos_embed$", "pos_embed"),
    (r"^encoder_norm\.", "norm."),
    (_XFORMERS + r"wrap_att\.norm\.", r"blocks.\1.norm1."),
    (_XFORMERS + r"wrap_att\.sublayer\.layer\.in_proj_container\.([qkv])_proj\.", r"blocks.\1.attn.\2."),
    (_XFORMERS + r"wrap_att\.sublayer\.layer\.proj\.", r"blocks.\1.attn.proj."),
    (_XFORMERS + r"wrap_ff\.norm\.", r"blocks.\1.norm2."),
    (_XFORMERS + _MLP + r"0\.weight$", r"blocks.\1.mlp.fc1.weight"),
    (_XFORMERS + _MLP + r"[01]\.bias$", r"blocks.\1.mlp.fc1.bias"),
    (_XFORMERS + _MLP + r"[23]\.weight$", r"blocks.\1.mlp.fc2.weight"),
    (_XFORMERS + _MLP + r"3\.bias$", r"blocks.\1.mlp.fc2.bias"),
    (r"^encoder\.(\d+)\.", r"blocks.\1."),
]


def read_checkpoint(path: pathlib.Path) -> dict[str, Any]:
    """The content of a ``torch.save`` file, as tensors and plain values.

    Raises:
        ModelError: the file asks for anything beyond :data:`ALLOWED`, which could run code, or is no checkpoint.
        FileNotFoundError: there is no such file.
    """
    try:
        if zipfile.is_zipfile(path):  # torch compares no checksum: a damaged block would become weights
            with zipfile.ZipFile(path) as archive:
                if spoilt := archive.testzip():
                    raise EOFError(f"{spoilt} has another CRC-32")
        with torch.serialization.safe_globals(ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except READING_FAULTS as error:
        asked = re.search(r"GLOBAL (\S+) (?:was|whose)", str(error))
        what = "it is damaged or no torch checkpoint; fetch it again from its publisher"
        if asked:
            what = f"it asks for {asked[1]}, which is not allowed and may run code; use its publisher's own file"
        raise ModelError(f"{path}: not read: {what}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected a dictionary of weights, found {type(content).__name__}")
    return content


def state_dict(name: str, content: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The encoder's tensors of the GFM ``name`` in ``content``, under timm's names.

    Raises:
        ModelError: the encoder is not there, or two keys have the same name in timm.
    """
    inner = _inner(name, content)
    if not isinstance(inner, Mapping):
        raise ModelError(f"{where}: {name}: expected a dictionary of tensors, found {type(inner).__name__}")
    if name == "dino_mc" and inner is content and "student" in content:
        raise ModelError(f"{where}: dino_mc: the student alone; the features are the teacher's, use a file that has it")
    if any(re.search(r"(^|\.)layer1\.", str(key)) for key in inner):
        raise ModelError(f"{where}: weights of a ResNet; {name} is a Vision Transformer, use the file of its ViT")
    found: dict[str, list[str]] = {}
    for key in map(str, inner):
        new = re.sub(r"^(module\.|backbone\.)+", "", key)
        if re.match(DROPPED[name], new):
            continue
        for pattern, timms in RENAMED if name == "cross_scale_mae" else ():
            new = re.sub(pattern, timms, new)
        found.setdefault(new, []).append(key)
    double = [f"{' and '.join(keys)} (both {new})" for new, keys in found.items() if len(keys) > 1]
    strange = [keys[0] for keys in found.values() if not _is_real(inner[keys[0]])]
    if double or strange:
        raise ModelError(
            f"{where}: {name}: keys that stand for the same: {double}; "
            f"keys that are no tensors of floating-point numbers: {strange}"
        )
    state = _joined({new: inner[keys[0]] for new, keys in found.items()})
    return _with_biases(state) if is_post_norm(name, content) else state


def is_post_norm(name: str, content: Mapping[str, Any]) -> bool:
    """Whether the checkpoint is of Cross-Scale MAE and has xFormers' post-norm blocks."""
    return name == "cross_scale_mae" and any("encoder.encoders." in key for key in _inner(name, content))


def _inner(name: str, content: Mapping[str, Any]) -> Any:
    return next((content[key] for key in (CONTAINERS[name], "state_dict") if key in content), content)


def _is_real(value: Any) -> bool:
    """Whether ``value`` is a tensor that keeps its meaning as float32: no quantised and no complex one does."""
    return isinstance(value, Tensor) and value.is_floating_point()


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Separate q, k, v projections as timm's one ``qkv``; an incomplete triple stays, to be reported as unexpected."""
    for q in [key for key in state if re.match(r"blocks\.\d+\.attn\.q\.", key)]:
        triple = [q.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if all(key in state for key in triple):
            state[q.replace(".attn.q.", ".attn.qkv.")] = torch.cat([state.pop(key) for key in triple])
    return state


def _with_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Zeros for the biases of MLPs that were saved without any, as xFormers 0.0.19 saves its fused MLP."""
    if not any(re.match(r"blocks\.\d+\.mlp\..*bias$", key) for key in state):
        for key in [key for key in state if re.match(r"blocks\.\d+\.mlp\..*weight$", key)]:
            state[key.removesuffix("weight") + "bias"] = torch.zeros(len(state[key]))
    return state
