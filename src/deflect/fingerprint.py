"""Which code decides the result of each step. Its hash is in run records, and rules run again when it changes."""

from __future__ import annotations

from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

from deflect.files import sha256_file, sha256_json

PACKAGE = Path(__file__).parent
#: Step -> files and folders of the package, with "!" those that no result depends on. The last match counts.
STEPS = {
    "simulate": "bands.py data/simulate settings/simulation.py",
    "prepare": """
        bands.py data !data/simulate !data/fetch !data/disk.py !data/manifest.py !data/store.py
        !data/duplicates.py""",
    "duplicates": "data/duplicates.py",
    "check": "checking pages.py page_head.html",
    "pretrain": "gfms !gfms/fetch.py !gfms/own.py !gfms/verify.py settings/pretraining.py",
    "convert": "gfms !gfms/fetch.py !gfms/pretrain.py !gfms/masked.py !gfms/distill.py !gfms/views.py",
    "train": """
        bands.py data/card.py data/store.py spectral heads
        settings/__init__.py settings/methods.py settings/training.py
        gfms !gfms/fetch.py !gfms/pretrain.py !gfms/masked.py !gfms/distill.py !gfms/views.py
        !gfms/convert.py !gfms/checkpoint.py !gfms/own.py !gfms/verify.py
        methods
        training !training/energy.py !training/gpus.py !training/grid.py !training/hours.py !training/needs.py
        !training/search.py !training/timing.py !training/tracking.py""",
    "tune": "training/search.py",  # besides "train"
    "report": """
        analysis pages.py page_head.html cli/report.py record.py composite.py settings/claims.py settings/decisions.py
        data/catalog.py data/catalog.yaml""",
    "crate": "crate",
}


@lru_cache
def code_sha256(step: str) -> str:
    """Hash of the code that decides the result of a step."""
    return sha256_json({name: sha256_file(PACKAGE / name) for name in deciding(step)})


def deciding(step: str) -> list[str]:
    """Paths in the package of the files that decide the result of a step."""
    names = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.is_file()]
    patterns = [*STEPS[step].split(), "!*__pycache__/*", "!.*", "!*/.*"]
    return sorted(name for name in names if _decides(name, patterns))


def _decides(name: str, patterns: list[str]) -> bool:
    matches = [pattern for pattern in patterns if is_in(name, pattern.lstrip("!"))]
    return bool(matches) and not matches[-1].startswith("!")


def is_in(name: str, pattern: str) -> bool:
    """Whether ``pattern`` is the file ``name`` or its folder."""
    return fnmatch(name, pattern) or name.startswith(f"{pattern}/")
