"""The study's figures: each function takes a `StudyRuns` (or the arrays it shows) and returns a matplotlib figure.

`save` writes one as png and pdf, byte for byte alike on every call.
"""

from deflect.analysis.figures.confusion import confusion_matrices
from deflect.analysis.figures.cost import cost
from deflect.analysis.figures.curves import training_curves
from deflect.analysis.figures.efficiency import (
    parameter_efficiency,
    parameter_efficiency_per_dataset,
    parameter_efficiency_per_gfm,
)
from deflect.analysis.figures.few_labels import few_labels
from deflect.analysis.figures.importance import index_importance
from deflect.analysis.figures.inside import inside_deflect, inside_deflect_classes
from deflect.analysis.figures.maps import segmentation_maps
from deflect.analysis.figures.overlap import error_overlap
from deflect.analysis.figures.reliability import reliability
from deflect.analysis.figures.style import save

__all__ = [
    "confusion_matrices",
    "cost",
    "error_overlap",
    "few_labels",
    "index_importance",
    "inside_deflect",
    "inside_deflect_classes",
    "parameter_efficiency",
    "parameter_efficiency_per_dataset",
    "parameter_efficiency_per_gfm",
    "reliability",
    "save",
    "segmentation_maps",
    "training_curves",
]
