"""Hazards: how likely something happens in a turn if it has not happened before.

With d_t of the r_t at risk in turn t to whom it happens, the hazard is d_t / r_t, and the share to
whom it has not happened by then the product of 1 - d_s / r_s over s <= t (the product limit; Kaplan
& Meier 1958). Conversations that are broken off leave the risk set; that is right if breaking off
says nothing about what would have come.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtri

from csa_games.calibration.estimates import bootstrap, dirichlet


@dataclass(frozen=True)
class Hazards:
    """Hazards by turn, and the share to whom it has not happened by the end of each."""

    at_risk: Int[np.ndarray, " H"]
    happened: Int[np.ndarray, " H"]
    hazard: Float[np.ndarray, " H"]
    hazard_low: Float[np.ndarray, " H"]
    hazard_high: Float[np.ndarray, " H"]
    survival: Float[np.ndarray, " H"]
    survival_low: Float[np.ndarray, " H"]
    survival_high: Float[np.ndarray, " H"]
    level: float


def product_limit(
    turns: Int[np.ndarray, " N"],
    happened: Bool[np.ndarray, " N"],
    length: int,
    *,
    level: float = 0.9,
) -> Hazards:
    """Return the hazards in turns 0 to `length` - 1 of independent conversations.

    `turns` is when it happened, or the last turn that was seen. Intervals of hazards are those of
    Beta posteriors under Jeffreys' prior; those of survival are normal on the log-log scale with
    Greenwood's variance (1926), and hold for many conversations.
    """
    kept = turns < length
    ended = np.bincount(turns[happened & kept], minlength=length)
    leaving = np.bincount(np.minimum(turns, length), minlength=length + 1)
    at_risk = np.cumsum(leaving[::-1])[::-1][:length]
    found = dirichlet(
        np.stack([ended, at_risk - ended], axis=1).astype(np.float64),
        np.full((length, 2), 0.5),
        np.ones(length),
        level,
    )
    hazard = ended / np.maximum(at_risk, 1)
    survival = np.cumprod(1 - hazard)
    low, high = _greenwood(ended, at_risk, survival, level)
    return Hazards(
        at_risk, ended, hazard, found.low[:, 0], found.high[:, 0], survival, low, high, level
    )


def clustered_survival(
    turns: Int[np.ndarray, " N"],
    happened: Bool[np.ndarray, " N"],
    cluster: Int[np.ndarray, " N"],
    length: int,
    draw: np.random.Generator,
    *,
    level: float = 0.9,
) -> tuple[Float[np.ndarray, " H"], Float[np.ndarray, " H"]]:
    """Return the interval of survival where conversations of a cluster resemble each other."""
    _, place = np.unique(cluster, return_inverse=True)
    sums = np.zeros((place.max() + 1, 2, length), np.int64)
    for t in range(length):
        np.add.at(sums[:, 0, t], place[(turns == t) & happened], 1)
        np.add.at(sums[:, 1, t], place[turns >= t], 1)

    def survival(totals: Float[np.ndarray, "D F"]) -> Float[np.ndarray, "D H"]:
        ended, at_risk = totals[:, :length], totals[:, length:]
        return np.cumprod(1 - ended / np.maximum(at_risk, 1), axis=1)

    return bootstrap(survival, sums.reshape(len(sums), -1), draw, level=level)


def _greenwood(
    ended: Int[np.ndarray, " H"],
    at_risk: Int[np.ndarray, " H"],
    survival: Float[np.ndarray, " H"],
    level: float,
) -> tuple[Float[np.ndarray, " H"], Float[np.ndarray, " H"]]:
    """Return the log-log interval of survival; [0, 1] where the data tell nothing of the error."""
    left = at_risk * (at_risk - ended)
    unknown = np.where(ended > 0, np.inf, 0.0)  # all at risk are gone
    variance = np.cumsum(np.where(left > 0, ended / np.maximum(left, 1), unknown))
    told = (survival > 0) & (survival < 1) & np.isfinite(variance)
    log = np.log(np.where(told, survival, 0.5))
    spread = np.where(told, ndtri(0.5 + level / 2) * np.sqrt(np.where(told, variance, 0)), 0) / -log
    return (
        np.where(told, np.exp(log * np.exp(spread)), 0.0),
        np.where(told, np.exp(log * np.exp(-spread)), 1.0),
    )
