"""The table of timm's Vision Transformers in docs/gfms.md: which of them ``deflect.adapt`` takes."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from methods_page import with_tables

from deflect.analysis.render import pipe_table
from deflect.bands import BandStatistics
from deflect.errors import ModelError
from deflect.methods import adapt
from deflect.methods.report import SO2SAT
from deflect.settings.methods import CONFIGS

#: Of any values, because weights are not allocated.
STATISTICS = BandStatistics((0.0,) * len(SO2SAT), (1.0,) * len(SO2SAT))
PAGE = Path(__file__).parents[1] / "gfms.md"
#: timm's modules whose models are looked at one by one.
ADAPTED = ("vision_transformer", "deit", "eva")
#: Other Vision Transformers, as module.class of timm, by what no method adapts.
REFUSED = {
    "the patch embedding is a convolutional network (HybridEmbed)": (
        *("vision_transformer_hybrid.VisionTransformer", "vitamin.VisionTransformer"),
    ),
    "relative positions are added to the scores of every attention": (
        *("beit.Beit", "vision_transformer_relpos.VisionTransformerRelPos"),
    ),
    "windows with relative positions, and a convolutional neck": ("vision_transformer_sam.VisionTransformerSAM",),
    "images of any shape are one sequence of patches with coordinates": (
        *("naflexvit.NaFlexVit", "gemma4_vit.Gemma4VitEncoder"),
    ),
    "the encoder of a language model, with tokens as a map": (
        *("qwen3_vit.Qwen3VitEncoder", "deepseek_vit.DeepseekVitEncoder"),
    ),
    "windows or units of patches, merged from stage to stage": (
        *("swin_transformer.SwinTransformer", "swin_transformer_v2.SwinTransformerV2", "hiera.Hiera", "nest.Nest"),
        *("swin_transformer_v2_cr.SwinTransformerV2Cr", "hieradet_sam2.HieraDet", "davit.DaVit", "twins.Twins"),
        *("gcvit.GlobalContextVit",),
    ),
    "convolutions and attention, in stages": (
        *("maxxvit.MaxxVit", "tiny_vit.TinyVit", "levit.Levit", "coat.CoaT", "visformer.Visformer", "volo.VOLO"),
        *("pit.PoolingVisionTransformer",),
    ),
    "keys and values are pooled, and tokens merged from stage to stage": (
        *("mvitv2.MultiScaleVit", "pvt_v2.PyramidVisionTransformerV2"),
    ),
    "attention of another kind: among channels, by place, with mixed heads": (
        "xcit.Xcit",
        "convit.ConVit",
        "cait.Cait",
    ),
    "several sizes of patches at once": ("crossvit.CrossVit", "tnt.TNT"),
}


def timm_version() -> str:
    """What the table covers."""
    return (
        f"The {len(timm.list_models())} architectures of timm {timm.__version__}, and methods other than `peft:NAME`:\n"
    )


def families() -> str:
    """Every kind of ViT in timm with the number of its architectures and an example."""
    head = ("class", "blocks, and what is in them", "architectures", "example", "methods")
    return pipe_table(head, [*_looked_at(), *_others()])


def _looked_at() -> Iterator[tuple[Any, ...]]:
    """Kinds of VisionTransformer and Eva; one of each kind is adapted by every method."""
    kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
    examples: dict[tuple[str, ...], Any] = {}
    for name in (name for module in ADAPTED for name in timm.list_models(module=module)):
        gfm = _shallow(name)
        kinds[_kind(gfm)].append(name)
        examples.setdefault(_kind(gfm), gfm)
    for kind in sorted(kinds, key=lambda kind: (kind[0], -len(kinds[kind]))):
        yield *kind, len(kinds[kind]), _example(kinds[kind]), _verdict(examples[kind])


def _shallow(name: str) -> Any:
    """The model with one block, without memory; ``num_kv_heads`` may be a list of one number per block."""
    for options in ({}, {"num_kv_heads": 1}):
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            try:
                return timm.create_model(name, num_classes=0, depth=1, **options)
            except AssertionError:
                continue
    raise AssertionError(f"{name}: cannot be built with one block")


def _kind(gfm: Any) -> tuple[str, str]:
    """What methods depend on."""
    block = gfm.blocks[0]
    norm = next(module for module in block.modules() if "Norm" in type(module).__name__)
    parts = (block, getattr(block, "attn", None), norm, getattr(gfm, "rope", None))
    return _codes([type(gfm).__name__]), _codes([type(part).__name__ for part in parts if part is not None])


def _verdict(gfm: Any) -> str:
    """Which methods take this model, and why others do not."""
    refused: dict[str, list[str]] = defaultdict(list)
    methods = [method for method in CONFIGS if method != "peft"]
    for method in methods:
        try:
            adapt(gfm, method, SO2SAT, STATISTICS)
        except ModelError as error:
            refused[re.sub(r"^\w+: ", "", str(error)).split("; ")[0]].append(f"`{method}`")
    if not refused:
        return "all"
    if sum(map(len, refused.values())) == len(methods):
        return f"none: {'; '.join(refused)}"
    return "all but " + "; ".join(f"{', '.join(names)} ({reason})" for reason, names in refused.items())


def _others() -> Iterator[tuple[Any, ...]]:
    """Models of other classes, and those whose patch embedding is always refused."""
    known = sum(len(timm.list_models(module=module)) for module in ADAPTED)
    for reason, places in REFUSED.items():
        modules, classes = zip(*(place.split(".") for place in places), strict=True)
        assert all(hasattr(getattr(timm.models, module), cls) for module, cls in zip(modules, classes, strict=True))
        names = [name for module in modules for name in timm.list_models(module=module)]
        known += len(names)
        yield _codes(dict.fromkeys(classes)), "", len(names), _example(names), f"none: {reason}"
    yield "others (ConvNeXt, ResNet, mixers, ...)", "", len(timm.list_models()) - known, "`convnext_tiny`", "none"


def _example(names: Iterable[str]) -> str:
    """The shortest name of a model that is not one of timm's own tests."""
    return _codes([min((name for name in names if not name.startswith("test_")), key=len)])


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def gfms_page() -> str:
    """docs/gfms.md with its table made anew; the text around it is kept."""
    return with_tables(PAGE, {f.__name__: f for f in (timm_version, families)})
