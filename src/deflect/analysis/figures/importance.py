"""Which spectral features DEFLECT uses: how much each of them moves the queries, keys and values of attention.

The path from the standardised descriptor to q_A, k_A and v_A is T, then a low-rank map per block. Its slope at the mean
descriptor, squared and summed over blocks, is a feature's gain. The up-projections start at zero, so the gain is what
was learned, seen through T; the weights of T alone would mostly show their random start.
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


@styled
def index_importance(study: StudyRuns) -> Figure:
    """Share of each spectral index and band (down) per dataset (across), averaged over GFMs and seeds; in percent.

    Blank where the dataset's bands do not allow the index.
    """
    table = load_importance(study)
    figure = Figure(figsize=(COLUMN, 0.13 * max(table.feature.nunique(), 8) + 1.1), layout="constrained")
    provenance(figure, study, "% of the gain")
    if table.empty:
        return empty(figure, "No DEFLECT run has an adapter.")
    wide = table.groupby(["feature", "dataset"]).share.mean().unstack("dataset")
    wide = wide.loc[_reading_order(wide.index), ordered(wide.columns)].rename(columns=study.title)
    axes = figure.subplots()
    axes.set_facecolor(LIGHT)
    heatmap(axes, wide, 6, cmap="Blues", annot=True, fmt=".1f", annot_kws={"fontsize": 5.5}, linewidths=0.3)
    axes.xaxis.tick_top()
    axes.set_xticklabels([folded(name, max(8, *map(len, name.split()))) for name in wide.columns])
    return figure


def load_importance(study: StudyRuns) -> pd.DataFrame:
    """Share of every feature in the adapters of the main grid: columns dataset, gfm, seed, feature, share.

    Gains are summed over a feature's statistics, and shares add up to 100.
    """
    rows = []
    for row in study.main[study.main.method == "deflect"].itertuples():
        if all((row.folder / name).exists() for name in (WEIGHTS, CARD)):
            shares = feature_shares(row.folder, row.record)
            names = {"dataset": row.dataset, "gfm": row.gfm, "seed": row.seed}
            rows += [names | {"feature": feature, "share": share} for feature, share in shares.items()]
    return pd.DataFrame(rows, columns=["dataset", "gfm", "seed", "feature", "share"])


def feature_shares(folder: Path, record: Mapping[str, Any]) -> dict[str, float]:
    """Percent of the gain that each spectral feature of a run's adapter has.

    Raises:
        DataError: the adapter's tensors are not of the size that its card says.
    """
    from safetensors.numpy import load_file

    card = read_json(run_file(folder, CARD, record))
    state = {name: value.astype(float) for name, value in load_file(run_file(folder, WEIGHTS, record)).items()}
    features = _labels(card["descriptor"]["features"], BandSet.from_dict(card["bands"]))
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
    slope = _slope_of_t(state)
    if "gate" in state:
        return np.square(state["gate"][:, None] * slope).sum(axis=0)
    metric = np.zeros((len(slope), len(slope)))
    for name, up in state.items():
        if name.startswith("uatt.") and name.endswith(".up"):
            down = state[name.removesuffix("up") + "down"].reshape(*up.shape[:2], -1)  # (3, r, D)
            metric += np.einsum("prd,pra,psa,pse->de", down, up, up, down, optimize=True)
    return np.einsum("dk,de,ek->k", slope, metric, slope, optimize=True)


def _slope_of_t(state: Mapping[str, Array]) -> Array:
    """Derivative (D, K*S) of T at the mean descriptor, which is zero once standardised."""
    if "upe.transform.weight" in state:
        return state["upe.transform.weight"]
    at = state["upe.transform.0.bias"]
    normal = (1 + np.array([math.erf(x / math.sqrt(2)) for x in at])) / 2
    gelu = normal + at * np.exp(-np.square(at) / 2) / math.sqrt(2 * math.pi)
    return state["upe.transform.2.weight"] @ (gelu[:, None] * state["upe.transform.0.weight"])


_COLOURS = {"A": "aerosol", "B": "blue", "G": "green", "R": "red", "RE1": "red edge 1", "RE2": "red edge 2"}
_COLOURS |= {"RE3": "red edge 3", "N": "NIR", "N2": "NIR narrow", "WV": "water vapour", "S1": "SWIR 1", "S2": "SWIR 2"}


def _labels(features: list[str], bands: BandSet) -> list[str]:
    """Bands by colour, so that those of different sensors share a row; indices by name."""
    roles = dict(zip(bands.names, bands.roles, strict=True))
    return [_COLOURS.get(roles.get(name, ""), name) for name in features]


def _reading_order(features: pd.Index) -> list[str]:
    """Indices by alphabet, then bands by wavelength."""
    bands = [_COLOURS[role] for role in ROLES if _COLOURS[role] in features]
    return [*sorted(set(features) - set(bands)), *bands]
