"""DEFLECT (arXiv 2503.09493): spectra change the direction of the patch embeddings of a frozen RGB GFM."""

from deflect.methods.deflect.config import SETTINGS, DeflectConfig

__all__ = ["SETTINGS", "DeflectConfig"]
