"""The model that is trained: an adapted GFM, the depths at which it is tapped, and a task head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deflect.errors import DeflectError
from deflect.heads import LinearHead, UPerNet
from deflect.methods import AdaptedGFM
from deflect.settings.training import TrainSettings

Inputs = Tensor | list[Tensor]  # images, or the features of images computed before


class TaskModel(nn.Module):
    """Reflectance images (B, C, H, W) to logits: (B, K) with a linear head, (B, K, H, W) with UPerNet."""

    def __init__(self, adapted: AdaptedGFM, head: LinearHead | UPerNet, taps: Sequence[int]) -> None:
        super().__init__()
        self.adapted = adapted
        self.head = head
        self.taps = tuple(taps)
        self.encoder_is_frozen = not any(p.requires_grad for p in adapted.parameters())

    def features(self, images: Tensor) -> list[Tensor]:
        """What the head's parameters work on. Constant for an image whenever the encoder is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_is_frozen):
            return self.head.reduce(self.adapted.forward_intermediates(images, indices=self.taps))

    def forward(self, inputs: Inputs, size: Sequence[int] | None = None) -> Tensor:
        """Float32 logits; those of a segmentation are interpolated to ``size`` (default: the images' own)."""
        features = inputs if isinstance(inputs, list) else self.features(inputs)
        logits = self.head.classify(features).float()
        if logits.ndim == 2:
            return logits
        if size is None:
            size = inputs.shape[-2:] if isinstance(inputs, Tensor) else logits.shape[-2:]
        return F.interpolate(logits, list(size), mode="bilinear")

    def state(self) -> dict[str, Tensor]:
        """All that training changes, detached copies on the CPU: adapter and head, under ``adapted.`` and ``head.``."""
        tensors = {f"adapted.{k}": v for k, v in self.adapted.adapter_state().items()}
        tensors |= {f"head.{k}": v for k, v in self.head.state_dict().items()}
        return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` returned.

        Raises:
            DeflectError: a key of ``state`` has no place in this model, or one of ``state()`` is missing.
        """
        expected = {f"adapted.{k}" for k in self.adapted.adapter_state()}
        expected |= {f"head.{k}" for k in self.head.state_dict()}
        if expected != set(state):
            odd = ", ".join(sorted(expected ^ set(state))[:5])
            raise DeflectError(f"saved weights do not fit this model: {odd} stand on one side only; train again")
        self.load_state_dict(dict(state), strict=False)


def build_head(task: str, embed_dim: int, taps: int, num_classes: int, settings: TrainSettings) -> LinearHead | UPerNet:
    """The head of a task, with fresh weights from torch's current random state."""
    if task == "classification":
        return LinearHead(embed_dim, taps, num_classes)
    return UPerNet(embed_dim, num_classes, channels=settings.upernet_channels, dropout=settings.dropout)


def cross_entropy_sum(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy and the number of labels that count; -1 is ignored.

    A sum, because a training window may hold no label at all, where a mean is 0 / 0, and because devices that share a
    batch must divide by the whole batch's count.
    """
    total = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
    return total, torch.count_nonzero(labels != -1)
