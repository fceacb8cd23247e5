"""DEFLECT: adapt RGB geospatial foundation models to multispectral images by deflecting their patch embeddings.

The public names are loaded on first use, so that ``import deflect`` and the command line start quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deflect.bands import Band, BandSet, BandStatistics, bandset
    from deflect.gfms import load_gfm
    from deflect.methods import adapt, load_adapter, merge, parameter_report, save_adapter
    from deflect.trained import load, load_run
    from deflect.training.model import add_head

__version__ = "0.1.0"

_HOME = {
    "Band": "bands",
    "BandSet": "bands",
    "BandStatistics": "bands",
    "bandset": "bands",
    "load_gfm": "gfms",
    "load": "trained",
    "load_run": "trained",
    "adapt": "methods",
    "add_head": "training.model",
    "load_adapter": "methods",
    "merge": "methods",
    "parameter_report": "methods",
    "save_adapter": "methods",
}
__all__ = [
    "Band",
    "BandSet",
    "BandStatistics",
    "adapt",
    "add_head",
    "bandset",
    "load",
    "load_adapter",
    "load_gfm",
    "load_run",
    "merge",
    "parameter_report",
    "save_adapter",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'deflect' has no attribute {name!r}")
    return getattr(import_module(f"deflect.{_HOME[name]}"), name)
