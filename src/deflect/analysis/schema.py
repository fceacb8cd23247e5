"""The schema of a run record (docs/output.md), checked key by key when a record is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deflect.errors import DeflectError
from deflect.files import read_json, sha256_once
from deflect.settings import TASKS

SCHEMA = 1
NUMBER = (int, float)
#: Every key without which a table or figure would be wrong, and its type. Other keys may stand beside them.
KEYS: dict[str, Any] = {
    "schema": int,
    "study": str,
    "dataset": str,
    "task": str,
    "gfm": str,
    "method": str,
    "seed": int,
    "band_setting": str,
    "simulated": bool,
    "score.metric": str,
    "score.value": NUMBER,
    "score.val": NUMBER,
    "metrics.test": dict,
    "metrics.val": dict,
    "best_epoch": int,
    "epochs": int,
    "confusion": list,
    "classes": list,
    "parameters.gfm_params": int,
    "parameters.tuned_params": int,
    "parameters.tuned_percent": NUMBER,
    "parameters.head_params": int,
    "settings.method": dict,
    "settings.training": dict,
    "fingerprint": str,
    "data.store_sha256": str,
    "weights.sha256": (str, type(None)),
    "code.revision": (str, type(None)),
    "code.sha256": str,
    "device.type": str,
    "time.train_s": NUMBER,
    "time.test_s": NUMBER,
    "time.step_ms": NUMBER,
    "memory.peak_mb": NUMBER,
    "finished": str,
}
REMEDY = "delete the run's folder and train it again"


class RecordError(DeflectError):
    """A run record is damaged, of another schema, or lies in another run's folder."""


def get(record: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted key. Raises KeyError."""
    value: Any = record
    for part in key.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(key)
        value = value[part]
    return value


def run_file(folder: Path, name: str) -> Path:
    """The file ``name`` of a finished run, held against the hash in the run's record.

    Raises:
        FileNotFoundError: there is no such file, or no record.
        RecordError: the file changed since the run wrote it.
    """
    path, record = Path(folder) / name, Path(folder) / "record.json"
    expected = read_json(record).get("files", {}).get(name)  # records of older versions hash no files
    if expected not in (None, sha256_once(path)):
        raise RecordError(f"{path}: changed since the run wrote it (its sha256 stands in {record.name}); {REMEDY}")
    return path


def check(record: Any, path: Path) -> None:
    """Hold a record against the schema.

    Raises:
        RecordError: the message names file, key, what was expected and what was found.
    """
    if not isinstance(record, Mapping):
        raise RecordError(f"{path}: expected a JSON object, found {type(record).__name__}; {REMEDY}")
    for key, kind in KEYS.items():
        _check_type(record, key, kind, path)
    _require(record["schema"] == SCHEMA, path, "schema", SCHEMA, record["schema"])
    _require(record["task"] in TASKS, path, "task", "a known task", record["task"])
    metric, value = record["score"]["metric"], record["score"]["value"]
    _require(0 <= value <= 1, path, "score.value", "a fraction from 0 to 1", value)
    found = record["metrics"]["test"].get(metric)
    _require(found == value, path, f"metrics.test.{metric}", f"the score {value}", found)
    classes, rows = len(record["classes"]), record["confusion"]
    square = len(rows) == classes and all(len(row) == classes for row in rows)
    _require(square, path, "confusion", f"{classes} x {classes} counts", f"{len(rows)} rows")


def _check_type(record: Mapping[str, Any], key: str, kind: Any, path: Path) -> None:
    expected = getattr(kind, "__name__", None) or " or ".join(k.__name__ for k in kind)
    try:
        value = get(record, key)
    except KeyError:
        raise RecordError(f"{path}: key {key}: expected {expected}, found nothing; {REMEDY}") from None
    wrong_bool = isinstance(value, bool) and kind is not bool
    _require(isinstance(value, kind) and not wrong_bool, path, key, expected, value)
    if isinstance(value, float):
        _require(math.isfinite(value), path, key, "a finite number", value)


def _require(holds: bool, path: Path, key: str, expected: Any, found: Any) -> None:
    if not holds:
        raise RecordError(f"{path}: key {key}: expected {expected}, found {found!r}; {REMEDY}")
