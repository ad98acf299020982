"""Means over events of conversations that depend on each other within clusters, or have weights."""

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
    if number.max() < 1:
        return Estimate(value, -np.inf, np.inf, n, 1.0, level, how)
    variance, reach = spread(residual[size != 0], number, everything, level)
    alone = n / max(n - 1, 1) * float((residual**2).sum()) / everything**2
    effective = n * alone / variance if variance > 0 else n
    return Estimate(value, value - reach, value + reach, n, effective, level, how)


def spread(
    residual: Float[np.ndarray, " N"],
    cluster: Int[np.ndarray, " N"],
    size: float,
    level: float,
) -> tuple[float, float]:
    """Return the variance of Σ residual / `size` over clusters, and how far its interval reaches.

    The variance is that of `ratio`. Clusters are numbered from 0, and are two at least.
    """
    sums = np.bincount(cluster, residual)
    clusters = len(sums)
    variance = clusters / (clusters - 1) * float(sums @ sums) / size**2
    return variance, float(stdtrit(clusters - 1, 0.5 + level / 2) * np.sqrt(variance))


def kish(weight: Float[np.ndarray, " N"]) -> float:
    """Return (Σw)² / Σw², the effective number of N weighted terms (Kish 1965); 0 if all are 0."""
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares > 0 else 0.0
