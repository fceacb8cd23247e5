"""One run from its specification to its folder.

    record.json           what determined the run, what came out, what it cost; written last
    history.csv           one row per epoch
    adapter.*             the adapted encoder, ``deflect.load_adapter`` reads it
    head.safetensors      the task head
    predictions.npz       the test predictions, see ``deflect.training.outcomes``
    deflection.npz        only for DEFLECT: deflection per block and class
    checkpoint.pt         only while the run is unfinished

All files belong to the weights of the best validation score.
"""

from __future__ import annotations

import csv
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deflect.data.disk import require_space
from deflect.data.store import Store
from deflect.files import sha256_file, sha256_json, sha256_once
from deflect.gfms import card_of
from deflect.methods import adapters, parameter_report, save_adapter
from deflect.methods.deflect.model import DeflectedGFM
from deflect.settings import METRICS
from deflect.tensors import save_tensors
from deflect.training import record as records
from deflect.training.build import build_gfm, build_model, cached_features, calibrate
from deflect.training.checkpoint import Checkpoint
from deflect.training.context import Context
from deflect.training.distributed import alone, choose_device, process_group
from deflect.training.loop import Fit, fit
from deflect.training.model import TaskModel
from deflect.training.outcomes import deflection_by_class, final_test
from deflect.training.progress import Progress
from deflect.training.scoring import Result, score
from deflect.training.spec import RunSpec
from deflect.training.tracking import Tracker, wandb_mode

CHECKPOINT, HEAD = "checkpoint.pt", "head.safetensors"


def train(spec: RunSpec) -> dict[str, Any]:
    """Train, select on validation, test once, write the run's folder; returns the record.

    A run that has finished with the same fingerprint is not repeated: its record is touched. A run that was killed
    goes on from its last checkpoint. While another process trains this run, this one waits.
    """
    wandb_mode(spec.wandb)  # a misspelt mode is told before the work, not after
    with alone(spec.out):
        return _train(spec)


def _train(spec: RunSpec) -> dict[str, Any]:
    store = Store(spec.store)
    identity = spec.identity(store.card.sha256)
    if finished := finished_record(spec.out, sha256_json(identity)):
        (spec.out / CHECKPOINT).unlink(missing_ok=True)  # of a process killed right behind its record
        return finished
    store.verify()
    if spec.threads:
        torch.set_num_threads(spec.threads)
    device = choose_device(spec.device)
    with process_group(device) as ranks:
        run = Run(spec, store, identity, Context(spec.training, spec.seed, device, ranks))
        run.train()
        ranks.wait()  # until the first process has written
    return records.read_record(spec.out)


def finished_record(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The record in ``folder`` if it is of this very run; touched, so that a workflow sees it as done now.

    A workflow may have put an older record back beside files of another run; it counts for nothing.
    """
    path = folder / records.NAME
    if not path.is_file():
        return None
    record = records.read_record(folder)
    if record["fingerprint"] != fingerprint or not _is_whole(folder, record):
        return None
    path.touch()
    return record


def _is_whole(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether every file is there as the record says."""
    files = record.get("files", {}).items()
    return all((folder / name).is_file() and sha256_once(folder / name) == digest for name, digest in files)


class Run:
    """A run under way."""

    def __init__(self, spec: RunSpec, store: Store, identity: Mapping[str, Any], context: Context) -> None:
        self.spec, self.store, self.card, self.context = spec, store, store.card, context
        self.identity, self.fingerprint = identity, sha256_json(identity)
        self.checkpoint = Checkpoint(spec.out / CHECKPOINT, self.fingerprint, spec.training)
        self.started = timestamp()

    def train(self) -> None:
        """The whole run; the first of several processes writes."""
        records.reset_peak_memory(self.context.device)
        spec, card, context = self.spec, self.card, self.context
        if context.ranks.first:
            print(f"{spec.slug}: starts", file=sys.stderr, flush=True)
        gfm = build_gfm(spec.gfm, spec.weights, spec.gfm_size, card, context)
        model = build_model(gfm, spec.method, spec.method_settings, card, context)
        calibrate(model, self.store.split("train"), context)
        first = context.ranks.first
        tracker = Tracker(spec.wandb if first else {"mode": "disabled"}, spec.slug, self.fingerprint, self.identity)
        fitted = self._fit(model, Progress(spec.slug, spec.training.epochs, show=first), tracker)
        model.load_state(fitted.best)

        began = time.perf_counter()
        test = self.store.split("test")
        result, arrays = final_test(model, test, card, context.alone)
        result.check("test")
        test_s = time.perf_counter() - began
        if first:
            record = self._record(model, fitted, result, test_s)
            self._write(model, fitted, record, arrays)
            tracker.finish(record, arrays, test)

    def _fit(self, model: TaskModel, progress: Progress, tracker: Tracker) -> Fit:
        train, val = self.store.split("train"), self.store.split("val")
        kept_train, kept_val = (cached_features(model, split, self.context) for split in (train, val))

        def tell(row: Mapping[str, float]) -> None:
            progress.update(row)
            tracker.epoch(row)

        def validate() -> Result:
            return score(model, kept_val or val, self.card, self.context)

        try:
            return fit(model, kept_train or train, validate, self.context, self.checkpoint, tell)
        finally:
            progress.close()

    def _record(self, model: TaskModel, fitted: Fit, result: Result, test_s: float) -> dict[str, Any]:
        spec, card, metric = self.spec, self.card, METRICS[self.card.task]
        config = model.adapted.config
        bands = card.bands.names if config.bands == "all" else [card.bands.names[i] for i in card.bands.rgb]
        head = sum(p.numel() for p in model.head.parameters())
        return {
            "schema": records.SCHEMA,
            **{key: getattr(spec, key) for key in ("study", "dataset", "gfm", "method", "variant", "seed")},
            "task": card.task,
            "band_setting": config.bands,
            "bands": bands,
            "simulated": card.simulated,
            "score": {"metric": metric, "value": result.score, "val": fitted.best_score},
            "metrics": {"test": result.metrics, "val": fitted.val},
            "best_epoch": fitted.best_epoch,
            "epochs": len(fitted.history),
            "confusion": result.confusion,
            "classes": list(card.classes),
            "parameters": parameter_report(model.adapted).to_dict() | {"head_params": head},
            "settings": {"method": config.model_dump(), "training": spec.training.to_dict()},
            "fingerprint": self.fingerprint,
            "data": {
                "store_sha256": card.sha256,
                "splits": {name: facts["n"] for name, facts in card.splits.items()},
                "unchecked": card.unchecked,
            },
            "weights": {"name": spec.gfm, "size": card_of(model.adapted.gfm).size, "sha256": self.identity["weights"]},
            "paths": {"store": str(spec.store), "weights": spec.weights and str(spec.weights)},
            "code": records.code_state(),
            "packages": records.packages(),
            "platform": platform.platform(),
            "device": records.device_facts(self.context.device) | {"count": self.context.ranks.world},
            "time": {
                "train_s": sum(row["seconds"] for row in fitted.history),
                "test_s": test_s,
                "step_ms": 1000 * fitted.step_s / fitted.steps,
            },
            "memory": {"peak_mb": records.peak_memory_mb(self.context.device)},
            "started": self.started,
            "finished": timestamp(),
        }

    def _write(self, model: TaskModel, fitted: Fit, record: dict[str, Any], arrays: Mapping[str, Any]) -> None:
        """Write all files aside, move them in place, the record last; only then the checkpoint may go."""
        out = self.spec.out
        out.mkdir(parents=True, exist_ok=True)
        sweep(out)
        require_space(out, sum(found.nbytes for found in (*model.state().values(), *arrays.values())))
        with tempfile.TemporaryDirectory(dir=out, prefix=".part-") as name:
            aside = Path(name)
            if self.spec.keep_weights or isinstance(model.adapted, DeflectedGFM):
                save_adapter(model.adapted, aside)
            if self.spec.keep_weights:
                save_tensors(model.head.state_dict(), aside / HEAD)
            write_history(aside / "history.csv", fitted.history)
            np.savez_compressed(aside / "predictions.npz", **arrays)
            if isinstance(model.adapted, DeflectedGFM):
                found = deflection_by_class(model.adapted, self.store.split("test"), self.card, self.context.alone)
                np.savez_compressed(aside / "deflection.npz", **found)
            record["files"] = {file.name: sha256_file(file) for file in sorted(aside.iterdir())}
            (out / records.NAME).unlink(missing_ok=True)  # an older run's record must not stand beside new files
            for name in (adapters.WEIGHTS, adapters.CARD, HEAD):
                (out / name).unlink(missing_ok=True)  # of an older run that kept them
            for file in aside.iterdir():
                os.replace(file, out / file.name)
        records.write_record(out, record)
        self.checkpoint.delete()


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written."""
    for path in folder.glob(".*part*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """One row per epoch as CSV."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def timestamp() -> str:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
