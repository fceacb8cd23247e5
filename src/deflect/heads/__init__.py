"""Task heads: a linear layer for classification, UPerNet for segmentation. Their parameters are counted separately."""

from deflect.heads.linear import LinearHead
from deflect.heads.upernet import UPerNet

__all__ = ["LinearHead", "UPerNet"]
