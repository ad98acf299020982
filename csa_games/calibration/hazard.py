"""Hazards: how likely something happens in a turn if it has not happened before.

With d_t of the r_t at risk in turn t to whom it happens, the hazard is d_t / r_t, and the share to
whom it has not happened by then the product of 1 - d_s / r_s over s <= t (the product limit; Kaplan
& Meier 1958). Conversations that are broken off leave the risk set; that is right if breaking off
says nothing about what would have come.
"""

from dataclasses import dataclass, replace

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
    Greenwood's variance (1926), and hold for many conversations. As long as it has not happened to
    anybody, survival is at least what the upper ends of the hazards leave.
    """
    ended = np.bincount(turns[happened & (turns < length)], minlength=length)
    last = np.bincount(np.minimum(turns, length), minlength=length + 1)
    return tallied(ended, last, level=level)


def tallied(
    happened: Int[np.ndarray, " H"], last: Int[np.ndarray, " H1"], *, level: float = 0.9
) -> Hazards:
    """Return the hazards where it `happened` so often in each turn, as `product_limit` does.

    `last` counts in which turn conversations were last at risk; its last entry, H1 = H + 1, those
    that were so beyond the turns asked about.
    """
    at_risk, hazard, survival = _limit(happened, last)
    found = dirichlet(
        np.stack([happened, at_risk - happened], axis=1).astype(np.float64),
        np.full((len(happened), 2), 0.5),
        np.ones(len(happened)),
        level,
    )
    low, high = _greenwood(happened, at_risk, survival, level)
    low = np.where(survival == 1, np.cumprod(1 - found.high[:, 0]), low)
    return Hazards(
        at_risk, happened, hazard, found.low[:, 0], found.high[:, 0], survival, low, high, level
    )


def clustered(
    happened: Int[np.ndarray, "G H"],
    last: Int[np.ndarray, "G H1"],
    draw: np.random.Generator,
    *,
    level: float = 0.9,
) -> Hazards:
    """Return the hazards of `tallied` clusters that resemble each other within: by bootstrap."""
    length = happened.shape[1]

    def both(totals: Float[np.ndarray, "D F"]) -> Float[np.ndarray, "D 2 H"]:
        _, hazard, survival = _limit(totals[:, :length], totals[:, length:])
        return np.stack([hazard, survival], axis=1)

    sums = np.concatenate([happened, last], axis=1)
    sums = sums[np.lexsort(sums.T)]  # in whatever order clusters come, the draws are the same
    low, high = bootstrap(both, sums, draw, level=level)
    found = tallied(happened.sum(axis=0), last.sum(axis=0), level=level)
    return replace(
        found,
        hazard_low=np.minimum(low[0], found.hazard),
        hazard_high=np.maximum(high[0], found.hazard),
        survival_low=np.minimum(low[1], found.survival),
        survival_high=np.maximum(high[1], found.survival),
    )


def _limit(
    happened: Float[np.ndarray, "*D H"] | Int[np.ndarray, "*D H"],
    last: Float[np.ndarray, "*D H1"] | Int[np.ndarray, "*D H1"],
) -> tuple[np.ndarray, Float[np.ndarray, "*D H"], Float[np.ndarray, "*D H"]]:
    """Return who is at risk in each turn, the hazards and the product limit."""
    at_risk = np.cumsum(last[..., ::-1], axis=-1)[..., ::-1][..., : happened.shape[-1]]
    hazard = happened / np.maximum(at_risk, 1)
    return at_risk, hazard, np.cumprod(1 - hazard, axis=-1)


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
    ended, last = np.zeros((2, place.max() + 1, length + 1), np.int64)
    at = (place, np.minimum(turns, length))
    np.add.at(last, at, 1)
    np.add.at(ended, at, happened)
    found = clustered(ended[:, :length], last, draw, level=level)
    return found.survival_low, found.survival_high


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
