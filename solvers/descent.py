"""A search for the worst probabilities within intervals: an example, and no proof."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from solvers.guarantee import least_of

SWEEPS = 100  # a row after the other; a few are enough
HALVINGS = 20  # of a step that makes nothing less
STATIONARY = 1e-12  # of the scale: gains below it are rounding
NUDGE = 1e-4  # of a probability, for differences


def descend(
    worth: Callable[[Float[np.ndarray, "K W"]], float],
    start: Float[np.ndarray, "K W"],
    low: Float[np.ndarray, "K W"],
    high: Float[np.ndarray, "K W"],
    scale: float,
) -> tuple[Float[np.ndarray, "K W"], float]:
    """Return K rows of probabilities within intervals of which `worth` makes little, and how much.

    `worth` is a polynomial in the rows, of numbers as large as `scale`. One row after the other is
    moved from the `start`, towards the corner that is best to first order, as far as that makes it
    less; where no row appears twice in a product the slope is exact and so is the corner. The
    result is never more than at the start, and need not be the least there is.
    """
    rows, value = start, worth(start)
    rounding = STATIONARY * max(scale, 1e-300)
    for _ in range(SWEEPS):
        before = value
        for k in np.flatnonzero((high > low).any(axis=1)).tolist():
            slope = _slope(worth, rows, k)
            aim = np.zeros_like(rows)
            least = least_of(slope[:, None], low[k][:, None], high[k][:, None])[:, 0]
            aim[k] = least - rows[k]
            for step in 0.5 ** np.arange(HALVINGS if slope @ aim[k] < -rounding else 0):
                if (less := worth(rows + step * aim)) < value - rounding:
                    rows, value = rows + step * aim, less
                    break
        if value >= before:
            break
    return rows, value


def _slope(
    worth: Callable[[Float[np.ndarray, "K W"]], float], rows: Float[np.ndarray, "K W"], k: int
) -> Float[np.ndarray, " W"]:
    """Return the slope in each probability of row `k`, by central differences."""
    slope = np.zeros(rows.shape[1])
    for w in range(len(slope)):
        nudge = np.zeros_like(rows)
        nudge[k, w] = NUDGE
        slope[w] = (worth(rows + nudge) - worth(rows - nudge)) / (2 * NUDGE)
    return slope
