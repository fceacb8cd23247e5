"""The run record, ``record.json``: its entries with type and meaning, from which docs/output.md is generated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple

from deflect.errors import DataError
from deflect.files import read_json, sha256_once, write_json
from deflect.settings import TASKS

NAME = "record.json"
#: Other files in the folder of a run, apart from the adapter's.
HISTORY, PREDICTIONS, DEFLECTION, HEAD = "history.csv", "predictions.npz", "deflection.npz", "head.safetensors"
#: Equal bins of confidence from 0 to 1 in the predictions (Guo et al. 2017).
CONFIDENCE_BINS = 15
SCHEMA = 1
#: Tasks with one class per label, which have a confusion matrix.
MATRIX_TASKS = ("classification", "segmentation")
REMEDY = "delete the run's folder and train it again"


class Field(NamedTuple):
    """One entry. Every new record has it; an older one may lack it if it is not ``needed`` by a table or figure."""

    type: Any
    meaning: str
    needed: bool = True


#: Dotted key -> entry. An entry of type ``dict`` may have any keys.
FIELDS = {
    "schema": Field(int, "version of this list"),
    "study": Field(str, "name of the study"),
    "dataset": Field(str, "name of the dataset"),
    "gfm": Field(str, "name of the GFM"),
    "method": Field(str, "name of the method"),
    "variant": Field(str, "name of the variant of the method; empty in the main grid", needed=False),
    "part": Field(
        str, "`main` grid, or why the run was added to it: `ablation`, `decisions`, `labels` or `tuned`", needed=False
    ),
    "seed": Field(int, "seed of initialisation, order and augmentation"),
    "task": Field(str, "`classification`, `segmentation`, `multilabel`, `regression` or `pixel_regression`"),
    "band_setting": Field(str, "`all` or `rgb`"),
    "bands": Field(list, "names of the bands that the model sees", needed=False),
    "images": Field(
        dict,
        "the images: `name` of the dataset, `task`, `bands` with wavelengths, `classes`, `image_size` in pixels, `gsd` "
        "in metres; `(value + offset) * scale` is reflectance, `nodata` are values without a measurement",
        needed=False,
    ),
    "simulated": Field(bool, "whether the images are simulated"),
    "score.metric": Field(
        str,
        "the headline metric: `f1_macro` or `f1_micro` for classification, `mIoU` for segmentation, `mAP` for "
        "multilabel, `R2` for regressions",
    ),
    "score.value": Field(int | float, "its value on the test split, a fraction; `R2` may be negative"),
    "score.val": Field(int | float, "its value on the validation split"),
    "metrics.test": Field(
        dict,
        "`f1_macro`, `accuracy`, `loss`; for classification `f1_micro`; for segmentation `mIoU` and `IoU` by class "
        "(null where a class occurs neither in truth nor in prediction); for multilabel `mAP`, and `AP` and `F1` by "
        "class; for regressions `loss`, `R2`, and `RMSE` and `MAE` in the unit of the target",
    ),
    "metrics.val": Field(dict, "the same on the validation split"),
    "best_epoch": Field(int, "epoch whose weights were selected and are in the run's files, from 1; 0: untrained"),
    "epochs": Field(int, "epochs trained"),
    "confusion": Field(list, "confusion matrix on the test split, rows: truth; empty for multilabel and regressions"),
    "classes": Field(list, "names of the classes; of a regression the target"),
    "parameters.gfm_params": Field(int, "parameters of the GFM before adaptation, positions included"),
    "parameters.tuned_params": Field(int, "trained parameters of the adapted GFM"),
    "parameters.tuned_percent": Field(int | float, "their share of `gfm_params` in percent"),
    "parameters.head_params": Field(int, "parameters of the head"),
    "parameters.modules": Field(dict, "tuned parameters by module, `*` for the block", needed=False),
    "settings.method": Field(dict, "every setting of the method"),
    "settings.training": Field(dict, "every setting of training"),
    "search": Field(
        dict | None,
        "the search that chose learning rate and rank: `path` and `sha256` of its result, number of `trials`, best "
        "`val` score, and `seconds` of all trials; null where none did",
        needed=False,
    ),
    "fingerprint": Field(str, "hash of all that determines the result; a run with the same one is not trained again"),
    "data.store_sha256": Field(str, "hash of the prepared dataset"),
    "data.splits": Field(dict, "number of images by split", needed=False),
    "data.labelled": Field(int, "number of training images whose labels were used", needed=False),
    "data.unchecked": Field(bool, "whether sizes and statistics were not compared with published ones", needed=False),
    "weights.name": Field(str, "the GFM", needed=False),
    "weights.size": Field(str, "`full`, `mini`, another published size, or `own`", needed=False),
    "weights.sha256": Field(str | None, "hash of the weight file; null for random weights"),
    "paths.store": Field(str, "where the prepared dataset was", needed=False),
    "paths.weights": Field(str | None, "where the weight file was", needed=False),
    "code.revision": Field(str | None, "git revision; empty without git"),
    "code.dirty": Field(bool, "whether tracked files differed from it", needed=False),
    "code.sha256": Field(str, "hash of the code that determines the result"),
    "packages": Field(dict, "versions of Python and of the packages that the result may depend on", needed=False),
    "platform": Field(str, "operating system", needed=False),
    "device.type": Field(str, "`cpu` or `cuda`"),
    "device.name": Field(str, "name of the processor or GPU", needed=False),
    "device.threads": Field(int, "CPU threads of torch", needed=False),
    "device.count": Field(int, "number of processes that trained the model together", needed=False),
    "time.train_s": Field(
        int | float, "seconds of training and validation, with calibration and the features of a frozen encoder"
    ),
    "time.test_s": Field(int | float, "seconds of the test"),
    "time.step_ms": Field(int | float, "milliseconds per training step"),
    "memory.peak_mb": Field(int | float, "peak memory in MB: on a GPU allocated by torch, on a CPU of the process"),
    "energy.joules": Field(
        float | None, "energy of training and test that the device used; null where it has no counter", needed=False
    ),
    "energy.source": Field(
        str, "`nvml` (the GPU), `rapl` (all processor packages and their memory) or empty", needed=False
    ),
    "started": Field(str, "start of the run, UTC", needed=False),
    "finished": Field(str, "end of the run, UTC"),
    "files": Field(dict, "hash of every other file of the run; a file that differs is an error", needed=False),
}


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Check that ``record`` has every entry and no other, and write it atomically and with a seal."""
    path = Path(folder) / NAME
    check(record, path, complete=True)
    write_json(path, dict(record), seal=True)


def read_record(folder: Path) -> dict[str, Any]:
    """Read and check the record in a run's folder.

    Raises:
        DataError: the file is not a record of this schema.
        FileNotFoundError: the run has not finished.
    """
    path = Path(folder) / NAME
    if not path.exists():
        raise FileNotFoundError(f"{path}: this run has not finished; train it with `deflect train`")
    record: dict[str, Any] = read_json(path)
    check(record, path)
    return record


def run_file(folder: Path, name: str, record: Mapping[str, Any]) -> Path:
    """The file ``name`` of a finished run, compared with its hash in the run's ``record``.

    Raises:
        DataError: the file changed since the run wrote it.
        FileNotFoundError: it does not exist.
    """
    path = Path(folder) / name
    expected = record.get("files", {}).get(name)  # records of older versions hash no files
    if expected not in (None, sha256_once(path)):
        raise DataError(f"{path}: changed since the run wrote it (its sha256 is in {NAME}); {REMEDY}")
    return path


def get(record: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted key."""
    return reduce(getitem, key.split("."), record)


def check(record: Any, path: Path, complete: bool = False) -> None:
    """Check a record against `FIELDS` and its own values; ``path`` is its file, for the message.

    ``complete``: it must have every entry and no other.

    Raises:
        DataError: the message has the key, what was expected and what was found.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"{path}: expected a JSON object, found {type(record).__name__}; {REMEDY}")
    for key, field in FIELDS.items():
        _check_field(record, key, field, path, field.needed or complete)
    for key in _unknown(record) if complete else ():
        raise DataError(f"{path}: key {key}: no such entry in deflect.record.FIELDS")
    _require(record["schema"] == SCHEMA, path, "schema", SCHEMA, record["schema"])
    _require(record["task"] in TASKS, path, "task", "a known task", record["task"])
    metric, value = record["score"]["metric"], record["score"]["value"]
    _require(value <= 1, path, "score.value", "a fraction from 0 to 1", value)
    _require(value >= 0 or metric == "R2", path, "score.value", "a fraction from 0 to 1", value)
    found = record["metrics"]["test"].get(metric)
    _require(found == value, path, f"metrics.test.{metric}", f"the score {value}", found)
    classes, rows = len(record["classes"]) * (record["task"] in MATRIX_TASKS), record["confusion"]
    square = len(rows) == classes and all(len(row) == classes for row in rows)
    _require(square, path, "confusion", f"{classes} x {classes} counts", f"{len(rows)} rows")


def type_name(kind: Any) -> str:
    """E.g. ``int or float``."""
    return kind.__name__ if isinstance(kind, type) else str(kind).replace(" | ", " or ")


def _check_field(record: Mapping[str, Any], key: str, field: Field, path: Path, needed: bool) -> None:
    expected = type_name(field.type)
    try:
        value = get(record, key)
    except (KeyError, TypeError):
        if needed:
            raise DataError(f"{path}: key {key}: expected {expected}, found nothing; {REMEDY}") from None
        return
    wrong_bool = isinstance(value, bool) and field.type is not bool
    _require(isinstance(value, field.type) and not wrong_bool, path, key, expected, value)
    if isinstance(value, float):
        _require(math.isfinite(value), path, key, "a finite number", value)


def _unknown(record: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Dotted keys of a record that `FIELDS` does not have."""
    for name, value in record.items():
        key = above + name
        if key not in FIELDS and isinstance(value, Mapping):
            yield from _unknown(value, f"{key}.")
        elif key not in FIELDS:
            yield key


def _require(holds: bool, path: Path, key: str, expected: Any, found: Any) -> None:
    if not holds:
        raise DataError(f"{path}: key {key}: expected {expected}, found {found!r}; {REMEDY}")
