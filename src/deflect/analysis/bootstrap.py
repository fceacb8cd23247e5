"""Bootstrap over test images and seeds, from the predictions that every run keeps.

All runs of a dataset are scored on the same resampled images, so that the difficulty of the images cancels in the
difference of two methods. F1 and IoU of a class need only its hits and its total (count in the truth plus count in the
prediction), which are sums over images. A resample weights these sums, so 10,000 resamples are one matrix product.
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


def hits_and_totals(confusions: Array) -> tuple[Array, Array]:
    """(..., K, K) counts, rows = truth -> hits (..., K) and totals (..., K)."""
    hit = np.diagonal(confusions, axis1=-2, axis2=-1)
    return hit, confusions.sum(-1) + confusions.sum(-2)


def score(confusion: Array, metric: str, absent: str = "left_out") -> float:
    """The score of one confusion matrix (K, K), rows = truth."""
    hit, total = hits_and_totals(np.asarray(confusion, dtype=float))
    return float(SCORES[metric](hit, total) * Rule(metric, absent).factor(total))


def image_confusions(folder: Path, record: Mapping[str, Any]) -> tuple[NDArray[np.str_], Array]:
    """Ids (N,) and confusion matrix of every test image (N, K, K) from a run's predictions. Raises as `run_arrays`."""
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
        runs: for each run, the (N, K, K) confusion matrices of the test images.
        rules: how each of them is scored.
    """
    features = [np.concatenate(hits_and_totals(run), axis=-1) for run in runs]
    totals = [np.split(feature.sum(0), 2)[1] for feature in features]
    factors = [rule.factor(total) for rule, total in zip(rules, totals, strict=True)]
    chunks = []
    for weights in resamples(len(runs[0]), count, seed):
        sums = (np.split(weights @ feature, 2, axis=-1) for feature in features)
        found = [SCORES[rule.metric](*part) * factor for part, rule, factor in zip(sums, rules, factors, strict=True)]
        chunks.append(np.stack(found))
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
