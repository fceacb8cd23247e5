"""Weights & Biases: a mirror of what stands on disk.

Off by default, imported late, and never a reason for a run to fail.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from deflect.data.store import Split
from deflect.errors import DeflectError
from deflect.settings import WANDB_MODES
from deflect.training.outcomes import sample_rows


def wandb_mode(settings: Mapping[str, Any]) -> str:
    """The mode: WANDB_MODE if it is set, else ``settings["mode"]``, else disabled.

    Raises:
        DeflectError: it is none of the three.
    """
    mode = os.environ.get("WANDB_MODE") or settings.get("mode") or "disabled"
    if mode not in WANDB_MODES:
        raise DeflectError(f"wandb.mode (or WANDB_MODE): expected {', '.join(WANDB_MODES)}, found {mode!r}")
    return str(mode)


class Tracker:
    """One W&B run, or nothing. Every call is safe: after the first failure it says so once and stays silent."""

    def __init__(self, settings: Mapping[str, Any], name: str, identity: str, config: Mapping[str, Any]) -> None:
        self.run: Any = None
        mode: Any = wandb_mode(settings)
        if mode != "disabled":
            self._safely(lambda: self._open(mode, settings, name, identity, config))

    def _open(self, mode: Any, settings: Mapping[str, Any], name: str, identity: str, config: Mapping) -> None:
        import wandb

        dataset, gfm, method, seed = name.split("/")
        init = partial(
            wandb.init,
            reinit="finish_previous",  # one process does many runs, and one that failed may still be open
            project=settings.get("project") or "deflect",
            entity=settings.get("entity"),
            name=name,
            group=f"{dataset}/{gfm}/{method}",
            tags=[dataset, gfm, method, seed],
            id=hashlib.sha256(identity.encode()).hexdigest()[:16],
            resume="allow" if mode == "online" else None,
            config=dict(config),
            settings=wandb.Settings(init_timeout=30),
        )
        try:
            self.run = init(mode=mode)
        except wandb.Error as error:
            if mode != "online":
                raise
            reason = str(error).splitlines()[0]
            print(f"wandb: not online ({reason}); kept offline, to send with `wandb sync`", file=sys.stderr, flush=True)
            os.environ["WANDB_MODE"] = "offline"  # the next runs of this process need not wait for a server again
            self.run = init(mode="offline", resume=None)

    def _safely(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            print(f"wandb: {type(error).__name__}: {error}; the run goes on without it", file=sys.stderr, flush=True)
            self.run = None

    def epoch(self, row: Mapping[str, float]) -> None:
        """Log a row of the history."""
        if self.run is not None:
            self._safely(lambda: self.run.log(dict(row), step=int(row["epoch"])))

    def finish(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], test: Split) -> None:
        """Log the record's numbers, the confusion matrix and, for a segmentation, sample maps; close the run."""
        if self.run is not None:
            self._safely(lambda: self._finish(record, arrays, test))

    def _finish(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], test: Split) -> None:
        import wandb

        flat = {f"test/{k}": v for k, v in record["metrics"]["test"].items() if not isinstance(v, dict)}
        flat |= {f"test/IoU/{k}": v for k, v in record["metrics"]["test"].get("IoU", {}).items()}
        self.run.summary.update(flat | {"best_epoch": record["best_epoch"], **record["parameters"]})
        classes = record["classes"]
        rows = [[name, *row] for name, row in zip(classes, record["confusion"], strict=True)]
        self.run.log({"confusion": wandb.Table(columns=["truth", *classes], data=rows)})
        if "sample_predictions" in arrays:
            self.run.log({"samples": sample_maps(arrays, classes, test)})
        self.run.finish()


def sample_maps(arrays: Mapping[str, np.ndarray], classes: list[str], test: Split) -> list[Any]:
    """The sample images in RGB with their predicted and true class maps, as ``wandb.Image``."""
    import wandb

    rgb = test.batch(sample_rows(len(test)))[0][:, list(test.card.bands.rgb)].numpy()
    rgb = np.clip(rgb / np.quantile(rgb, 0.98), 0, 1).transpose(0, 2, 3, 1)
    names = dict(enumerate([*classes, "no label"]))
    images = []
    for i, name in enumerate(arrays["sample_ids"]):
        label = np.where(arrays["sample_labels"][i] < 0, len(classes), arrays["sample_labels"][i])
        maps = {"prediction": arrays["sample_predictions"][i], "label": label}
        masks = {key: {"mask_data": value.astype(np.uint8), "class_labels": names} for key, value in maps.items()}
        images.append(wandb.Image((255 * rgb[i]).astype(np.uint8), masks=masks, caption=str(name)))
    return images
