"""A frozen RGB GFM with attention that a spectral path deflects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deflect.errors import ModelError
from deflect.gfms.vit import ViT
from deflect.methods.blocks import PreNorm, Ropes, attend, frozen_qkv, residuals, run
from deflect.methods.deflect.deflection import angle, keep_length, length, length_penalty
from deflect.methods.deflect.uatt import UntangledAttention
from deflect.methods.deflect.upe import UntangledPatchEmbedding
from deflect.methods.described import DescribedGFM
from deflect.methods.descriptors import Descriptors
from deflect.settings.methods import DeflectConfig


@dataclass
class Carried:
    """Data that one forward pass hands from block to block.

    ropes: rotary positions of every block.
    spectral: down-projected spectral tokens (B * (P+L), 3r) by block.
    penalties: soft constraint of every displacement.
    record: None, or pairs of (update, frozen update), each (B, P+L, D).
    """

    ropes: Ropes = ()
    spectral: dict[int, Tensor] = field(default_factory=dict)
    penalties: list[Tensor] = field(default_factory=list)
    record: list[tuple[Tensor, Tensor]] | None = None


class DeflectedGFM(DescribedGFM):
    """DEFLECT: every parameter of the GFM is frozen; ``upe`` and ``uatt`` (or ``gate``) learn."""

    config: DeflectConfig

    def __init__(self, gfm: ViT, *args: Any) -> None:
        super().__init__(gfm, *args)
        config, bands = self.config, self.spectral_channels.inner
        self.upe = UntangledPatchEmbedding(bands, self.embed_dim, self.patch_size, self.num_prefix_tokens, config)
        self.uatt = nn.ModuleDict()
        self.residuals: dict[int, PreNorm] = {}
        if config.attention:
            blocks = sorted(range(self.depth) if config.blocks == "all" else config.blocks)
            if outside := [index for index in blocks if index >= self.depth]:
                raise ModelError(f"blocks: expected numbers from 0 to {self.depth - 1}, found {outside}")
            for index in blocks:
                self.residuals[index] = _residuals(index, gfm.blocks[index])
                attn: Any = gfm.blocks[index].attn
                scale = (2 * attn.head_dim) ** -0.5 if config.scale == "2d" else None
                self.uatt[str(index)] = UntangledAttention(
                    self.embed_dim, attn.num_heads * attn.head_dim, config.rank, config.init_std, scale
                )
        else:
            self.gate = nn.Parameter(torch.zeros(self.embed_dim))
        if not isinstance(gfm.patch_drop, nn.Identity | None):
            raise ModelError("deflect: this GFM drops patches; expected patch_drop_rate=0")
        self._penalties: list[Tensor] = []

    @property
    def descriptors(self) -> Descriptors:  # type: ignore[override]
        return self.upe

    def embed(self, image: Tensor) -> tuple[Tensor, Carried]:
        carried = Carried()
        self._penalties = carried.penalties
        return self._enter(image, carried), carried

    def _enter(self, image: Tensor, carried: Carried) -> Tensor:
        """Run the spectral path into ``carried``; returns the input tokens of the first block."""
        spatial, carried.ropes = self.enter(image)
        spectral = self.upe(self.spectral_channels(image), spatial)
        if not self.config.attention:
            return self._constrain(spatial + self.gate * spectral, spatial, None, carried).to(spatial.dtype)
        uatts: Any = self.uatt.values()
        downs = torch.cat([uatt.down for uatt in uatts]).to(spectral.dtype)  # one product for all blocks
        narrow = F.linear(spectral, downs).flatten(0, 1).chunk(len(self.uatt), dim=-1)
        carried.spectral = dict(zip(map(int, self.uatt), narrow, strict=True))
        return spatial

    def block(self, index: int, tokens: Tensor, carried: Carried) -> Tensor:
        """A block of the GFM, whose attention is deflected."""
        block = self.gfm.blocks[index]
        if index not in carried.spectral:
            return run(block, tokens, carried.ropes[index])
        attended = self.residuals[index].attended(block, tokens)
        update = self._update(index, attended, tokens, carried).to(tokens.dtype)
        return self.residuals[index].add(block, tokens, update)

    def _update(self, index: int, tokens: Tensor, embedding: Tensor, carried: Carried) -> Tensor:
        """The deflected displacement of ``embedding`` by block ``index``, whose attention has the input ``tokens``.

        All are (B, P+L, D).
        """
        block: Any = self.gfm.blocks[index]
        attn, rope, displacement = block.attn, carried.ropes[index], self.residuals[index].displacement
        uatt = cast(UntangledAttention, self.uatt[str(index)])
        qkv = frozen_qkv(attn, tokens)
        frozen = None
        if self._needs_length or carried.record is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.length_gradient):
                frozen = displacement(block, attend(attn, qkv, tokens, rope, uatt.scale))
            if self.config.length_gradient:
                qkv = qkv.clone()  # the backward pass of ``frozen`` needs the original
        delta = displacement(block, uatt(attn, qkv, tokens, carried.spectral[index], rope))
        return delta if frozen is None else self._constrain(delta, frozen, embedding, carried)

    @property
    def _needs_length(self) -> bool:
        """Whether the constraint needs the pretrained length of each displacement."""
        return self.config.constraint == "hard" or (self.config.constraint == "soft" and self.training)

    def _constrain(self, delta: Tensor, frozen: Tensor, embedding: Tensor | None, carried: Carried) -> Tensor:
        """The update under the constraint, on ``delta`` or on the sum of ``embedding`` (None: zero) and ``delta``."""
        base = embedding if self.config.constraint_on == "embedding" else None
        whole, pretrained = (delta, frozen) if base is None else (base + delta, base + frozen)
        update = delta
        if self.config.constraint == "hard":
            kept = keep_length(whole, pretrained)
            update = kept if base is None else kept - base
        if self.config.constraint == "soft" and self.training:
            carried.penalties.append(length_penalty(whole, pretrained))
        if carried.record is not None:
            carried.record.append((update, frozen))
        return update

    def __getstate__(self) -> dict[str, Any]:
        """Copies and files have no penalties, which belong to the graph of one forward pass."""
        return super().__getstate__() | {"_penalties": []}

    def extra_loss(self) -> Tensor:
        if not self._penalties:
            return super().extra_loss()
        return self.config.soft_weight * torch.stack(self._penalties).mean()

    @torch.no_grad()
    def deflection(self, image: Tensor) -> dict[str, Tensor]:
        """Compare the update of every patch token with that of the frozen RGB attention.

        Returns:
            ``angle`` in radians and ``length``, the ratio of the two lengths, each (blocks, B, L), for the adapted
            blocks in order; without attention, one row for the embedding.
        """
        record: list[tuple[Tensor, Tensor]] = []
        carried = Carried(record=record)
        tokens = self._enter(image, carried)
        for index in range(self.depth):
            tokens = self.block(index, tokens, carried)
        angles = torch.stack([angle(update, frozen) for update, frozen in record])
        lengths = torch.stack([(length(update) / length(frozen)).squeeze(-1) for update, frozen in record])
        return {"angle": angles[..., self.num_prefix_tokens :], "length": lengths[..., self.num_prefix_tokens :]}


def _residuals(index: int, block: nn.Module) -> PreNorm:
    """How ``block`` adds. It and its attention must run as timm's, or as ``PostNormBlock``."""
    found = residuals(block)
    if found is None:
        raise ModelError(
            f"deflect: block {index} is a {type(block).__name__} with {type(getattr(block, 'attn', None)).__name__}; "
            "expected timm's Block or EvaBlock with its Attention, forward passes not overridden. Set attention=False, "
            "or leave it out of blocks"
        )
    return found
