"""All checks of a dataset, by what they look for. A dataset of which none finds anything is not proven to be good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from deflect.checking import band_checks, label_checks, leakage, pixel_checks
from deflect.checking.facts import Facts
from deflect.checking.finding import Finding, NotChecked

CHECKS: dict[str, Callable[[Facts], Iterator[Finding]]] = {
    "number of images in each split": label_checks.few_images,
    "every class in every split": label_checks.missing_classes,
    "balance of classes": label_checks.imbalance,
    "images and pixels without label": label_checks.unlabelled,
    "same labels in train, val and test": label_checks.label_shift,
    "images that are constant or dark, bands that are missing": pixel_checks.empty_images,
    "pixels without measurement": pixel_checks.without_measurement,
    "saturated pixels": pixel_checks.saturated,
    "bands that are copies of each other": band_checks.copies_of_bands,
    "bands in the usual range of the sensor and order": band_checks.unusual_bands,
    "brightness, scale and offset": pixel_checks.brightness,
    "same reflectance in train, val and test": pixel_checks.pixel_shift,
    "near-duplicates between splits": leakage.near_duplicates,
    "copies within a split, and their labels": leakage.copies,
    "images of different splits that overlap or touch on the ground": leakage.same_places,
}


class Checked(NamedTuple):
    """The result of one check; ``skipped`` says why it does not apply."""

    title: str
    findings: list[Finding]
    skipped: str = ""


def run_checks(facts: Facts) -> list[Checked]:
    return [_run(title, check, facts) for title, check in CHECKS.items()]


def _run(title: str, check: Callable[[Facts], Iterator[Finding]], facts: Facts) -> Checked:
    try:
        return Checked(title, list(check(facts)))
    except NotChecked as reason:
        return Checked(title, [], str(reason))
