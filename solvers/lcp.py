"""Exact equilibria of general-sum games, and the best or the worst of them, for small games.

Plans x_0 and x_1 are an equilibrium exactly when there are values v_i per infoset of each player
with (Koller, Megiddo & von Stengel 1996)

    E_i x_i = e,   x_i >= 0,   w_i = E_i' v_i - A_i x_{1-i} >= 0,   x_i' w_i = 0

A_i being player i's payoffs per own and other sequence: what a sequence falls short of the best,
w_i, is nothing wherever it is played. This linear complementarity problem is usually followed to
one of its solutions by Lemke's path. Here complementarity is a binary per sequence instead,

    x_i(s) <= b(s),   w_i(s) <= M_s (1 - b(s)),   b(s) <= b(sequence to I) <= sum_a b(I a)

(Sandholm, Gilpin & Conitzer 2005, for matrix games; s is any action at I, and the last two say
that b leads on to where it goes, as what x plays does), so that a mixed-integer program may also
choose among all equilibria: a player's payoff, the value v_i of its empty sequence, is linear. The
answer is that of a linear program in which the binaries found are fixed: a vertex, exact to
rounding. M_s is what player i can get at most at the infoset of s less what it gets at least
after s.

Finding an equilibrium is hard in the worst case (PPAD), finding the best one NP-hard.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import sparse

from csa_games.errors import InputError
from csa_games.fold import legal_mask, parent_sequences, sequence_numbers
from csa_games.game import ASSISTANT, Game, Progress, Solution, Status, Treeplex
from solvers import highs
from solvers.lp import NOISE, constraints, legal_sequences
from solvers.response import certify, refuse_quantal
from solvers.sequence import payoff_matrix, payoff_scale, policy_of
from solvers.slack import most_slack

SELECT = {"any": 0.0, "best": 1.0, "worst": -1.0}
"""Which equilibrium is asked for, and how much a player's payoff counts for it."""

MOST_SEQUENCES = 500
"""The largest games that are worth trying, both players' sequences together.

Measured on 2 cores: an equilibrium of dialogues with 130 sequences, or of matrix games with 20
actions each, takes seconds, and the best one half a minute; with 30 actions each it takes longer.
"""

FEASIBILITY = 1e-9  # of HiGHS, for payoffs at scale 1


@dataclass(frozen=True)
class Program:
    """The complementarity problem of one game, with payoffs at scale 1.

    Its columns are x_0, v_0, b_0, x_1, v_1, b_1; `plan`, `value` and `binary` say where, by player.
    """

    game: Game
    rows: sparse.csr_array
    low: Float[np.ndarray, " R"]
    high: Float[np.ndarray, " R"]
    plan: tuple[slice, slice]
    value: tuple[slice, slice]
    binary: tuple[slice, slice]


def solve(
    game: Game,
    *,
    select: str = "any",
    player: int = ASSISTANT,
    seconds: float = math.inf,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return an exact equilibrium, with the gaps that rounding leaves.

    With `select` "best" or "worst" it is the one that is worth most or least to `player`, and the
    status "exact" says that this was proved (to 1e-7 of the payoffs). After `seconds` or Ctrl-C the
    best one found so far is returned, with the status "seconds" or "interrupted"; it is an
    equilibrium all the same. Where a player's own plan never leads its policy is uniform. `steps`
    counts HiGHS's nodes; `progress` is told of them and of how far the bound is from the best.

    Raises `InputError` for quantal intents, for games beyond `MOST_SEQUENCES`, for arguments out of
    range, and when no equilibrium is found in time.
    """
    refuse_quantal(game, "the complementarity problem")
    if select not in SELECT or player not in (0, 1) or not seconds > 0:
        raise InputError(
            f"select is {select!r}, player is {player!r} and seconds is {seconds}, expected "
            f"{', '.join(SELECT)}; player 0 or 1; and a positive number"
        )
    began = perf_counter()
    given = program(game)
    cost = np.zeros(given.rows.shape[1])
    cost[given.value[player].start] = SELECT[select]
    found, status, nodes = _search(given, cost, seconds, progress)
    first, second = map(policy_of, game.form.treeplex, _plans(given, found))
    return certify(
        game,
        (first, second),
        method="lcp",
        steps=nodes,
        seconds=perf_counter() - began,
        status=status,
    )


def program(game: Game) -> Program:
    """Return the complementarity problem of `game`; raises `InputError` where it is too large."""
    trees = game.form.treeplex
    count = sum(1 + int(legal_mask(treeplex).sum()) for treeplex in trees)
    if count > MOST_SEQUENCES:
        raise InputError(
            f"{game.name} has {count:,} sequences, and the complementarity problem takes at most "
            f"{MOST_SEQUENCES:,}: use a method of the CFR family, whose gaps say how far its "
            "policies are from an equilibrium"
        )
    scale = payoff_scale(game.form) or 1.0
    legal = [legal_sequences(treeplex) for treeplex in trees]
    flows = [constraints(tree)[:, mask] for tree, mask in zip(trees, legal, strict=True)]
    sizes = [size for flow in flows for size in (flow.shape[1], flow.shape[0], flow.shape[1])]
    ends = np.cumsum([0, *sizes]).tolist()
    places = [slice(start, stop) for start, stop in pairwise(ends)]
    plan, value, binary = ((places[k], places[k + 3]) for k in range(3))

    rows: list[sparse.csr_array] = []
    low: list[np.ndarray] = []
    high: list[np.ndarray] = []

    def add(parts: dict[int, sparse.csr_array], least: np.ndarray, most: np.ndarray) -> None:
        """Add rows with the given blocks, by where their columns start."""
        blocks = [parts.get(p.start, _nothing(len(least), p.stop - p.start)) for p in places]
        rows.append(sparse.hstack(blocks, format="csr"))
        low.append(least)
        high.append(most)

    for i, flow in enumerate(flows):
        by_pair = payoff_matrix(game.form, i) / scale
        own_by_other = sparse.csr_array(by_pair if i == 0 else by_pair.T)
        payoff = own_by_other[legal[i]][:, legal[1 - i]]
        most = np.diag(most_slack(trees[i], trees[1 - i], own_by_other)[legal[i]])
        sequences, unit = flow.shape[1], np.eye(1, flow.shape[0])[0]
        itself = sparse.csr_array(np.eye(sequences))
        nothing, bound = np.zeros(sequences), np.diag(most)
        short = {value[i].start: flow.T.tocsr(), plan[1 - i].start: -payoff}
        add({plan[i].start: flow}, unit, unit)
        add({plan[i].start: itself, binary[i].start: -itself}, nothing - np.inf, nothing)
        add(short, nothing, nothing + np.inf)
        add(short | {binary[i].start: sparse.csr_array(most)}, nothing - np.inf, bound)
        before = _before(trees[i])[legal[i]][:, legal[i]]
        add({binary[i].start: itself - before}, nothing - np.inf, np.eye(1, sequences)[0])
        add({binary[i].start: flow[1:]}, 0 * unit[1:], unit[1:] + np.inf)
    return Program(
        game=game,
        rows=sparse.vstack(rows, format="csr"),
        low=np.concatenate(low),
        high=np.concatenate(high),
        plan=plan,
        value=value,
        binary=binary,
    )


def _search(
    given: Program,
    cost: Float[np.ndarray, " V"],
    seconds: float,
    progress: Callable[[Progress], object] | None,
) -> tuple[Float[np.ndarray, " V"], Status, int]:
    """Return the variables of the best equilibrium found, the status, and the nodes searched."""
    binary = np.zeros(len(cost), bool)
    for place in given.binary:
        binary[place] = True
    solver = _passed(given, cost, binary, seconds)
    if progress is not None:
        highs.report(solver, payoff_scale(given.game.form) or 1.0, progress)
    status = highs.run(solver)
    found = highs.variables(solver)
    if status is None or found is None:
        raise InputError(
            f"HiGHS found no equilibrium of {given.game.name}: {highs.complaint(solver)}"
        )
    vertex = _passed(given, cost, np.zeros_like(binary))
    highs.hold(vertex, np.where(binary, np.round(found), np.nan))
    exact = highs.variables(vertex) if highs.run(vertex) == "exact" else None
    if exact is None:
        raise InputError(
            f"HiGHS found no equilibrium of {given.game.name} that plays only the sequences of the "
            f"one it found to {FEASIBILITY}: {highs.complaint(vertex)}"
        )
    return exact, status, int(solver.getInfo().mip_node_count)


def _passed(
    given: Program,
    cost: Float[np.ndarray, " V"],
    binary: np.ndarray,
    seconds: float = math.inf,
) -> Any:
    """Return a HiGHS solver that holds the program, to be maximised."""
    lower, upper = np.zeros(len(cost)), np.ones(len(cost))
    for place in given.value:
        lower[place], upper[place] = -np.inf, np.inf
    return highs.passed(
        given.rows,
        cost,
        variables=(lower, upper),
        between=(given.low, given.high),
        integral=binary,
        tolerance=FEASIBILITY,
        seconds=seconds,
        options={"mip_rel_gap": 1e-7, "mip_abs_gap": 1e-7},
    )


def _plans(given: Program, found: Float[np.ndarray, " V"]) -> list[Float[np.ndarray, " S"]]:
    """Return both players' plans, of all sequences."""
    plans = []
    for treeplex, place in zip(given.game.form.treeplex, given.plan, strict=True):
        plan = np.zeros(treeplex.sequences)
        plan[legal_sequences(treeplex)] = np.where(found[place] > NOISE, found[place], 0)
        plans.append(plan)
    return plans


def _before(treeplex: Treeplex) -> sparse.csr_array:
    """Return the matrix [S, S] with a 1 where the column's sequence leads to the row's infoset."""
    legal, numbers = legal_mask(treeplex), sequence_numbers(treeplex)
    place = (numbers[legal], parent_sequences(treeplex)[np.nonzero(legal)[0]])
    shape = (treeplex.sequences, treeplex.sequences)
    return sparse.coo_array((np.ones(len(place[0])), place), shape=shape).tocsr()


def _nothing(rows: int, columns: int) -> sparse.csr_array:
    return sparse.csr_array((rows, columns))
