"""The specification of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deflect.fingerprint import code_sha256
from deflect.gfms.weights import read_card
from deflect.settings.training import TrainSettings
from deflect.training.provenance import packages, weights_sha256


@dataclass(frozen=True)
class RunSpec:
    """Everything that one run needs.

    Attributes:
        store: folder of the prepared dataset.
        out: folder of this run, e.g. ``results/mini/runs/so2sat/scale_mae/lora/seed0``.
        method_settings: the method's settings that differ from its defaults.
        weights: safetensors of the GFM; None starts from random weights.
        gfm_size: "full", "mini", another published size, or "own".
        variant: name of this variant of the method, "" for the method itself.
        part: the part of the study, "main" or one of ``Study.parts``.
        search: for the record, the search that chose the settings; see `deflect.training.search`.
        device: "auto" (CUDA if available), "cpu", "cuda" or e.g. "cuda:1".
        threads: CPU threads of torch, which change the rounding; 0 leaves torch's default.
        wandb: ``mode`` (disabled, offline, online), ``project``, ``entity``.
        keep_weights: write adapter and head, which evaluating the run again needs. Adapters of DEFLECT are always
            written, because a figure reads them.
    """

    study: str
    dataset: str
    gfm: str
    method: str
    seed: int
    store: Path
    out: Path
    method_settings: dict[str, Any] = field(default_factory=dict)
    training: TrainSettings = field(default_factory=TrainSettings)
    weights: Path | None = None
    gfm_size: str = "full"
    variant: str = ""
    part: str = "main"
    search: dict[str, Any] | None = None
    device: str = "auto"
    threads: int = 0
    wandb: dict[str, Any] = field(default_factory=dict)
    keep_weights: bool = True

    @property
    def slug(self) -> str:
        """The run's name: dataset/gfm/method/seed."""
        method = f"{self.method}+{self.variant}" if self.variant else self.method
        return f"{self.dataset}/{self.gfm}/{method}/seed{self.seed}"

    def identity(self, store_sha256: str) -> dict[str, Any]:
        """Everything that determines the result of the run, JSON-ready."""
        training = self.training.to_dict()
        del training["checkpoint_every"], training["checkpoint_minutes"]
        installed = packages()
        return {
            "name": [self.study, self.slug],
            "gfm_size": self.gfm_size,
            "method": self.method_settings,
            "training": training,
            "search": self.search,
            "store": store_sha256,
            "weights": weights_sha256(self.weights),
            "gfm": read_card(self.weights).facts() if self.weights else None,
            "code": code_sha256("train"),
            "packages": {name: installed[name] for name in ("torch", "timm")},
        }
