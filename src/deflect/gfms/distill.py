"""Self-distillation without labels (DINO, arXiv 2104.14294), small enough for one CPU core.

The teacher sees one whole view of an image. The student sees a window of patches of another view, whose size changes
from step to step (the crops of several sizes of DINO-MC, arXiv 2303.06670), and predicts the teacher's assignment of
the first view to prototypes. The teacher is a moving average of the student. Its assignments are spread evenly over the
prototypes by Sinkhorn-Knopp, as in DINOv2 (arXiv 2304.07193), so that they do not collapse: DINO's running centre needs
far more steps than there are here.
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


class Assigner(nn.Module):
    """An encoder with DINO's head: an MLP from the class token to the unit sphere, then the cosine with prototypes.

    The MLP normalises over the batch (DINO's `use_bn_in_head`): the class tokens of an untrained encoder are nearly the
    same for all images, and without it the first teacher would assign all of them to the same prototypes.
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
    """DINO with two views and windows of patches.

    Args:
        gfm: the teacher, which is what pretraining yields; it gets no gradients.
        prototypes: width of the output that is distilled.
        momentum: of the moving average at the start; it rises to 1 along a half cosine.
        min_side: smallest view, as a share of the image's side.
    """

    teacher_temperature = 0.04  # as published
    student_temperature = 0.2  # 0.1 as published; softer is better in so few steps
    light = 0.2  # relative change of brightness between views

    def __init__(self, gfm: VisionTransformer, prototypes: int, momentum: float, min_side: float) -> None:
        super().__init__()
        self.gfm, self.momentum, self.min_side = gfm, momentum, min_side
        self.teacher = Assigner(gfm, prototypes)
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
        """Crops at the encoder's input size, with the light of another day, as the encoder wants them."""
        crops = random_view(images, random_side(self.min_side, 1.0), self.gfm.patch_embed.img_size[0])
        return scale_rgb(jitter(crops, self.light), card_of(self.gfm))

    def windows(self, batch: int, whole: bool = False) -> Tensor:
        """Patch indices (B, w * w) of a window per image: one size for the batch, of 1/2 to 3/4 of the grid."""
        grid = self.gfm.patch_embed.grid_size[0]
        width = grid if whole else int(torch.randint(grid // 2, 3 * grid // 4 + 1, ()))
        top, left = torch.randint(0, grid - width + 1, (2, batch, 1, 1))
        rows, columns = torch.arange(width).view(-1, 1), torch.arange(width).view(1, -1)
        return ((top + rows) * grid + left + columns).flatten(1)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the teacher towards the student; ``progress`` runs from 0 to 1."""
        momentum = 1 - (1 - self.momentum) * (1 + math.cos(math.pi * progress)) / 2
        for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - momentum)


def spread(assignments: Tensor, rounds: int = 3) -> Tensor:
    """Assignments (B, prototypes) whose rows sum to 1 and whose columns nearly sum to the same (Sinkhorn-Knopp)."""
    for _ in range(rounds):
        assignments = F.normalize(F.normalize(assignments, p=1, dim=0), p=1, dim=1)
    return assignments
