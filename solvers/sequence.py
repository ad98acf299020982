"""Two things solvers ask of the sequence form beside the fold: plans back to policies, and sizes.

The letters are those of `csa_games.game`.
"""

import numpy as np
from jaxtyping import Float
from scipy import sparse

from csa_games.arrays import Array, namespace
from csa_games.fold import legal_mask, uniform
from csa_games.game import SequenceForm, Treeplex


def behavioural(treeplex: Treeplex, plan: Float[Array, " S"]) -> Float[Array, "I A"]:
    """Return the policy whose plan is proportional to `plan`, uniform where `plan` never leads.

    It undoes `fold.reach`, and also turns a weighted sum of plans into the policy of their average
    (Zinkevich et al. 2007, eq. 4). An empty sum, all zeros, is the uniform policy.
    """
    xp = namespace(plan)
    weight = xp.where(legal_mask(treeplex), plan[1:].reshape(-1, treeplex.width), 0)
    total = weight.sum(axis=-1, keepdims=True)
    return xp.where(total > 0, weight / xp.where(total > 0, total, 1), uniform(treeplex))


def payoff_matrix(form: SequenceForm, player: int) -> sparse.csr_array:
    """Return the float64 matrix [S_0, S_1] of `player`'s payoffs per pair of sequences.

    Each entry sums, over the leaves that the pair leads to, chance times payoff (von Stengel 1996);
    plans x and y are worth x' matrix y.
    """
    leaves = form.leaves
    weight = np.asarray(leaves.chance, np.float64) * np.asarray(leaves.payoff[player], np.float64)
    pairs = (np.asarray(leaves.sequence[0]), np.asarray(leaves.sequence[1]))
    shape = (form.treeplex[0].sequences, form.treeplex[1].sequences)
    return sparse.coo_array((weight, pairs), shape=shape).tocsr()


def payoff_scale(form: SequenceForm) -> float:
    """Return the largest absolute entry of both payoff matrices, in payoff units."""
    return max(float(abs(payoff_matrix(form, player)).max()) for player in (0, 1))
