"""The model of a finished run, from its files and the weights of its GFM; prepared data are not needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from deflect.bands import BandStatistics
from deflect.data.card import ImageCard
from deflect.errors import ModelError
from deflect.gfms import GFMCard, card_of
from deflect.methods import load_adapter
from deflect.record import HEAD, REMEDY, read_record, run_file
from deflect.settings import PIXEL_TASKS
from deflect.settings.training import TrainSettings
from deflect.training.batches import fit_to
from deflect.training.context import Context, choose_device
from deflect.training.model import TaskModel, build_gfm, is_cut, with_head
from deflect.training.provenance import weights_sha256
from deflect.training.scoring import predict

if TYPE_CHECKING:
    from deflect.trained.opening import Files


@dataclass(frozen=True)
class TrainedModel:
    """An adapted GFM with its head, in evaluation mode.

    Attributes:
        folder: where it was loaded from.
        record: that of the run, see docs/output.md.
        images: bands, classes, size and units of the images that it was trained on.
        network: reflectance (B, C, S, S) at the network's input size -> logits, or numbers of a regression.
    """

    folder: Path
    record: dict[str, Any]
    images: ImageCard
    network: TaskModel
    context: Context

    @property
    def gfm(self) -> GFMCard:
        """The card of the frozen GFM."""
        return card_of(self.network.adapted.gfm)

    @property
    def image_size(self) -> int:
        """The network's input size S in pixels."""
        return self.context.settings.image_size

    @property
    def window(self) -> int:
        """Pixels along a side of an image that one input of the network covers: images are cut, or resized to it."""
        return self.image_size if is_cut(self.images, self.context.settings) else self.images.image_size

    def predict(self, images: Tensor) -> Tensor:
        """Logits or numbers of reflectance (B, C, H, H), as a run predicts its test split, on the model's device.

        ``images`` have the bands of ``images.bands``, in their order, and ``images.gsd``. Larger images than the
        network's input are predicted in windows if pixels have labels, whose logits are averaged; others are resized.

        Returns:
            Float32 logits (B, K) of a classification or multilabel, (B, K, H, H) of a segmentation; numbers in the unit
            of the target (B, 1) of a regression, (B, 1, H, H) of a pixel_regression.
        """
        size = images.shape[-1] if self.images.task in PIXEL_TASKS else None
        with torch.inference_mode(), self.context.autocast():
            return predict(self.network, images.float().to(self.context.device), size, self.context)

    def random_images(self, n: int) -> Tensor:
        """Random reflectance (n, C, S, S) with the bands' mean and standard deviation, always the same."""
        count = len(self.images.bands)
        statistics = self.network.adapted.statistics or BandStatistics((0.2,) * count, (0.1,) * count)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (statistics.mean, statistics.std))
        noise = torch.randn(n, count, self.image_size, self.image_size, generator=torch.Generator().manual_seed(0))
        return (mean + std * noise).clamp_min(0)

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, D, h, w) of the patches of reflectance (B, C, H, H) after the GFM's final norm, in float32.

        ``images`` are windows or whole images, resized to the network's input.
        """
        adapted = self.network.adapted
        with torch.inference_mode(), self.context.autocast():
            inputs = fit_to(images.float().to(self.context.device), self.image_size)
            grid = adapted.gfm.patch_embed.dynamic_feat_size((self.image_size, self.image_size))
            tokens = adapted.forward_features(inputs)[:, adapted.num_prefix_tokens :]
            return tokens.transpose(1, 2).unflatten(2, grid).float()

    def predict_scene(self, scene: Files, out: Path | str, **options: Any) -> Path:
        """Map a scene of any size to a GeoTIFF: see ``deflect.trained.maps.predict_scene``."""
        from deflect.trained.maps import predict_scene  # imports rasterio

        return predict_scene(self, scene, Path(out), **options)

    def label_files(self, files: Sequence[Files], out: Path | str, **options: Any) -> Path:
        """Write a table with the class of each file: see ``deflect.trained.labels.label_files``."""
        from deflect.trained.labels import label_files

        return label_files(self, files, Path(out), **options)


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
