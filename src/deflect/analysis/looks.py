"""Order, label, colour and marker of every method, GFM, dataset and metric, the same in all tables and figures.

Also the colours of classes, in figures and maps.

The colours are those of Okabe and Ito (jfly.uni-koeln.de/color), which colour-blind readers can distinguish, a darker
shade of their yellow, and the wine red of Paul Tol. The markers differ too, so that figures stay readable in grey.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from deflect.settings import DATASETS, GFMS

#: The upper reference (full fine-tuning) and the lower one (a head on the frozen RGB GFM).
ORACLE, FLOOR = "full", "frozen"
#: The method that does not run the GFM, so its results are the same for all GFMs of one patch size.
PROBE = "spectral_probe"


class Look(NamedTuple):
    """``marker`` and ``line`` (style) are those of matplotlib."""

    label: str
    colour: str
    marker: str
    line: Any


LOOKS = {
    "deflect": Look("DEFLECT", "#D55E00", "*", "-"),
    "lora": Look("LoRA", "#0072B2", "o", "--"),
    "slr": Look("SLR", "#56B4E9", "s", "-."),
    "norm_tuning": Look("Norm tuning", "#009E73", "^", ":"),
    "bitfit": Look("BitFit", "#E69F00", "v", (0, (3, 1, 1, 1, 1, 1))),
    "vpt": Look("VPT", "#4B4BC3", "h", (0, (1, 1))),
    "patch_embed": Look("Patch embedding", "#CC79A7", "D", (0, (5, 3))),
    "frozen": Look("Frozen (RGB)", "#7F7F7F", "X", (0, (1, 2))),
    "spectral_probe": Look("Spectral probe", "#8A7B00", "p", (0, (3, 1, 1, 1))),
    "late_fusion": Look("Late fusion", "#882255", ">", (0, (7, 2))),
    "full": Look("Full fine-tuning", "#000000", "P", "-"),
}
#: Of the many methods of the ``peft`` library each has one of 4 x 7 looks, by its name; the usual twelve differ.
PEFT_COLOURS = ("#117733", "#A65628", "#6A3D9A", "#44AA99")
PEFT_MARKERS = ("d", "<", "8", "H", "o", "s", "v")
TITLES = {
    "scale_mae": "Scale-MAE",
    "dino_mc": "DINO-MC",
    "cross_scale_mae": "Cross-Scale MAE",
    "so2sat": "So2Sat",
    "brick_kiln": "Brick Kiln",
    "forestnet": "ForestNet",
    "burn_scars": "Burn Scars",
    "mados": "MADOS",
    "bigearthnet": "BigEarthNet",
    "f1_macro": "F1 (macro)",
    "f1_micro": "F1 (micro)",
    "R2": "R²",
}
#: Two classes: background and target. More: by position in the dataset's list.
_TWO = ("#E9E2D0", "#7A1F1F")
_MANY = (
    *("#D55E00", "#009E73", "#A6D96A", "#8B5A2B", "#F0E442", "#222222", "#0B3C6F", "#C9A66B"),
    *("#F7B6D2", "#5DA5DA", "#7FDBDA", "#B9C9EB", "#E31A1C", "#CC79A7", "#6A3D9A"),
)
_PLACES = {name: place for place, name in enumerate((*DATASETS, *GFMS, *LOOKS))}


def look(method: str) -> Look:
    """The look of a method; an unknown one gets a plain grey circle."""
    if method.startswith("peft:"):
        colour, marker = divmod(zlib.adler32(method.encode()) % 28, len(PEFT_MARKERS))
        return Look(title(method), PEFT_COLOURS[colour], PEFT_MARKERS[marker], (0, (4, 1, 1, 1)))
    return LOOKS.get(method, Look(method, "#7F7F7F", "o", "-"))


def title(name: str) -> str:
    """The name to print for a method, GFM, dataset or metric."""
    return LOOKS[name].label if name in LOOKS else TITLES.get(name, name)


def titles(names: Iterable[str]) -> str:
    """Distinct names as printed, in the project's order."""
    return ", ".join(map(title, ordered(names)))


def palette(classes: int) -> list[str]:
    """One colour per class: a fixed list, or evenly spaced hues for more classes."""
    if classes > len(_MANY):
        import seaborn as sns  # takes a second

        return [str(colour) for colour in sns.color_palette("husl", classes).as_hex()]
    return list(_TWO if classes == 2 else _MANY[:classes])


def ordered(names: Iterable[str]) -> list[str]:
    """Distinct names in the project's order."""
    return sorted(set(names), key=place)


def place(name: str) -> tuple[int, str]:
    """Sorting key for the project's order; unknown names (a user's own, `peft:dora`) come last, alphabetically."""
    return _PLACES.get(name, len(_PLACES)), name
