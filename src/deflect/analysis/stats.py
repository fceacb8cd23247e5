"""Mean, spread and 95 % interval over a handful of seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: 97.5 % points of Student's t for 1 to 10 degrees of freedom; beyond, the expansion in `t975` is exact to 1e-4.
_T975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
_Z975 = 1.959964


class Summary(NamedTuple):
    """``ci95`` is the half width of the interval; it and ``std`` are NaN where one value shows no spread."""

    mean: float
    std: float
    ci95: float
    n: int


def t975(freedom: int) -> float:
    """97.5 % point of Student's t (Abramowitz and Stegun, 26.7.5 for more than 10 degrees of freedom)."""
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z = _Z975
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def summarise(values: Sequence[float] | np.ndarray) -> Summary:
    """Mean, sample standard deviation and half width of the 95 % t-interval of the finite ``values``."""
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    n = len(found)
    if n == 0:
        return Summary(np.nan, np.nan, np.nan, 0)
    if n == 1:
        return Summary(float(found[0]), np.nan, np.nan, 1)
    std = float(found.std(ddof=1))
    return Summary(float(found.mean()), std, t975(n - 1) * std / n**0.5, n)
