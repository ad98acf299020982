"""Trembling hands (Selten 1975): whoever intends a policy executes it with mistakes.

    executed(a | I)  =  (1 - epsilon) intended(a | I)  +  epsilon / |A(I)|

A game whose players tremble is solved like any other: intended policies are free, executed ones
have at least epsilon / |A(I)| everywhere (Farina, Kroer & Sandholm 2017, behaviourally constrained
strategies). The value of an action is that of executed play after it, an infoset passes up the
mean of executed choices, and the regrets of intended actions are their differences, up to the
factor 1 - epsilon, which regret matching does not see.

Sums of intended choices weighted by executed reach are right as they are: the average executed
policy is the tremble of the average intended one.
"""

from typing import Any

from jaxtyping import Bool, Float

from csa_games.arrays import Array, sum_of_actions
from csa_games.fold import Rows, Visit, legal_rows
from csa_games.game import Treeplex
from solvers.regret import Number


def executed(treeplex: Treeplex, policy: Rows, epsilon: Number) -> Rows:
    """Return the policy that comes of intending `policy`: with probability `epsilon` any action."""
    return tuple(
        (1 - epsilon) * rows + epsilon * _even(legal, rows)
        for rows, legal in zip(policy, legal_rows(treeplex), strict=True)
    )


def trembling(visit: Visit, epsilon: Number) -> Visit:
    """Return `visit`, which updates intended policies, with the values of executed ones.

    `visit` returns the mean of action values under the intended policy; own reach must be that of
    the executed one.
    """

    def visited(q: Array, legal: Array, reach: Array, state: Any) -> tuple[Array, Any]:
        mean, new = visit(q, legal, reach, state)
        return (1 - epsilon) * mean + epsilon * sum_of_actions(_even(legal, q) * q), new

    return visited


def _even(legal: Bool[Array, "_ A _"], like: Float[Array, "K A N"]) -> Float[Array, "_ A _"]:
    """Return the uniform policy over legal actions in the dtype of `like`."""
    return legal / legal.sum(axis=-2, keepdims=True).astype(like.dtype)
