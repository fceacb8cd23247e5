"""Importance of spectral features for DEFLECT: how much each moves the queries, keys and values of attention.

The path from the standardised descriptor to q_A, k_A and v_A is T, then a low-rank map per block. A feature's gain is
the slope of this path at the mean descriptor, squared and summed over blocks. The up-projections start at zero, so the
gain shows what was learned; the weights of T alone would mostly show their random start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deflect.analysis.figures.style import COLUMN, LIGHT, empty, folded, heatmap, provenance, styled
from deflect.analysis.looks import ordered
from deflect.analysis.records import StudyRuns
from deflect.bands import ROLES, BandSet
from deflect.errors import DataError
from deflect.files import read_json
from deflect.record import REMEDY, run_file

Array = NDArray[np.float64]
WEIGHTS, CARD = "adapter.safetensors", "adapter.json"
#: Names of bands by role.
_BANDS = {"A": "aerosol", "B": "blue", "G": "green", "R": "red", "RE1": "red edge 1", "RE2": "red edge 2"}
_BANDS |= {"RE3": "red edge 3", "N": "NIR", "N2": "NIR narrow", "WV": "water vapour", "S1": "SWIR 1", "S2": "SWIR 2"}


@styled
def index_importance(study: StudyRuns) -> Figure:
    """Share of each spectral index and band (down) per dataset (across) in percent, averaged over GFMs and seeds.

    Indices come in alphabetical order, bands by wavelength. Blank where the dataset lacks a band.
    """
    table = load_importance(study)
    figure = Figure(figsize=(COLUMN, 0.13 * max(table.feature.nunique(), 8) + 1.1), layout="constrained")
    provenance(figure, study, "% of the gain")
    if table.empty:
        return empty(figure, "No DEFLECT run has an adapter.")
    wide = table.groupby(["feature", "dataset"]).share.mean().unstack("dataset")
    bands = [_BANDS[role] for role in ROLES if _BANDS[role] in wide.index]
    features = [*sorted(set(wide.index) - set(bands)), *bands]
    wide = wide.loc[features, ordered(wide.columns)].rename(columns=study.title)
    axes = figure.subplots()
    axes.set_facecolor(LIGHT)
    heatmap(axes, wide, 6, cmap="Blues", annot=True, fmt=".1f", annot_kws={"fontsize": 5.5}, linewidths=0.3)
    axes.xaxis.tick_top()
    axes.set_xticklabels([folded(name, max(8, *map(len, name.split()))) for name in wide.columns])
    return figure


def load_importance(study: StudyRuns) -> pd.DataFrame:
    """Share of every feature in the adapters of the main grid: columns dataset, gfm, seed, feature, share."""
    rows = []
    for row in study.deflect_runs(WEIGHTS, CARD):
        shares = feature_shares(row.folder, row.record)
        rows += [(row.dataset, row.gfm, row.seed, *share) for share in shares.items()]
    return pd.DataFrame(rows, columns=["dataset", "gfm", "seed", "feature", "share"])


def feature_shares(folder: Path, record: Mapping[str, Any]) -> dict[str, float]:
    """Share of each spectral feature in the gain of a run's adapter, in percent.

    Gains are summed over a feature's statistics. Bands have the name of their role, so that sensors share rows.

    Raises:
        DataError: the adapter's tensors do not have the size given on its card.
    """
    from safetensors.numpy import load_file

    card = read_json(run_file(folder, CARD, record))
    state = {name: value.astype(float) for name, value in load_file(run_file(folder, WEIGHTS, record)).items()}
    bands = BandSet.from_dict(card["bands"])
    roles = dict(zip(bands.names, bands.roles, strict=True))
    features = [_BANDS.get(roles.get(name, ""), name) for name in card["descriptor"]["features"]]
    statistics = len(card["descriptor"]["statistics"])
    gains = descriptor_gains(state)
    if len(gains) != len(features) * statistics:
        raise DataError(f"{folder}: {WEIGHTS} does not fit {CARD}; {REMEDY}")
    if not card["config"].get("standardise", True):
        gains = gains * np.square(card["descriptor"]["std"])
    by_feature = gains.reshape(len(features), statistics).sum(axis=1)
    return dict(zip(features, (100 * by_feature / by_feature.sum()).tolist(), strict=True))


def descriptor_gains(state: Mapping[str, Array]) -> Array:
    """Squared slope from each descriptor entry to all q_A, k_A, v_A (or, without attention, the gated sum): (K*S,).

    Args:
        state: an adapter's tensors as `deflect.methods.deflect` names them.
    """
    slope = _slope(state)
    if "gate" in state:
        return np.square(state["gate"][:, None] * slope).sum(axis=0)
    metric = np.zeros((len(slope), len(slope)))
    for name, up in state.items():
        if name.startswith("uatt.") and name.endswith(".up"):
            down = state[name.removesuffix("up") + "down"].reshape(*up.shape[:2], -1)  # (3, r, D)
            metric += np.einsum("prd,pra,psa,pse->de", down, up, up, down, optimize=True)
    return np.einsum("dk,de,ek->k", slope, metric, slope, optimize=True)


def _slope(state: Mapping[str, Array]) -> Array:
    """Derivative (D, K*S) of T at the mean descriptor, which is zero once standardised."""
    if "upe.transform.weight" in state:
        return state["upe.transform.weight"]
    at = state["upe.transform.0.bias"]
    normal = (1 + np.array([math.erf(x / math.sqrt(2)) for x in at])) / 2
    gelu = normal + at * np.exp(-np.square(at) / 2) / math.sqrt(2 * math.pi)
    return state["upe.transform.2.weight"] @ (gelu[:, None] * state["upe.transform.0.weight"])
