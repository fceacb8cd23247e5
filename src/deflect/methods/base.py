"""The adapted GFM: reflectance of any band set in, tokens of a Vision Transformer out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from timm.layers import PatchEmbed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from deflect.bands import BandSet, BandStatistics
from deflect.errors import ModelError
from deflect.gfms.card import taps
from deflect.gfms.vit import ViT, count_parameters
from deflect.methods import blocks
from deflect.methods.fingerprint import fingerprint, positions_fingerprint
from deflect.methods.inputs import Channels, Normalise, RGBInput, canonical, check_reflectance
from deflect.methods.patch_embed import embed_patches, widen_patch_embed
from deflect.settings.methods import MethodConfig
from deflect.spectral.pixel_set import recorded


class AdaptedGFM(nn.Module):
    """A GFM tuned by one method, for reflectance (B, C, H, W) with channels in the order of ``bands``.

    Built by ``deflect.adapt``. The GFM is frozen here; the method then makes some parameters trainable.
    """

    def __init__(
        self,
        gfm: ViT,
        method: str,
        config: MethodConfig,
        bands: BandSet,
        statistics: BandStatistics | None,
        rgb: RGBInput,
    ) -> None:
        super().__init__()
        _check_gfm(gfm)
        gfm.head, gfm.attn_pool = nn.Identity(), None  # type: ignore[assignment]  # no classifier
        if hasattr(gfm, "head_dist"):  # second classifier of a distilled DeiT
            gfm.head_dist = nn.Identity()
        gfm.requires_grad_(False)
        self.gfm = gfm
        self.embed_dim, self.depth, self.num_prefix_tokens = gfm.embed_dim, len(gfm.blocks), gfm.num_prefix_tokens
        self.patch_size: tuple[int, int] = gfm.patch_embed.patch_size
        self.method, self.config, self.bands, self.statistics, self.rgb = method, config, bands, statistics, rgb
        self.gfm_params = count_parameters(gfm)
        self.gfm_fingerprint = fingerprint(gfm)
        self.gfm_positions = positions_fingerprint(gfm) if rgb.positions == "learned" else None
        self.gfm_shapes = {f"gfm.{name}": value.shape for name, value in gfm.state_dict().items()}
        inner = canonical(bands, config.bands if config.widens_patch_embed else "rgb")
        self.channels = Channels(bands, inner)
        self.normalise = Normalise(inner, rgb, bands, statistics)
        if len(inner) > 3:
            widen_patch_embed(
                gfm, [bands.channel(name) for name in inner.names], getattr(config, "patch_init", "repeat")
            )
        self.grad_checkpointing = self.merged = self._checked = False
        self.released: frozenset[str] = frozenset()

    def embed(self, image: Tensor) -> tuple[Tensor, Any]:
        """Image -> input tokens of the first block, and data that the method passes from block to block."""
        return self.enter(image)

    def spatial_tokens(self, image: Tensor) -> Tensor:
        """z_P(0): patch embedding, prefix tokens and positions, as the GFM computes them."""
        return self.enter(image)[0]

    def enter(self, image: Tensor) -> tuple[Tensor, blocks.Ropes]:
        """z_P(0), and the rotary positions of every block."""
        gfm = self.gfm
        pixels = self.channels(image)
        self.check_first(pixels, self.channels.inner)
        pixels = self.normalise(pixels).to(gfm.patch_embed.proj.weight.dtype)
        return blocks.enter(gfm, embed_patches(gfm.patch_embed, pixels))

    def check_first(self, pixels: Tensor, bands: BandSet) -> None:
        """Check the reflectance of the first images."""
        # Once, because it synchronises a GPU. Not in a recording, which would store the result for one image.
        if not (self._checked or recorded()) and len(pixels) and not pixels.is_meta:
            check_reflectance("first images", pixels, bands)
            self._checked = True

    def block(self, index: int, tokens: Tensor, carried: Any) -> Tensor:
        """Tokens before block ``index`` -> tokens after it."""
        return blocks.run(self.gfm.blocks[index], tokens, carried[index])

    def gfm_tokens(self, tokens: Tensor) -> Tensor:
        """The class, register and patch tokens, without those that the method inserted."""
        return tokens

    def _walk(self, image: Tensor, wanted: Sequence[int]) -> dict[int, Tensor]:
        """Tokens (B, P+L, D) after each wanted block; later blocks do not run."""
        tokens, carried = self.embed(image)
        found = {}
        for index in range(max(wanted) + 1):
            if self.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(self.block, index, tokens, carried, use_reentrant=False)
            else:
                tokens = self.block(index, tokens, carried)
            if index in wanted:
                found[index] = self.gfm_tokens(tokens)
        return found

    def taps(self, task: str) -> tuple[int, ...]:
        """The blocks whose maps a task's head gets: those of the paper's protocol."""
        return taps(self.depth)

    def map_width(self, maps: int) -> int:
        """The width of each map when ``forward_intermediates`` returns that many."""
        return self.embed_dim

    def forward_features(self, image: Tensor) -> Tensor:
        """Reflectance (B, C, H, W) -> tokens (B, P+L, D), after the GFM's final norm."""
        last = self.depth - 1
        return self.gfm.norm(self._walk(image, [last])[last])

    def forward_intermediates(self, image: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Maps (B, map_width, h, w) of patch tokens after the blocks ``indices`` (0-based), before any final norm."""
        outside = [index for index in indices if not 0 <= index < self.depth]
        if outside or not indices:
            raise ModelError(f"indices: expected blocks from 0 to {self.depth - 1}, found {list(indices)}")
        found = self._walk(image, indices)
        height, width = image.shape[-2:]
        rows, columns = self.gfm.patch_embed.dynamic_feat_size((height, width))
        patches = [found[index][:, self.num_prefix_tokens :] for index in indices]
        if patches[0].shape[1] != rows * columns:
            raise ModelError(
                f"forward_intermediates: expected {rows * columns} patch tokens ({rows} x {columns}), found "
                f"{patches[0].shape[1]}; a GFM that drops patches gives no maps in training (patch_drop_rate=0)"
            )
        return [tokens.transpose(1, 2).reshape(*tokens.shape[::2], rows, columns) for tokens in patches]

    def forward(self, image: Tensor) -> Tensor:
        return self.forward_features(image)

    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Compute what the method needs from training images before its first step; most methods need nothing."""

    def extra_loss(self) -> Tensor:
        """A scalar to add to the loss, from the last forward pass in training mode."""
        return torch.zeros((), device=next(self.parameters()).device)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the tokens between blocks and recompute the rest in the backward pass: less memory, more time."""
        self.grad_checkpointing = enable

    def trainable_names(self) -> list[str]:
        return [name for name, parameter in self.named_parameters() if parameter.requires_grad]

    def adapter_state(self) -> dict[str, Tensor]:
        """Every tensor that is, or was when adapted, trainable, or that the GFM does not have in this shape."""
        trainable = {*self.released, *self.trainable_names()}

        def is_new(name: str, value: Tensor) -> bool:
            return self.gfm_shapes.get(name.replace(".base_layer.", ".")) != value.shape

        return {name: value for name, value in self.state_dict().items() if name in trainable or is_new(name, value)}

    def describe(self) -> dict[str, Any]:
        """Further fields of ``adapter.json``."""
        return {}


def _check_gfm(gfm: ViT) -> None:
    """The patch embedding must be one convolution over RGB."""
    embed: Any = gfm.patch_embed
    proj = getattr(embed, "proj", None)
    if not isinstance(embed, PatchEmbed) or not isinstance(proj, nn.Conv2d):
        raise ModelError(f"patch_embed: expected timm's PatchEmbed, found {type(embed).__name__}")
    if proj.in_channels != 3:
        raise ModelError(
            f"patch_embed.proj: expected a convolution over 3 bands (red, green, blue), found {proj.in_channels}; "
            "create the GFM with in_chans=3"
        )
