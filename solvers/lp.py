"""Exact equilibria of zero-sum games by the sequence-form linear program, solved with HiGHS.

Player 0 picks the realisation plan x whose value against a best-responding player 1 is largest. By
duality that value is q_0, q being player 1's values per infoset (Koller, Megiddo & von Stengel
1996; von Stengel 1996, section 5):

    maximise q_0  subject to  E x = e,  F' q <= A' x,  x >= 0

where E x = e and F y = e say that x and y are realisation plans, e is 1 for the empty sequence and
0 elsewhere, and A holds player 0's payoffs per pair of sequences. The dual variables of the
inequalities are player 1's optimal plan y.
"""

from time import perf_counter

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from csa_games.errors import InputError
from csa_games.fold import legal_mask, parent_sequences, sequence_numbers
from csa_games.game import Game, Solution, Treeplex
from solvers.response import certify, refuse_quantal
from solvers.sequence import payoff_matrix, payoff_scale, policy_of

NOISE = 1e-12  # plan weights below it are rounding, and must not become policies off the path


def solve(game: Game) -> Solution:
    """Return an exact equilibrium of a zero-sum game, with the gaps that rounding leaves.

    Where a player's own plan never leads its policy is uniform: plans are optimal as wholes, and
    need not be after a mistake (they are not refined). `steps` counts HiGHS iterations.

    Raises `InputError` for games whose payoffs do not sum to a constant, for quantal intents, and
    when HiGHS finds no optimum.
    """
    refuse_quantal(game, "the linear program")
    if game.game_class == "general-sum":
        raise InputError(
            f"the linear program solves zero-sum games only, and the payoffs of {game.name} do not "
            "sum to the same number at all its leaves"
        )
    start = perf_counter()
    plans, iterations = _optimal_plans(game)
    first, second = map(policy_of, game.form.treeplex, plans)
    return certify(
        game,
        (first, second),
        method="lp",
        steps=iterations,
        seconds=perf_counter() - start,
        status="exact",
    )


def constraints(treeplex: Treeplex) -> sparse.csr_array:
    """Return the matrix E [1 + I, S] for which E x = e says that x is a realisation plan.

    Row 0 holds the empty sequence, row 1 + i the actions of infoset i minus the sequence that leads
    to it. The columns of slots without an action are zero.
    """
    infosets, legal = treeplex.infosets, legal_mask(treeplex)
    own = 1 + np.arange(infosets)
    row = np.concatenate([[0], 1 + np.nonzero(legal)[0], own])
    actions = sequence_numbers(treeplex)[legal]
    column = np.concatenate([[0], actions, parent_sequences(treeplex)])
    entry = np.concatenate([np.ones(1 + len(actions)), -np.ones(infosets)])
    shape = (1 + infosets, treeplex.sequences)
    return sparse.coo_array((entry, (row, column)), shape=shape).tocsr()


def _optimal_plans(
    game: Game,
) -> tuple[tuple[Float[np.ndarray, " S_0"], Float[np.ndarray, " S_1"]], int]:
    """Return both players' optimal plans and the number of HiGHS iterations."""
    from scipy.optimize import linprog  # slow to import, and only needed here

    form = game.form
    legal = (legal_sequences(form.treeplex[0]), legal_sequences(form.treeplex[1]))
    # HiGHS has absolute tolerances, so payoffs come at scale 1.
    payoff = payoff_matrix(form, 0)[legal[0]][:, legal[1]] / (payoff_scale(form) or 1.0)
    own = constraints(form.treeplex[0])[:, legal[0]]
    other = constraints(form.treeplex[1])[:, legal[1]]
    plans, values = own.shape[1], other.shape[0]

    result = linprog(
        c=-np.eye(1, plans + values, plans)[0],
        A_ub=sparse.hstack([-payoff.T, other.T], format="csr"),
        b_ub=np.zeros(other.shape[1]),
        A_eq=sparse.hstack([own, sparse.csr_array((own.shape[0], values))], format="csr"),
        b_eq=np.eye(1, own.shape[0])[0],
        bounds=[(0, None)] * plans + [(None, None)] * values,
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if result.status != 0:
        raise InputError(f"HiGHS found no equilibrium of {game.name}: {result.message}")
    found = (result.x[:plans], -result.ineqlin.marginals)
    full = (np.zeros(len(legal[0])), np.zeros(len(legal[1])))
    for plan, mask, weights in zip(full, legal, found, strict=True):
        plan[mask] = positive(weights)
    return full, int(result.nit)


def positive(weights: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Return the weights of a plan without what is rounding."""
    return np.where(weights > NOISE, weights, 0)


def legal_sequences(treeplex: Treeplex) -> Bool[np.ndarray, " S"]:
    """Return which numbers of sequences there is a sequence for: the empty one, legal actions."""
    legal = np.zeros(treeplex.sequences, dtype=bool)
    legal[0] = True
    legal[sequence_numbers(treeplex)[legal_mask(treeplex)]] = True
    return legal
