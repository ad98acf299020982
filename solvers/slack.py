"""How much worse than the best an action can be: the constants of programs with pure choices.

Where a binary says that an action is taken, the slack of "the infoset is worth what its best action
is" may be anything up to a constant if it is 0. The smaller the constant, the tighter the program.
"""

import numpy as np
from jaxtyping import Float
from scipy import sparse

from csa_games.fold import legal_mask, parent_sequences, sequence_numbers
from csa_games.game import Treeplex

AT_ONCE = 256  # sequences whose bounds are computed together, as columns of a dense array


def most_slack(own: Treeplex, other: Treeplex, payoff: sparse.csr_array) -> Float[np.ndarray, " S"]:
    """Return, per own sequence, the most at its infoset less the least that is left after it.

    `payoff` [S, S_other] is the own payoff per pair of sequences, chance included. For the empty
    sequence, which is always played, it is 0.
    """
    numbers, legal, parent = sequence_numbers(own), legal_mask(own), parent_sequences(own)
    high, low = _largest(other, payoff), -_largest(other, -payoff)
    slack = np.zeros(own.sequences)
    for i in reversed(range(own.infosets)):
        here = numbers[i, legal[i]]
        best = high[here].max()
        slack[here] = best - low[here]
        high[parent[i]] += best
        low[parent[i]] += low[here].max()
    return slack


def _largest(treeplex: Treeplex, payoff: sparse.csr_array) -> Float[np.ndarray, " N"]:
    """Return the largest product of a plan of `treeplex` with each row of `payoff` [N, S]."""
    numbers, legal = sequence_numbers(treeplex), legal_mask(treeplex)
    parent, found = parent_sequences(treeplex), []
    for first in range(0, payoff.shape[0], AT_ONCE):
        worth = payoff[first : first + AT_ONCE].toarray().T
        stop = treeplex.infosets
        for level in reversed(treeplex.levels):
            here = slice(stop - level.infosets, stop)
            stop -= level.infosets
            options = np.where(legal[here][..., None], worth[numbers[here]], -np.inf)
            np.add.at(worth, parent[here], options.max(axis=1))
        found.append(worth[0])
    return np.concatenate(found)
