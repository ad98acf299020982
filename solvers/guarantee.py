"""What a plan secures of any number on leaves, whatever adversarial users do: a linear program.

The assistant's plan x gets of a number N, summed over pairs of the users' and its own sequences, at
least

    G(x) = min over the users' plans y of  y' N x = max of v_0 subject to  F' v <= N x

where F y = f says that y is a plan, and v are the users' values per infoset (the duality that
`solvers.lp` rests on, with any number in place of the payoff: Koller, Megiddo & von Stengel 1996).
G is concave, and where all users are kernels linear. Hence programs that maximise sums of several
G, or that ask each to be at least something, are linear:

    maximise  c v_0 + k z  subject to  E x = e,  F' v <= N x  (for each G),  D v_0 + Z z <= d

with one v_0 per G and further variables z. `most` solves these.

A user that chooses for itself secures nothing: what it does depends on the plan in ways that are
not linear, and it is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from csa_games.arrays import Array
from csa_games.errors import InputError
from csa_games.fold import (
    backup,
    expectation,
    legal_mask,
    legal_rows,
    parent_sequences,
    reach,
    rows_of,
    sequence_numbers,
)
from csa_games.game import ASSISTANT, USER, Game, SequenceForm, Solution, Treeplex
from solvers import highs
from solvers.lp import constraints, legal_sequences, positive
from solvers.reaction import answered
from solvers.response import certify
from solvers.sequence import leaf_matrix


@dataclass(frozen=True)
class Guarantee:
    """The rows F' v - N x <= 0 of one number.

    Letters: R rows, one per sequence of the users that matters to the number, V values, the first
    of which is v_0, and X legal sequences of the assistant.
    """

    plan: sparse.csr_array  # -N [R, X]
    value: sparse.csr_array  # F' [R, V]


@dataclass(frozen=True)
class Within:
    """The rows D v_0 + Z z <= d. Letters: K guarantees, J further variables z, R rows.

    z is at least `least` [J], and `gain` [J] is what it adds to the objective.
    """

    secured: Float[np.ndarray, "R K"]  # D
    extra: Float[np.ndarray, "R J"]  # Z
    most: Float[np.ndarray, " R"]  # d
    gain: Float[np.ndarray, " J"]
    least: Float[np.ndarray, " J"]


@dataclass(frozen=True)
class Optimum:
    """An optimal plan [S], and what the objective would gain per unit of d, row by row."""

    plan: Float[np.ndarray, " S"]
    prices: Float[np.ndarray, " R"]
    steps: int


def guarantee(form: SequenceForm, number: Float[np.ndarray, " L"]) -> Guarantee:
    """Return the rows of G for a `number` per leaf; of the factored layout histories are listed.

    Infosets of users below which the number is 0 everywhere are left out: their values are 0.
    """
    theirs, ours = form.treeplex
    by_pair = leaf_matrix(form, np.asarray(number, np.float64))[:, legal_sequences(ours)]
    by_pair.eliminate_zeros()
    infosets = _matter(theirs, np.diff(by_pair.indptr) > 0)
    actions = legal_mask(theirs) & infosets[:, None]
    rows = np.concatenate([[0], np.sort(sequence_numbers(theirs)[actions])])
    columns = np.concatenate([[0], 1 + np.flatnonzero(infosets)])
    flow = constraints(theirs)[columns][:, rows]
    return Guarantee(sparse.csr_array(-by_pair[rows]), sparse.csr_array(flow.T))


def secured(
    form: SequenceForm, policy: Float[Array, "I A"], number: Float[np.ndarray, " L"]
) -> float:
    """Return G of the assistant's `policy`, from the policy alone: the users' best response."""
    theirs, ours = form.treeplex
    plan = reach(ours, rows_of(ours, np.asarray(policy, np.float64)))
    legal = legal_rows(theirs)
    payoff = expectation(form, USER, np.asarray(number, np.float64), plan)
    _, value = backup(theirs, payoff, lambda q, k: np.where(legal[k], q, np.inf).min(axis=-2))
    return float(value)


def most(
    game: Game,
    guarantees: Sequence[Guarantee],
    gain: Float[np.ndarray, " K"],
    within: Within,
) -> Optimum:
    """Return a plan that maximises `gain` times the v_0 and what `within` adds.

    HiGHS has absolute tolerances, so all numbers should be at scale 1. With 110,000 sequences and
    two or three guarantees it took 5 to 20 seconds (crisis_guidance, one core). Programs without a
    solution should not get here: HiGHS may take very long to find out. Raises `InputError` when it
    fails.
    """
    ours = game.form.treeplex[ASSISTANT]
    legal = legal_sequences(ours)
    flow = constraints(ours)[:, legal]
    extra = sparse.csr_array(within.extra)
    rows: list[list[sparse.csr_array | None]] = []
    last: list[sparse.csr_array] = []
    cost = [np.zeros(flow.shape[1])]
    for k, part in enumerate(guarantees):
        row: list[sparse.csr_array | None] = [None] * len(guarantees)
        row[k] = part.value
        rows.append([part.plan, *row, sparse.csr_array((part.plan.shape[0], extra.shape[1]))])
        first = np.eye(1, part.value.shape[1])
        last.append(sparse.csr_array(within.secured[:, [k]] @ first))
        cost.append(gain[k] * first[0])
    rows.append([sparse.csr_array((len(within.most), flow.shape[1])), *last, extra])
    rows.append(
        [flow, *[None] * len(guarantees), sparse.csr_array((flow.shape[0], len(within.gain)))]
    )
    matrix = sparse.block_array(rows, format="csr")
    unit = np.eye(1, flow.shape[0])[0]
    free = np.full(matrix.shape[0] - len(within.most) - len(unit), 0.0)
    low = np.full(matrix.shape[1], -np.inf)
    low[: flow.shape[1]] = 0.0
    low[len(low) - len(within.least) :] = within.least
    solver = highs.passed(
        matrix,
        np.concatenate([*cost, within.gain]),
        variables=(low, np.full(len(low), np.inf)),
        between=(
            np.concatenate([np.full(matrix.shape[0] - len(unit), -np.inf), unit]),
            np.concatenate([free, within.most, unit]),
        ),
        tolerance=TOLERANCE,
        options=SIMPLEX,
    )
    status = highs.run(solver)
    if status == "interrupted":
        raise KeyboardInterrupt
    if status != "exact":
        raise InputError(
            f"HiGHS could not solve the program of {game.name}: {highs.complaint(solver)}"
        )
    found = solver.getSolution()
    plan = np.zeros(len(legal))
    plan[legal] = positive(np.array(found.col_value[: flow.shape[1]]))
    prices = np.array(found.row_dual[len(free) : len(free) + len(within.most)])
    return Optimum(plan, prices, int(solver.getInfo().simplex_iteration_count))


def certified(
    game: Game, policy: Float[np.ndarray, "I A"], method: str, steps: int, began: float
) -> Solution:
    """Return the assistant's `policy` of an exact program with users who are worst for its payoff.

    `began` is when the work did, by `time.perf_counter`.
    """
    return certify(
        game,
        answered(game, ASSISTANT, policy),
        method=method,
        steps=steps,
        seconds=perf_counter() - began,
        status="exact",
    )


SIMPLEX = {"solver": "simplex", "simplex_strategy": 4, "simplex_scale_strategy": 0}
"""HiGHS's primal simplex method, unscaled: every plan is feasible but for a few rows, and on
programs with several guarantees the dual one was seen to stall for minutes."""

TOLERANCE = 1e-10  # the tightest that HiGHS has


def size(form: SequenceForm, number: Float[np.ndarray, " L"]) -> float:
    """Return the largest chance-weighted `number` of a leaf, 1 where there is none but 0."""
    return float(np.abs(np.asarray(form.leaves.chance) * number).max(initial=0.0)) or 1.0


def priors_of(game: Game, method: str) -> dict[str, float]:
    """Return the prior of each intent of a dialogue whose users are kernels or adversarial.

    Raises `InputError`, in the name of `method`, for any other game.
    """
    if game.scenario is None:
        raise InputError(
            f"{method} cannot solve {game.name}: found a game without intents, expected a dialogue "
            "scenario"
        )
    faults = [
        f"{method} cannot solve {game.name}: its intent {intent.name!r} is {intent.behaviour}, and "
        "what such users do is not linear in the assistant's plan; expected kernels and "
        "adversarial intents (make it adversarial for the worst case, or use the method commitment)"
        for intent in game.scenario.intents
        if intent.behaviour in ("rational", "quantal")
    ]
    if faults:
        raise InputError(*faults)
    return {intent.name: intent.prior.value for intent in game.scenario.intents}


def _matter(treeplex: Treeplex, used: Bool[np.ndarray, " S"]) -> Bool[np.ndarray, " I"]:
    """Return which infosets have a sequence that is `used`, their own or one after it."""
    numbers, mask, parent = (
        sequence_numbers(treeplex),
        legal_mask(treeplex),
        parent_sequences(treeplex),
    )
    used, found, stop = used.copy(), np.zeros(treeplex.infosets, bool), treeplex.infosets
    for level in reversed(treeplex.levels):
        here = slice(stop - level.infosets, stop)
        stop -= level.infosets
        found[here] = (mask[here] & used[numbers[here]]).any(axis=1)
        np.logical_or.at(used, parent[here], found[here])
    return found
