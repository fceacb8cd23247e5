"""Bootstrap over test images and seeds, from the predictions that every run keeps.

All runs of a dataset are scored on the same resampled images, so that the difficulty of the images cancels in the
difference of two methods. F1 and IoU of a class need only its hits and its total (count in the truth plus count in the
prediction), which are sums over images, and so does R2 the sums of the labels, their squares and squared errors. A
resample weights these sums, so 10,000 resamples are one matrix product. The average precision of mAP needs the order of
the images by probability, which is the same in all resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deflect.analysis.records import run_arrays
from deflect.record import PREDICTIONS
from deflect.settings import REGRESSIONS

Array = NDArray[np.float64]
CHUNK = 2000
#: Level of the two-sided tests, and the power for which `detectable` holds.
LEVEL, POWER = 0.05, 0.8


def _mean_ratio(part: Array, whole: Array) -> Array:
    """Mean of part/whole over the last axis, without classes whose ``whole`` is zero."""
    ratio = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
    return ratio.sum(-1) / np.maximum((whole > 0).sum(-1), 1)


#: Hits and totals (..., K) -> mean (...) over the classes that occur in truth or prediction.
SCORES: dict[str, Callable[[Array, Array], Array]] = {
    "f1_macro": lambda hit, total: _mean_ratio(2 * hit, total),
    "mIoU": lambda hit, total: _mean_ratio(hit, total - hit),
    "f1_micro": lambda hit, total: 2 * hit.sum(-1) / total.sum(-1),
}


class Rule(NamedTuple):
    """How a run is scored: its headline metric, and what absent classes count (``training.absent_classes``)."""

    metric: str
    absent: str = "left_out"

    def factor(self, total: Array) -> float:
        """What the mean over present classes is multiplied by; ``total`` (K,) is of the whole split."""
        return float((total > 0).mean()) if self.absent == "zero" and self.metric != "f1_micro" else 1.0

    def scorer(self, images: Array) -> Callable[[Array], Array]:
        """From the weights of the test images (R, N) to scores (R,); ``images`` as `image_results` returns them."""
        if self.metric == "R2":
            return lambda weights: r2(weights @ images)
        if self.metric == "mAP":
            factor = self.factor(images[:, 1].sum(0))
            return lambda weights: average_precision(images[:, 0], images[:, 1], weights) * factor
        features = np.concatenate(hits_and_totals(images), axis=-1)
        factor = self.factor(np.split(features.sum(0), 2)[1])
        return lambda weights: SCORES[self.metric](*np.split(weights @ features, 2, axis=-1)) * factor


def hits_and_totals(confusions: Array) -> tuple[Array, Array]:
    """(..., K, K) counts, rows = truth -> hits (..., K) and totals (..., K)."""
    hit = np.diagonal(confusions, axis1=-2, axis2=-1)
    return hit, confusions.sum(-1) + confusions.sum(-2)


def score(images: Array, metric: str, absent: str = "left_out") -> float:
    """The score of images; ``images`` as `image_results` returns them."""
    return Rule(metric, absent).scorer(images)(np.ones((1, len(images)))).item()


def r2(sums: Array) -> Array:
    """From (..., 4) of `training.outcomes.error_sums` to the share of the variance that is explained (...)."""
    count, total, squares, error = np.moveaxis(sums, -1, 0)
    variation = squares - total**2 / np.maximum(count, 1)
    return 1 - np.divide(error, variation, out=np.ones_like(error), where=variation > 0)


def average_precision(probabilities: Array, labels: Array, weights: Array) -> Array:
    """Mean average precision (R,) over the classes that occur, of images that are drawn ``weights`` (R, N) times.

    The precision at each distinct probability is weighted by the recall that it adds, as in scikit-learn.

    Args:
        probabilities, labels: (N, K).
    """
    found, drawn = [], np.ascontiguousarray(weights.T)
    for scores, truth in zip(probabilities.T, labels.T, strict=True):
        order = np.argsort(-scores, kind="stable")
        ranked, positive = -scores[order], np.flatnonzero(truth[order])
        ends = np.searchsorted(ranked, ranked[positive], side="right")  # images down to the same probability
        own, count = drawn[order[positive]], np.searchsorted(positive, ends)
        right, chosen = np.cumsum(own, axis=0)[count - 1], np.cumsum(drawn[order], axis=0)[ends - 1]
        total = own.sum(0)
        area = (own * right / np.maximum(chosen, 1)).sum(0)
        found.append(np.divide(area, total, out=np.full_like(area, np.nan), where=total > 0))
    values = np.stack(found)
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1)


def image_results(folder: Path, record: Mapping[str, Any]) -> tuple[NDArray[np.str_], Array]:
    """Ids (N,) and what a run's score needs of every test image. Raises as `run_arrays`.

    Returns:
        Of classes the confusion matrix (N, K, K), of a multilabel probabilities and labels (N, 2, K), of a regression
        the sums (N, 4) of `training.outcomes.error_sums`.
    """
    if record["task"] in REGRESSIONS:
        found = run_arrays(folder, record, PREDICTIONS, ["ids", "sums"])
        return found["ids"], found["sums"]
    if record["task"] == "multilabel":
        found = run_arrays(folder, record, PREDICTIONS, ["ids", "probabilities", "labels"])
        return found["ids"], np.stack([found["probabilities"], found["labels"]], axis=1).astype(float)
    if record["task"] == "segmentation":
        found = run_arrays(folder, record, PREDICTIONS, ["ids", "confusions"])
        return found["ids"], found["confusions"].astype(float)
    found = run_arrays(folder, record, PREDICTIONS, ["ids", "labels", "predictions"])
    classes = len(record["classes"])
    counts = np.zeros((len(found["ids"]), classes, classes))
    counts[np.arange(len(counts)), found["labels"], found["predictions"]] = 1
    return found["ids"], counts


def resamples(images: int, count: int, seed: int) -> Iterator[Array]:
    """Chunks (R, images) of how often each image is drawn; the same for the same arguments."""
    generator = np.random.default_rng(seed)
    for start in range(0, count, CHUNK):
        rows = min(CHUNK, count - start)
        drawn = generator.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(float)


def bootstrap_scores(runs: Sequence[Array], rules: Sequence[Rule], count: int, seed: int) -> Array:
    """Score of every run on each of ``count`` resamples of the images that the runs share: (runs, count) fractions.

    Args:
        runs: for each run, what `image_results` returns of the test images.
        rules: how each of them is scored.
    """
    scorers = [rule.scorer(run) for rule, run in zip(rules, runs, strict=True)]
    chunks = [np.stack([of(weights) for of in scorers]) for weights in resamples(len(runs[0]), count, seed)]
    return np.concatenate(chunks, axis=1)


def seed_weights(seeds: int, count: int, seed: int) -> Array:
    """Weight of each of the ``seeds`` trainings in each resample: (seeds, count), on average 1.

    One fewer is drawn than there are, which makes the variance of their mean unbiased (Rao and Wu 1988). A single one
    always has weight 1.
    """
    if seeds == 1:
        return np.ones((1, count))
    drawn = np.random.default_rng([seed, seeds]).multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=count)
    return drawn.T * seeds / (seeds - 1)


def two_sided_p(differences: Array) -> float:
    """Twice the smaller share of resamples on one side of zero, at least 2 / (count + 1)."""
    beyond = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return float(min(1.0, 2 * (beyond + 1) / (len(differences) + 1)))


def detectable(differences: Array) -> float:
    """The smallest true difference that one two-sided test at `LEVEL` finds with a power of `POWER`, in the same unit.

    Args:
        differences: on each resample; their standard deviation is the standard error.
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - LEVEL / 2) + normal.inv_cdf(POWER)) * float(np.std(differences, ddof=1))


def holm(values: list[float]) -> list[float]:
    """P values adjusted for testing several hypotheses (Holm 1979)."""
    adjusted, running = [0.0] * len(values), 0.0
    for rank, index in enumerate(np.argsort(values, kind="stable")):
        running = max(running, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = running
    return adjusted
