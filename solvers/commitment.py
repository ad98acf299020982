"""Stackelberg commitment: the best policy for a leader whose followers know it and react to it.

A policy that is deployed is observed and learned, so that it is a commitment whether one wants it
or not. Two methods find good ones, an exact program (`solvers.milp`) and gradient ascent through
the followers' reactions (`solvers.ascent`), and every result is judged in the same way: its exact
value against the exact reactions, under both ways of breaking ties, and an upper bound.

Where the followers only minimise, in zero-sum games and in the security class, commitment is
minimax: the best commitment and an equilibrium policy are the same thing, and large games of this
kind are solved by regret minimisation, which bounds itself.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import perf_counter

import jax
import numpy as np
from jaxtyping import Float

from csa_games.errors import InputError
from csa_games.findings import Commitment
from csa_games.fold import legal_mask, uniform
from csa_games.game import ASSISTANT, USER, Game, Progress, Solution, Status
from solvers import driver
from solvers.ascent import climb
from solvers.bounds import NAME, relaxed
from solvers.milp import (
    MOST_BINARIES,
    MOST_HISTORIES,
    Program,
    polished,
    program,
    search,
    size,
    strictest,
)
from solvers.reaction import Ties, answered, payoff_range
from solvers.regret import VARIANTS
from solvers.response import certify, quantal_intents, value
from solvers.sequence import plan_of, policy_of

COMPARED_STEPS, COMPARED_SHARE = 2_000, 1e-3
"""How the policies to compare with are found: at most so many iterations of PCFR+, or until their
NashConv is this share of the leader's payoff range."""

MINIMAX_SHARE = 1e-4
"""How near to minimax the commitments against minimisers come, as a share of the payoff range."""

MOST_LOGITS = 4_000_000  # of all starts together
PURE_NODES = 50
"""How far the best pure policy is searched for: it is there to compare with."""

PIECES = 10  # of an ascent; what they lead to is judged after each

Table = Float[np.ndarray, "I A"]


def solve(
    game: Game,
    *,
    leader: int = ASSISTANT,
    seconds: float = math.inf,
    nudge: float = 0.0,
    max_steps: int = 1_000,
    starts: int = 8,
    seed: int = 0,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return the best commitment found for `leader`, by the method that suits the game.

    That is the exact program where it is small enough and no user is quantal, and gradient ascent
    otherwise; the result's `method` says which. Arguments and errors are those of `by_milp` and
    `by_gradient`.
    """
    _check(game, leader, seconds, nudge)
    histories, binaries = size(game, leader)
    small = histories <= MOST_HISTORIES and binaries <= MOST_BINARIES
    if small and not quantal_intents(game):
        return by_milp(game, leader=leader, seconds=seconds, nudge=nudge, progress=progress)
    return by_gradient(
        game,
        leader=leader,
        seconds=seconds,
        nudge=nudge,
        max_steps=max_steps,
        starts=starts,
        seed=seed,
        progress=progress,
    )


def by_milp(
    game: Game,
    *,
    leader: int = ASSISTANT,
    seconds: float = math.inf,
    nudge: float = 0.0,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return an exact commitment by the sequence-form program; status "exact" when proved.

    After `seconds`, or Ctrl-C, the best plan so far is returned with the bound proved so far, and
    the status "seconds" or "interrupted". Ties are broken for the leader (a strong Stackelberg
    equilibrium); `commitment.weak` says what is left where followers break them otherwise. With
    `nudge` the plan is moved by that share to the one that makes the same reaction best by the
    widest margin, which costs the leader no more than that share of its payoff range and leaves
    ties only where there is no margin at all. The best
    pure policy is searched for afterwards, in `PURE_NODES` nodes and as long again at most.
    `progress` is told how many nodes were searched and the gap between the bound and the best plan.

    Raises `InputError` for quantal intents, whose reactions are not linear, and for programs beyond
    `milp.MOST_HISTORIES` or `milp.MOST_BINARIES`.
    """
    began = perf_counter()
    _check(game, leader, seconds, nudge)
    if quantal := quantal_intents(game):
        raise InputError(
            f"the exact program cannot solve {game.name}: its intents "
            f"{', '.join(map(repr, quantal))} are quantal, and their reactions are not linear; use "
            "the method commitment-gradient"
        )
    given = program(game, leader)
    compared = _equilibrium(game, leader)
    first = np.asarray(compared.policy[leader])
    found = search(given, first, seconds=seconds, progress=progress)
    best = _nudged(given, policy_of(game.form.treeplex[leader], found.plan), nudge)
    pure = search(given, best, seconds=seconds, nodes=PURE_NODES, progress=progress, pure=True)
    bound, bound_by = found.bound, "the dual bound of the sequence-form program"
    if found.status != "exact" and (loose := _relaxed(game, leader)) < bound:
        bound, bound_by = loose, NAME
    return _judged(
        game,
        leader,
        best,
        pure=policy_of(game.form.treeplex[leader], pure.plan),
        bounds=(bound, min(bound, pure.bound)),
        bound_by=bound_by,
        compared=compared,
        method="commitment-milp",
        steps=found.steps,
        began=began,
        status=found.status,
    )


def by_gradient(
    game: Game,
    *,
    leader: int = ASSISTANT,
    seconds: float = math.inf,
    nudge: float = 0.0,
    max_steps: int = 1_000,
    starts: int = 8,
    seed: int = 0,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return the best commitment that gradient ascent finds; nothing about it is proved but bounds.

    The ascent does `max_steps` steps from up to `starts` policies, fewer where memory asks for it:
    the equilibrium policy compared with, the uniform one, random ones drawn with `seed`. Small
    games without quantal intents get a linear program at the end, which moves the best policy to
    the best one with the same reaction, and then by `nudge` as in `by_milp`. Where followers only
    minimise there is nothing to climb: the equilibrium policy is the commitment. `progress` is told
    the optimality gap.

    Status: "stationary" after all steps, or "seconds"; in the security class and zero-sum games
    that of the regret minimiser. Raises `InputError` for arguments out of range.
    """
    began = perf_counter()
    _check(game, leader, seconds, nudge)
    if not (max_steps >= 1 and starts >= 1):
        raise InputError(
            f"max_steps is {max_steps} and starts is {starts}, expected 1 at least of both"
        )
    if game.game_class != "general-sum":
        return _by_regret(game, leader, seconds, progress, began)
    compared = _equilibrium(game, leader)
    bound = _relaxed(game, leader)

    def worth(policy: Table) -> float:
        return _value(game, leader, policy, "for")

    treeplex = game.form.treeplex[leader]
    count = max(1, min(starts, MOST_LOGITS // treeplex.sequences))
    begin = _starts(game, leader, np.asarray(compared.policy[leader]), count, seed)
    best, strong = begin[0], worth(begin[0])
    done = 0 if treeplex.infosets else max_steps  # who has no choice has nothing to climb

    def late(_: int) -> bool:
        return perf_counter() - began >= seconds

    for done, policies in climb(game, leader, begin, steps=max_steps, pieces=PIECES, stop=late):
        for policy in policies:
            if (found := worth(policy)) > strong:
                best, strong = policy, found
        if progress is not None:
            progress(Progress(done, perf_counter() - began, bound - strong))
    histories, binaries = size(game, leader)
    small = histories <= MOST_HISTORIES and binaries <= MOST_BINARIES
    if small and not quantal_intents(game):
        given = program(game, leader)
        better = policy_of(treeplex, polished(given, best))
        best = _nudged(given, better if worth(better) > strong else best, nudge)
    return _judged(
        game,
        leader,
        best,
        pure=np.eye(treeplex.width)[best.argmax(axis=1)],
        bounds=(bound, bound),
        bound_by=NAME,
        compared=compared,
        method="commitment-gradient",
        steps=done,
        began=began,
        status="stationary" if done == max_steps else "seconds",
    )


def _by_regret(
    game: Game,
    leader: int,
    seconds: float,
    progress: Callable[[Progress], object] | None,
    began: float,
) -> Solution:
    """Return the commitment of a game whose followers only minimise: its equilibrium policy."""
    solved = driver.solve(
        game,
        VARIANTS["pcfr+"],
        target=MINIMAX_SHARE * payoff_range(game.form, leader),
        seconds=seconds,
        progress=progress,
    )
    policy = np.asarray(solved.policy[leader])
    bound = float(solved.value[leader] + solved.gap[leader])
    return _judged(
        game,
        leader,
        policy,
        pure=np.eye(policy.shape[1])[policy.argmax(axis=1)],
        bounds=(bound, bound),
        bound_by="minimax: the value of the policies found, and what the leader could gain there",
        compared=solved,
        method="commitment-gradient",
        steps=solved.steps,
        began=began,
        status=solved.status,
    )


def _nudged(given: Program, policy: Table, share: float) -> Table:
    """Return `policy` moved by `share` to the plan that makes its reaction best by most."""
    away = strictest(given, policy) if share > 0 else None
    if away is None:
        return policy
    treeplex = given.game.form.treeplex[given.leader]
    return policy_of(treeplex, (1 - share) * plan_of(treeplex, policy) + share * away)


def _judged(
    game: Game,
    leader: int,
    policy: Table,
    *,
    pure: Table,
    bounds: tuple[float, float],
    bound_by: str,
    compared: Solution,
    method: str,
    steps: int,
    began: float,
    status: Status,
) -> Solution:
    """Return `policy` with its certificate as a commitment, against exact reactions."""
    solution = certify(
        game,
        answered(game, leader, policy),
        method=method,
        steps=steps,
        seconds=perf_counter() - began,
        status=status,
    )
    strong, flat = float(solution.value[leader]), _value(game, leader, pure, "for")
    commitment = Commitment(
        leader=leader,
        strong=strong,
        weak=_value(game, leader, policy, "against"),
        bound=max(bounds[0], strong),
        bound_by=bound_by,
        equilibrium=float(compared.value[leader]),
        equilibrium_gap=compared.nash_conv,
        pure=flat,
        pure_bound=max(bounds[1], flat),
    )
    return replace(solution, commitment=commitment)


def _value(game: Game, leader: int, policy: Table, ties: Ties) -> float:
    """Return what `policy` is worth to the leader against the followers' exact reaction."""
    return float(value(game, answered(game, leader, policy, ties))[leader])


def _equilibrium(game: Game, leader: int) -> Solution:
    """Return the policies to compare with: an equilibrium as near as PCFR+ comes to one.

    Quantal users are taken as rational ones there, because no policy of theirs has a gap of zero.
    """
    rational = replace(game, scenario=None) if quantal_intents(game) else game
    return _minimax(rational, scale=payoff_range(game.form, leader))


def _relaxed(game: Game, leader: int) -> float:
    """Return the upper bound that needs no program."""
    return relaxed(game, leader, partial(_minimax, scale=payoff_range(game.form, leader)))


def _minimax(game: Game, scale: float) -> Solution:
    return driver.solve(
        game, VARIANTS["pcfr+"], target=COMPARED_SHARE * scale, max_steps=COMPARED_STEPS
    )


def _starts(game: Game, leader: int, first: Table, count: int, seed: int) -> list[Table]:
    """Return `count` policies: the first, the uniform one, and random ones."""
    treeplex = game.form.treeplex[leader]
    legal = legal_mask(treeplex)
    policies = [first, uniform(treeplex)]
    for key in jax.random.split(jax.random.key(seed), max(0, count - 2)):
        weights = np.where(legal, np.asarray(jax.random.exponential(key, legal.shape)) ** 3, 0)
        weights = weights + 1e-6 * legal
        policies.append(weights / weights.sum(axis=1, keepdims=True))
    return policies[:count]


def _check(game: Game, leader: int, seconds: float, nudge: float) -> None:
    faults = []
    if leader not in (USER, ASSISTANT):
        faults.append(f"leader is {leader!r}, expected 0 or 1")
    if not seconds > 0:
        faults.append(f"seconds is {seconds}, expected a positive number")
    if not 0 <= nudge < 1:
        faults.append(f"nudge is {nudge}, expected a share from 0 to less than 1")
    if leader == USER and quantal_intents(game):
        faults.append(
            f"quantal intents of {game.name} cannot lead: they choose by a rule, not by a plan"
        )
    if faults:
        raise InputError(*faults)
