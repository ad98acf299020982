"""Means over events of conversations that depend on each other within clusters."""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

from csa_games.calibration.estimates import Estimate


def ratio(
    total: Float[np.ndarray, " N"],
    size: Float[np.ndarray, " N"],
    cluster: Int[np.ndarray, " N"],
    level: float,
    how: str = "ratio, linearised over clusters",
) -> Estimate:
    """Return Σ total / Σ size with the interval of its linearisation over clusters.

    With R the ratio and e_g the sum over cluster g of total − R·size, the variance is
    G/(G−1) Σ_g e_g² / (Σ size)² (Cochran 1977, section 6.3; Liang & Zeger 1986), and quantiles are
    Student's with G−1 degrees of freedom. That the interval covers the truth is asymptotic, in the
    number of clusters; of a single one it is infinite. `effective` is the number of independent
    terms of that variance. Without any size the value is nan.
    """
    everything = float(size.sum())
    n = float((size > 0).sum())
    if everything == 0:
        return Estimate(np.nan, np.nan, np.nan, 0.0, 0.0, level, how)
    value = float(total.sum()) / everything
    residual = total - value * size
    _, number = np.unique(cluster[size != 0], return_inverse=True)
    among = np.bincount(number, residual[size != 0])
    clusters = len(among)
    if clusters < 2:
        return Estimate(value, -np.inf, np.inf, n, 1.0, level, how)
    variance = clusters / (clusters - 1) * float((among**2).sum()) / everything**2
    alone = n / max(n - 1, 1) * float((residual**2).sum()) / everything**2
    reach = float(stdtrit(clusters - 1, 0.5 + level / 2) * np.sqrt(variance))
    effective = n * alone / variance if variance > 0 else n
    return Estimate(value, value - reach, value + reach, n, effective, level, how)
