"""Reading published checkpoints: none of their code is run, and each key is renamed to timm's or is an error.

Layouts, recognised by the prefixes of their keys:

* Scale-MAE: timm names in the file itself (torchgeo's copy) or under ``model`` (the authors'), with a decoder.
* DINO-MC: ``teacher`` of a DINO checkpoint, with the prefixes ``module.`` and ``backbone.``, and a projection head.
* Cross-Scale MAE (a): ``encoder.N.*`` are timm's blocks.
* Cross-Scale MAE (b): ``encoder.encoders.N.wrap_att/wrap_ff.*`` are xFormers' post-norm blocks. xFormers 0.0.19, the
  pinned version, neither trains nor saves the biases of its fused MLP: they are zero.
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
#: What these checkpoints contain apart from tensors: ``args``, and in DINO's optimizer state the learning rate and
#: weight decay as NumPy numbers (``numpy.core`` until NumPy 2).
ALLOWED: list[Any] = [
    argparse.Namespace,
    (pathlib.PosixPath, "pathlib.PosixPath"),
    (pathlib.PosixPath, "pathlib._local.PosixPath"),  # its name in Python 3.13
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")),
]
#: What torch raises for a file that is not a checkpoint.
READ_ERRORS: tuple[type[Exception], ...] = (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError)
READ_ERRORS += (LookupError, ValueError, TypeError, AttributeError)

#: Key of the encoder in the authors' checkpoint. Lightning's is ``state_dict``; other files are the encoder.
CONTAINERS = {"scale_mae": "model", "dino_mc": "teacher", "cross_scale_mae": "model"}

#: Parts used in pretraining only. A key that is neither here nor in the model is an error.
DROPPED = {
    "scale_mae": r"mask_token(_decoder)?$|decoder_|pos_emb_projection\.|fpn\.|fcn(_high|_low)?\.",
    "dino_mc": r"head\.",
    "cross_scale_mae": r"mask_token$|decoder_|decoder\.|predictor",
}

_XFORMERS = r"^encoder\.encoders\.(\d+)\."
_MLP = r"wrap_ff\.sublayer\.layer\.mlp\."
#: Cross-Scale MAE's names to timm's; in fused MLPs the indices of the first bias and second weight differ by one.
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
        ModelError: the file is not a checkpoint, or refers to objects beyond :data:`ALLOWED`, which could run code.
        FileNotFoundError: there is no such file.
    """
    try:
        if zipfile.is_zipfile(path):  # torch verifies no CRC-32
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise EOFError(f"{damaged}: wrong CRC-32")
        with torch.serialization.safe_globals(ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except READ_ERRORS as error:
        what = "it is damaged or no torch checkpoint; fetch it again from its publisher"
        if asked := re.search(r"GLOBAL (\S+) (?:was|whose)", str(error)):
            what = f"it asks for {asked[1]}, which is not allowed and may run code; use its publisher's own file"
        raise ModelError(f"{path}: not read: {what}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected a dictionary of weights, found {type(content).__name__}")
    return content


def state_dict(name: str, content: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The encoder's tensors of the GFM ``name`` in ``content``, under timm's names.

    Raises:
        ModelError: there is no encoder, or two keys have the same name in timm.
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
    strange = [  # quantised and complex numbers change when converted to float32
        keys[0]
        for keys in found.values()
        if not isinstance(inner[keys[0]], Tensor) or not inner[keys[0]].is_floating_point()
    ]
    if double or strange:
        raise ModelError(
            f"{where}: {name}: keys with the same meaning: {double}; "
            f"keys that are no tensors of floating-point numbers: {strange}"
        )
    state = _joined({new: inner[keys[0]] for new, keys in found.items()})
    return _with_biases(state) if is_post_norm(name, content) else state


def is_post_norm(name: str, content: Mapping[str, Any]) -> bool:
    """Whether the checkpoint is Cross-Scale MAE's with xFormers' post-norm blocks."""
    return name == "cross_scale_mae" and any("encoder.encoders." in key for key in _inner(name, content))


def _inner(name: str, content: Mapping[str, Any]) -> Any:
    return next((content[key] for key in (CONTAINERS[name], "state_dict") if key in content), content)


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join q, k, v projections to timm's ``qkv``; an incomplete triple is left, and reported as unexpected later."""
    for q in [key for key in state if re.match(r"blocks\.\d+\.attn\.q\.", key)]:
        triple = [q.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if all(key in state for key in triple):
            state[q.replace(".attn.q.", ".attn.qkv.")] = torch.cat([state.pop(key) for key in triple])
    return state


def _with_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add zero biases to MLPs that were saved without any, as by xFormers 0.0.19."""
    if not any(re.match(r"blocks\.\d+\.mlp\..*bias$", key) for key in state):
        for key in [key for key in state if re.match(r"blocks\.\d+\.mlp\..*weight$", key)]:
            state[key.removesuffix("weight") + "bias"] = torch.zeros(len(state[key]))
    return state
