"""Data sheets of the three geospatial foundation models (GFMs): architecture, normalisation, origin and licence.

A :class:`GFMCard` is also what stands in JSON beside every weight file, so that weights and the model that they
belong to are never guessed. Sources of every number: docs/gfms.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from math import floor
from typing import Any

from deflect.errors import DeflectError
from deflect.settings import GFMS

KINDS = ("gsd_sincos", "learned", "fixed_sincos")
BLOCKS = ("pre_norm", "post_norm")
SIZES = ("full", "large", "mini")
ARCHITECTURE = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")


class GFMError(DeflectError):
    """A GFM, its card or its weights are not what they should be; the message names the file or the key."""


@dataclass(frozen=True)
class WeightSource:
    """Where a checkpoint is published. ``url`` is https, or ``gdrive:ID`` for a file on Google Drive.

    ``sha256`` and ``md5`` are what the publisher states; empty where nothing is stated.
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
        name: name in this project, e.g. ``scale_mae``.
        title: name in a table.
        size: ``full`` (the published size that the study uses), ``large`` (a published bigger one) or ``mini``.
        kind: positions: ``gsd_sincos`` (fixed sines of metres on the ground), ``learned``, ``fixed_sincos``.
        block: ``pre_norm`` (timm's ``Block``) or ``post_norm`` (:class:`deflect.gfms.vit.PostNormBlock`).
        architecture: arguments of timm's ``VisionTransformer``; ``img_size`` is that of pretraining, in pixels.
        rgb_mean, rgb_std: normalisation of RGB in 0..1, in the order red, green, blue.
        reflectance_white: reflectance that is white: RGB = clip(reflectance / reflectance_white, 0, 1).
        apply_final_norm: whether ``gfm.norm`` acts; where the published norm was never trained, it passes tokens on.
        gsd_mode: ``image`` where positions follow the ground sampling distance of the image, else ``none``.
        licence, citation: of the weights and of the model.
        sources: where the checkpoint is published, the preferred place first.
        origin: filled in beside a weight file: what it was made from, and its checksums.
    """

    name: str
    title: str
    size: str
    kind: str
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

    def __post_init__(self) -> None:
        for what, value, allowed in (("kind", self.kind, KINDS), ("block", self.block, BLOCKS)):
            if value not in allowed:
                raise GFMError(f"GFM card {self.name}: {what} must be one of {', '.join(allowed)}, found {value!r}")
        if sorted(self.architecture) != sorted(ARCHITECTURE):
            raise GFMError(
                f"GFM card {self.name}: architecture needs {ARCHITECTURE}, found {sorted(self.architecture)}"
            )
        if not all(value > 0 for value in (*self.rgb_std, self.reflectance_white)):
            raise GFMError(f"GFM card {self.name}: rgb_std and reflectance_white must be positive")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GFMCard:
        """The card of a JSON object.

        Raises:
            GFMError: a field is missing or unknown.
        """
        fields = dict(values)
        try:
            for name in ("rgb_mean", "rgb_std"):
                fields[name] = tuple(fields[name])
            fields["sources"] = tuple(WeightSource(**source) for source in fields.get("sources", ()))
            return cls(**fields)
        except (TypeError, KeyError) as error:
            raise GFMError(
                f"not a GFM card ({error}); make it again with `deflect gfm convert` or `pretrain`"
            ) from error


IMAGENET: dict[str, Any] = {"rgb_mean": (0.485, 0.456, 0.406), "rgb_std": (0.229, 0.224, 0.225)}
FMOW_RGB: dict[str, Any] = {
    "rgb_mean": (0.43392888, 0.43578541, 0.40744025),
    "rgb_std": (0.19828456, 0.19250111, 0.19454683),
}


def _vit(img_size: int, patch_size: int, embed_dim: int, depth: int, num_heads: int) -> dict[str, int]:
    return dict(zip(ARCHITECTURE, (img_size, patch_size, embed_dim, depth, num_heads), strict=True))


_HF = "https://huggingface.co/isaaccorley/vit_large_patch16_224_fmow_rgb_scalemae/resolve"
_SCALE_MAE = GFMCard(
    name="scale_mae",
    title="Scale-MAE ViT-L/16",
    size="full",
    kind="gsd_sincos",
    block="pre_norm",
    architecture=_vit(224, 16, 1024, 24, 16),
    **IMAGENET,
    reflectance_white=0.3,
    apply_final_norm=True,
    gsd_mode="image",
    licence="CC-BY-NC-4.0",
    citation="Reed et al., Scale-MAE: A Scale-Aware Masked Autoencoder, ICCV 2023, arXiv 2212.14532",
    sources=(
        WeightSource(
            f"{_HF}/75650aaca720ef9c6638d16f5b4375f0022c56c9/vit_large_patch16_224_fmow_rgb_scalemae-386989c9.pth",
            "scale_mae.pth",
            sha256="386989c9",
            note="encoder only, the copy that torchgeo 0.10 loads",
        ),
        WeightSource(
            "https://github.com/bair-climate-initiative/scale-mae/releases/download/base-800/scalemae-vitlarge-800.pth",
            "scalemae-vitlarge-800.pth",
            note="the authors' release, with decoder; no checksum is published",
        ),
    ),
)

_DINO_MC = GFMCard(
    name="dino_mc",
    title="DINO-MC ViT-S/8",
    size="full",
    kind="learned",
    block="pre_norm",
    architecture=_vit(224, 8, 384, 12, 6),
    **IMAGENET,
    reflectance_white=0.3,
    apply_final_norm=True,
    gsd_mode="none",
    licence="MIT",
    citation="Wanyan et al., Extending global-local view alignment for self-supervised learning with remote "
    "sensing imagery, CVPR Workshops 2024, arXiv 2303.06670",
    sources=(WeightSource("gdrive:18RqKqZYzigOjwbyNzLsys8bmwqxrNhyt", "dino_mc.pth", note="no checksum is published"),),
)

_CROSS_SCALE = GFMCard(
    name="cross_scale_mae",
    title="Cross-Scale MAE ViT-B/16",
    size="full",
    kind="fixed_sincos",
    block="pre_norm",
    architecture=_vit(128, 16, 768, 12, 12),
    **FMOW_RGB,
    reflectance_white=0.3,
    apply_final_norm=False,
    gsd_mode="none",
    licence="CC-BY-NC-4.0",
    citation="Tang et al., Cross-Scale MAE: A Tale of Multiscale Exploitation in Remote Sensing, NeurIPS 2023",
    sources=(
        WeightSource(
            "gdrive:17FePR5lAFNL45g7738JMofP2pyC_6hau",
            "cross_scale_mae_base_pretrain.pth",
            md5="0c33995da85c112d9602f89d5b186bbc",
        ),
    ),
)

_CROSS_SCALE_LARGE = replace(
    _CROSS_SCALE,
    title="Cross-Scale MAE ViT-L/16",
    size="large",
    architecture=_vit(128, 16, 1024, 24, 16),
    sources=(
        WeightSource(
            "gdrive:1FBJiQ8Z6J3P8Le7wFQXOicTDX9jTNGnT",
            "cross_scale_mae_large_pretrain.pth",
            md5="e6e4f58c07bbbc4c4dd63fa26c644dd4",
        ),
    ),
)


def _mini(card: GFMCard) -> GFMCard:
    """The small model of the same kind that the mini study pretrains itself."""
    family = card.title.split(" ViT")[0]
    return replace(
        card,
        title=f"{family} (mini)",
        size="mini",
        architecture=_vit(64, 8, 64, 4, 4),
        licence="Apache-2.0",
        sources=(),
    )


_PUBLISHED = (_SCALE_MAE, _DINO_MC, _CROSS_SCALE, _CROSS_SCALE_LARGE)
CARDS = {(card.name, card.size): card for card in (*_PUBLISHED, *map(_mini, _PUBLISHED[:3]))}


def gfm_card(name: str, size: str = "full") -> GFMCard:
    """The data sheet of the GFM ``name`` in ``size`` (``full``, ``mini``; ``large`` for Cross-Scale MAE).

    Raises:
        GFMError: there is no such GFM or size.
    """
    if name not in GFMS:
        raise GFMError(f"unknown GFM {name!r}; known: {', '.join(GFMS)}")
    if (name, size) not in CARDS:
        sizes = [s for n, s in CARDS if n == name]
        raise GFMError(f"{name}: no size {size!r}; known: {', '.join(sizes)}")
    return CARDS[name, size]


def taps(depth: int) -> tuple[int, int, int, int]:
    """Four 0-based block indices at the fractions of depth of ViT-L's 7, 11, 15, 23 of 24 (paper protocol).

    Raises:
        GFMError: there are fewer than four blocks.
    """
    if depth < 4:
        raise GFMError(f"four taps need at least 4 blocks, found {depth}")
    found: list[int] = []
    for fraction in (8 / 24, 12 / 24, 16 / 24, 1.0):
        nearest = floor(depth * fraction + 0.5) - 1
        found.append(max(nearest, found[-1] + 1) if found else nearest)
    return found[0], found[1], found[2], found[3]
