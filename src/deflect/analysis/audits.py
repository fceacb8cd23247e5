"""What is known about the test images of a study: near-duplicates in the training split, doubtful labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deflect.analysis.looks import ordered
from deflect.analysis.records import StudyRuns
from deflect.data.catalog import AUDIT, DATASETS


def near_duplicates(study: StudyRuns, found: Mapping[str, Any]) -> str:
    """How many test images of each dataset have a near-duplicate in the training split.

    Args:
        found: by dataset, what `deflect.data.duplicates` found; on other data than that of the runs it does not count.
    """
    stores = dict(zip(study.main.dataset, study.main.store, strict=True))
    texts = []
    for name in ordered(stores):
        facts = found.get(name, {})
        if facts.get("store_sha256") != stores[name]:
            texts.append(f"{study.title(name)} not checked")
            continue
        test = facts["test"]
        exact = f" ({test['exact']} of them exact copies)" if test["exact"] else ""
        texts.append(f"{study.title(name)} {test['near']} of {test['images']}{exact}")
    return f"Test images with a near-duplicate in the training split: {', '.join(texts)}."


def doubtful_labels(study: StudyRuns) -> str:
    """How many test labels of the real, published datasets an audit doubts; empty without any."""
    real = ordered(study.main[~study.main.simulated.astype(bool)].dataset)
    sheets = [DATASETS[name] for name in real if name in DATASETS and DATASETS[name].doubtful_labels is not None]
    if not sheets:
        return ""
    counts = ", ".join(f"{study.title(s.name)} {s.doubtful_labels} of {s.splits['test']}" for s in sheets)
    return (
        f"Test images whose label an automatic audit by others doubts: {counts} ({AUDIT}). No person checked them, and "
        "images that are merely hard count too; differences of methods on such a dataset may be differences in noise."
    )
