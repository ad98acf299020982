"""The logit rule at the infosets of a level: how often somebody who makes mistakes chooses what.

At an infoset I an action a has the counterfactual value q(I, a), of which everybody else's reach
r(I) of the infoset is a factor. Given that I is reached it is worth E[u | I, a] = q(I, a) / r(I),
and the logit rule of rationality lambda, in 1/payoff, is (McKelvey & Palfrey 1998)

    sigma(a | I)  proportional to  exp(lambda E[u | I, a]).

Used by whoever runs `fold.backup` with it: reactions to a policy, equilibria of such reactions, and
the likelihood of reactions in a log. Numpy and JAX alike; derivatives of any order exist.
"""

import jax
import numpy as np
from jaxtyping import Float

from csa_games.arrays import Array, namespace
from csa_games.fold import Rows, backup, expectation, legal_rows, mean_of
from csa_games.game import SequenceForm


def arrivals(form: SequenceForm, player: int, plan: Rows) -> tuple[Array, ...]:
    """Return the counterfactual reach [K, N] of `player`'s infosets, level by level.

    `plan` is the opponent's. In the factored layout `player` must be the user.
    """
    treeplex = form.treeplex[player]
    xp = namespace(form.leaves.chance)
    ones = expectation(form, player, xp.ones_like(form.leaves.chance), plan)
    # Below an infoset any policy sums to 1.
    legal = legal_rows(treeplex)
    even = tuple(part / part.sum(axis=-2, keepdims=True) for part in legal)
    mean, values = mean_of(even), {}

    def keep(q: Array, k: int) -> Array:
        values[k] = mean(q, k)
        return values[k]

    backup(treeplex, ones, keep)
    return tuple(values[k] for k in range(len(legal)))


def given_reach(
    q: Float[Array, "K A N"], reached: Float[Array, "K N"], least: float = 0.0
) -> Float[Array, "K A N"]:
    """Return what actions are worth given their infoset, from counterfactual values and reach.

    0 where the reach is not above `least`: where nobody leads, such values are undefined.
    """
    xp = namespace(q)
    there = reached[:, None] > least
    here = xp.where(there, reached[:, None], 1)
    # The same quotient with a denominator of 1: the derivative of q / here squares what is faint.
    unit = here if isinstance(here, np.ndarray) else jax.lax.stop_gradient(here)
    return xp.where(there, (q / unit) / (here / unit), 0)


def soft(logits: Float[Array, "K A N"], legal: Array) -> Float[Array, "K A N"]:
    """Return the probabilities proportional to exp of `logits`; 0 for what is not legal."""
    xp = namespace(logits)
    weight = xp.where(legal, xp.exp(_below_the_most(logits, legal)), 0)
    return weight / weight.sum(axis=-2, keepdims=True)


def log_soft(logits: Float[Array, "K A N"], legal: Array) -> Float[Array, "K A N"]:
    """Return the logarithms of `soft`, exact where those probabilities vanish; 0 if not legal."""
    xp = namespace(logits)
    below = _below_the_most(logits, legal)
    total = xp.where(legal, xp.exp(below), 0).sum(axis=-2, keepdims=True)
    return xp.where(legal, below - xp.log(total), 0)


def _below_the_most(logits: Float[Array, "K A N"], legal: Array) -> Float[Array, "K A N"]:
    """Return legal logits less their largest, so that no exponential overflows; 0 elsewhere."""
    xp = namespace(logits)
    most = xp.where(legal, logits, -xp.inf).max(axis=-2, keepdims=True)
    return xp.where(legal, logits - most, 0)
