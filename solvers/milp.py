"""Commitment by a mixed-integer linear program over the sequence form: exact, for small games.

The leader commits to a realisation plan r; the follower, who knows it, best-responds by a pure
plan, breaking ties for the leader (Bosansky & Cermak 2015; for the types of a Bayesian follower,
Paruchuri et al. 2008). With g and u the follower's and the leader's payoffs per pair of sequences
(leader's, follower's), chance included, and C chance alone:

    maximise  sum_s' u(s', empty) r(s')  +  sum_top w_I  +  sum u(s', s) p(s', s)

over plans r; the follower's values v_I and its pure plan b at rational infosets; the weights
p = r b of pairs; and the leader's values w_I at adversarial infosets, subject to

    w_I <= sum_s' u(s', s) r(s') + sum_{I' after s} w_I'                adversarial s at I
    0 <= v_I - sum_{I' after s} v_I' - sum_s' g(s', s) r(s') <= M_s (1 - b(s))     rational s at I
    sum_a b(I a) = b(sequence to I),   0 <= p(s', s) <= r(s'), b(s)
    sum over pairs below a first infoset I:  C p = how often play gets to I,   g p = v_I

Only rational followers need integers: against adversarial ones the leader's problem is the linear
program of a zero-sum game, and kernels are chance. In the security class and in zero-sum games this
*is* that linear program. The last line is implied by p = r b, and cuts off most of what a
relaxation would make of fractional b. M_s is the follower's most at I less its least after s.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from csa_games.arrays import Array
from csa_games.errors import InputError
from csa_games.evaluate import choosing_intents, histories
from csa_games.fold import legal_mask, parent_sequences, sequence_numbers, uniform
from csa_games.game import USER, Game, Progress, Status, Treeplex
from solvers import highs
from solvers.lp import NOISE, constraints, legal_sequences
from solvers.reaction import reaction
from solvers.sequence import leaf_matrix, plan_of
from solvers.slack import most_slack

MOST_HISTORIES = 400_000
MOST_BINARIES = 5_000
"""The largest programs that are worth trying: beyond them HiGHS rarely closes the gap."""

MARGIN = 1e-7  # a narrower one is a tie
FEASIBILITY = 1e-9  # of HiGHS, for payoffs at scale 1


@dataclass(frozen=True)
class Blocks:
    """Where the variables of the program stand: r, w, v, b and p, one block after the other."""

    plan: slice
    adversarial: slice
    value: slice
    binary: slice
    pair: slice

    @staticmethod
    def of(*sizes: int) -> "Blocks":
        """Return blocks of the given sizes."""
        ends = np.cumsum([0, *sizes]).tolist()
        return Blocks(*(slice(start, stop) for start, stop in pairwise(ends)))

    @property
    def columns(self) -> int:
        """How many variables there are."""
        return int(self.pair.stop)

    def row(self, group: "_Group") -> sparse.csr_array:
        """Return the rows of `group` over all variables."""
        count = len(group.low)
        places = ((field.name, getattr(self, field.name)) for field in fields(self))
        return sparse.hstack(
            [
                group.blocks.get(name, sparse.csr_array((count, place.stop - place.start)))
                for name, place in places
            ],
            format="csr",
        )


@dataclass(frozen=True)
class Program:
    """The program of one leader in one game, with payoffs at scale 1."""

    game: Game
    leader: int
    at: Blocks
    cost: Float[np.ndarray, " V"]
    rows: sparse.csr_array
    low: Float[np.ndarray, " R"]
    high: Float[np.ndarray, " R"]
    legal: Bool[np.ndarray, " S_l"]
    scale: float
    rational: Int[np.ndarray, " B"]  # the follower's sequences that have a binary
    before: Int[np.ndarray, " B"]  # the binary of the sequence that leads to each, or -1
    most: Float[np.ndarray, " B"]  # M
    worth: slice  # the rows that say what rational followers get at the least

    def __post_init__(self) -> None:
        assert self.rows.shape == (len(self.low), self.at.columns)


@dataclass(frozen=True)
class Found:
    """A leader's plan [S_l], and what no plan's value is above, in payoff units."""

    plan: Float[np.ndarray, " S_l"]
    bound: float
    status: Status
    steps: int


def adversarial(game: Game, follower: int) -> Bool[np.ndarray, " I"]:
    """Return at which of the follower's infosets it minimises the payoff of the leader.

    Everywhere in a zero-sum game, and where an adversarial intent chooses in any dialogue.
    """
    infosets = game.form.treeplex[follower].infosets
    if game.game_class != "general-sum":
        return np.ones(infosets, bool)
    if game.scenario is None or follower != USER:
        return np.zeros(infosets, bool)
    against = {i.name for i in game.scenario.intents if i.behaviour == "adversarial"}
    return np.array([intent in against for intent in choosing_intents(game)], bool)


def size(game: Game, leader: int) -> tuple[int, int]:
    """Return how many histories and how many binaries the program of `leader` would be made of."""
    treeplex = game.form.treeplex[1 - leader]
    free = legal_mask(treeplex)[~adversarial(game, 1 - leader)]
    return histories(game), int(free.sum())


def program(game: Game, leader: int) -> Program:
    """Return the program of `leader`; raises `InputError` where it would be too large."""
    leaves, binaries = size(game, leader)
    if leaves > MOST_HISTORIES or binaries > MOST_BINARIES:
        raise InputError(
            f"{game.name} has {leaves:,} histories and {binaries:,} sequences of rational "
            f"followers; the exact program takes at most {MOST_HISTORIES:,} and {MOST_BINARIES:,}: "
            "use the method commitment-gradient"
        )
    form, follower = game.form, 1 - leader
    ours, theirs = form.treeplex[leader], form.treeplex[follower]
    legal = legal_sequences(ours)

    def matrix(number: Array) -> sparse.csr_array:
        by_pair = leaf_matrix(form, np.asarray(number, np.float64))
        return sparse.csr_array(by_pair if leader == 0 else by_pair.T)

    gains = matrix(form.leaves.payoff[follower])
    payoff, gain = matrix(form.leaves.payoff[leader])[legal], gains[legal]
    chance = matrix(np.ones(len(form.leaves.chance)))[legal]
    scale = max(float(abs(payoff).max()), float(abs(gain).max())) or 1.0
    payoff, gain = payoff / scale, gain / scale
    parts = _parts(theirs, adversarial(game, follower))
    # All three matrices have an entry wherever a leaf is, so that their entries are aligned.
    pairs, gained, paid = (sparse.coo_array(m[:, parts.free]) for m in (chance, gain, payoff))
    at = Blocks.of(
        int(legal.sum()), parts.hostile_infosets, parts.infosets, len(parts.free), len(pairs.data)
    )
    most = most_slack(theirs, ours, sparse.csr_array(gains.T))[parts.free] / scale
    first = [_plan_rows(constraints(ours)[:, legal]), _adversarial_rows(parts, payoff)]
    start = sum(len(group.low) for group in first)
    groups = [
        *first,
        *_value_rows(parts, gain, most),
        _choice_rows(parts),
        *_pair_rows(parts, pairs, gained.data, chance, theirs, int(legal.sum())),
    ]
    cost = np.zeros(at.columns)
    cost[at.plan] = payoff[:, [0]].toarray()[:, 0]
    cost[at.adversarial] = parts.top[parts.hostile_at]
    cost[at.pair] = paid.data
    return Program(
        game=game,
        leader=leader,
        at=at,
        cost=cost,
        rows=sparse.vstack([at.row(group) for group in groups], format="csr"),
        low=np.concatenate([group.low for group in groups]),
        high=np.concatenate([group.high for group in groups]),
        legal=legal,
        scale=scale,
        rational=parts.free,
        before=parts.b[parts.parent[parts.owner[parts.free]]],
        most=most,
        worth=slice(start, start + len(parts.free)),
    )


@dataclass(frozen=True)
class _Parts:
    """The follower's infosets and sequences, sorted by who chooses there.

    `w` and `v` are the columns of an infoset among the adversarial and the rational ones, `b` that
    of a sequence among the rational ones.
    """

    parent: Int[np.ndarray, " I"]
    owner: Int[np.ndarray, " S"]  # the infoset that a sequence is an action of, or -1
    hostile_at: Bool[np.ndarray, " I"]
    hostile: Int[np.ndarray, " S_a"]
    free: Int[np.ndarray, " B"]
    w: Int[np.ndarray, " I"]
    v: Int[np.ndarray, " I"]
    b: Int[np.ndarray, " S"]

    @property
    def top(self) -> Bool[np.ndarray, " I"]:
        """Which infosets come first."""
        return self.parent == 0

    @property
    def hostile_infosets(self) -> int:
        """How many infosets are adversarial."""
        return int(self.hostile_at.sum())

    @property
    def infosets(self) -> int:
        """How many infosets are rational."""
        return int((~self.hostile_at).sum())


@dataclass(frozen=True)
class _Group:
    """Rows of one kind: coefficients by block, and what each row lies between."""

    blocks: Mapping[str, sparse.csr_array]
    low: Float[np.ndarray, " R"]
    high: Float[np.ndarray, " R"]


def _group(
    blocks: Mapping[str, sparse.csr_array],
    low: float | np.ndarray = -np.inf,
    high: float | np.ndarray = np.inf,
) -> _Group:
    rows = next(iter(blocks.values())).shape[0]
    low, high = (np.broadcast_to(np.asarray(bound, float), rows) for bound in (low, high))
    return _Group(blocks, low, high)


def _parts(theirs: Treeplex, hostile_at: Bool[np.ndarray, " I"]) -> _Parts:
    numbers, mask = sequence_numbers(theirs), legal_mask(theirs)
    owner = np.full(theirs.sequences, -1)
    owner[numbers[mask]] = np.nonzero(mask)[0]
    hostile, free = (
        np.sort(numbers[mask & hostile_at[:, None]]),
        np.sort(numbers[mask & ~hostile_at[:, None]]),
    )
    b = np.full(theirs.sequences, -1)
    b[free] = np.arange(len(free))
    return _Parts(
        parent=parent_sequences(theirs),
        owner=owner,
        hostile_at=hostile_at,
        hostile=hostile,
        free=free,
        w=np.cumsum(hostile_at) - 1,
        v=np.cumsum(~hostile_at) - 1,
        b=b,
    )


def _plan_rows(flow: sparse.csr_array) -> _Group:
    """Return E r = e."""
    unit = np.eye(1, flow.shape[0])[0]
    return _group({"plan": flow}, unit, unit)


def _adversarial_rows(parts: _Parts, payoff: sparse.csr_array) -> _Group:
    """Return that the leader gets no more than each answer of an adversarial follower leaves it."""
    hostile = parts.hostile
    after = _after(parts, hostile, parts.hostile_at, parts.w)
    blocks = {
        "plan": sparse.csr_array(-payoff[:, hostile].T),
        "adversarial": _ones(parts.w[parts.owner[hostile]], parts.hostile_infosets) - after,
    }
    return _group(blocks, high=0.0)


def _value_rows(
    parts: _Parts, gain: sparse.csr_array, most: Float[np.ndarray, " B"]
) -> tuple[_Group, _Group]:
    """Return that a rational follower gets what its best action is worth, and takes that one."""
    free = parts.free
    after = _after(parts, free, ~parts.hostile_at, parts.v)
    blocks = {
        "plan": sparse.csr_array(-gain[:, free].T),
        "value": _ones(parts.v[parts.owner[free]], parts.infosets) - after,
    }
    every = np.arange(len(free))
    chosen = {"binary": _cells(every, every, most, (len(free), len(free)))}
    return _group(blocks, low=0.0), _group(blocks | chosen, high=most)


def _choice_rows(parts: _Parts) -> _Group:
    """Return that b is a plan: one action where the follower gets to, none elsewhere."""
    free, shape = parts.free, (parts.infosets, len(parts.free))
    taken = _cells(parts.v[parts.owner[free]], parts.b[free], 1.0, shape)
    below = np.flatnonzero(~parts.hostile_at & ~parts.top)
    came = _cells(parts.v[below], parts.b[parts.parent[below]], 1.0, shape)
    first = parts.top[~parts.hostile_at].astype(float)
    return _group({"binary": sparse.csr_array(taken - came)}, first, first)


def _pair_rows(
    parts: _Parts,
    pairs: sparse.coo_array,
    gained: Float[np.ndarray, " P"],
    chance: sparse.csr_array,
    theirs: Treeplex,
    plans: int,
) -> Iterator[_Group]:
    """Yield that p is at most b and r, and what p adds up to below each first infoset."""
    free, (rows, columns) = parts.free, (pairs.row, pairs.col)
    every = np.arange(len(pairs.data))
    itself = _ones(every, len(every))
    yield _group({"binary": -_ones(columns, len(free)), "pair": itself}, high=0.0)
    yield _group({"plan": -_ones(rows, plans), "pair": itself}, high=0.0)
    firsts = np.flatnonzero(~parts.hostile_at & parts.top)
    place = np.full(len(parts.parent) + 1, -1)
    place[firsts] = np.arange(len(firsts))
    group = place[_first_infoset(parts)[free]]
    # How often play gets to a first infoset: below it any plan of the follower sums to 1.
    even = plan_of(theirs, uniform(theirs))[free]
    share = _cells(np.arange(len(free)), group, even, (len(free), len(firsts)))
    shape = (len(firsts), len(every))
    visits = {
        "plan": sparse.csr_array(-(chance[:, free] @ share).T),
        "pair": _cells(group[columns], every, pairs.data, shape),
    }
    yield _group(visits, 0.0, 0.0)
    worth = {
        "value": -_ones(parts.v[firsts], parts.infosets),
        "pair": _cells(group[columns], every, gained, shape),
    }
    yield _group(worth, 0.0, 0.0)


def _after(
    parts: _Parts, sequences: np.ndarray, which: np.ndarray, column: np.ndarray
) -> sparse.csr_array:
    """Return the matrix that adds up the values of those infosets that come after `sequences`."""
    row = np.full(len(parts.owner), -1)
    row[sequences] = np.arange(len(sequences))
    below = np.flatnonzero(which & ~parts.top)
    return _cells(row[parts.parent[below]], column[below], 1.0, (len(sequences), int(which.sum())))


def _ones(column: np.ndarray, columns: int) -> sparse.csr_array:
    """Return the matrix with a 1 in each row, in the given column."""
    return _cells(np.arange(len(column)), column, 1.0, (len(column), columns))


def _cells(
    row: np.ndarray, column: np.ndarray, entry: np.ndarray | float, shape: tuple[int, int]
) -> sparse.csr_array:
    entries = np.broadcast_to(np.asarray(entry, float), np.shape(row))
    return sparse.coo_array((entries, (row, column)), shape=shape).tocsr()


def search(
    given: Program,
    policy: Float[Array, "I A"],
    *,
    pure: bool = False,
    seconds: float = np.inf,
    nodes: int | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Found:
    """Return the best plan that HiGHS finds in `seconds` and so many `nodes` of its search.

    It is at least as good as that of `policy`.

    With `pure` the leader may not randomise, and neither does `policy` then. Ctrl-C, or a
    KeyboardInterrupt raised by `progress`, ends the search and not the process. The plan is that of
    a linear program in which what was integral is fixed, so that it is a vertex and exact to
    rounding.
    """
    at, game = given.at, given.game
    if pure:
        policy = np.eye(policy.shape[1])[np.asarray(policy).argmax(axis=1)]
    first = plan_of(game.form.treeplex[given.leader], policy)
    integral = np.zeros(at.columns, bool)
    integral[at.binary] = True
    integral[at.plan] = pure
    begin = _answer(given, policy)
    if pure:
        begin[at.plan] = first[given.legal]

    solver = _passed(given, integral, seconds)
    if integral.any():
        columns = np.flatnonzero(integral).astype(np.int32)
        solver.setSolution(len(columns), columns, begin[columns])
    if nodes is not None:
        solver.setOptionValue("mip_max_nodes", nodes)
    if progress is not None:
        highs.report(solver, given.scale, progress)
    status = highs.run(solver)
    if status is None:
        raise InputError(
            f"HiGHS could not solve the program of {game.name}: {highs.complaint(solver)}"
        )
    found, info = highs.variables(solver), solver.getInfo()
    x = _polished(given, begin if found is None else np.where(integral, np.round(found), np.nan))
    bound = np.inf
    if integral.any():
        bound = info.mip_dual_bound
    elif status == "exact":
        bound = info.objective_function_value
    return Found(
        plan=_plan(given, x),
        bound=given.scale * max(float(bound), float(given.cost @ x)),
        status=status,
        steps=max(int(info.simplex_iteration_count), 0),
    )


def polished(given: Program, policy: Float[Array, "I A"]) -> Float[np.ndarray, " S_l"]:
    """Return the best plan to which the follower's reaction to `policy` is a best response."""
    return _plan(given, _polished(given, _answer(given, policy)))


def strictest(given: Program, policy: Float[Array, "I A"]) -> Float[np.ndarray, " S_l"] | None:
    """Return the plan to which the follower's reaction to `policy` is best by the widest margin.

    The margin is the least by which any other action, where the follower gets to, is worse, in
    counterfactual values. A mixture of a plan with this one leaves no ties, because incentives are
    linear in plans. None where a tie is there whatever the leader does.
    """
    answer = _answer(given, policy)
    chosen = answer[given.at.binary]
    came = np.concatenate([[1.0], chosen])[given.before + 1]
    other = np.flatnonzero((chosen < 0.5) & (came > 0.5) & (given.most > 0))
    if not len(other):
        return None
    solver = _passed(given, np.zeros(given.at.columns, bool))
    highs.hold(solver, answer)
    every = np.arange(given.at.columns, dtype=np.int32)
    solver.changeColsCost(len(every), every, np.zeros(len(every)))
    rows = (given.worth.start + other).astype(np.int32)
    solver.addCol(1.0, 0.0, 1.0, len(rows), rows, -np.ones(len(rows)))
    found = highs.variables(solver) if highs.run(solver) == "exact" else None
    if found is None or found[-1] <= MARGIN:
        return None
    return _plan(given, found)


def _answer(given: Program, policy: Float[Array, "I A"]) -> Float[np.ndarray, " V"]:
    """Return the follower's reaction to `policy` as the binaries, nan for all other variables."""
    follower = 1 - given.leader
    treeplex = given.game.form.treeplex[follower]
    fixed = np.full(given.at.columns, np.nan)
    fixed[given.at.binary] = plan_of(treeplex, reaction(given.game, follower, policy))[
        given.rational
    ]
    return fixed


def _plan(given: Program, variables: Float[np.ndarray, " V"]) -> Float[np.ndarray, " S_l"]:
    weights = variables[given.at.plan]
    plan = np.zeros(len(given.legal))
    plan[given.legal] = np.where(weights > NOISE, weights, 0)
    return plan


def _passed(given: Program, integral: np.ndarray, seconds: float = np.inf) -> Any:
    """Return a HiGHS solver that holds the program."""
    at = given.at
    lower, upper = np.zeros(at.columns), np.full(at.columns, np.inf)
    lower[at.adversarial] = lower[at.value] = -np.inf
    upper[at.plan] = upper[at.binary] = upper[at.pair] = 1.0
    return highs.passed(
        given.rows,
        given.cost,
        variables=(lower, upper),
        between=(given.low, given.high),
        integral=integral,
        tolerance=FEASIBILITY,
        seconds=seconds,
        options={"mip_rel_gap": 1e-7},
    )


def _polished(given: Program, fixed: np.ndarray) -> np.ndarray:
    """Return the optimal variables with those that are not nan in `fixed` held there."""
    solver = _passed(given, np.zeros(given.at.columns, bool))
    highs.hold(solver, fixed)
    found = highs.variables(solver) if highs.run(solver) == "exact" else None
    if found is None:
        raise InputError(
            f"HiGHS found no plan in {given.game.name} to which the follower's choice is a best "
            f"response: {highs.complaint(solver)}"
        )
    return found


def _first_infoset(parts: _Parts) -> Int[np.ndarray, " S"]:
    """Return, per sequence, the first infoset on the way to it; of the empty one the number I."""
    first = np.arange(len(parts.parent) + 1)
    for i, above in enumerate(parts.parent):
        if above > 0:
            first[i] = first[parts.owner[above]]
    return first[parts.owner]
