"""Read the run records of a study into one table; runs that do not belong with the others are listed separately.

A run's folder is ``{dataset}/{gfm}/{method}/seed{seed}``. A run outside the main grid (ablations) has the name of its
variant in place of the method's, either free or of the form ``lora+init=random``.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deflect.analysis.looks import PROBE, ordered, place, title
from deflect.errors import DataError
from deflect.files import sha256_json
from deflect.record import NAME, REMEDY, get, read_record, run_file
from deflect.settings import is_method

CELL = ["dataset", "gfm", "method"]
AXES = ("datasets", "gfms", "methods", "seeds")
#: Column of the table of runs -> key of the record.
COLUMNS = {name: name for name in ("study", "dataset", "task", "gfm", "method", "seed", "simulated", "finished")} | {
    "bands": "band_setting",
    "metric": "score.metric",
    "score": "score.value",
    "tuned_params": "parameters.tuned_params",
    "gfm_params": "parameters.gfm_params",
    "tuned_percent": "parameters.tuned_percent",
    "head_params": "parameters.head_params",
    "train_s": "time.train_s",
    "step_ms": "time.step_ms",
    "peak_mb": "memory.peak_mb",
    "device": "device.type",
    "code": "code.sha256",
    "store": "data.store_sha256",
    "weights": "weights.sha256",
}
#: What must agree, and among which runs: column, reason to leave a run out, columns that such runs share.
AGREEMENTS = (
    ("code", "another state of the code", ("study",)),
    ("store", "other data", ("dataset",)),
    ("weights", "other GFM weights", ("gfm",)),
    ("settings", "other settings", ("dataset", "gfm", "method", "variant")),
)


@dataclass
class StudyRuns:
    """The runs of one study.

    Attributes:
        runs: one row per run, main grid and variants, with its ``record`` and ``folder``.
        stale: runs left out because they do not belong with the others: columns ``run`` and ``reason``.
        missing: names of runs of the grid that do not exist or were left out.
        titles: of the user's own datasets and GFMs, by name.
    """

    name: str
    runs: pd.DataFrame
    stale: pd.DataFrame
    missing: list[str]
    titles: Mapping[str, str]

    @cached_property
    def warnings(self) -> list[str]:
        """Unchecked data, identical metrics, runs with different training or devices."""
        return list(_warnings(self))

    def title(self, name: str) -> str:
        """The name of a dataset or GFM to print."""
        return self.titles.get(name, title(name))

    @property
    def main(self) -> pd.DataFrame:
        """Runs of the main grid, without variants."""
        return self.runs[self.runs.variant == ""].reset_index(drop=True)

    @property
    def metrics(self) -> dict[str, str]:
        """The headline metric of every dataset."""
        return dict(zip(self.main.dataset, self.main.metric, strict=True))

    @property
    def simulated(self) -> bool:
        """Whether any of the datasets is simulated."""
        return bool(self.runs.simulated.any())

    @property
    def comparable(self) -> bool:
        """Whether these numbers may be compared with the paper's: real data, and GFMs with their published weights."""
        weights = [record["weights"] for record in self.runs.record]
        return not self.simulated and all(gfm["sha256"] and gfm.get("size") != "mini" for gfm in weights)

    @property
    def data(self) -> str:
        """What the images are, for captions; a user's own dataset is real also among simulated ones."""
        if not self.simulated:
            return "real data"
        real = ordered(self.runs[~self.runs.simulated.astype(bool)].dataset)
        return f"simulated data (real: {', '.join(map(self.title, real))})" if real else "simulated data"

    def deflect_runs(self, *files: str) -> Iterator[Any]:
        """The rows of DEFLECT's runs in the main grid that have all of the ``files``."""
        for row in self.main[self.main.method == "deflect"].itertuples():
            if all((row.folder / name).exists() for name in files):
                yield row

    def cells(self) -> pd.DataFrame:
        """Dataset, GFM and method of the main grid in the project's order, also those without any run."""
        found = set(self.main[CELL].itertuples(index=False, name=None))
        missing = {tuple(run.split("/")[:3]) for run in self.missing}
        cells = found | {cell for cell in missing if is_method(cell[2])}
        return pd.DataFrame(sorted(cells, key=lambda cell: [*map(place, cell)]), columns=CELL)


def load_records(folder: Path | str) -> pd.DataFrame:
    """Read and check every ``record.json`` under ``folder``; one row per run, in a fixed order.

    Raises:
        FileNotFoundError: there is no record.
        DataError: a record breaks the schema or is in another run's folder.
    """
    paths = sorted(Path(folder).glob(f"*/*/*/seed*/{NAME}"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no run records; train first, e.g. `snakemake --cores all`")
    return pd.DataFrame([_row(path) for path in paths])


def load_study(folder: Path | str, grid: Mapping[str, Any] | None = None) -> StudyRuns:
    """Load the runs of a study; find stale and missing ones and what to warn of.

    Args:
        folder: e.g. ``results/mini/runs``.
        grid: the runs that should exist: ``blocks``, first the main grid, each with all combinations of ``datasets``,
            ``gfms``, ``methods`` and ``seeds``; ``titles`` of the user's own datasets and GFMs. Without it, the
            smallest full grid around the runs that were found.

    Raises:
        FileNotFoundError: there is no record.
        DataError: a record is damaged or misplaced, or none belongs to the main grid.
    """
    frame, grid = load_records(folder), grid or {}
    if frame.study.nunique() > 1:
        raise DataError(f"{folder}: key study: one folder has runs of {', '.join(sorted(set(frame.study)))}")
    expected = expected_runs(grid or _found_grid(frame))
    reasons = dict.fromkeys(set(frame.run) - set(expected), "not in the configured grid") if grid else {}
    reasons |= _disagreements(frame[~frame.run.isin(list(reasons))])
    kept = frame[~frame.run.isin(list(reasons))].reset_index(drop=True)
    if not (kept.variant == "").any():
        example = expected[0] if expected else "DATASET/GFM/METHOD/seed0"
        raise DataError(
            f"{folder}: expected runs of the main grid, e.g. {example}; found {len(frame)} other runs, "
            f"e.g. {frame.run[0]}; train the missing ones: `snakemake --cores all`"
        )
    stale = pd.DataFrame(sorted(reasons.items()), columns=["run", "reason"])
    missing = [run for run in expected if run not in set(kept.run)]
    return StudyRuns(str(frame.study[0]), kept, stale, missing, grid.get("titles", {}))


def expected_runs(grid: Mapping[str, Any]) -> list[str]:
    """Names of the runs of a grid, main grid first; see `load_study`."""
    return [
        f"{dataset}/{gfm}/{method}/seed{seed}"
        for block in grid["blocks"]
        for dataset, gfm, method, seed in itertools.product(*(block[axis] for axis in AXES))
    ]


def _row(path: Path) -> dict[str, Any]:
    record, folder = read_record(path.parent), path.parent
    row = {column: get(record, key) for column, key in COLUMNS.items()}
    row |= {"variant": _variant(record, path), "settings": sha256_json(record["settings"])}
    row["part"] = record.get("part") or ("ablation" if row["variant"] else "main")  # records of older versions
    return row | {"run": "/".join(folder.parts[-4:]), "record": record, "folder": folder}


def _variant(record: Mapping[str, Any], path: Path) -> str:
    """Name of the run's variant, "" in the main grid; the folder must be the one that the record names."""
    dataset, gfm, run, seed = path.parts[-5:-1]
    method = record["method"] if not is_method(run) else run
    for key, found in (("dataset", dataset), ("gfm", gfm), ("seed", seed.removeprefix("seed")), ("method", method)):
        if str(record[key]) != found:
            raise DataError(f"{path}: key {key}: the folder says {found!r}, the record {record[key]!r}; move it back")
    return str(record.get("variant", "")) if run == method else run.removeprefix(f"{method}+")


def _found_grid(frame: pd.DataFrame) -> dict[str, Any]:
    main = frame[frame.variant == ""]
    return {"blocks": [{f"{axis}s": ordered(main[axis]) for axis in CELL} | {"seeds": sorted(set(main.seed))}]}


def _disagreements(frame: pd.DataFrame) -> dict[str, str]:
    """Runs that differ from most of those they would be shown with -> why. On a tie the newest runs stay.

    A run that is left out for one reason does not count for the next.
    """
    reasons: dict[str, str] = {}
    for column, what, shared in AGREEMENTS:
        for _, group in frame[~frame.run.isin(list(reasons))].groupby(list(shared)):
            values = group[column].map(str)
            kept = group.finished.groupby(values).agg(["size", "max"]).sort_values(["size", "max"]).index[-1]
            for run, value in zip(group.run, values, strict=True):
                if value != kept:
                    reasons[run] = f"{what} ({value[:12]}, most have {kept[:12]})"
    return reasons


def _warnings(study: StudyRuns) -> Iterator[str]:
    by_dataset = [(study.title(str(dataset)), group) for dataset, group in study.runs.groupby("dataset")]
    for dataset, group in by_dataset:
        if any(record["data"].get("unchecked") for record in group.record):
            yield f"{dataset}: sizes and statistics were not compared with the published ones."
    # A decision may move nothing.
    for dataset, group in [(dataset, group[group.part != "decisions"]) for dataset, group in by_dataset]:
        # Different models with the same metrics to all digits: a sign that a setting or a seed had no effect.
        for _, equal in group.groupby(group.record.map(lambda record: json.dumps(record["metrics"], sort_keys=True))):
            models = {
                (row.gfm * (row.method != PROBE), row.method, row.settings, row.seed): row.run
                for row in equal.itertuples()
            }
            if len(models) > 1:
                names = ", ".join(name.partition("/")[2] for name in models.values())
                yield f"{dataset}: identical metrics to all digits in different runs: {names}."
    for name, group in study.main.groupby("dataset"):
        dataset = study.title(str(name))
        settings = pd.DataFrame([record["settings"]["training"] for record in group.record]).map(str)
        if differing := [key for key in settings if settings[key].nunique() > 1]:
            yield f"{dataset}: training settings differ between runs: {', '.join(differing)}."
    if len(found := devices(study.runs)) > 1:
        yield f"Runs on different devices: {', '.join(found)}; do not compare their time and memory."


def devices(frame: pd.DataFrame) -> list[str]:
    """Names of the devices on which the runs were made."""
    return sorted({str(record["device"].get("name") or record["device"]["type"]) for record in frame.record})


def joules(frame: pd.DataFrame) -> pd.Series:
    """The energy of each run in joules; NaN where its record has none."""
    values = [record.get("energy", {}).get("joules") for record in frame.record]
    return pd.Series(values, frame.index, dtype=float)


def metrics_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Test metrics by name, the headline first; per-class values as ``IoU:{class}``; no losses.

    All are fractions but those in the unit of a target, `settings.IN_UNITS`.
    """
    flat = {record["score"]["metric"]: record["score"]["value"]}
    for name, value in record["metrics"]["test"].items():
        if isinstance(value, Mapping):
            flat |= {f"{name}:{key}": inner for key, inner in value.items()}
        elif name != "loss":
            flat[name] = value
    return {name: math.nan if value is None else value for name, value in flat.items()}


def run_arrays(folder: Path, record: Mapping[str, Any], name: str, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays ``keys`` of the ``.npz`` file ``name`` of a run.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: the file changed since the run wrote it, or an array is missing.
    """
    path = run_file(folder, name, record)
    with np.load(path, allow_pickle=False) as file:
        if lacking := [key for key in keys if key not in file.files]:
            raise DataError(f"{path}: no {', '.join(lacking)}; {REMEDY}")
        return {key: file[key] for key in keys}


def has_arrays(folder: Path, name: str, keys: Sequence[str]) -> bool:
    """Whether a run has the ``.npz`` file ``name`` with the arrays ``keys``; earlier versions kept fewer."""
    path = folder / name
    if not path.exists():
        return False
    with np.load(path, allow_pickle=False) as file:
        return set(keys) <= set(file.files)
