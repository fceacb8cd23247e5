"""Methods compared on the labelled pixels of one real Landsat scene, with real weights of a ViT-S/14 (DINOv2).

The scene is that of the GRASS GIS sample data: Landsat 7, North Carolina, 2000, with training areas labelled in 1996.
An image is the 9 x 9 pixels around a labelled one. The areas of each class take turns in three folds, from north to
south, and no pixel is in the images of two folds. One fold trains, the next selects the epoch and the learning rate,
the third tests; each fold tests once.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
import timm
import torch
from landsat import BANDS, SCENE, reflectance
from paths import REAL_VIT
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from tiny_store import write_store

from deflect.analysis.render import pipe_table
from deflect.bands import LANDSAT8
from deflect.data.store import Store
from deflect.methods import parameter_report
from deflect.settings.training import TrainSettings
from deflect.training.checkpoint import Checkpoint
from deflect.training.context import Context
from deflect.training.loop import fit
from deflect.training.model import build_model, cached_features, calibrate
from deflect.training.scoring import score

METHODS = ("frozen", "spectral_probe", "late_fusion", "deflect", "lora")
#: Epochs; heads on constant features, which are cheap, get more.
EPOCHS = {"frozen": 100, "spectral_probe": 100}
#: Classes by number; agriculture (2) has no pixel inside the scene.
CLASSES = {1: "developed", 3: "herbaceous", 4: "shrubland", 5: "forest", 6: "water", 7: "sediment"}
WINDOW, FOLDS, STEP = 9, 3, 2
RATES = (1e-3, 1e-4)


def places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns (N, 2), classes (N,) and folds (N,) of labelled pixels inside the scene."""
    with rasterio.open(SCENE / "landsat96_labelled_pixels.tif") as file:
        labels = file.read(1)
    labels[np.isnan(reflectance()).any(0)] = 0
    found = np.argwhere(np.isin(labels, list(CLASSES)))
    classes = labels[tuple(found.T)]
    touch = np.abs(found[:, None] - found).max(-1) < WINDOW  # two images have a pixel in common
    areas, before = np.arange(len(found)), None
    while not np.array_equal(areas, before):  # an area has the number of its first pixel
        before, areas = areas, np.where(touch & (classes[:, None] == classes), areas, len(found)).min(1)
    folds = np.empty_like(areas)
    for number in CLASSES:
        mine = classes == number
        folds[mine] = np.unique(areas[mine], return_inverse=True)[1] % FOLDS
    assert not (touch & (folds[:, None] != folds)).any(), "images of two folds have a pixel in common"
    return found, np.searchsorted(list(CLASSES), classes), folds


def stores(folder: Path) -> list[Store]:
    """One store per fold."""
    found, classes, folds = places()
    thinned = (found % STEP == 0).all(1)  # neighbours are almost the same image
    scene = np.pad(reflectance(), ((0, 0), (WINDOW // 2, WINDOW // 2), (WINDOW // 2, WINDOW // 2)), "edge")
    images = np.stack([scene[:, row : row + WINDOW, column : column + WINDOW] for row, column in found])
    thinned &= np.isfinite(images).all((1, 2, 3))
    bands = LANDSAT8.subset([name for name, *_ in BANDS.values()])
    stored = []
    for fold in range(FOLDS):
        splits = {}
        for shift, name in enumerate(("test", "val", "train")):
            rows = thinned & (folds == (fold + shift) % FOLDS)
            splits[name] = images[rows], classes[rows]
        stored.append(write_store(folder / f"fold{fold}", splits, bands, [*CLASSES.values()], 28.5, simulated=False))
    return stored


def backbone() -> VisionTransformer:
    gfm = timm.create_model("vit_small_patch14_dinov2", num_classes=0)
    gfm.load_state_dict(load_file(REAL_VIT))
    gfm.set_input_size((28, 28))
    return gfm


def run(gfm: VisionTransformer, method: str, store: Store, rate: float) -> tuple[float, float, float]:
    """Score on validation, score on test, and share of parameters tuned in percent."""
    settings = TrainSettings(image_size=28, epochs=EPOCHS.get(method, 10), batch_size=16, lr=rate, checkpoint_every=0)
    context = Context(settings)
    model = build_model(gfm, method, {}, store.card, context)
    train, val, test = (store.split(name) for name in ("train", "val", "test"))
    calibrate(model, train, context)
    train, val = (cached_features(model, split, context) or split for split in (train, val))
    fitted = fit(model, train, val, context, Checkpoint(Path(), "", settings), lambda row: None)
    model.load_state(fitted.best)
    return fitted.best_value, score(model, test, context).score, parameter_report(model.adapted).tuned_percent


def main() -> None:
    if not (SCENE.is_dir() and REAL_VIT.is_file()):
        sys.exit(f"skipped: {SCENE} or {REAL_VIT} is not on this machine")
    torch.set_num_threads(1)  # five tokens per image are too little work for several threads
    gfm, scores, shares = backbone(), {method: [] for method in METHODS}, {}
    with tempfile.TemporaryDirectory() as folder:
        for fold, store in enumerate(stores(Path(folder))):
            print(f"fold {fold}: { ({name: facts['n'] for name, facts in store.card.splits.items()}) }", flush=True)
            for method in METHODS:
                _, value, shares[method] = max(run(gfm, method, store, rate) for rate in RATES)
                scores[method].append(100 * value)
                print(f"fold {fold}, {method}: macro F1 {100 * value:.1f}", flush=True)
    floor = np.array(scores["frozen"])
    rows = []
    for method, values in scores.items():
        ahead = np.array(values) - floor
        error = ahead.std(ddof=1) / math.sqrt(FOLDS)
        texts = [f"{shares[method]:.2f} %", f"{np.mean(values):.1f}", ", ".join(f"{value:.1f}" for value in values)]
        rows.append([method, *texts, f"{ahead.mean():+.1f} ± {error:.1f}"])
    print(pipe_table(["method", "tuned", "macro F1", "by fold", "minus frozen, standard error"], rows))
    for method in ("late_fusion", "deflect", "lora"):
        assert min(np.array(scores[method]) - floor) > 0, f"{method} does not beat the frozen RGB probe in every fold"


if __name__ == "__main__":
    main()
