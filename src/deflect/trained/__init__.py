"""Use a trained model: load a run, map scenes, export, share."""

from deflect.trained.model import TrainedModel, load_run
from deflect.trained.shared import load

__all__ = ["TrainedModel", "load", "load_run"]
