"""The tables of docs/methods.md, made from the code and set between ``<!-- made: NAME -->`` and ``<!-- end -->``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deflect.analysis.render import pipe_table
from deflect.bands import LANDSAT8, SENTINEL2, bandset
from deflect.gfms import CARDS
from deflect.methods.report import SO2SAT, ParameterReport, published_report
from deflect.settings import GFMS
from deflect.settings.methods import BUDGETS, CONFIGS, AdapterConfig, BaselineConfig, DescriptorConfig, MethodConfig
from deflect.spectral import INDICES, available

PAGE = Path(__file__).parents[1] / "methods.md"

#: Band sets of the datasets; DEFLECT's descriptor grows with what the bands allow.
BAND_SETS = {
    "So2Sat, Brick Kiln": SO2SAT,
    "ForestNet": LANDSAT8.subset(["B2", "B3", "B4", "B5", "B6", "B7"]),
    "Burn Scars": bandset("hls_s30", ["B02", "B03", "B04", "B8A", "B11", "B12"]),
    "MADOS": SENTINEL2.subset(["B01", *SO2SAT.names]),
}

#: Rows of the table of shares: title, method, settings.
ROWS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("DEFLECT `table2`", "deflect", BUDGETS["table2"]),
    ("DEFLECT `table4`", "deflect", BUDGETS["table4"]),
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
    ("Spectral probe", "spectral_probe", {}),
    ("Late fusion", "late_fusion", {}),
    ("Full fine-tuning", "full", {}),
)


def shares() -> str:
    """Parameters tuned, by method and GFM, for the ten bands of So2Sat, and for RGB alone on the first GFM."""
    titles = [CARDS[gfm, "full"].title for gfm in GFMS]
    rows = []
    for title, method, settings in ROWS:
        reports = [published_report(method, settings, gfm) for gfm in GFMS]
        reports.append(published_report(method, settings | {"bands": "rgb"}))
        rows.append([title, f"{reports[0].tuned_params:,}", *(_percent(r) for r in reports)])
    return pipe_table(["method", f"numbers on {titles[0]}", *titles, f"{titles[0]}, RGB only"], rows)


def budgets() -> str:
    """DEFLECT's two settings on Scale-MAE for the bands of every dataset."""
    rows = []
    for title, bands in BAND_SETS.items():
        percents = [_percent(published_report("deflect", setting, bands=bands)) for setting in BUDGETS.values()]
        rows.append([title, len(bands), len(available(bands)), *percents])
    return pipe_table(["dataset", "bands", "indices", *(f"`{name}`" for name in BUDGETS)], rows)


def indices() -> str:
    """Every spectral index with the roles it needs and the datasets whose bands allow it."""
    rows = []
    for name, index in INDICES.items():
        datasets = [title for title, bands in BAND_SETS.items() if name in available(bands)]
        rows.append([name, index.spyndex, ", ".join(index.roles), ", ".join(datasets)])
    return pipe_table(["index", "name in Spyndex", "roles", "computable for"], rows)


def settings() -> str:
    """Every setting of the class that defines it."""
    owners: dict[str, type[MethodConfig]] = {"every method": MethodConfig}
    for shared in (BaselineConfig, AdapterConfig, DescriptorConfig):
        owners[", ".join(name for name, cls in CONFIGS.items() if issubclass(cls, shared))] = shared
    owners |= {name: cls for name, cls in CONFIGS.items() if cls not in owners.values()}
    rows = [[owner, f"`{n}`", *rest] for owner, cls in owners.items() for n, *rest in _own_fields(cls)]
    return pipe_table(["method", "setting", "default", "meaning"], rows)


def _own_fields(cls: type[MethodConfig]) -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of the fields that ``cls`` itself defines."""
    for name, field in cls.model_fields.items():
        if name in cls.__annotations__:
            default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)!r}`"
            yield name, default, " ".join(str(field.description).split())


def _percent(found: ParameterReport) -> str:
    return f"{found.tuned_percent:.3g} %"


def methods_page() -> str:
    """docs/methods.md with every table made anew; the text between them is kept."""
    return with_tables(PAGE, {f.__name__: f for f in (shares, budgets, indices, settings)})


def with_tables(page: Path, made: dict[str, Callable[[], str]]) -> str:
    """The text of a page with its tables ``<!-- made: NAME -->`` made anew."""

    def fresh(match: re.Match[str]) -> str:
        return f"<!-- made: {match[1]} -->\n{made[match[1]]()}<!-- end -->"

    return re.sub(r"<!-- made: (\w+) -->\n.*?<!-- end -->", fresh, page.read_text(), flags=re.DOTALL)
