"""Checks of how many images and labels there are, and of how they are spread over classes and splits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from deflect.checking.facts import Facts, SplitFacts
from deflect.checking.finding import Finding, NotChecked, across, listed, percent
from deflect.checking.labels import IMAGES, PIXELS, POSITIVES, TARGET

#: Fewest images of a split, and of a class in train: below them a score depends on single images.
FEW, FEW_OF_CLASS = 30, 10
#: Share from which nearly everything is one class, and ratio of the largest to the smallest class that is extreme.
ONE_CLASS, RATIO = 0.95, {IMAGES: 20, PIXELS: 100, POSITIVES: 100}
#: Share of images without any label, and of pixels without one, from which it is said.
BLANK, UNLABELLED = 0.05, 0.5
#: Least difference of class shares between splits (total variation), and multiple of what chance gives.
SHIFT, CHANCE = 0.1, 3.0
#: Least difference of the means of a target between splits, in its standard deviations over train.
TARGET_SHIFT = 0.5


def few_images(facts: Facts) -> Iterator[Finding]:
    few = {name: split.n for name, split in facts.splits.items() if split.n < FEW}
    if few:
        yield Finding(
            f"There are few images: {listed(f'{count} in {name}' for name, count in few.items())}.",
            "Add images, or report scores with their intervals over seeds: one image is up to "
            f"{percent(1 / min(few.values()))} of a split.",
        )


def missing_classes(facts: Facts) -> Iterator[Finding]:
    _with_classes(facts)
    for name, split in facts.splits.items():
        absent = _titles(facts, split.labels.counts == 0)
        if absent:
            within = f" (of the {len(split.rows):,} images that were read)" if _partly(split) else ""
            yield Finding(
                f"{name} has no label of {listed(absent)}{within}.",
                "No model can learn them: add images of them to train, or remove the classes from the card."
                if name == "train"
                else "Their scores cannot be measured there: split again so that every split has every class.",
            )
    train = facts.splits["train"].labels
    rare = _titles(facts, (train.images > 0) & (train.images < FEW_OF_CLASS))
    if rare:
        yield Finding(
            f"In train, fewer than {FEW_OF_CLASS} images have a label of {listed(rare)}.",
            "Add images of these classes, or merge them with similar ones.",
        )


def imbalance(facts: Facts) -> Iterator[Finding]:
    _with_classes(facts)
    for name, split in facts.splits.items():
        labels = split.labels
        present = np.flatnonzero(labels.counts)
        if len(present) == 0 or len(labels.counts) < 2:
            continue
        largest, smallest = (present[place(labels.counts[present])] for place in (np.argmax, np.argmin))
        ratio = labels.counts[largest] / labels.counts[smallest]
        title = facts.card.classes
        if labels.kind != POSITIVES and labels.shares[largest] > ONE_CLASS:
            yield Finding(
                f"{percent(labels.shares[largest])} of the labelled {labels.kind} of {name} are {title[largest]}.",
                "Check that the labels are read as meant; a model that always answers this class is nearly right, so "
                "read the scores of the other classes.",
            )
        elif name == "train" and ratio > RATIO[labels.kind]:
            yield Finding(
                f"In train, {title[largest]} has {ratio:,.0f} times as many {labels.kind} as {title[smallest]}.",
                "Add images of the rare class or weight the classes in training; read the scores per class.",
            )


def unlabelled(facts: Facts) -> Iterator[Finding]:
    found = {name: split.labels for name, split in facts.splits.items()}
    blank = {name: float(labels.blank.mean()) for name, labels in found.items() if labels.blank.mean() > BLANK}
    sparse = {name: labels.unlabelled for name, labels in found.items() if labels.unlabelled > UNLABELLED}
    if blank and found["train"].kind == POSITIVES:
        yield Finding(
            f"{across(blank, 'images')} have none of the {len(facts.card.classes)} labels.",
            "That is right if they show none of the classes; else add the labels or remove the images.",
        )
    elif blank:
        yield Finding(
            f"{across(blank, 'images')} have no label at all, e.g. {listed(_blank_ids(facts.splits[min(blank)]))}.",
            "Nothing can be learned from them: remove them, or correct `ignore`, `nodata` or the labels.",
        )
    elif sparse:
        yield Finding(
            f"{across(sparse, 'pixels')} have no label.",
            "That is right for sparse labels; else correct `ignore`, `nodata` or the masks.",
        )


def _blank_ids(split: SplitFacts) -> list[str]:
    """The first images without label."""
    ids = split.ids if len(split.ids) == split.labels.of else split.split.ids
    return [ids[row] for row in np.flatnonzero(split.labels.blank)[:3]]


def label_shift(facts: Facts) -> Iterator[Finding]:
    train = facts.splits["train"].labels
    for name in ("val", "test"):
        labels = facts.splits[name].labels
        if train.kind == TARGET:
            yield from _target_shift(name, train.values, labels.values)
            continue
        shares = [_normal(each.counts) for each in (train, labels)]
        distance = 0.5 * float(np.abs(shares[0] - shares[1]).sum())
        expected = 0.5 * np.sqrt(2 / np.pi * shares[0] * (1 - shares[0]) * (1 / train.of + 1 / labels.of)).sum()
        if distance > max(SHIFT, CHANCE * expected):
            worst = int(np.abs(shares[0] - shares[1]).argmax())
            yield Finding(
                f"The classes of {name} are spread differently from those of train: {facts.card.classes[worst]} is "
                f"{percent(shares[0][worst])} of train and {percent(shares[1][worst])} of {name}.",
                "That is right if the splits differ on purpose (other regions, other years); else split each class at "
                "random, with `splits: {seed: 0, fractions: [...]}`.",
            )


def _target_shift(name: str, train: NDArray[np.float32], other: NDArray[np.float32]) -> Iterator[Finding]:
    if not len(train) or not len(other):
        return
    difference = float(other.mean() - train.mean()) / max(float(train.std()), 1e-12)
    if abs(difference) > TARGET_SHIFT:
        yield Finding(
            f"The target is {'larger' if difference > 0 else 'smaller'} in {name} than in train by "
            f"{abs(difference):.1f} standard deviations: {other.mean():.3g} and {train.mean():.3g} on average.",
            "That is right if the splits differ on purpose; else split again at random.",
        )


def _normal(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return counts / max(int(counts.sum()), 1)


def _with_classes(facts: Facts) -> None:
    if facts.splits["train"].labels.kind == TARGET:
        raise NotChecked("labels are numbers, not classes")


def _partly(split: SplitFacts) -> bool:
    return split.labels.kind == PIXELS and len(split.rows) < split.n


def _titles(facts: Facts, chosen: NDArray[np.bool_]) -> list[str]:
    return [title for title, one in zip(facts.card.classes, chosen, strict=True) if one]
