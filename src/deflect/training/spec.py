"""The specification of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deflect.fingerprint import code_sha256
from deflect.settings.training import TrainSettings
from deflect.training.provenance import packages, weights_sha256


@dataclass(frozen=True)
class RunSpec:
    """Everything that one run needs.

    Attributes:
        study, dataset, gfm, method, seed: the run's name.
        store: folder of the prepared data set.
        out: folder of this run, e.g. ``results/mini/runs/so2sat/scale_mae/lora/seed0``.
        method_settings: fields of the method's configuration that differ from its defaults.
        training: how to train.
        weights: safetensors of the GFM; None starts from random weights, and the record says so.
        gfm_size: "full", "mini" or another size that the GFM's data sheets know.
        variant: name of this variant of the method, "" for the method itself.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or e.g. "cuda:1".
        threads: threads of torch on the CPU; 0 leaves torch's own choice. Their number changes the rounding.
        keep_weights: write adapter and head; without them the run cannot be evaluated again. Adapters of DEFLECT, which
            a figure reads, are written in any case.
        wandb: ``mode`` (disabled, offline, online), ``project``, ``entity``; WANDB_MODE wins over ``mode``.
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
            "store": store_sha256,
            "weights": weights_sha256(self.weights),
            "code": code_sha256("train"),
            "packages": {name: installed[name] for name in ("torch", "timm")},
        }
