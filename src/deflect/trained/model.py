"""The model of a finished run, from its files and the weights of its GFM; prepared data are not needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from deflect.data.card import ImageCard
from deflect.errors import ModelError
from deflect.methods import load_adapter
from deflect.record import HEAD, REMEDY, read_record, run_file
from deflect.settings.training import TrainSettings
from deflect.training.context import Context, choose_device
from deflect.training.model import TaskModel, build_gfm, with_head
from deflect.training.provenance import weights_sha256
from deflect.training.scoring import predict


@dataclass(frozen=True)
class TrainedModel:
    """An adapted GFM with its head, in evaluation mode.

    Attributes:
        folder: where it was loaded from.
        record: that of the run, see docs/output.md.
        images: bands, classes, size and units of the images that it was trained on.
        network: reflectance (B, C, S, S) at the network's input size -> logits.
    """

    folder: Path
    record: dict[str, Any]
    images: ImageCard
    network: TaskModel
    context: Context

    @property
    def image_size(self) -> int:
        """The network's input size S in pixels."""
        return self.context.settings.image_size

    def predict(self, images: Tensor) -> Tensor:
        """Logits of reflectance (B, C, H, H), exactly as a run predicts its test split, on the model's device.

        ``images`` have the bands of ``images.bands``, in their order, and ``images.gsd``. Larger images than the
        network's input are predicted in windows for a segmentation, whose logits are averaged; others are resized.

        Returns:
            Float32 logits (B, K) of a classification, (B, K, H, H) of a segmentation.
        """
        size = images.shape[-1] if self.images.task == "segmentation" else None
        with torch.inference_mode(), self.context.autocast():
            return predict(self.network, images.float().to(self.context.device), size, self.context)


def load_run(folder: Path | str, weights: Path | None = None, device: str = "auto") -> TrainedModel:
    """The model of the finished run in ``folder``.

    Args:
        weights: the GFM's weight file; by default at the path in the record.
        device: "auto" (CUDA if available), "cpu", "cuda" or e.g. "cuda:1".

    Raises:
        ModelError: the run kept no weights, those of the GFM are not the record's, or the head is damaged.
        DataError, FileNotFoundError: the run has not finished or its folder is damaged.
    """
    record = read_record(Path(folder))
    if weights is None and record["paths"]["weights"]:
        weights = Path(record["paths"]["weights"])
    return rebuild(Path(folder), record, weights, device)


def rebuild(folder: Path, record: dict[str, Any], weights: Path | None, device: str = "auto") -> TrainedModel:
    """The model of a ``record`` and the files in ``folder``, as `load_run`; ``weights`` is None for random ones."""
    if not (folder / HEAD).is_file():
        raise ModelError(
            f"{folder}: kept no weights; train it again with `keep_weights: all` in the study, or name a run of its "
            "first seed"
        )
    if "images" not in record:
        raise ModelError(f"{folder}: the record of an older version, without the entry images; {REMEDY}")
    head = run_file(folder, HEAD, record)
    check_recorded(weights, "weights", record["weights"]["sha256"], weights_sha256(weights))
    images = ImageCard.from_dict(record["images"])
    settings = TrainSettings.from_dict(record["settings"]["training"])
    context = Context(settings, record["seed"], choose_device(device))
    gfm = build_gfm(record["gfm"], weights, record["weights"]["size"], images, context)
    network = with_head(load_adapter(gfm, folder), images, context)
    try:
        network.head.load_state_dict(load_file(head))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{head}: damaged or of another head ({error}); train the run again") from error
    return TrainedModel(folder, record, images, network.eval(), context)


def check_recorded(path: Any, what: str, recorded: str | None, found: str | None) -> None:
    """Raise ModelError if the hash of a run's data or weights is not that of its record."""
    if recorded != found:
        raise ModelError(
            f"{path}: the run was trained on other {what}: expected sha256 {recorded}, found {found};"
            " restore them or train the run again"
        )
