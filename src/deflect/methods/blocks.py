"""The blocks of timm's Vision Transformers taken apart; the only module that knows how ViT and Eva differ.

timm's ``Eva`` (EVA-02, DINOv3, Perception Encoder, ...) has rotary positions: in every attention, q and k of patch
tokens, after any q and k norms, are turned by an angle that depends on the patch's place. Prefix tokens are not turned.
Two patches then meet with the difference of their angles. What a method adds to q or k is turned with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Attention, AttentionRope, apply_rot_embed_cat
from timm.models.eva import EvaAttention, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from deflect.gfms.vit import PostNormBlock, ViT

#: Rotary positions of every block; None for a block without.
Ropes = Sequence[Tensor | None]
#: Linear layers that some blocks split: attention into q, k and v, and SwiGLU into gate and input.
SPLIT = {"qkv": ("q_proj", "k_proj", "v_proj"), "fc1": ("fc1_g", "fc1_x")}


def enter(gfm: ViT, patches: Tensor) -> tuple[Tensor, Ropes]:
    """Patch tokens -> input tokens (B, P+L, D) of the first block, and the rotary positions of every block."""
    if isinstance(gfm, VisionTransformer):
        return gfm.norm_pre(gfm.patch_drop(gfm._pos_embed(patches))), (None,) * len(gfm.blocks)
    tokens, rope = gfm._pos_embed(patches)  # drops patches too; in training, the angles may be augmented
    ropes = rope.unbind() if gfm.rope_mixed and rope is not None else (rope,) * len(gfm.blocks)
    return gfm.norm_pre(tokens), ropes


def run(block: nn.Module, tokens: Tensor, rope: Tensor | None) -> Tensor:
    """The block as timm runs it."""
    return block(tokens) if rope is None else block(tokens, rope=rope)


def extend_prefix(gfm: ViT, tokens: int) -> None:
    """Let rotary attention leave ``tokens`` more, inserted after the prefix tokens, where they are."""
    for module in gfm.blocks.modules():
        if isinstance(module, EvaAttention | AttentionRope):
            module.num_prefix_tokens += tokens


def call_replaced_qkv(gfm: ViT) -> None:
    """Let ``EvaAttention`` call a layer that replaced its qkv; with biases of its own it reads only the weights."""
    for module in gfm.blocks.modules():
        if isinstance(module, EvaAttention) and module.qkv is not None and type(module.qkv) is not nn.Linear:
            module.qkv_bias_separate = True


def layers(gfm: ViT, targets: tuple[str, ...]) -> tuple[str, ...]:
    """``targets``, with the parts of a layer in its place where the GFM splits it."""
    names = {name.split(".")[-1] for name, _ in gfm.blocks.named_modules()}
    found: list[str] = []
    for name in targets:
        parts = SPLIT.get(name, (name,))
        found += parts if name not in names and names.issuperset(parts) else [name]
    return tuple(found)


# ---------------------------------------------------------------------- residual sums


class PreNorm:
    """z + ls1(attn(norm1(z))), then z + ls2(mlp(norm2(z))): timm's ``Block``."""

    def attended(self, block: Any, tokens: Tensor) -> Tensor:
        """What the attention of ``block`` gets."""
        return block.norm1(tokens)

    def displacement(self, block: Any, output: Tensor) -> Tensor:
        """What the residual sum gets of the attention's output; lengths are compared here."""
        return block.ls1(output)

    def add(self, block: Any, tokens: Tensor, update: Tensor) -> Tensor:
        """Tokens before the block and their update by attention -> tokens after the block."""
        tokens = tokens + block.drop_path1(block.attn.proj_drop(update))
        return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))


class PostNorm(PreNorm):
    """norm1(z + ls1(attn(z))), then norm2(z + ls2(mlp(z))): ``PostNormBlock``."""

    def attended(self, block: Any, tokens: Tensor) -> Tensor:
        return tokens

    def add(self, block: Any, tokens: Tensor, update: Tensor) -> Tensor:
        tokens = block.norm1(tokens + block.drop_path1(block.attn.proj_drop(update)))
        return block.norm2(tokens + block.drop_path2(block.ls2(block.mlp(tokens))))


class EvaPreNorm(PreNorm):
    """``PreNorm`` with gamma_1 and gamma_2, or neither, for ls1 and ls2: timm's ``EvaBlock``."""

    def displacement(self, block: Any, output: Tensor) -> Tensor:
        return output if block.gamma_1 is None else block.gamma_1 * output

    def add(self, block: Any, tokens: Tensor, update: Tensor) -> Tensor:
        tokens = tokens + block.drop_path1(block.attn.proj_drop(update))
        output = block.mlp(block.norm2(tokens))
        return tokens + block.drop_path2(output if block.gamma_2 is None else block.gamma_2 * output)


class EvaPostNorm(PostNorm):
    """z + norm1(attn(z)), then z + norm2(mlp(z)): timm's ``EvaBlockPostNorm``."""

    def displacement(self, block: Any, output: Tensor) -> Tensor:
        return block.norm1(output)

    def add(self, block: Any, tokens: Tensor, update: Tensor) -> Tensor:
        tokens = tokens + block.drop_path1(block.attn.proj_drop(update))
        return tokens + block.drop_path2(block.norm2(block.mlp(tokens)))


#: How blocks with these forward passes add.
RESIDUALS: dict[Callable[..., Any], PreNorm] = {
    Block.forward: PreNorm(),
    PostNormBlock.forward: PostNorm(),
    EvaBlock.forward: EvaPreNorm(),
    EvaBlockPostNorm.forward: EvaPostNorm(),
}


def residuals(block: nn.Module) -> PreNorm | None:
    """How ``block`` adds; None if it, or its attention, has a forward pass that this module does not know."""
    attn = getattr(block, "attn", None)
    if attn is None or type(attn).forward not in (Attention.forward, EvaAttention.forward, AttentionRope.forward):
        return None
    own = "forward" in vars(block) or "forward" in vars(attn)
    return None if own else RESIDUALS.get(type(block).forward)


# ---------------------------------------------------------------------- attention


def frozen_qkv(attn: Any, tokens: Tensor) -> Tensor:
    """q_P, k_P, v_P of tokens (B, N, D), after q and k norms and before rotation, concatenated: (B*N, 3A)."""
    qkv = _project(attn, tokens.flatten(0, 1))
    if isinstance(attn.q_norm, nn.Identity) and isinstance(attn.k_norm, nn.Identity):
        return qkv
    q, k, v = qkv.unflatten(-1, (3, attn.num_heads, attn.head_dim)).unbind(1)
    return torch.cat([part.flatten(1) for part in (attn.q_norm(q), attn.k_norm(k), v)], dim=-1)


def _project(attn: Any, tokens: Tensor) -> Tensor:
    """q, k and v of tokens (B*N, D): (B*N, 3A); where heads share k and v, these are repeated for every head."""
    if attn.qkv is None:
        q, k, v = (layer(tokens) for layer in (attn.q_proj, attn.k_proj, attn.v_proj))
        if (shared := getattr(attn, "num_kv_groups", 1)) > 1:
            k, v = (x.unflatten(-1, (-1, attn.head_dim)).repeat_interleave(shared, 1).flatten(1) for x in (k, v))
        return torch.cat([q, k, v], dim=-1)
    if getattr(attn, "q_bias", None) is None:
        return attn.qkv(tokens)
    bias = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])  # EvaAttention; its k_bias is always 0
    return attn.qkv(tokens) + bias if attn.qkv_bias_separate else F.linear(tokens, attn.qkv.weight, bias)


def attend(
    attn: Any, qkv: Tensor, tokens: Tensor, rope: Tensor | None, scale: float | None = None, dropout: float = 0.0
) -> Tensor:
    """proj(softmax(scale * q k^T) v) with the projection of ``attn``, before its dropout: (B, N, D).

    ``scale`` is 1/sqrt(d) by default; ``qkv`` is q, k, v, concatenated, (B*N, 3A), and ``rope`` rotates q and k;
    ``tokens`` are the input of the attention, with which some layers gate.
    """
    q, k, v = qkv.view(*tokens.shape[:2], 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)
    if rope is not None:
        q, k = _rotate(attn, q, rope), _rotate(attn, k, rope)
    mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)
    mixed = attn.norm(mixed.transpose(1, 2).flatten(2))
    if attn.gate is not None:
        mixed = mixed * attn.gate(tokens).sigmoid()
    return attn.proj(mixed)


def _rotate(attn: Any, x: Tensor, rope: Tensor) -> Tensor:
    """Queries or keys (B, heads, N, d), of which those of patch tokens are turned."""
    prefix = attn.num_prefix_tokens
    turned = apply_rot_embed_cat(x[:, :, prefix:], rope, half=attn.rotate_half)
    return torch.cat([x[:, :, :prefix], turned], dim=2).type_as(x)
