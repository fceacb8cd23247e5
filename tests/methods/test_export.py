"""Traced, exported and fully compiled models have the outputs of the model, for every method.

A recorder sees operations of torch only: results of NumPy, and values read from tensors, would silently be constants of
the first image.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_methods import ALL, adapted
from tiny_gfm import BANDS, VARIANTS, images, stir, tiny

from deflect.errors import ModelError
from deflect.heads import LinearHead, UPerNet
from deflect.methods import adapt, load_adapter, merge, save_adapter
from deflect.training.model import TaskModel

pytestmark = [  # torch and timm say of many values that they are constants of the recording
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning"),
    pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects"),
]
BATCH = torch.export.Dim("batch", max=64)


def _export(model: Any, image: torch.Tensor, strict: bool = False) -> Any:
    return torch.export.export(model, (image,), strict=strict, dynamic_shapes=({0: BATCH},)).module()


def _compile(model: Any, image: torch.Tensor) -> Any:
    torch.compiler.reset()
    return torch.compile(model, fullgraph=True, backend="eager")


WAYS: dict[str, Callable[[Any, torch.Tensor], Any]] = {
    "trace": lambda model, image: torch.jit.trace(model, image, check_trace=False),
    "export": _export,
    "strict export": lambda model, image: _export(model, image, strict=True),
    "compile": _compile,
}


#: Export and full compilation take seconds each; the quick tests include only those of DEFLECT.
SLOW = [pytest.param(way, marks=pytest.mark.slow if way != "trace" else ()) for way in WAYS]
QUICK = ["trace", "export", "compile"]


@torch.no_grad()
def check(model: Any, way: str, gfm: Any) -> None:
    """A recording that has seen one batch, of a model that has seen none, against the model on another batch."""
    recording = WAYS[way](model, images(gfm))
    other = images(gfm, n=3, seed=9)
    torch.testing.assert_close(recording(other), model(other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", SLOW)
@pytest.mark.parametrize("method", ALL)
def test_every_method(method: str, way: str) -> None:
    model = adapted(method)
    stir(model)
    check(model, way, model.gfm)


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"plain"}))
def test_every_kind_of_vit(variant: str) -> None:
    model = adapted("deflect", variant)
    stir(model)
    check(model, "trace", model.gfm)


#: Every method with the heads of both tasks; the quick tests include only those of DEFLECT.
WITH_HEAD = [pytest.param(method, marks=pytest.mark.slow if method != "deflect" else ()) for method in ALL]


@pytest.mark.parametrize("way", SLOW)
@pytest.mark.parametrize("head", ["linear", "upernet"])
@pytest.mark.parametrize("method", WITH_HEAD)
def test_with_its_head(method: str, head: str, way: str) -> None:
    encoder = adapted(method)
    taps = (0, 2) if head == "linear" else (0, 0, 1, 2)
    width = encoder.map_width(len(taps))
    last = LinearHead(width, 2, 5) if head == "linear" else UPerNet(width, 5, channels=16)
    model = TaskModel(encoder, last, taps).eval()
    stir(model)
    check(model, way, encoder.gfm)


@pytest.mark.parametrize("way", QUICK)
def test_a_loaded_adapter_before_its_first_image(tmp_path: Path, way: str) -> None:
    model = adapted("deflect")
    stir(model)
    save_adapter(model, tmp_path)
    check(load_adapter(tiny(), tmp_path), way, model.gfm)


@pytest.mark.parametrize("method", ["lora", "slr"])
def test_a_merged_model(method: str) -> None:
    model = adapted(method)
    stir(model)
    check(merge(model), "trace", model.gfm)


@pytest.mark.parametrize("way", ["trace", "export"])
def test_an_uncalibrated_model_cannot_be_recorded(way: str) -> None:
    model = adapt(tiny(), "deflect", BANDS).eval()
    with pytest.raises(ModelError, match=r"not standardised yet; call calibrate"):
        check(model, way, model.gfm)
