"""Writes run folders with invented records in the real schema, for tests of tables and figures.

Labels and predictions are random, better for some methods than for others; every score follows from them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import product
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from deflect.analysis.bootstrap import score as score_of
from deflect.bands import HLS_S30, SENTINEL2, BandSet
from deflect.files import write_json
from deflect.record import CONFIDENCE_BINS
from deflect.settings import GFMS, METHODS, PAPER_DATASETS

SEGMENTATION = {"burn_scars": ["Not burned", "Burn scar"], "mados": [f"sea surface {k}" for k in range(1, 16)]}
CLASSES = {
    "so2sat": [f"local climate zone {k}" for k in range(1, 18)],
    "brick_kiln": ["not brick kiln", "brick kiln"],
    "forestnet": [f"driver of loss {k}" for k in range(1, 13)],
    **SEGMENTATION,
}
BANDS: dict[str, BandSet] = {
    "burn_scars": HLS_S30.subset(["B02", "B03", "B04", "B8A", "B11", "B12"]),
    "mados": SENTINEL2.subset(["B02", "B03", "B04", "B08", "B11", "B12"]),
}
#: Share of right predictions and tuned parameters of each method on a GFM of a million parameters.
SKILL = {
    "deflect": (0.62, 2_600),
    "lora": (0.61, 24_000),
    "slr": (0.60, 26_000),
    "norm_tuning": (0.56, 6_100),
    "bitfit": (0.57, 7_300),
    "patch_embed": (0.52, 5_200),
    "frozen": (0.45, 0),
    "spectral_probe": (0.48, 0),
    "late_fusion": (0.58, 2_610),
    "full": (0.66, 1_000_000),
    "vpt": (0.52, 30_000),
}
GFM_PARAMS = 1_000_000
PIXELS, IMAGES, EPOCHS, BLOCKS = 32, 24, 6, 4
SPLITS = {"train": 60, "val": IMAGES, "test": IMAGES}


def make_study(
    folder: Path,
    datasets: Sequence[str] = PAPER_DATASETS,
    gfms: Sequence[str] = GFMS,
    methods: Sequence[str] = METHODS,
    seeds: Iterable[int] = (0,),
    study: str = "mini",
) -> None:
    """Write a run folder for every combination below ``folder``."""
    for run in product(datasets, gfms, methods, seeds):
        make_run(folder, *run, study=study)


def make_run(
    folder: Path,
    dataset: str,
    gfm: str,
    method: str,
    seed: int = 0,
    variant: str = "",
    settings: dict[str, Any] | None = None,
    study: str = "mini",
    score: float | None = None,
    **changes: Any,
) -> Path:
    """Write one run and return its folder.

    Args:
        variant: name of the variant and its folder; empty for a run of the main grid.
        settings: method settings that differ from the main grid's.
        score: the headline score to record, a fraction; then there are no predictions.
        changes: entries to overwrite, with ``__`` for a dot: ``code__sha256="b"``.
    """
    out = folder / dataset / gfm / (variant or method) / f"seed{seed}"
    out.mkdir(parents=True, exist_ok=True)
    place = [PAPER_DATASETS.index(dataset), GFMS.index(gfm), METHODS.index(method)]
    generator = np.random.default_rng([*place, seed, len(variant)])
    skill = SKILL[method][0] - 0.05 * bool(variant) + 0.03 * GFMS.index(gfm) + generator.normal(0, 0.01)
    arrays, confusion = _predict(dataset, skill, generator)
    record = _record(dataset, gfm, method, seed, study, confusion, settings or {})
    run = (dataset, gfm, variant or method, seed)
    record["metrics"]["test"]["loss"] = 0.5 + zlib.crc32(repr(run).encode()) / 2**33  # differs between runs
    if score is None:
        np.savez(out / "predictions.npz", **arrays)
    else:
        record["score"]["value"] = record["metrics"]["test"][record["score"]["metric"]] = score
    for key, value in changes.items():
        *parents, last = key.split("__")
        reduce(getitem, parents, record)[last] = value
    write_json(out / "record.json", record)
    _history(out, record, generator)
    if method == "deflect":
        _deflection(out, dataset, generator)
        _adapter(out, dataset, generator)
    return out


def _predict(dataset: str, skill: float, generator: np.random.Generator) -> tuple[dict[str, Any], np.ndarray]:
    """The arrays of predictions.npz and their confusion matrix. All runs of a dataset have the same truth."""
    classes = len(CLASSES[dataset])
    ids = np.array([f"{dataset}_{i}" for i in range(IMAGES)])
    if dataset not in SEGMENTATION:
        labels = np.arange(IMAGES) % classes
        predictions = _with_errors(labels, classes, skill, generator)
        counts = np.zeros((classes, classes), int)
        np.add.at(counts, (labels, predictions), 1)
        found = _calibration((labels == predictions)[:, None], classes, generator)
        confidence = found["reliability"][..., 2].sum(axis=1, keepdims=True)
        hot = predictions[:, None] == np.arange(classes)
        probabilities = np.where(hot, confidence, (1 - confidence) / (classes - 1)).astype(np.float16)
        arrays = {"ids": ids, "labels": labels, "predictions": predictions, "probabilities": probabilities}
        return arrays | found, counts
    truth = truth_maps(dataset)
    predicted = _with_errors(np.maximum(truth, 0), classes, skill, generator)
    counts = np.zeros((IMAGES, classes, classes), np.int32)
    image, row, column = np.nonzero(truth >= 0)
    np.add.at(counts, (image, truth[image, row, column], predicted[image, row, column]), 1)
    samples = {"sample_ids": ids[:8], "sample_labels": truth[:8], "sample_predictions": predicted[:8].astype(np.int8)}
    right = (truth == predicted).reshape(IMAGES, -1)[:, ::37]  # of some pixels, labelled or not
    return {"ids": ids, "confusions": counts} | samples | _calibration(right, classes, generator), counts.sum(axis=0)


def _calibration(right: np.ndarray, classes: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Confidence of the predictions (N, P) of images: higher for right ones, too high for all."""
    confidence = np.clip(0.55 + 0.3 * right + generator.normal(0, 0.1, right.shape), 0.05, 0.99)
    bins = np.ceil(confidence * CONFIDENCE_BINS).astype(int) - 1
    reliability = np.zeros((len(right), CONFIDENCE_BINS, 3), np.float32)
    values = np.stack([np.ones(right.shape), right, confidence], axis=-1)
    np.add.at(reliability, (np.arange(len(right))[:, None], bins), values)
    likelihood = -np.log(np.where(right, confidence, (1 - confidence) / (classes - 1)))
    return {"reliability": reliability, "nll": likelihood.sum(axis=1).astype(np.float32)}


def _with_errors(labels: np.ndarray, classes: int, skill: float, generator: np.random.Generator) -> np.ndarray:
    """Labels of which a fraction ``1 - skill`` is replaced at random."""
    wrong = generator.random(labels.shape) > skill
    return np.where(wrong, generator.integers(classes, size=labels.shape), labels)


def truth_maps(dataset: str) -> np.ndarray:
    """Label maps (IMAGES, PIXELS, PIXELS) int8; those of MADOS are sparse."""
    generator = np.random.default_rng(7)
    classes = len(CLASSES[dataset])
    coarse = generator.integers(classes, size=(IMAGES, 4, 4))
    maps = coarse.repeat(PIXELS // 4, axis=1).repeat(PIXELS // 4, axis=2).astype(np.int8)
    if dataset == "mados":
        maps[generator.random(maps.shape) < 0.7] = -1
    return maps


def make_store(folder: Path, dataset: str) -> None:
    """Write the parts of a prepared segmentation dataset that figures read: card, test images and ids."""
    folder.mkdir(parents=True, exist_ok=True)
    bands = BANDS[dataset]
    generator = np.random.default_rng(3)
    brightness = 0.05 + 0.02 * np.maximum(truth_maps(dataset), 0)[:, None]
    images = brightness * (1 + np.arange(len(bands)))[:, None, None]
    images = images + generator.normal(0, 0.01, (IMAGES, len(bands), PIXELS, PIXELS))
    np.save(folder / "test.images.npy", images.astype(np.float32))
    (folder / "test.ids.txt").write_text("".join(f"{dataset}_{i}\n" for i in range(IMAGES)))
    write_json(folder / "store.json", {"name": dataset, "bands": bands.to_dict(), "scale": 1.0})


def _record(
    dataset: str, gfm: str, method: str, seed: int, study: str, confusion: np.ndarray, settings: dict[str, Any]
) -> dict[str, Any]:
    segmentation = dataset in SEGMENTATION
    classes = CLASSES[dataset]
    counts = confusion.astype(float)
    accuracy = float(np.trace(counts) / counts.sum())
    metrics: dict[str, Any] = {"f1_macro": score_of(counts[None], "f1_macro"), "accuracy": accuracy}
    if segmentation:
        hit = np.diagonal(counts)
        union = counts.sum(0) + counts.sum(1) - hit
        iou = [float(h / u) if u else None for h, u in zip(hit, union, strict=True)]
        metrics |= {"mIoU": score_of(counts[None], "mIoU"), "IoU": dict(zip(classes, iou, strict=True))}
    else:
        metrics["f1_micro"] = accuracy
    headline = "mIoU" if segmentation else "f1_macro"
    tuned = SKILL[method][1]
    bands = "rgb" if method == "frozen" else "all"
    method_settings = {"bands": bands} | ({} if method == "deflect" else {"patch_init": "repeat"}) | settings
    return {
        "schema": 1,
        "study": study,
        "dataset": dataset,
        "task": "segmentation" if segmentation else "classification",
        "gfm": gfm,
        "method": method,
        "seed": seed,
        "band_setting": bands,
        "bands": BANDS.get(dataset, SENTINEL2).names,
        "simulated": study != "paper",
        "score": {"metric": headline, "value": metrics[headline], "val": min(1.0, metrics[headline] + 0.01)},
        "metrics": {"test": metrics, "val": {headline: metrics[headline]}},
        "best_epoch": EPOCHS,
        "epochs": EPOCHS,
        "confusion": confusion.tolist(),
        "classes": classes,
        "parameters": {
            "gfm_params": GFM_PARAMS,
            "tuned_params": tuned,
            "tuned_percent": 100 * tuned / GFM_PARAMS,
            "head_params": 512_000 if segmentation else 65 * len(classes),
            "modules": {},
        },
        "settings": {
            "method": method_settings,
            "training": {"epochs": EPOCHS, "lr": 1e-4, "image_size": 64},
        },
        "fingerprint": f"{dataset}{gfm}{method}{seed}{settings}",
        "data": {"store_sha256": f"store of {dataset}", "splits": SPLITS, "labelled": SPLITS["train"]},
        "weights": {"name": gfm, "sha256": f"weights of {gfm}"},
        "code": {"revision": "0123456789abcdef", "dirty": False, "sha256": "c0de"},
        "packages": {"torch": "2.0"},
        "platform": "test",
        "device": {"type": "cpu", "name": "made-up processor", "threads": 1},
        "time": {"train_s": 12.0, "test_s": 1.0, "step_ms": 20.0 + METHODS.index(method) * 3.0},
        "memory": {"peak_mb": 500.0 + tuned / 4e3 + 40.0 * METHODS.index(method)},
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:01:00+00:00",
    }


def _history(out: Path, record: dict[str, Any], generator: np.random.Generator) -> None:
    lines = ["epoch,lr,train_loss,val_loss,val_score,seconds"]
    for epoch in range(1, EPOCHS + 1):
        value = record["score"]["val"] * (1 - 0.6 / epoch) + generator.normal(0, 0.005)
        lines.append(f"{epoch},0.0001,{1 / epoch:.4f},{1.1 / epoch:.4f},{value:.6f},2.0")
    (out / "history.csv").write_text("\n".join(lines) + "\n")


def _deflection(out: Path, dataset: str, generator: np.random.Generator) -> None:
    classes = CLASSES[dataset]
    depth = np.linspace(0.2, 0.9, BLOCKS)[:, None]
    angle = depth + 0.15 * generator.random((BLOCKS, len(classes)))
    count = np.full(len(classes), 40)
    np.savez(out / "deflection.npz", angle=angle, length=np.ones_like(angle), count=count, classes=np.array(classes))


def _adapter(out: Path, dataset: str, generator: np.random.Generator) -> None:
    """T of 2 outputs on three features with two statistics each, and one block of rank 1."""
    bands = BANDS.get(dataset, SENTINEL2)
    card = {
        "config": {"standardise": True},
        "bands": bands.to_dict(),
        "descriptor": {"features": ["NDVI", "NDWI", "B04"], "statistics": ["mean", "std"], "std": [1.0] * 6},
    }
    write_json(out / "adapter.json", card)
    shapes = {"upe.transform.weight": (2, 6), "uatt.0.down": (3, 2), "uatt.0.up": (3, 1, 4)}
    state = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(state, out / "adapter.safetensors")


def seeds(
    folder: Path, method: str, values: list[float], dataset: str = "so2sat", gfm: str = "scale_mae", **kw
) -> None:
    """The same run once per value, seeds from 0."""
    for seed, value in enumerate(values):
        make_run(folder, dataset, gfm, method, seed, score=value, **kw)
