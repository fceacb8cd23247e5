"""Cards of the geospatial foundation models (GFMs): architecture, normalisation, origin and licence.

Those of the published models are in cards.yaml. Every weight file has a :class:`GFMCard` in a JSON file of the same
name, from which its model is built.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from math import floor
from pathlib import Path
from typing import Any

import yaml

from deflect.errors import ModelError
from deflect.settings import GFMS

CHOICES = {"positions": ("gsd_sincos", "learned", "fixed_sincos", "rotary"), "block": ("pre_norm", "post_norm")}
ARCHITECTURE = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")


@dataclass(frozen=True)
class WeightSource:
    """Where a checkpoint is published. ``url`` is https, or ``gdrive:ID`` for a file on Google Drive.

    ``sha256`` and ``md5`` are those that the publisher states; empty where none is stated.
    """

    url: str
    filename: str
    sha256: str = ""
    md5: str = ""
    note: str = ""


@dataclass(frozen=True)
class GFMCard:
    """One GFM.

    Attributes:
        size: ``full`` (the published size that the study uses), ``large`` (a larger published one), ``mini``, or
            ``own`` (of the user).
        positions: ``gsd_sincos`` (sine-cosine of metres on the ground), ``learned``, ``fixed_sincos``, or ``rotary``
            (in every attention, and none that are added to the tokens).
        block: ``pre_norm`` (timm's ``Block``) or ``post_norm`` (:class:`deflect.gfms.vit.PostNormBlock`).
        architecture: arguments of timm's ``VisionTransformer``; ``img_size`` is that of pretraining, in pixels.
        timm: name of a timm model that is more than these arguments; empty for the published GFMs.
        rgb_mean, rgb_std: normalisation of RGB in 0..1, in the order red, green, blue.
        reflectance_white: reflectance that is white: RGB = clip(reflectance / reflectance_white, 0, 1).
        apply_final_norm: whether ``gfm.norm`` is applied; a published norm that was never trained is the identity.
        gsd_mode: ``image`` where positions depend on the ground sampling distance of the image, else ``none``.
        sources: where the checkpoint is published, preferred source first.
        origin: what a weight file was made from, and its checksums.
    """

    name: str
    title: str
    size: str
    positions: str
    block: str
    architecture: dict[str, int]
    rgb_mean: tuple[float, float, float]
    rgb_std: tuple[float, float, float]
    reflectance_white: float
    apply_final_norm: bool
    gsd_mode: str
    licence: str
    citation: str
    sources: tuple[WeightSource, ...] = ()
    origin: dict[str, Any] = field(default_factory=dict)
    timm: str = ""

    def __hash__(self) -> int:
        return hash((self.name, self.size))

    def __post_init__(self) -> None:
        for what, allowed in CHOICES.items():
            if (value := getattr(self, what)) not in allowed:
                raise ModelError(f"GFM card {self.name}: {what} must be one of {', '.join(allowed)}, found {value!r}")
        if sorted(self.architecture) != sorted(ARCHITECTURE):
            raise ModelError(
                f"GFM card {self.name}: architecture needs {ARCHITECTURE}, found {sorted(self.architecture)}"
            )
        if not all(value > 0 for value in (*self.rgb_std, self.reflectance_white)):
            raise ModelError(f"GFM card {self.name}: rgb_std and reflectance_white must be positive")

    def to_dict(self) -> dict[str, Any]:
        return json_fields(self)

    def facts(self) -> dict[str, Any]:
        """The fields on which features depend, besides the weights."""
        words = ("title", "licence", "citation", "sources", "origin")
        return {name: value for name, value in self.to_dict().items() if name not in words}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GFMCard:
        """The card in a JSON object; raises ModelError if a field is missing or unknown."""
        try:
            fields = from_json(values)
            fields["sources"] = tuple(WeightSource(**source) for source in fields.get("sources", ()))
            return cls(**fields)
        except (TypeError, KeyError) as error:
            raise ModelError(
                f"not a GFM card ({error}); make it again with `deflect gfm convert` or `pretrain`"
            ) from error


def json_fields(card: Any) -> dict[str, Any]:
    """The fields of a dataclass under their names in JSON files, where ``positions`` is called ``kind``."""
    return {"kind" if name == "positions" else name: value for name, value in asdict(card).items()}


def from_json(values: dict[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`json_fields`, for the arguments of a dataclass."""
    fields = {"positions" if name == "kind" else name: value for name, value in values.items()}
    return fields | {name: tuple(fields[name]) for name in ("rgb_mean", "rgb_std")}


def _mini(card: GFMCard) -> GFMCard:
    """The small model of the same kind that the workflow pretrains for the mini study."""
    title = f"{card.title.split(' ViT')[0]} (mini)"
    architecture = dict(zip(ARCHITECTURE, (64, 8, 64, 4, 4), strict=True))
    return replace(card, title=title, size="mini", architecture=architecture, licence="Apache-2.0", sources=())


_PUBLISHED = [GFMCard.from_dict(card) for card in yaml.safe_load(Path(__file__).with_name("cards.yaml").read_text())]
CARDS = {(card.name, card.size): card for card in _PUBLISHED}
CARDS |= {(name, "mini"): _mini(CARDS[name, "full"]) for name in GFMS}


def gfm_card(name: str, size: str = "full") -> GFMCard:
    """The card of the GFM ``name`` in ``size``: ``full``, ``mini``, or ``large`` (Cross-Scale MAE only)."""
    if name not in GFMS:
        raise ModelError(f"unknown GFM {name!r}; known: {', '.join(GFMS)}")
    if (name, size) not in CARDS:
        sizes = [s for n, s in CARDS if n == name]
        raise ModelError(f"{name}: no size {size!r}; known: {', '.join(sizes)}")
    return CARDS[name, size]


def near_size(img_size: int, patch_size: int) -> int:
    """The multiple of ``patch_size`` nearest to ``img_size``, the larger of two, and at least one patch."""
    return max(patch_size, floor(img_size / patch_size + 0.5) * patch_size)


def taps(depth: int) -> tuple[int, ...]:
    """Four 0-based block indices at the fractions of depth of ViT-L's 7, 11, 15, 23 of 24 (paper protocol)."""
    if depth < 4:
        raise ModelError(f"four taps need at least 4 blocks, found {depth}")
    found = [-1]
    for fraction in (8 / 24, 12 / 24, 16 / 24, 1.0):
        found.append(max(floor(depth * fraction + 0.5) - 1, found[-1] + 1))
    return tuple(found[1:])
