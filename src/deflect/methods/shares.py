"""The tables of docs/methods.md, made from the code and set between ``<!-- made: NAME -->`` and ``<!-- end -->``."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer

from deflect.bands import LANDSAT8, SENTINEL2, BandSet, BandStatistics, bandset
from deflect.docstrings import field_meanings
from deflect.gfms import CARDS, GFMS, build
from deflect.methods.config import BaselineConfig, MethodConfig
from deflect.methods.deflect import SETTINGS
from deflect.methods.registry import METHODS, adapt_as, method_config
from deflect.methods.report import ParameterReport, parameter_report
from deflect.spectral import INDICES, available

PAGE = Path(__file__).parents[3] / "docs" / "methods.md"
SO2SAT = SENTINEL2.subset(["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"])

#: Band sets of the datasets; DEFLECT's descriptor grows with what the bands allow.
BAND_SETS = {
    "So2Sat, Brick Kiln": SO2SAT,
    "ForestNet": LANDSAT8.subset(["B2", "B3", "B4", "B5", "B6", "B7"]),
    "Burn Scars": bandset("hls_s30", ["B02", "B03", "B04", "B8A", "B11", "B12"]),
    "MADOS": SENTINEL2.subset(["B01", *SO2SAT.names]),
}

#: Rows of the table of shares: title, method, settings.
ROWS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("DEFLECT `table2`", "deflect", SETTINGS["table2"]),
    ("DEFLECT `table4`", "deflect", SETTINGS["table4"]),
    ("LoRA r=16, paper's convention", "lora", {}),
    ("LoRA r=16, usual convention", "lora", {"convention": "usual"}),
    ("SLR r=16", "slr", {}),
    ("Norm tuning", "norm_tuning", {}),
    ("BitFit", "bitfit", {}),
    ("Patch embedding", "patch_embed", {}),
    ("VPT, 10 deep prompts", "vpt", {}),
    ("DoRA r=16", "peft:dora", {"options": {"r": 16}}),
    ("IA3", "peft:ia3", {}),
    ("Frozen", "frozen", {}),
    ("Full fine-tuning", "full", {}),
)


def report(
    method: str, settings: dict[str, Any], gfm: str = "scale_mae", bands: BandSet = SO2SAT, size: str = "full"
) -> ParameterReport:
    """Counts of ``method`` on a published GFM, whose weights are never allocated."""
    statistics = BandStatistics((0.0,) * len(bands), (1.0,) * len(bands))
    with warnings.catch_warnings():  # torch and peft remark that tensors without memory are not initialised
        warnings.simplefilter("ignore")
        config = method_config(method, **settings)
        return parameter_report(adapt_as(_bare(gfm, size), method, config, bands, statistics))


@cache
def _bare(gfm: str, size: str) -> VisionTransformer:
    with torch.device("meta"):
        return build(CARDS[gfm, size], img_size=224)


def shares() -> str:
    """Parameters tuned, by method and GFM, for the ten bands of So2Sat, and for RGB alone on the first GFM."""
    titles = [CARDS[gfm, "full"].title for gfm in GFMS]
    rows = []
    for title, method, settings in ROWS:
        reports = [report(method, settings, gfm) for gfm in GFMS]
        reports.append(report(method, settings | {"bands": "rgb"}))
        rows.append([title, f"{reports[0].tuned_params:,}", *(_percent(r) for r in reports)])
    return table(["method", f"numbers on {titles[0]}", *titles, f"{titles[0]}, RGB only"], rows)


def budgets() -> str:
    """DEFLECT's two settings on Scale-MAE for the bands of every dataset."""
    rows = []
    for title, bands in BAND_SETS.items():
        percents = [_percent(report("deflect", setting, bands=bands)) for setting in SETTINGS.values()]
        rows.append([title, len(bands), len(available(bands)), *percents])
    return table(["dataset", "bands", "indices", *(f"`{name}`" for name in SETTINGS)], rows)


def indices() -> str:
    """Every spectral index with the roles it needs and the datasets whose bands allow it."""
    rows = []
    for name, index in INDICES.items():
        datasets = [title for title, bands in BAND_SETS.items() if name in available(bands)]
        rows.append([name, index.spyndex, ", ".join(index.roles), ", ".join(datasets)])
    return table(["index", "name in Spyndex", "roles", "computable for"], rows)


def settings() -> str:
    """Every setting where it is defined, with its meaning from the docstring."""
    owners: dict[str, type[MethodConfig]] = {"every method": MethodConfig, "every method but deflect": BaselineConfig}
    rows = [[owner, f"`{n}`", *rest] for owner, cls in (owners | METHODS).items() for n, *rest in _own_fields(cls)]
    return table(["method", "setting", "default", "meaning"], rows)


def _own_fields(cls: type[MethodConfig]) -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of the fields that ``cls`` itself defines."""
    meanings = field_meanings(cls)
    for field in fields(cls):
        if field.name in cls.__annotations__:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            shown = "required" if default is MISSING else f"`{default!r}`"
            yield field.name, shown, meanings.get(field.name, "").replace("``", "`")


def _percent(found: ParameterReport) -> str:
    return f"{found.tuned_percent:.3g} %"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def methods_page() -> str:
    """docs/methods.md with every table made anew; the text between them is kept."""
    made = {f.__name__: f for f in (shares, budgets, indices, settings)}

    def fresh(match: re.Match[str]) -> str:
        return f"<!-- made: {match[1]} -->\n{made[match[1]]()}<!-- end -->"

    return re.sub(r"<!-- made: (\w+) -->\n.*?<!-- end -->", fresh, PAGE.read_text(), flags=re.DOTALL)
