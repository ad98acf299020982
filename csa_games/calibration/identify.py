"""What a log does not tell: thin rows, what the likelihood does not move, what is withheld.

A row is *thin* below 100 observations, counted as what they are worth: there a 90 % interval around
one half is still 16 points wide (1.645 * 2 * sqrt(1/4 / 100)), and its posterior says more than its
mean. It is *unmoved* where its posterior is nearly as wide as its prior: never seen, or seen only
where what was seen does not tell. *Flat* are directions in which latent intents can change together
without the likelihood noticing (`mixture.flat`): then no part of it is told, whatever its interval
says, until some conversations have labels. *Withheld* is what the sampling design forbids to
estimate, for it is not in the log at all (`prior`).

Which conclusions all of this could change is another question, and that of the whole scenario:
`csa_games.moves` has its intervals, and `csa doubt` the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from csa_games.calibration.estimates import beta_interval, prior_of
from csa_games.calibration.fitted import Fitted
from csa_games.calibration.latent import Direction, Told
from csa_games.calibration.mapping import Mapping as Reading
from csa_games.calibration.prior import REFUSAL

ENOUGH = 100
"""Observations of a row, counted as what they are worth, below which it is thin."""

UNMOVED = 0.9
"""The width of a posterior's interval, as a share of its prior's, from which on nothing is told."""


@dataclass(frozen=True)
class ThinRow:
    """A row with little data: the width of its widest interval, and of its prior's.

    `n` observations are worth `effective` ones.
    """

    field: str
    label: str
    n: float
    effective: float
    width: float
    prior_width: float

    @property
    def unmoved(self) -> bool:
        """Whether the interval is about as wide as it was before anything was seen."""
        return self.width >= UNMOVED * self.prior_width


@dataclass(frozen=True)
class Identifiability:
    """What a log does not tell of a scenario.

    Rows that are thin, the widest first; directions in which the likelihood of latent intents is
    flat; and what the sampling design withholds, with the reason.
    """

    thin: tuple[ThinRow, ...]
    flat: tuple[Direction, ...]
    withheld: Mapping[str, str]


def identify(fitted: Fitted, reading: Reading, latent: Told | None = None) -> Identifiability:
    """Return what the log of a fit does not tell.

    `latent` is what a mixture has told, where there is one. Rows with a single possible outcome
    need no data. (Of users who choose, `quantal.Rationality.unidentified` says it.)
    """
    found = fitted.estimates
    width = (found.high - found.low).max(axis=1, initial=0.0)
    before = np.array([_prior_width(row.base, found.level) for row in fitted.rows])
    thin = [
        ThinRow(
            row.field,
            row.label,
            float(found.n[k]),
            float(found.effective[k]),
            float(width[k]),
            float(before[k]),
        )
        for k, row in enumerate(fitted.rows)
        if found.effective[k] < ENOUGH and before[k] > 0
    ]
    withheld = {"priors": REFUSAL[reading.design]} if reading.design in REFUSAL else {}
    return Identifiability(
        tuple(sorted(thin, key=lambda row: (-row.width, row.label))),
        () if latent is None else latent.flat,
        withheld,
    )


def _prior_width(base: Sequence[float], level: float) -> float:
    """Return the widest interval of a row before anything was seen."""
    alpha = prior_of(np.array([base]))
    low, high = beta_interval(alpha, alpha.sum() - alpha, level)
    return float(np.where(alpha > 0, high - low, 0.0).max())
