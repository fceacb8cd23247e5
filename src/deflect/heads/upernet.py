"""UPerNet, the segmentation head (Xiao et al., ECCV 2018, https://arxiv.org/abs/1807.10221; paper, section 4).

The four taps of a ViT, all of one resolution, are rescaled by 4, 2, 1 and 1/2 to a feature pyramid; pyramid pooling
adds context to the coarsest level; a top-down path joins the levels; the joined map is classified at the finest level.
Layers, widths and biases are those of the PANGAEA benchmark. (The UPerNet of ``segmentation_models_pytorch`` takes no
encoder of a single resolution.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that uses its running statistics where a channel has a single value.

    This is the 1 x 1 level of the pyramid pooling in a batch of one image, where ``nn.BatchNorm2d`` raises an error. On
    several GPUs the training loop replaces all of these by ``nn.SyncBatchNorm``.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


def conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """Convolution of the same size, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
        BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def rescale(dim: int, scale: float) -> nn.Module:
    """Change a map's resolution by 4, 2, 1 or 1/2."""
    if scale == 4:
        return nn.Sequential(rescale(dim, 2), BatchNorm2d(dim), nn.GELU(), rescale(dim, 2))
    if scale == 2:
        return nn.ConvTranspose2d(dim, dim, 2, stride=2)
    if scale == 1:
        return nn.Identity()
    if scale == 0.5:
        return nn.MaxPool2d(2)
    raise ValueError(f"UPerNet: a pyramid level rescales by 4, 2, 1 or 0.5, found {scale}")


class PyramidPooling(nn.Module):
    """Add context at several scales: (B, dim, h, w) to (B, channels, h, w)."""

    def __init__(self, dim: int, channels: int, scales: Sequence[int]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(s), conv(dim, channels, 1)) for s in scales)
        self.bottleneck = conv(dim + len(scales) * channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bottleneck(torch.cat([x, *(resize(pool(x), x.shape[-2:]) for pool in self.pools)], dim=1))


class UPerNet(nn.Module):
    """Logits (B, num_classes, 4h, 4w) from four taps of (B, embed_dim, h, w), finest pyramid level first."""

    def __init__(
        self,
        embed_dim: int,
        num_classes: int,
        channels: int = 512,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        scales: Sequence[float] = (4, 2, 1, 0.5),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.neck = nn.ModuleList(rescale(embed_dim, scale) for scale in scales)
        self.pooling = PyramidPooling(embed_dim, channels, pool_scales)
        self.laterals = nn.ModuleList(conv(embed_dim, channels, 1) for _ in scales[:-1])
        self.smooth = nn.ModuleList(conv(channels, channels, 3) for _ in scales[:-1])
        self.join = conv(len(scales) * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.fc = nn.Conv2d(channels, num_classes, 1)

    def reduce(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The part without parameters, as in ``LinearHead``: nothing."""
        return list(maps)

    def classify(self, maps: Sequence[Tensor]) -> Tensor:
        *fine, coarse = (level(x) for level, x in zip(self.neck, maps, strict=True))
        path = [self.pooling(coarse)]  # coarsest first
        for lateral, x in zip(reversed(self.laterals), reversed(fine), strict=True):
            path.append(lateral(x) + resize(path[-1], x.shape[-2:]))
        context, *rest = path
        outputs = [smooth(x) for smooth, x in zip(self.smooth, reversed(rest), strict=True)] + [context]
        size = outputs[0].shape[-2:]
        return self.fc(self.dropout(self.join(torch.cat([resize(x, size) for x in outputs], dim=1))))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.classify(self.reduce(maps))


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return x if list(x.shape[-2:]) == list(size) else F.interpolate(x, list(size), mode="bilinear")
