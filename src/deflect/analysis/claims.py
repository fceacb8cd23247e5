"""Which of the paper's claims hold in a study, decided by the comparisons of ``references/claims.yaml``.

What holds in a study and what follows for the paper are told apart: simulated data, small GFMs, absent datasets or too
few seeds may show the one, but never the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from deflect.analysis.comparison import why_not_comparable
from deflect.analysis.looks import ordered, title
from deflect.analysis.paired import KEYS, compare
from deflect.analysis.ranks import REFERENCE
from deflect.analysis.records import StudyRuns
from deflect.analysis.render import GAP, Cell, PrintedTable, Row, Table, counted, interval
from deflect.analysis.tables import gap_notes
from deflect.record import PREDICTIONS
from deflect.settings.claims import Claim, Claims

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
SUPPORTED, NOT_SUPPORTED, CANNOT_TELL = "supported", "not supported", "cannot be told from this study"
VERDICTS = {HOLDS: SUPPORTED, FAILS: NOT_SUPPORTED, UNDECIDED: CANNOT_TELL}
COLUMNS = ["study", "claim", "kind", "method", "part", "value", "low", "high", "detectable", "bound", "outcome", "why"]
COLUMNS += ["in_study", "verdict", "reason"]


class Test(NamedTuple):
    """One comparison of DEFLECT with a method.

    ``part`` is the dataset or GFM it is about, or empty; ``value`` a difference in points with its 95 % interval, or a
    ratio of parameters; ``bound`` the least ``value`` with which the claim holds.
    """

    method: str
    part: str
    bound: float
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    detectable: float = math.nan
    outcome: str = UNDECIDED
    why: str = ""


def verdicts(study: StudyRuns, claims: Claims, resamples: int = 2_000) -> Table:
    """For each claim whether it holds in the study, the verdict on the paper's claim, and why.

    The tidy table has one row per comparison: ``outcome`` and ``why`` are its own, ``in_study``, ``verdict`` and
    ``reason`` those of its claim. ``resamples`` are of the paired bootstrap.
    """
    found: list[dict[str, Any]] = []
    rows: list[Row] = []
    for name, claim in claims.claims.items():
        runs = _runs(study, claim)
        tests = list(_tests(runs, claim, claims.margin, resamples))
        overall, reason = _overall(tests)
        doubts = _doubts(study, runs, claim, claims.seeds)
        shared = {"study": study.name, "claim": name, "kind": claim.kind, "in_study": overall}
        shared |= {"verdict": CANNOT_TELL if doubts else VERDICTS[overall], "reason": "; ".join([reason, *doubts])}
        found += [test._asdict() | shared for test in tests]
        rows.append(_printed_row(study, claim, _deciding(tests), shared))
    header = ["Claim", "in this study", "the paper's claim", "deciding comparison", "result", "why"]
    printed = PrintedTable(f"The paper's claims, study {study.name}", header, rows, _notes(study, claims, resamples))
    return Table(pd.DataFrame(found, columns=COLUMNS), printed)


def _runs(study: StudyRuns, claim: Claim) -> pd.DataFrame:
    """The runs that a claim is about, by ``label`` (method or variant); missing ones are rows without a score."""
    missing = pd.DataFrame({"run": study.missing}, dtype=object)
    runs = pd.concat([study.runs, missing]) if study.missing else study.runs
    keys = runs.run.str.split("/", expand=True)
    runs = runs.assign(dataset=keys[0], gfm=keys[1], label=keys[2])
    labels = runs.label.isin([REFERENCE, *claim.methods])
    return runs[labels & runs.dataset.isin(claim.datasets) & runs.gfm.isin(claim.gfms)]


def _tests(runs: pd.DataFrame, claim: Claim, margin: float, resamples: int) -> Iterator[Test]:
    parts = ordered(runs[claim.each]) if claim.each else []
    bound = claim.low or (-margin if claim.kind == "not_worse" else 0.0)
    for part, method in itertools.product(parts or [""], claim.methods):
        mine = runs[runs[claim.each] == part] if claim.each and part else runs
        theirs = mine[mine.label == method]
        # a variant may have run on a part of the datasets
        ours = mine[mine.label == REFERENCE].merge(theirs[["dataset", "gfm"]].drop_duplicates())
        test = Test(method, part, bound)
        if theirs.empty or ours.empty:
            yield test._replace(why=f"no runs of {title(method if theirs.empty else REFERENCE)}")
        elif absent := int(ours.score.isna().sum() + theirs.score.isna().sum()):
            yield test._replace(why=f"{counted(absent, 'run')} missing")
        elif claim.kind == "parameters_ratio":
            yield _ratio(test, ours, theirs, claim)
        else:
            yield _difference(test, ours, theirs, resamples)


def _ratio(test: Test, ours: pd.DataFrame, theirs: pd.DataFrame, claim: Claim) -> Test:
    """Parameters that the method tunes as a multiple of DEFLECT's."""
    value = round(_tuned(theirs, claim.patch_embed) / _tuned(ours, claim.patch_embed), 4)
    if not math.isfinite(value):
        return test._replace(why="no counts by module in the records")
    why = f"more than {claim.high:g} times fewer" if claim.high and value > claim.high else ""
    return test._replace(value=value, outcome=outcome(value, value, test.bound, at_bound=HOLDS), why=why)


def _tuned(runs: pd.DataFrame, patch_embed: bool) -> float:
    """Tuned parameters of an average run; NaN where the patch embedding should be left out and is not counted apart."""
    counts = []
    for record in runs.record:
        total, modules = record["parameters"]["tuned_params"], record["parameters"].get("modules", {})
        left_out = 0 if patch_embed else sum(count for name, count in modules.items() if "patch_embed" in name)
        counts.append(total - left_out if patch_embed or sum(modules.values()) == total else math.nan)
    return float(np.mean(counts))


def _difference(test: Test, ours: pd.DataFrame, theirs: pd.DataFrame, resamples: int) -> Test:
    """DEFLECT minus the method in points, over the datasets, GFMs and seeds that both have."""
    if not all((folder / PREDICTIONS).exists() for folder in [*ours.folder, *theirs.folder]):
        return test._replace(why="no predictions")
    if ours.merge(theirs, on=KEYS).empty:
        return test._replace(why="no common seeds")
    found = compare(ours.astype({"seed": int}), theirs.astype({"seed": int}), resamples)
    result = outcome(found.low, found.high, test.bound)
    why = f"the interval includes {test.bound:g}".replace("-", "−") if result == UNDECIDED else ""
    numbers = {name: getattr(found, name) for name in ("low", "high", "detectable")}
    return test._replace(value=found.difference, **numbers, outcome=result, why=why)


def outcome(low: float, high: float, bound: float, at_bound: str = UNDECIDED) -> str:
    """Whether an interval is above ``bound`` (holds), below (does not hold) or includes it."""
    if low > bound:
        return HOLDS
    return FAILS if high < bound else at_bound


def _overall(tests: list[Test]) -> tuple[str, str]:
    """Whether a claim holds, and why: it does in all of its comparisons; one that fails refutes it."""
    found = {test.outcome for test in tests}
    overall = next(name for name in (FAILS, UNDECIDED, HOLDS) if name in found)
    same = [test for test in tests if test.outcome == overall]
    reasons = ", ".join(dict.fromkeys(test.why for test in same if test.why))
    return overall, f"{overall} in {len(same)} of {counted(len(tests), 'comparison')}" + f": {reasons}" * bool(reasons)


def _deciding(tests: list[Test]) -> Test:
    """The comparison that is worst for the claim."""
    severity = [FAILS, UNDECIDED, HOLDS]
    return min(tests, key=lambda test: (severity.index(test.outcome), math.isnan(test.value), test.value))


def _doubts(study: StudyRuns, runs: pd.DataFrame, claim: Claim, seeds: int) -> list[str]:
    """Why the study cannot give a verdict on the paper's claim; empty if it can."""
    by_label = [group for _, group in runs.groupby("label")]
    lacking = [
        study.title(name)
        for axis in ("dataset", "gfm")
        for name in getattr(claim, f"{axis}s")
        if not by_label or any(name not in set(group[axis]) for group in by_label)
    ]
    doubts = [f"without {', '.join(lacking)}"] if lacking else []
    fewest = runs.groupby(["dataset", "gfm", "label"]).size().min()
    if claim.kind != "parameters_ratio" and fewest < seeds:
        doubts.append(f"{counted(int(fewest), 'seed')}, not {seeds}")
    return doubts if study.comparable else [*doubts, why_not_comparable(study)]


def _printed_row(study: StudyRuns, claim: Claim, test: Test, shared: dict[str, Any]) -> list[Cell]:
    where = ", ".join(study.title(name) for name in (test.method, test.part) if name)
    result = GAP
    if math.isfinite(test.low):
        result = f"{interval(test.value, test.low, test.high)}, ≥ {test.detectable:.1f}"
    elif math.isfinite(test.value):
        result = f"{test.value:.1f} ×"
    return [
        Cell(text) for text in (claim.title, shared["in_study"], shared["verdict"], where, result, shared["reason"])
    ]


def _notes(study: StudyRuns, claims: Claims, resamples: int) -> list[str]:
    return [
        "In this study: whether the claim holds on this study's data. The paper's claim: a verdict is given only with "
        "real data, the GFMs' published weights, all datasets and GFMs that the claim is about and, for scores, at "
        f"least {counted(claims.seeds, 'seed')}.",
        f"Result: {title(REFERENCE)} minus the method in points with the 95 % interval of {resamples:,} paired "
        "resamples and, after ≥, the smallest difference found with a power of 80 %; or the method's tuned parameters "
        f"as a multiple of {title(REFERENCE)}'s.",
        "A comparison holds if the whole interval is above the bound, and does not hold if it is below: "
        f"−{claims.margin:g} points for on par and close, 0 for better; of a ratio, the smallest that is claimed.",
        "A claim holds if it holds against every method, in each part: this needs no correction for several "
        "comparisons (intersection-union test). It does not hold if one comparison does not; chance alone causes that "
        "more often the more comparisons there are.",
        *(f"{claim.title}: {claim.claim} ({claim.source}) {claim.reading}" for claim in claims.claims.values()),
        *gap_notes(study),
    ]
