"""Maps of classes or numbers: test images with truth and the predictions of every method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from deflect.analysis.figures.number_maps import Scale, most_varied
from deflect.analysis.figures.style import PAGE, empty, missing, provenance, styled
from deflect.analysis.looks import ordered, palette, title
from deflect.analysis.records import StudyRuns, run_arrays
from deflect.bands import BandSet
from deflect.composite import composite
from deflect.data.card import CARD, read_ids
from deflect.errors import DataError
from deflect.files import read_json
from deflect.record import PREDICTIONS, REMEDY
from deflect.settings import REGRESSIONS

UNLABELLED, RIGHT, WRONG = "#FFFFFF", "#DDDDDD", "#B2182B"
#: Roles shown as red, green and blue. Burned ground is bright in SWIR, floating matter in NIR.
_FALSE_COLOUR = {"burn_scars": ("S2", "N", "R")}
_DEFAULT_FALSE_COLOUR = ("N", "R", "G")
_NAMES = {"S2": "SWIR 2", "N": "NIR", "R": "red", "G": "green"}


class TestImages:
    """The test split of a store, read without torch, whose import takes longer than the figure.

    Raises:
        FileNotFoundError: the folder holds no prepared data.
    """

    __test__ = False  # not a test class of pytest

    def __init__(self, folder: Path) -> None:
        if not (folder / CARD).exists():
            raise FileNotFoundError(f"{folder}: no prepared data; run `deflect data prepare {folder.name}`")
        card = read_json(folder / CARD)
        self.folder, self.bands = folder, BandSet.from_dict(card["bands"])
        self.scale = 1.0 if isinstance(card["scale"], list) else float(card["scale"])  # as StoreCard.stored_scale
        self.images = np.load(folder / "test.images.npy", mmap_mode="r")
        self.rows = {name: row for row, name in enumerate(read_ids(folder, "test"))}

    def reflectance(self, name: str) -> NDArray[np.float64]:
        """The image with the published id ``name``: (C, H, W) reflectance."""
        if name not in self.rows:
            raise DataError(f"{self.folder}: no test image {name!r}; the run saw other data, train it again")
        return np.asarray(self.images[self.rows[name]], dtype=float) * self.scale


@styled
def segmentation_maps(study: StudyRuns, dataset: str, gfm: str, store: Path | str, samples: int = 3) -> Figure:
    """Test images of one dataset with the truth, each method's prediction and, below it, its errors.

    The dataset is a segmentation or a pixel_regression.

    Args:
        gfm: the GFM whose runs are shown; of several seeds the first.
        store: the prepared dataset's folder, e.g. ``data/prepared/mini/mados``.
        samples: number of images from ``predictions.npz``; those with most classes, or numbers that differ most, come
            first.
    """
    runs = study.main.query("dataset == @dataset and gfm == @gfm").sort_values("seed").drop_duplicates("method")
    figure = Figure(figsize=(PAGE, 1), layout="constrained")
    if runs.empty:
        return empty(figure, f"No run on {study.title(dataset)} with {study.title(gfm)}.")
    found = {row.method: load_samples(row.folder, row.record) for row in runs.itertuples()}
    methods = ordered(found)
    first = found[methods[0]]
    for method in methods:
        if not np.array_equal(found[method]["ids"], first["ids"]):
            raise DataError(f"{dataset}, {gfm}: {method} and {methods[0]} kept different test images; train both again")
    images, classes, numbers = TestImages(Path(store)), runs.record.iloc[0]["classes"], runs.task.iloc[0] in REGRESSIONS
    chosen = (most_varied if numbers else most_classes)(first["labels"], samples)
    scale = Scale.of(first["labels"][chosen]) if numbers else ClassColours(len(classes))
    columns = ["RGB", "truth", *map(title, methods)]
    figure.set_size_inches(PAGE, 2 * PAGE / len(columns) * len(chosen) + 0.75)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    grid = figure.subplots(2 * len(chosen), len(columns), squeeze=False)
    roles = _FALSE_COLOUR.get(dataset, _DEFAULT_FALSE_COLOUR)
    has_false_colour = all(map(images.bands.has_role, roles))  # a user's own data may have only visible bands
    for sample, top, bottom in zip(chosen, grid[::2], grid[1::2], strict=True):
        truth = first["labels"][sample]
        image = images.reflectance(str(first["ids"][sample]))
        _show(top[0], composite(image, images.bands, ("R", "G", "B"), joint=True))
        if has_false_colour:
            _show(bottom[0], composite(image, images.bands, roles))
        _show(top[1], scale.paint(truth))
        for column, method in enumerate(methods, start=2):
            predicted = found[method]["predictions"][sample]
            _show(top[column], scale.paint(predicted))
            _show(bottom[column], scale.errors(truth, predicted))
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name.replace(" ", "\n", 1), fontsize=5.8, pad=2)
    for axes in grid.flat:
        axes.axison = bool(axes.images)
    if isinstance(scale, Scale):
        scale.legend(figure, grid, classes[0])
    else:
        shown = np.unique([first["labels"][chosen], *(one["predictions"][chosen] for one in found.values())])
        _legend(figure, classes, shown[shown >= 0].tolist())
    notes = [f"below RGB: {', '.join(_NAMES[role] for role in roles)} as red, green, blue"] * has_false_colour
    if study.main.seed.nunique() > 1:
        notes.append(f"shown: seed {', '.join(map(str, sorted(set(runs.seed))))}")
    notes.append(missing(set(study.main.method) - set(methods)))
    provenance(figure, study, study.title(dataset), study.title(gfm), *notes)
    return figure


def load_samples(folder: Path, record: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """``ids``, ``predictions`` and ``labels`` of the test images that a run keeps."""
    if not (folder / PREDICTIONS).exists():
        raise DataError(f"{folder / PREDICTIONS}: missing; {REMEDY}")
    keys = ["sample_ids", "sample_predictions", "sample_labels"]
    return {key.removeprefix("sample_"): array for key, array in run_arrays(folder, record, PREDICTIONS, keys).items()}


def most_classes(labels: NDArray[np.integer], count: int) -> list[int]:
    """Rows of the ``count`` label maps with most classes, then most labelled pixels; earlier rows first on a tie."""
    richness = [(-len(np.unique(one[one >= 0])), -int((one >= 0).sum()), row) for row, one in enumerate(labels)]
    return [row for *_, row in sorted(richness)[:count]]


class ClassColours(NamedTuple):
    """Maps of classes as colours; `number_maps.Scale` does the same with numbers."""

    classes: int

    def paint(self, labels: NDArray[np.integer]) -> NDArray[np.float64]:
        return paint(labels, self.classes)

    def errors(self, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> NDArray[np.float64]:
        """Right, wrong and unlabelled pixels as colours (H, W, 3)."""
        kind = np.where(truth < 0, 0, np.where(truth == predicted, 1, 2))
        return to_rgba_array([UNLABELLED, RIGHT, WRONG])[kind, :3]


def paint(labels: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    """Class indices (H, W), -1 unlabelled, as colours (H, W, 3)."""
    return to_rgba_array([UNLABELLED, *palette(classes)])[labels.astype(int) + 1, :3]


def _legend(figure: Figure, classes: list[str], present: list[int]) -> None:
    colours = palette(len(classes))
    entries = [(colours[k], classes[k]) for k in present]
    entries += [(UNLABELLED, "unlabelled"), (RIGHT, "right"), (WRONG, "wrong")]
    handles = [Patch(facecolor=colour, edgecolor="#888888", lw=0.4, label=name) for colour, name in entries]
    figure.legend(handles=handles, loc="outside upper center", ncols=7, fontsize=6, handlelength=1.2, columnspacing=1)


def _show(axes: Axes, image: NDArray[np.float64]) -> None:
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#AAAAAA", linewidth=0.4)
    axes.imshow(image, interpolation="nearest")
