"""Use a trained model: load a run, map scenes, export, share."""

from deflect.trained.load import load
from deflect.trained.model import TrainedModel, load_run

__all__ = ["TrainedModel", "load", "load_run"]
