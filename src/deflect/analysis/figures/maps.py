"""Segmentation maps: the same test images as every method sees and labels them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from deflect.analysis.figures.style import PAGE, empty, provenance, styled
from deflect.analysis.images import TestImages, composite
from deflect.analysis.names import ordered, title
from deflect.analysis.records import Study
from deflect.analysis.schema import RecordError, run_file

UNLABELLED, RIGHT, WRONG = "#FFFFFF", "#DDDDDD", "#B2182B"
#: Two classes: background and target. More: by position in the dataset's list.
_TWO = ("#E9E2D0", "#7A1F1F")
_MANY = (
    *("#D55E00", "#009E73", "#A6D96A", "#8B5A2B", "#F0E442", "#222222", "#0B3C6F", "#C9A66B"),
    *("#F7B6D2", "#5DA5DA", "#7FDBDA", "#B9C9EB", "#E31A1C", "#CC79A7", "#6A3D9A"),
)
#: Roles shown as red, green and blue: burned ground is bright in the short-wave infrared, floating matter in the near.
_FALSE_COLOUR = {"burn_scars": ("S2", "N", "R")}
_DEFAULT_FALSE_COLOUR = ("N", "R", "G")
_NAMES = {"S2": "SWIR 2", "N": "NIR", "R": "red", "G": "green"}


@styled
def segmentation_maps(study: Study, dataset: str, gfm: str, store: Path | str, samples: int = 3) -> Figure:
    """Test images of one dataset with the truth, each method's prediction and, below it, its errors.

    Args:
        gfm: the GFM whose runs are shown; of several seeds the first.
        store: the prepared dataset's folder, e.g. ``data/prepared/mini/mados``.
        samples: how many of the images kept in ``predictions.npz``; those with most classes come first.
    """
    runs = study.main.query("dataset == @dataset and gfm == @gfm").sort_values("seed").drop_duplicates("method")
    figure = Figure(figsize=(PAGE, 1), layout="constrained")
    if runs.empty:
        return empty(figure, f"No run on {study.title(dataset)} with {title(gfm)}.")
    found = {row.method: load_samples(Path(row.folder)) for row in runs.itertuples()}
    methods = ordered(found)
    first = found[methods[0]]
    for method in methods:
        if not np.array_equal(found[method]["ids"], first["ids"]):
            raise RecordError(
                f"{dataset}, {gfm}: {method} and {methods[0]} kept different test images; train both again"
            )
    chosen = most_classes(first["labels"], samples)
    images = TestImages(Path(store))
    classes = runs.record.iloc[0]["classes"]
    tile = PAGE / (len(methods) + 2)
    figure.set_size_inches(PAGE, 2 * tile * len(chosen) + 0.75)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    grid = figure.subplots(2 * len(chosen), len(methods) + 2, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    roles = _FALSE_COLOUR.get(dataset, _DEFAULT_FALSE_COLOUR)
    has_false_colour = all(map(images.bands.has_role, roles))  # a user's own data may have visible bands alone
    for row, sample in enumerate(chosen):
        truth = first["labels"][sample]
        image = images.reflectance(str(first["ids"][sample]))
        top, bottom = grid[2 * row], grid[2 * row + 1]
        _show(top[0], composite(image, images.bands, ("R", "G", "B"), joint=True))
        if has_false_colour:
            _show(bottom[0], composite(image, images.bands, roles))
        _show(top[1], paint(truth, len(classes)))
        for column, method in enumerate(methods, start=2):
            predicted = found[method]["predictions"][sample]
            _show(top[column], paint(predicted, len(classes)))
            _show(bottom[column], errors(truth, predicted))
    for axes, name in zip(grid[0], ["RGB", "truth", *map(title, methods)], strict=True):
        axes.set_title(name.replace(" ", "\n", 1), fontsize=5.8, pad=2)
    present = [k for k in range(len(classes)) if (first["labels"][chosen] == k).any() or _predicted(found, chosen, k)]
    _legend(figure, classes, present)
    notes = [f"below RGB: {', '.join(_NAMES[role] for role in roles)} as red, green, blue"] * has_false_colour
    if study.main.seed.nunique() > 1:
        notes.append(f"shown: seed {', '.join(map(str, sorted(set(runs.seed))))}")
    if lost := [method for method in ordered(study.main.method) if method not in methods]:
        notes.append(f"runs missing: {', '.join(map(title, lost))}")
    provenance(figure, study, study.title(dataset), title(gfm), *notes)
    return figure


def load_samples(folder: Path) -> dict[str, Any]:
    """``ids``, ``predictions`` and ``labels`` of the test images that a segmentation run keeps."""
    path = folder / "predictions.npz"
    if not path.exists():
        raise RecordError(f"{path}: missing; delete the run's folder and train it again")
    with np.load(run_file(folder, path.name), allow_pickle=False) as file:
        if missing := {"sample_ids", "sample_predictions", "sample_labels"} - set(file.files):
            raise RecordError(f"{path}: no {', '.join(sorted(missing))}; delete the run's folder and train it again")
        return {key: file[f"sample_{key}"] for key in ("ids", "predictions", "labels")}


def most_classes(labels: NDArray[np.integer], count: int) -> list[int]:
    """Rows of the ``count`` label maps with most classes, then most labelled pixels; earlier rows first on a tie."""
    richness = [(-len(np.unique(one[one >= 0])), -int((one >= 0).sum()), row) for row, one in enumerate(labels)]
    return [row for *_, row in sorted(richness)[:count]]


def paint(labels: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    """Class indices (H, W), -1 unlabelled, as colours (H, W, 3)."""
    return np.array([_rgb(UNLABELLED), *map(_rgb, palette(classes))])[labels.astype(int) + 1]


def errors(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> NDArray[np.float64]:
    """Right, wrong and unlabelled pixels as colours (H, W, 3)."""
    kind = np.where(truth < 0, 0, np.where(truth == predicted, 1, 2))
    return np.array([_rgb(UNLABELLED), _rgb(RIGHT), _rgb(WRONG)])[kind]


def palette(classes: int) -> list[str]:
    """One colour per class: chosen ones, or evenly spaced hues where a dataset has more classes than those."""
    if classes > len(_MANY):
        return [str(colour) for colour in sns.color_palette("husl", classes).as_hex()]
    return list(_TWO if classes == 2 else _MANY[:classes])


def _predicted(found: dict[str, dict[str, Any]], chosen: list[int], k: int) -> bool:
    return any((one["predictions"][chosen] == k).any() for one in found.values())


def _legend(figure: Figure, classes: list[str], present: list[int]) -> None:
    colours = palette(len(classes))
    entries = [(colours[k], classes[k]) for k in present]
    entries += [(UNLABELLED, "unlabelled"), (RIGHT, "right"), (WRONG, "wrong")]
    handles = [Patch(facecolor=colour, edgecolor="#888888", lw=0.4, label=name) for colour, name in entries]
    figure.legend(handles=handles, loc="outside upper center", ncols=7, fontsize=6, handlelength=1.2, columnspacing=1)


def _show(axes: Axes, image: NDArray[np.float64]) -> None:
    axes.set_axis_on()
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#AAAAAA", linewidth=0.4)
    axes.imshow(image, interpolation="nearest")


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue
