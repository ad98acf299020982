"""Judges and classifiers that err: what was there, from what they said.

A judge says j of what is i with probability C_ij. Of a mixture p of true labels it says q = p C, so
that shares of what was said are not shares of what is: with precision .53 nearly half of the judged
successes are none. The p that best explains the counts of what was said is the maximum-likelihood
one,

    max_p  sum_j m_j log (p C)_j,   p >= 0,  sum p = 1,

found by expectation-maximisation (Richardson 1972; Lucy 1974); inside the simplex it is q C^-1
(Rogan & Gladen 1978). C is known from things with both labels, and uncertain itself: intervals come
from drawing C and q anew from their posteriors (Jeffreys' prior). They are approximate: measured on
simulations, not guaranteed. Where two rows of C are alike, p is not told at all, and the intervals
say so.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from csa_games.errors import InputError

STEPS = 1000  # of the outside, where a share goes to 0
SINGULAR = 1e-9
DRAWS = 1000


@dataclass(frozen=True)
class Deconvolved:
    """Shares of true labels, with intervals. Letters: L labels."""

    value: Float[np.ndarray, " L"]
    low: Float[np.ndarray, " L"]
    high: Float[np.ndarray, " L"]
    naive: Float[np.ndarray, " J"]  # the shares of what was said
    level: float


def judged(
    truth: Int[np.ndarray, " N"], said: Int[np.ndarray, " N"], labels: int, verdicts: int
) -> Int[np.ndarray, "L J"]:
    """Return how often a judge said what of what; what has no verdict (-1) is left out."""
    both = (truth >= 0) & (said >= 0)
    found = np.bincount(truth[both] * verdicts + said[both], minlength=labels * verdicts)
    return found.reshape(labels, verdicts)


def deconvolved(
    said: Int[np.ndarray, " J"] | Float[np.ndarray, " J"],
    confusion: Int[np.ndarray, "L J"],
    draw: np.random.Generator,
    *,
    level: float = 0.9,
    draws: int = DRAWS,
) -> Deconvolved:
    """Return the shares of true labels, of which a judge said `said` (counts by verdict).

    `confusion` counts what it said of things whose label is known; they must be like those that are
    asked about, label by label. Raises `InputError` for labels it was never tried on, and if
    nothing was said.
    """
    if said.sum() == 0:
        raise InputError("found no verdict, expected some")
    if untried := np.flatnonzero(confusion.sum(axis=1) == 0).tolist():
        raise InputError(
            f"found no verdict on things of the true label {untried[0]}, expected some of each"
        )
    rows = confusion / confusion.sum(axis=1, keepdims=True)
    value = _explain((said / said.sum())[None], rows[None])[0]
    rows = np.stack([draw.dirichlet(row + 0.5, size=draws) for row in confusion], axis=1)
    shares = draw.dirichlet(said + 0.5, size=draws)
    found = _explain(shares, rows)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Deconvolved(
        value, np.minimum(low, value), np.maximum(high, value), said / said.sum(), level
    )


def _explain(
    shares: Float[np.ndarray, "D J"], rows: Float[np.ndarray, "D L J"]
) -> Float[np.ndarray, "D L"]:
    """Return the mixtures of rows that make shares likeliest, of all draws at once."""
    mixture = np.full(rows.shape[:2], 1 / rows.shape[1])
    left = np.ones(len(shares), bool)
    if rows.shape[1] == rows.shape[2]:
        told = np.abs(np.linalg.det(rows)) > SINGULAR
        exact = np.linalg.solve(rows[told].swapaxes(1, 2), shares[told][:, :, None])[:, :, 0]
        inside = (exact >= 0).all(axis=1)
        mixture[np.flatnonzero(told)[inside]] = exact[inside]
        left[np.flatnonzero(told)[inside]] = False
    part, rows, shares = mixture[left], rows[left], shares[left]
    for _ in range(STEPS):
        expected = np.maximum(np.einsum("dl,dlj->dj", part, rows), 1e-300)
        part = part * np.einsum("dj,dlj->dl", shares / expected, rows)
    mixture[left] = part
    return mixture / mixture.sum(axis=1, keepdims=True)
