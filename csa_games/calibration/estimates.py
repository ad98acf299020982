"""Estimates with intervals: Dirichlet posteriors of counts that clusters make worth less.

The prior of a row is Jeffreys': Dirichlet with half an observation for each outcome that the base
scenario deems possible. An outcome to which the base gives probability 0 stays impossible until it
is seen. (A prior spread as the base has it would leave next to no interval where the base is nearly
sure and nothing was seen.) A row that was never seen keeps the probabilities of the base, with the
interval of that prior.

Observations of one cluster resemble each other. With p the frequencies of a row, n observations and
G clusters, their variance over clusters (linearised; Liang & Zeger 1986) against that of
independent ones is the design effect (Rao & Scott 1992, averaged over outcomes)

    deff = G/(G-1) sum_b sum_g (n_gb - p_b n_g)^2 / (n sum_b p_b (1 - p_b)),

times the squared ratio of Student's t with G-1 degrees of freedom to the normal quantile. For
intervals, counts are divided by it where it is above 1; a row of a single cluster counts as one
observation. Values are posterior means of the counts themselves: that observations resemble each
other makes them tell less, and nothing else likelier. An interval holds its value in any case.

Intervals are equal-tailed quantiles of the marginal Beta posteriors, from 0 where nothing and up to
1 where everything was seen (Brown, Cai & DasGupta 2001). Guaranteed is their posterior probability
under that prior if observations are independent. What is only measured is that they cover the truth
as often, and what the design effect does: it is an approximation for many clusters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import betaincinv, ndtri, stdtrit

from csa_games.calibration.counts import Counts


@dataclass(frozen=True)
class Estimate:
    """A number with its interval: of `level`, from `n` observations worth `effective` ones."""

    value: float
    low: float
    high: float
    n: float
    effective: float
    level: float
    how: str


@dataclass(frozen=True)
class Estimates:
    """Rows of probabilities with their intervals; cells beyond a row's outcomes are 0."""

    value: Float[np.ndarray, "K W"]
    low: Float[np.ndarray, "K W"]
    high: Float[np.ndarray, "K W"]
    n: Float[np.ndarray, " K"]
    effective: Float[np.ndarray, " K"]
    level: float


def prior_of(base: Float[np.ndarray, "K W"]) -> Float[np.ndarray, "K W"]:
    """Return the Dirichlet parameters of the prior of each row."""
    return np.where(base > 0, 0.5, 0.0)


def design_effect(counts: Counts, level: float) -> Float[np.ndarray, " K"]:
    """Return by what to divide the counts of each row; 1 for rows that were never seen.

    The groups of `counts` must be closed. Where all observations are of one outcome nothing tells
    how much clusters differ: each then counts as if all in it were one (Kish 1965).
    """
    n = counts.rows.sum(axis=1)
    share = counts.rows / np.maximum(n, 1)[:, None]
    among = (counts.squares - 2 * share * counts.cross + share**2 * counts.sizes[:, None]).sum(
        axis=1
    )
    alone = n * (share * (1 - share)).sum(axis=1)
    worst = counts.sizes / np.maximum(n, 1)
    freedom = np.maximum(counts.clusters - 1, 1)
    student = (stdtrit(freedom, 0.5 + level / 2) / ndtri(0.5 + level / 2)) ** 2
    told = (alone > 0) & (counts.clusters > 1)
    found = np.where(
        told, counts.clusters / freedom * among / np.where(alone > 0, alone, 1.0), worst
    )
    found = np.where(counts.sizes > n, found, 1.0)  # clusters of one observation are independent
    return np.where(counts.clusters > 1, np.maximum(found, 1.0) * student, np.maximum(n, 1.0))


def dirichlet(
    seen: Float[np.ndarray, "K W"],
    base: Float[np.ndarray, "K W"],
    deff: Float[np.ndarray, " K"],
    level: float,
) -> Estimates:
    """Return the posterior of each row, seen so often, each sighting worth 1/`deff`.

    A row that was never seen keeps the value of `base`, with the interval of its prior.
    """
    n = seen.sum(axis=1)
    worth = seen / deff[:, None]
    prior = prior_of(base)
    often = prior + seen
    value = often / np.maximum(often.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    value = np.where(n[:, None] > 0, value, base)
    alpha = prior + worth
    total = alpha.sum(axis=1, keepdims=True)
    low, high = beta_interval(alpha, total - alpha, level)
    never, always = worth == 0, (worth > 0) & (seen == n[:, None])
    low = np.where(never & (n[:, None] > 0), 0.0, low)
    high = np.where(always, 1.0, high)
    impossible = alpha == 0
    return Estimates(
        value=value,
        low=np.where(impossible, 0.0, np.minimum(low, value)),
        high=np.where(impossible, 0.0, np.maximum(high, value)),
        n=n.astype(np.float64),
        effective=worth.sum(axis=1),
        level=level,
    )


def beta_interval(
    a: Float[np.ndarray, "*S"], b: Float[np.ndarray, "*S"], level: float
) -> tuple[Float[np.ndarray, "*S"], Float[np.ndarray, "*S"]]:
    """Return the equal-tailed interval of Beta(a, b); a or b of 0 puts all mass at 0 or 1."""
    inside = (a > 0) & (b > 0)
    one, other = np.where(inside, a, 1.0), np.where(inside, b, 1.0)
    sure = np.where(a > 0, 1.0, 0.0)
    tail = (1 - level) / 2
    return (
        np.where(inside, betaincinv(one, other, tail), sure),
        np.where(inside, betaincinv(one, other, 1 - tail), sure),
    )


def estimates(counts: Counts, base: Float[np.ndarray, "K W"], level: float) -> Estimates:
    """Return the estimates of all rows from closed `counts`."""
    return dirichlet(counts.rows.astype(np.float64), base, design_effect(counts, level), level)


def bootstrap(
    statistic: Callable[[Float[np.ndarray, "D F"]], Float[np.ndarray, "D ..."]],
    sums: Int[np.ndarray, "G F"] | Float[np.ndarray, "G F"],
    draw: np.random.Generator,
    *,
    draws: int = 1000,
    level: float = 0.9,
) -> tuple[Float[np.ndarray, "*S"], Float[np.ndarray, "*S"]]:
    """Return the percentile interval of a statistic of sums over clusters.

    Clusters are drawn with replacement (Field & Welsh 2007); `statistic` takes the sums of all
    draws at once. That it covers the truth is asymptotic, in the number of clusters.
    """
    clusters = len(sums)
    times = draw.multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)
    found = statistic(times.astype(np.float64) @ sums.astype(np.float64))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.asarray(low), np.asarray(high)
