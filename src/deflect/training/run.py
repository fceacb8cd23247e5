"""One run from its specification to its folder, whose files docs/output.md lists."""

from __future__ import annotations

import csv
import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deflect.data.disk import require_space
from deflect.data.store import Store
from deflect.files import save_tensors, sha256_file, sha256_json, sha256_once
from deflect.gfms import card_of
from deflect.methods import adapters, parameter_report, save_adapter
from deflect.methods.deflect.model import DeflectedGFM
from deflect.record import DEFLECTION, HEAD, HISTORY, NAME, PREDICTIONS, SCHEMA, read_record, write_record
from deflect.training import provenance
from deflect.training.batches import Batches, FewLabels
from deflect.training.checkpoint import Checkpoint
from deflect.training.context import Context, choose_device, process_group, run_lock
from deflect.training.energy import Stopwatch
from deflect.training.few_labels import labelled_rows
from deflect.training.loop import Fit, fit
from deflect.training.model import TaskModel, build_gfm, build_model, cached_features, calibrate
from deflect.training.outcomes import Predictions, deflection_by_class
from deflect.training.scoring import Result, score
from deflect.training.spec import RunSpec
from deflect.training.tracking import Progress, Tracker, wandb_mode

CHECKPOINT = "checkpoint.pt"


def train(spec: RunSpec) -> dict[str, Any]:
    """Train, select on validation, test once, write the run's folder; returns the record.

    A run that has finished with the same fingerprint is not repeated: its record is touched. A killed run resumes from
    its last checkpoint. While another process trains this run, this one waits.
    """
    wandb_mode(spec.wandb)  # a wrong mode is an error before training
    with run_lock(spec.out):
        store = Store(spec.store)
        identity = spec.identity(store.card.sha256)
        if finished := finished_record(spec.out, sha256_json(identity)):
            (spec.out / CHECKPOINT).unlink(missing_ok=True)  # of a process killed right after writing its record
            return finished
        store.verify()
        device = ready_device(spec)
        with process_group(device) as ranks:
            Run(spec, store, identity, Context(spec.training, spec.seed, device, ranks)).train()
            ranks.wait()  # for the first process, which writes
        return read_record(spec.out)


def validate(spec: RunSpec) -> tuple[float, float]:
    """Train and select on validation, in one process: the headline score on validation, and the seconds of training.

    The test split is neither opened nor checked. Nothing but a checkpoint, from which a killed one resumes, is written.
    """
    store = Store(spec.store)
    store.verify(["train", "val"])
    context = Context(spec.training, spec.seed, ready_device(spec))
    run = Run(spec, store, spec.identity(store.card.sha256), context)
    model = run.build()
    fitted = run.fit(model, *run.ready(model), None)
    return fitted.val[spec.training.metric(store.card.task)], sum(row["seconds"] for row in fitted.history)


def ready_device(spec: RunSpec) -> torch.device:
    """The device of a run, after torch was given the run's number of threads."""
    if spec.threads:
        torch.set_num_threads(spec.threads)
    return choose_device(spec.device)


def finished_record(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The record in ``folder`` if it belongs to this run; touched, so that a workflow sees it as new.

    A record whose files differ does not count: a workflow may have restored it next to the files of another run.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    record = read_record(folder)
    if record["fingerprint"] != fingerprint:
        return None
    for name, digest in record.get("files", {}).items():
        if not (folder / name).is_file() or sha256_once(folder / name) != digest:
            return None
    path.touch()
    return record


class Run:
    """A run in progress."""

    def __init__(self, spec: RunSpec, store: Store, identity: Mapping[str, Any], context: Context) -> None:
        self.spec, self.store, self.card, self.context = spec, store, store.card, context
        self.identity, self.fingerprint = identity, sha256_json(identity)
        self.checkpoint = Checkpoint(spec.out / CHECKPOINT, self.fingerprint, spec.training)
        self.labelled = labelled_rows(store, spec.training.label_fraction)
        self.started = timestamp()

    def train(self) -> None:
        """Train, test and, in the first of several processes, write."""
        provenance.reset_peak_memory(self.context.device)
        context, model = self.context, self.build()
        watch = Stopwatch(context.device)
        train, val = self.ready(model)
        ready_s, ready_joules = watch.lap()
        tracker = Tracker(self.spec, self.fingerprint, self.identity) if context.ranks.first else None
        fitted = self.fit(model, train, val, tracker)
        model.load_state(fitted.best)

        watch.lap()
        test = self.store.split("test")
        predictions = Predictions(test)
        result = score(model, test, context.alone, predictions.add)
        arrays = predictions.arrays()
        result.check("test")
        test_s, test_joules = watch.lap()
        if tracker:
            train_s = ready_s + sum(row["seconds"] for row in fitted.history)
            joules = ready_joules + fitted.joules + test_joules
            used = {
                "time": {"train_s": train_s, "test_s": test_s, "step_ms": 1000 * fitted.step_s / fitted.steps},
                "energy": {"joules": joules, "source": watch.meter.source},
            }
            if math.isnan(joules):  # also where the part before a resumption was not measured
                used["energy"] = {"joules": None, "source": ""}
            record = self._record(model, fitted, result, used)
            self._write(model, fitted, record, arrays)
            tracker.finish(record, arrays, test)

    def build(self) -> TaskModel:
        """The adapted GFM with its head."""
        spec, context = self.spec, self.context
        if context.ranks.first:
            print(f"{spec.slug}: starts", file=sys.stderr, flush=True)
        gfm = build_gfm(spec.gfm, spec.weights, spec.gfm_size, self.card, context)
        return build_model(gfm, spec.method, spec.method_settings, self.card, context)

    def ready(self, model: TaskModel) -> tuple[Batches, Batches]:
        """Calibrate the method on training images; train and val, or their features if these never change."""
        splits = [self.store.split(name) for name in ("train", "val")]
        calibrate(model, splits[0], self.context)
        train, val = (cached_features(model, split, self.context) or split for split in splits)
        return train, val

    def fit(self, model: TaskModel, train: Batches, val: Batches, tracker: Tracker | None) -> Fit:
        """Train on the training split and select on validation."""
        labelled = FewLabels(train, self.labelled) if len(self.labelled) < len(train) else train
        progress = Progress(self.spec.slug, self.spec.training.epochs, show=self.context.ranks.first)

        def log(row: Mapping[str, float]) -> None:
            progress.epoch(row)
            if tracker:
                tracker.epoch(row)

        try:
            return fit(model, labelled, val, self.context, self.checkpoint, log)
        finally:
            progress.close()

    def _record(self, model: TaskModel, fitted: Fit, result: Result, used: Mapping[str, Any]) -> dict[str, Any]:
        """The record, with the time and energy ``used``, without the hashes of the run's files."""
        spec, card, config = self.spec, self.card, model.adapted.config
        bands = card.bands.names if config.bands == "all" else [card.bands.names[i] for i in card.bands.rgb]
        head = sum(p.numel() for p in model.head.parameters())
        metric = spec.training.metric(card.task)
        return {
            "schema": SCHEMA,
            **{key: getattr(spec, key) for key in ("study", "dataset", "gfm", "method", "variant", "part", "seed")},
            "task": card.task,
            "band_setting": config.bands,
            "bands": bands,
            "images": asdict(card.images),
            "simulated": card.simulated,
            "score": {"metric": metric, "value": result.score, "val": fitted.val[metric]},
            "metrics": {"test": result.metrics, "val": fitted.val},
            "best_epoch": fitted.best_epoch,
            "epochs": len(fitted.history),
            "confusion": result.confusion,
            "classes": list(card.classes),
            "parameters": parameter_report(model.adapted).to_dict() | {"head_params": head},
            "settings": {"method": config.model_dump(), "training": spec.training.to_dict()},
            "search": spec.search,
            "fingerprint": self.fingerprint,
            "data": {
                "store_sha256": card.sha256,
                "splits": {name: facts["n"] for name, facts in card.splits.items()},
                "labelled": len(self.labelled),
                "unchecked": card.unchecked,
            },
            "weights": {"name": spec.gfm, "size": card_of(model.adapted.gfm).size, "sha256": self.identity["weights"]},
            "paths": {"store": str(spec.store), "weights": spec.weights and str(spec.weights)},
            "code": provenance.code_state(),
            "packages": provenance.packages(),
            "platform": platform.platform(),
            "device": provenance.device_facts(self.context.device) | {"count": self.context.ranks.world},
            **used,
            "memory": {"peak_mb": provenance.peak_memory_mb(self.context.device)},
            "started": self.started,
            "finished": timestamp(),
        }

    def _write(self, model: TaskModel, fitted: Fit, record: dict[str, Any], arrays: Mapping[str, Any]) -> None:
        """Write all files to a temporary folder and move them to the run's, the record last; delete the checkpoint."""
        out = self.spec.out
        deflected = model.adapted if isinstance(model.adapted, DeflectedGFM) else None
        out.mkdir(parents=True, exist_ok=True)
        for path in out.glob(".*part*"):  # unfinished files of a killed process
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        require_space(out, sum(found.nbytes for found in (*model.state().values(), *arrays.values())))
        with tempfile.TemporaryDirectory(dir=out, prefix=".part-") as name:
            aside = Path(name)
            if self.spec.keep_weights or deflected:
                save_adapter(model.adapted, aside)
            if self.spec.keep_weights:
                save_tensors(model.head.state_dict(), aside / HEAD)
            with open(aside / HISTORY, "w", newline="") as file:
                writer = csv.DictWriter(file, list(fitted.history[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(fitted.history)
            np.savez_compressed(aside / PREDICTIONS, **arrays)
            if deflected:
                found = deflection_by_class(deflected, self.store.split("test"), self.context.alone)
                np.savez_compressed(aside / DEFLECTION, **found)
            record["files"] = {path.name: sha256_file(path) for path in sorted(aside.iterdir())}
            for old in (NAME, adapters.WEIGHTS, adapters.CARD, HEAD):  # the record first
                (out / old).unlink(missing_ok=True)
            for path in aside.iterdir():
                os.replace(path, out / path.name)
        write_record(out, record)
        self.checkpoint.delete()


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
