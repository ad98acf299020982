"""Two things solvers ask of the sequence form beside the fold: plans back to policies, and sizes.

The letters are those of `csa_games.game`.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from csa_games.arrays import Array
from csa_games.devices import is_looped
from csa_games.fold import Rows, legal_rows, reach, rows_of, sequence_numbers, table_of
from csa_games.game import ASSISTANT, USER, Grid, Level, SequenceForm, Treeplex
from csa_games.grid import likelihood, public_sequences, visit_blocks
from solvers.regret import regret_matching


def behavioural(treeplex: Treeplex, plan: Rows) -> Rows:
    """Return the policy whose plan is proportional to `plan`, uniform where `plan` never leads.

    It undoes `fold.reach`, and also turns a weighted sum of plans into the policy of their average
    (Zinkevich et al. 2007, eq. 4). An empty sum, all zeros, is the uniform policy.
    """
    levels = zip(treeplex.levels, plan, legal_rows(treeplex), strict=True)
    return tuple(_matched(*level) for level in levels)


def _matched(level: Level | Grid, rows: Array, legal: Array) -> Array:
    if isinstance(level, Level):
        return regret_matching(rows, legal)
    return visit_blocks(level, lambda rows, *_: ((), regret_matching(rows, legal)), rows)[1]


def plan_of(treeplex: Treeplex, policy: Float[Array, "I A"]) -> Float[np.ndarray, " S"]:
    """Return the realisation plan of `policy` as a vector; that of the empty sequence is 1."""
    rows = reach(treeplex, rows_of(treeplex, np.asarray(policy, np.float64)))
    return np.concatenate([np.ones(1), *(np.ravel(part) for part in rows)])


def policy_of(treeplex: Treeplex, plan: Float[np.ndarray, " S"]) -> Float[np.ndarray, "I A"]:
    """Return the policy of a plan, uniform where it never leads: `plan_of` undone."""
    rows = rows_of(treeplex, plan[sequence_numbers(treeplex)])
    return np.asarray(table_of(treeplex, behavioural(treeplex, rows)))


def payoff_matrix(form: SequenceForm, player: int) -> sparse.csr_array:
    """Return the float64 matrix [S_0, S_1] of `player`'s payoffs per pair of sequences.

    Each entry sums, over the leaves that the pair leads to, chance times payoff (von Stengel 1996);
    plans x and y are worth x' matrix y. Of the factored layout the histories are enumerated.
    """
    return leaf_matrix(form, np.asarray(form.leaves.payoff[player], np.float64))


def leaf_matrix(form: SequenceForm, number: Float[np.ndarray, " L"]) -> sparse.csr_array:
    """Return `payoff_matrix` with any `number` per leaf in place of the payoff."""
    leaves = form.leaves
    weight = np.asarray(leaves.chance, np.float64) * number
    first, second = (np.asarray(numbers) for numbers in leaves.sequence)
    if form.signal is not None:
        leaf, second, heard = _heard(form)
        first, weight = first[leaf], weight[leaf] * heard
    shape = (form.treeplex[0].sequences, form.treeplex[1].sequences)
    return sparse.coo_array((weight, (first, second)), shape=shape).tocsr()


def payoff_scale(form: SequenceForm) -> float:
    """Return the largest absolute entry of both payoff matrices, in payoff units.

    Where there are too many histories to enumerate, those of a level that is visited block by
    block, it is a bound: entries that sum over kernel intents are bounded by the sum of the bounds.
    """
    if is_looped(form):
        return max(_bound(form, player) for player in (0, 1))
    return max(float(abs(payoff_matrix(form, player)).max()) for player in (0, 1))


def _bound(form: SequenceForm, player: int) -> float:
    """Return a bound on the absolute entries of a payoff matrix of the factored layout."""
    leaves, signal = form.leaves, np.asarray(form.signal)
    most = [np.ones(1)]  # by public sequence: the likelihood of the likeliest signals
    for grid in form.treeplex[ASSISTANT].levels:
        assert isinstance(grid, Grid)
        p, q, _ = grid.axes
        likely = np.asarray(likelihood(signal, grid.turn + 1)).max(axis=2)  # [P, T]
        shape = (p, grid.responses, q, len(signal))
        most.append(np.broadcast_to(likely[:, None, None], shape).reshape(-1))
    public = np.asarray(leaves.sequence[ASSISTANT])
    size = np.abs(np.asarray(leaves.chance) * np.asarray(leaves.payoff[player]))
    size = size * np.concatenate(most)[public]
    kernel = np.asarray(leaves.sequence[USER]) == 0
    whose = (public[kernel] + len(signal) - 1) // len(signal)  # without the intent; 0 stays 0
    together = np.bincount(whose, weights=size[kernel])
    return float(max(size[~kernel].max(initial=0), together.max(initial=0)))


def _heard(
    form: SequenceForm,
) -> tuple[Int[np.ndarray, " H"], Int[np.ndarray, " H"], Float[np.ndarray, " H"]]:
    """Return the histories behind the leaves of the factored layout, signals included.

    Of each of the H histories: the leaf, the assistant's last sequence, the signals' likelihood.
    """
    treeplex, public = form.treeplex[ASSISTANT], np.asarray(form.leaves.sequence[ASSISTANT])
    signal, numbers = np.asarray(form.signal), sequence_numbers(treeplex)
    empty = np.flatnonzero(public == 0)
    found = [(empty, np.zeros_like(empty), np.ones(len(empty)))]
    start, infosets = 1, 0
    for grid in treeplex.levels:
        assert isinstance(grid, Grid)
        p, q, z = grid.axes
        shape = (p, grid.responses, q, len(signal))
        stop = start + public_sequences(grid, len(signal))
        leaf = np.flatnonzero((start <= public) & (public < stop))
        asked, response, answered, intent = np.unravel_index(public[leaf] - start, shape)
        likely = np.asarray(likelihood(signal, grid.turn + 1))[asked, intent]  # [leaves, Z]
        infoset = infosets + (asked * q + answered)[:, None] * z + np.arange(z)
        sequence = numbers[infoset, response[:, None]]
        found.append((np.repeat(leaf, z), sequence.ravel(), np.ravel(likely)))
        start, infosets = stop, infosets + grid.infosets
    leaf, sequence, heard = map(np.concatenate, zip(*found, strict=True))
    return leaf, sequence, heard
