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

Users may be free within limits only: with what probability they do something at an infoset lies in
an interval (`Freedom`). Then y is a plan with l y(parent) <= y(s) <= u y(parent) after each parent
sequence, and the rows of G get the multipliers of these, which are nonnegative. It is the robust
Markov decision process of Iyengar (2005) and Nilim & El Ghaoui (2005), with a player who sees part
of the state: nature may choose within the intervals at each infoset anew.

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
    Payoff,
    backup,
    expectation,
    legal_mask,
    parent_sequences,
    reach,
    rows_of,
    sequence_numbers,
    table_of,
)
from csa_games.game import ASSISTANT, USER, Game, SequenceForm, Solution, Status, Treeplex
from solvers import highs
from solvers.lp import constraints, legal_sequences, positive
from solvers.reaction import answered
from solvers.response import certify
from solvers.sequence import leaf_matrix


@dataclass(frozen=True)
class Freedom:
    """With what probability users may take each action at each of their infosets.

    Those of an infoset sum to 1, and some do so within the intervals; they are 0 for slots without
    an action. From 0 to 1, users are adversarial.
    """

    low: Float[np.ndarray, "I_0 A_0"]
    high: Float[np.ndarray, "I_0 A_0"]


@dataclass(frozen=True)
class Guarantee:
    """The rows F' v - N x <= 0 of one number.

    Letters: R rows, one per sequence of the users that matters to the number, V values, the first
    of which is v_0, and X legal sequences of the assistant. The last of the V, from `free` on, are
    the multipliers of intervals, and not negative.
    """

    plan: sparse.csr_array  # -N [R, X]
    value: sparse.csr_array  # F' [R, V]
    free: int


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


def around(
    chance: Float[np.ndarray, "*S"], radius: float
) -> tuple[Float[np.ndarray, "*S"], Float[np.ndarray, "*S"]]:
    """Return intervals of this radius, within 0 and 1; what is 0 stays so."""
    low, high = np.maximum(chance - radius, 0.0), np.minimum(chance + radius, 1.0)
    return np.where(chance > 0, low, 0.0), np.where(chance > 0, high, 0.0)


def guarantee(
    form: SequenceForm, number: Float[np.ndarray, " L"], freedom: Freedom | None = None
) -> Guarantee:
    """Return the rows of G for a `number` per leaf; of the factored layout histories are listed.

    Users are adversarial where no `freedom` says otherwise. Infosets of users below which the
    number is 0 everywhere are left out: their values are 0.
    """
    theirs, ours = form.treeplex
    by_pair = leaf_matrix(form, np.asarray(number, np.float64))[:, legal_sequences(ours)]
    by_pair.eliminate_zeros()
    infosets = _matter(theirs, np.diff(by_pair.indptr) > 0)
    actions = legal_mask(theirs) & infosets[:, None]
    rows = np.concatenate([[0], np.sort(sequence_numbers(theirs)[actions])])
    columns = np.concatenate([[0], 1 + np.flatnonzero(infosets)])
    values = constraints(theirs)[columns][:, rows]
    if freedom is not None:
        values = sparse.vstack([values, _intervals(theirs, freedom, actions)[:, rows]])
    return Guarantee(
        sparse.csr_array(-by_pair[rows]), sparse.csr_array(values.T), free=len(columns)
    )


def secured(
    form: SequenceForm,
    policy: Float[Array, "I A"],
    number: Float[np.ndarray, " L"],
    freedom: Freedom | None = None,
) -> float:
    """Return G of the assistant's `policy`, from the policy alone: the users' best response."""
    return worst_reaction(form, policy, number, freedom)[1]


def worst_reaction(
    form: SequenceForm,
    policy: Float[Array, "I A"],
    number: Float[np.ndarray, " L"],
    freedom: Freedom | None = None,
) -> tuple[Float[np.ndarray, "I_0 A_0"], float]:
    """Return the users' policy that makes least of `number`, and how much: G."""
    theirs = form.treeplex[USER]
    legal = legal_mask(theirs)
    given = Freedom(np.zeros(legal.shape), legal.astype(float)) if freedom is None else freedom
    low, high, there = (
        tuple(map(np.asarray, rows_of(theirs, table)))
        for table in (given.low, given.high, legal.astype(float))
    )
    chosen: dict[int, np.ndarray] = {}

    def least(q: Array, k: int) -> Array:
        chosen[k] = least_of(np.where(there[k] > 0, q, np.inf), low[k], high[k])
        return (chosen[k] * q).sum(axis=-2)

    _, value = backup(theirs, against(form, policy, number), least)
    return np.asarray(table_of(theirs, tuple(chosen[k] for k in range(len(low))))), float(value)


def against(
    form: SequenceForm, policy: Float[Array, "I A"], number: Float[np.ndarray, " L"]
) -> Payoff:
    """Return what each of the users' sequences gets of `number` against the assistant's policy."""
    ours = form.treeplex[ASSISTANT]
    plan = reach(ours, rows_of(ours, np.asarray(policy, np.float64)))
    return expectation(form, USER, np.asarray(number, np.float64), plan)


def least_of(
    number: Float[np.ndarray, "*B A N"],
    low: Float[np.ndarray, "*B A N"],
    high: Float[np.ndarray, "*B A N"],
) -> Float[np.ndarray, "*B A N"]:
    """Return the probabilities within intervals, over the axis A, that expect least of `number`.

    What the low ends leave free goes where the number is smallest.
    """
    order = np.argsort(number, axis=-2, kind="stable")
    room = np.take_along_axis(high - low, order, axis=-2)
    free = 1.0 - low.sum(axis=-2, keepdims=True)
    more = np.clip(free - (np.cumsum(room, axis=-2) - room), 0.0, room)
    return low + np.take_along_axis(more, np.argsort(order, axis=-2), axis=-2)


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
    values = [
        np.where(np.arange(part.value.shape[1]) < part.free, -np.inf, 0.0) for part in guarantees
    ]
    low = np.concatenate([np.zeros(flow.shape[1]), *values, within.least])
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
    game: Game,
    policy: Float[np.ndarray, "I A"],
    method: str,
    steps: int,
    began: float,
    status: Status = "exact",
) -> Solution:
    """Return the assistant's `policy` of a program with users who are worst for its payoff.

    `began` is when the work did, by `time.perf_counter`.
    """
    return certify(
        game,
        answered(game, ASSISTANT, policy),
        method=method,
        steps=steps,
        seconds=perf_counter() - began,
        status=status,
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


def _intervals(
    treeplex: Treeplex, freedom: Freedom, actions: Bool[np.ndarray, "I_0 A_0"]
) -> sparse.csr_array:
    """Return the rows y(s) - low y(parent) and high y(parent) - y(s), those that say something.

    They are of the users' `actions`, [., S_0], and at least 0 of every plan that keeps to them.
    """
    parent = np.broadcast_to(parent_sequences(treeplex)[:, None], actions.shape)
    parts = []
    for bound, sign in ((freedom.low, 1.0), (freedom.high, -1.0)):
        told = actions & (bound > 0 if sign > 0 else bound < 1)
        count = int(told.sum())
        row = np.tile(np.arange(count), 2)
        column = np.concatenate([sequence_numbers(treeplex)[told], parent[told]])
        entry = np.concatenate([np.full(count, sign), -sign * bound[told]])
        shape = (count, treeplex.sequences)
        parts.append(sparse.coo_array((entry, (row, column)), shape=shape))
    return sparse.csr_array(sparse.vstack(parts))


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
