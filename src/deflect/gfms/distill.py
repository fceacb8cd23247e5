"""Self-distillation without labels (DINO, arXiv 2104.14294), small enough for one CPU core.

The teacher, a moving average of the student, assigns a whole view of an image to prototypes. The student predicts this
assignment from a window of patches of another view, whose size changes from step to step (the crops of several sizes of
DINO-MC, arXiv 2303.06670). Sinkhorn-Knopp, as in DINOv2 (arXiv 2304.07193), spreads the assignments evenly over the
prototypes, which prevents collapse; DINO's running centre would need many more steps.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from deflect.gfms.views import encode, jitter, random_side, random_view
from deflect.gfms.vit import card_of, scale_rgb
from deflect.settings.pretraining import PretrainSettings


class Assigner(nn.Module):
    """An encoder with DINO's head: an MLP from the class token to the unit sphere, then the cosine with prototypes.

    Batch norm (DINO's `use_bn_in_head`) is needed because an untrained encoder gives nearly the same class token for
    every image.
    """

    def __init__(self, gfm: VisionTransformer, prototypes: int) -> None:
        super().__init__()
        self.gfm, dim = gfm, gfm.embed_dim
        self.mlp = nn.Sequential(
            nn.Linear(dim, 2 * dim),
            nn.BatchNorm1d(2 * dim),
            nn.GELU(),
            nn.Linear(2 * dim, dim),
            nn.BatchNorm1d(dim, affine=False),
        )
        self.prototypes = nn.Parameter(torch.randn(prototypes, dim))

    def forward(self, rgb: Tensor, kept: Tensor) -> Tensor:
        """Cosines (B, prototypes) for images (B, 3, S, S) of which the patches ``kept`` (B, K) are seen."""
        token = encode(self.gfm, rgb, kept)[:, 0]
        return F.linear(F.normalize(self.mlp(token), dim=-1), F.normalize(self.prototypes, dim=-1))


class SelfDistillation(nn.Module):
    """DINO with two views and windows of patches. ``gfm`` is the teacher, which is pretrained without gradients."""

    teacher_temperature = 0.04  # as published
    student_temperature = 0.2  # published: 0.1; softer is better in so few steps
    light = 0.2  # relative change of brightness between views

    def __init__(self, gfm: VisionTransformer, settings: PretrainSettings) -> None:
        super().__init__()
        self.gfm, self.momentum, self.min_side = gfm, settings.momentum, settings.min_side
        self.teacher = Assigner(gfm, settings.prototypes)
        self.student = copy.deepcopy(self.teacher)
        self.teacher.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Loss of a batch of reflectance (B, 3, H, W)."""
        with torch.no_grad():
            cosines = self.teacher(self.view(images), self.windows(len(images), whole=True))
            target = spread((cosines / self.teacher_temperature).softmax(1))
        predicted = self.student(self.view(images), self.windows(len(images))) / self.student_temperature
        return F.cross_entropy(predicted, target)

    def view(self, images: Tensor) -> Tensor:
        """Crops with random brightness, at the encoder's input size and normalised."""
        crops = random_view(images, random_side(self.min_side, 1.0), self.gfm.patch_embed.img_size[0])
        return scale_rgb(jitter(crops, self.light), card_of(self.gfm))

    def windows(self, batch: int, whole: bool = False) -> Tensor:
        """Patch indices (B, w * w) of a random window per image; its side w is 1/2 to 3/4 of the grid, or ``whole``."""
        grid = self.gfm.patch_embed.grid_size[0]
        width = grid if whole else int(torch.randint(grid // 2, 3 * grid // 4 + 1, ()))
        top, left = torch.randint(0, grid - width + 1, (2, batch, 1, 1))
        rows, columns = torch.arange(width).view(-1, 1), torch.arange(width).view(1, -1)
        return ((top + rows) * grid + left + columns).flatten(1)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the teacher towards the student; the momentum rises to 1 as ``progress`` does, from 0."""
        momentum = 1 - (1 - self.momentum) * (1 + math.cos(math.pi * progress)) / 2
        for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - momentum)


def spread(assignments: Tensor, rounds: int = 3) -> Tensor:
    """Assignments (B, prototypes) with rows that sum to 1 and columns of nearly equal sums (Sinkhorn-Knopp)."""
    for _ in range(rounds):
        assignments = F.normalize(F.normalize(assignments, p=1, dim=0), p=1, dim=1)
    return assignments
