"""A frozen RGB GFM whose attention is deflected by a spectral path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from deflect.bands import BandSet
from deflect.errors import ConfigError, ModelError
from deflect.methods.base import AdaptedGFM
from deflect.methods.deflect.deflection import angle, keep_length, length, length_penalty
from deflect.methods.deflect.uatt import UntangledAttention, attend, frozen_qkv
from deflect.methods.deflect.upe import UntangledPatchEmbedding
from deflect.methods.inputs import Channels, canonical
from deflect.settings.methods import DeflectConfig
from deflect.spectral import available


@dataclass
class Carried:
    """What one forward pass hands from block to block.

    spectral: down-projected spectral tokens (B * (P+L), 3r) by block.
    penalties: the soft constraint of every displacement.
    record: None, or pairs of (update, frozen update), each (B, P+L, D).
    """

    spectral: dict[int, Tensor] = field(default_factory=dict)
    penalties: list[Tensor] = field(default_factory=list)
    record: list[tuple[Tensor, Tensor]] | None = None


class DeflectedGFM(AdaptedGFM):
    """DEFLECT: every parameter of the GFM is frozen; ``upe`` and ``uatt`` (or ``gate``) learn."""

    config: DeflectConfig

    def __init__(self, gfm: VisionTransformer, *args: Any) -> None:
        super().__init__(gfm, *args)
        config, bands = self.config, canonical(self.bands, self.config.bands)
        self.spectral_channels = Channels(self.bands, bands)
        self.upe = UntangledPatchEmbedding(
            bands,
            self.embed_dim,
            self.patch_size,
            self.num_prefix_tokens,
            indices=_index_names(bands, config),
            reflectances=config.features != "indices",
            statistics=config.statistics,
            hidden=config.hidden,
            standardise=config.standardise,
            norm_matching=config.norm_matching,
        )
        self.uatt = nn.ModuleDict()
        if config.attention:
            for index in self._block_indices():
                attn_dim = _checked_attention(index, gfm.blocks[index]).attn_dim
                self.uatt[str(index)] = UntangledAttention(self.embed_dim, attn_dim, config.rank, config.init_std)
        else:
            self.gate = nn.Parameter(torch.zeros(self.embed_dim))
        if not isinstance(gfm.patch_drop, nn.Identity):
            raise ModelError("deflect: a GFM that drops patches loses the match of spatial and spectral tokens")
        self._penalties: list[Tensor] = []

    def _block_indices(self) -> list[int]:
        blocks = range(self.depth) if self.config.blocks == "all" else self.config.blocks
        outside = [index for index in blocks if not 0 <= index < self.depth]
        if outside:
            raise ModelError(f"blocks: expected numbers from 0 to {self.depth - 1}, found {outside}")
        return sorted(blocks)

    # ------------------------------------------------------------------ forward

    def embed(self, image: Tensor) -> tuple[Tensor, Carried]:
        carried = Carried()
        self._penalties = carried.penalties
        return self._enter(image, carried), carried

    def _enter(self, image: Tensor, carried: Carried) -> Tensor:
        """Fill ``carried`` with the spectral path and give the tokens that enter the first block."""
        spatial = self.spatial_tokens(image)
        spectral = self.upe(self.spectral_channels(image), spatial)
        if not self.config.attention:
            return self._constrain(spatial + self.gate * spectral, spatial, carried).to(spatial.dtype)
        uatts: Any = self.uatt.values()
        downs = torch.cat([uatt.down for uatt in uatts]).to(spectral.dtype)  # one product for all blocks
        narrow = F.linear(spectral, downs).flatten(0, 1).chunk(len(self.uatt), dim=-1)
        carried.spectral = dict(zip(map(int, self.uatt), narrow, strict=True))
        return spatial

    def block(self, index: int, tokens: Tensor, carried: Carried) -> Tensor:
        """A block of timm, or a ``PostNormBlock``, with the displacement by its attention deflected."""
        block: Any = self.gfm.blocks[index]
        if index not in carried.spectral:
            return block(tokens)
        post_norm = getattr(block, "post_norm", False)
        update = self._update(index, tokens if post_norm else block.norm1(tokens), carried).to(tokens.dtype)
        tokens = tokens + block.drop_path1(block.attn.proj_drop(update))
        if post_norm:
            tokens = block.norm1(tokens)
            return block.norm2(tokens + block.drop_path2(block.ls2(block.mlp(tokens))))
        return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))

    def _update(self, index: int, tokens: Tensor, carried: Carried) -> Tensor:
        """The deflected displacement of the tokens (B, P+L, D) that enter the attention of block ``index``."""
        attn: Any = self.gfm.blocks[index].attn
        scale: Any = self.gfm.blocks[index].ls1  # displacements are compared at the length that the block adds
        uatt = cast(UntangledAttention, self.uatt[str(index)])
        qkv = frozen_qkv(attn, tokens)
        frozen = None
        if self._needs_length or carried.record is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.length_gradient):
                frozen = scale(attend(attn, qkv, tokens))
            if self.config.length_gradient:
                qkv = qkv.clone()  # the backward pass of ``frozen`` needs the values as they are
        delta = scale(uatt(attn, qkv, tokens, carried.spectral[index]))
        return delta if frozen is None else self._constrain(delta, frozen, carried)

    @property
    def _needs_length(self) -> bool:
        """Whether the constraint now needs the pretrained length of each displacement."""
        return self.config.constraint == "hard" or (self.config.constraint == "soft" and self.training)

    def _constrain(self, delta: Tensor, frozen: Tensor, carried: Carried) -> Tensor:
        update = keep_length(delta, frozen) if self.config.constraint == "hard" else delta
        if self.config.constraint == "soft" and self.training:
            carried.penalties.append(length_penalty(delta, frozen))
        if carried.record is not None:
            carried.record.append((update, frozen))
        return update

    def __getstate__(self) -> dict[str, Any]:
        """Copies and files keep no penalties: they belong to the graph of one forward pass."""
        return super().__getstate__() | {"_penalties": []}

    # ------------------------------------------------------------------ training and inspection

    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Learn the mean and standard deviation of the patch descriptors from training images (B, C, H, W)."""
        self.upe.calibrate(self.spectral_channels(self._batch(image)) for image in batches)

    def _batch(self, image: Any) -> Tensor:
        if not isinstance(image, Tensor):
            raise ModelError(
                f"calibrate: expected batches of images (B, C, H, W), found {type(image).__name__}; of a loader that "
                "gives more, pass the images alone: calibrate(images for images, _ in loader)"
            )
        return image.to(self.upe.mean.device)

    def extra_loss(self) -> Tensor:
        if not self._penalties:
            return super().extra_loss()
        return self.config.soft_weight * torch.stack(self._penalties).mean()

    def descriptor(self, image: Tensor) -> Tensor:
        """Patch descriptors (B, L, K*S) before standardisation; nothing in them is trained."""
        return self.upe.descriptor(self.spectral_channels(image))

    @torch.no_grad()
    def deflection(self, image: Tensor) -> dict[str, Tensor]:
        """How far every patch token's update departs from the one that the frozen RGB attention would give.

        Returns:
            ``angle`` in radians and ``length``, the ratio of the two lengths, each (blocks, B, L), for the adapted
            blocks in order (one row without attention: the embedding itself).
        """
        record: list[tuple[Tensor, Tensor]] = []
        carried = Carried(record=record)
        tokens = self._enter(image, carried)
        for index in range(self.depth):
            tokens = self.block(index, tokens, carried)
        angles = torch.stack([angle(update, frozen) for update, frozen in record])
        lengths = torch.stack([(length(update) / length(frozen)).squeeze(-1) for update, frozen in record])
        return {"angle": angles[..., self.num_prefix_tokens :], "length": lengths[..., self.num_prefix_tokens :]}

    def describe(self) -> dict[str, Any]:
        upe = self.upe
        return {
            "descriptor": {
                "indices": list(upe.indices),
                "features": list(upe.features),
                "statistics": list(upe.statistics),
                "mean": upe.mean.tolist() if upe.calibrated else None,
                "std": upe.std.tolist() if upe.calibrated else None,
                "nonfinite": int(upe.nonfinite),
            }
        }


def _index_names(bands: BandSet, config: DeflectConfig) -> tuple[str, ...]:
    """The spectral indices that ``config`` asks for."""
    if config.features == "bands":
        return ()
    names = available(bands) if config.indices == "all" else config.indices
    if not names:
        raise ConfigError(f"{bands.sensor}: no spectral index can be computed from {', '.join(bands.names)}")
    return names


def _checked_attention(index: int, block: nn.Module) -> Attention:
    """The attention of ``block``, if both run as timm's own, which is what ``block`` and ``attend`` repeat.

    A block with ``post_norm`` is the only other order that ``DeflectedGFM.block`` implements.
    """
    attn = getattr(block, "attn", None)
    known = isinstance(block, Block) and (_runs_as(block, Block) or getattr(block, "post_norm", False))
    if not known or not isinstance(attn, Attention) or not _runs_as(attn, Attention):
        raise ModelError(
            f"deflect: block {index} is a {type(block).__name__} with {type(attn).__name__}; expected timm's "
            "Block with its Attention, forward passes not overridden. Set attention=False, or leave it out of blocks"
        )
    return attn


def _runs_as(module: nn.Module, cls: type[nn.Module]) -> bool:
    """Whether the forward pass of ``module`` is that of ``cls``."""
    return type(module).forward is cls.forward and "forward" not in vars(module)
