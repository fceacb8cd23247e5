"""Parameter-efficient methods that adapt an RGB GFM to any band set: one configuration class and module per method."""

from deflect.methods.adapters import load_adapter, save_adapter
from deflect.methods.base import AdaptedGFM
from deflect.methods.lora import merge
from deflect.methods.registry import adapt, adapt_as, method_config
from deflect.methods.report import ParameterReport, parameter_report

__all__ = [
    "AdaptedGFM",
    "ParameterReport",
    "adapt",
    "adapt_as",
    "load_adapter",
    "merge",
    "method_config",
    "parameter_report",
    "save_adapter",
]
