"""Task heads: a linear layer for labels of images, UPerNet for labels of pixels; their parameters are counted apart."""

from deflect.heads.linear import LinearHead
from deflect.heads.regression import RegressionHead
from deflect.heads.upernet import UPerNet

__all__ = ["LinearHead", "RegressionHead", "UPerNet"]
