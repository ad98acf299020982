"""Logit quantal response equilibria: everybody makes mistakes, costly ones less often.

At rationality lambda, in 1/payoff, a policy sigma is a *quantal response equilibrium* (QRE) where
everybody answers everybody else by the logit rule (McKelvey & Palfrey 1998). At lambda = 0 all
choices are as likely as each other, and where lambda grows without bound QREs come to Nash
equilibria. There are two notions in extensive games, which differ even on tiny ones:

- In the *agent form* every infoset is an agent of its own, who compares expected payoffs given that
  it is reached, and takes the mistakes of all others into account, those of its own player too:

      sigma(a | I)  proportional to  exp(lambda E[u | I, a])

- In the *reduced normal form* a player draws a whole reduced pure strategy s, with a probability
  proportional to exp(lambda u(s)). Such sums over strategies factorise over the treeplex, so that
  this is the best response to payoffs with a dilated entropy added (Ling, Fang & Kolter 2018): with
  counterfactual values q, not conditional ones, and the soft maximum in place of the mean,

      sigma(a | I)  proportional to  exp(q(I, a)),
      q(I, a) = lambda payoff(I, a) + sum over the infosets I' after it of log sum_b exp(q(I', b))

At most lambdas a game can have several QREs. The one returned lies on the *principal branch*, which
begins at lambda = 0 and is followed as a curve, turning points included (Turocy 2010). The unknowns
are log-odds, in which the curve becomes straight as probabilities vanish: z(I, a) = log sigma(a|I)
- log sigma(first action|I).

Guaranteed is that the equations hold up to the residual reported. That the path stayed on the
branch is not proved (see `solvers.continuation`), only measured: in 660 random matrix games of 3 to
5 actions it ended where steps of a twentieth of the length end.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from csa_games.arrays import Array, namespace
from csa_games.errors import InputError
from csa_games.evaluate import value_and_gap
from csa_games.findings import QuantalResponse
from csa_games.fold import (
    Rows,
    Scalar,
    backup,
    expectation,
    legal_mask,
    legal_rows,
    mean_of,
    reach,
    rows_of,
    table_of,
    uniform,
)
from csa_games.game import Game, Level, Policy, Progress, SequenceForm, Solution, Status, Treeplex
from csa_games.logit import arrivals, given_reach, soft
from solvers.continuation import System, follow
from solvers.reaction import rationality as given_rationality
from solvers.response import certify, quantal_intents

MOST_UNKNOWNS = 1_500
"""The most free probabilities of a game: a Jacobian of their number squared is factorised a few
times in every step."""

USUAL = 10.0
"""Lambda times the larger payoff range where nothing else is asked for: an action that is worse by
a tenth of the range is then chosen e times less often."""

FIRST = 0.1  # by how much lambda times the payoff range grows in the first step
FAINT = 1e-290  # a counterfactual reach below it has lost digits, and nothing can be divided by it
ENTRIES = 1_000_000  # of an array that holds a direction in every row, while derivatives are taken


class Equations(NamedTuple):
    """The logit equations of a game: which probabilities are unknown, and who has which lambda.

    Letters: n unknowns. `place` says which log-odds stand at each infoset and action, -1 where
    there are none, `infoset` and `action` say the same by unknown, [n_0] and [n_1]. `possible`
    infosets are those that somebody's play can lead to. `fixed` is lambda where a scenario says it,
    infinite elsewhere; `unit`, in payoff, is what lambda is multiplied by to have no unit.
    """

    form: SequenceForm
    place: tuple[Int[Array, "I_0 A_0"], Int[Array, "I_1 A_1"]]
    infoset: tuple[Int[Array, " n_0"], Int[Array, " n_1"]]
    action: tuple[Int[Array, " n_0"], Int[Array, " n_1"]]
    possible: tuple[Rows, Rows]  # [K, 1, N]
    fixed: tuple[Rows, Rows]  # [K, A, N]
    unit: float


Rule = Callable[[Equations, int, tuple[Rows, Rows], Rows], Rows]
"""(equations, player, policy, lambda of its infosets) -> logits of its response to the policy."""


def solve(
    game: Game,
    *,
    rationality: float | None = None,
    max_steps: int = 1_000,
    seconds: float = math.inf,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return the agent-form QRE at `rationality` on the principal branch.

    `rationality` is lambda in 1/payoff; by default it is 10 divided by the larger of both players'
    payoff ranges. Quantal intents of a scenario keep the lambda that they have there, all the way;
    the assistant and the other intents that choose, rational and adversarial, have the one asked
    for. The branch then begins where these are uniform and the quantal intents respond to it.

    `Solution.quantal` says which lambda was reached, and how well the equations hold. The status is
    "exact" when lambda is the one asked for. Otherwise the policy is the last one of the branch,
    which is a QRE of the smaller lambda `quantal.reached`: after `max_steps` steps, `seconds`, or
    Ctrl-C ("interrupted"); "stationary" where no step leads on, mostly because a counterfactual
    reach became too small for float64. `progress` is told the NashConv at every step. The gaps are
    those to best responses, and positive by definition: without quantal intents NashConv is at
    most 1 / lambda times the sum, over the players, of ln(most actions) at each level.

    For games with up to `MOST_UNKNOWNS` free probabilities, actions less infosets; Leduc, which has
    1,248 of them, takes about a minute. Raises `InputError` beyond, and for arguments out of range.
    """
    return _solve(game, "qre", conditional, rationality, max_steps, seconds, progress)


def by_normal_form(
    game: Game,
    *,
    rationality: float | None = None,
    max_steps: int = 1_000,
    seconds: float = math.inf,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return the reduced-normal-form QRE at `rationality` on the principal branch.

    Everything else is as for `solve`, but for quantal intents, which are refused: they are agents
    by definition. At lambda = 0 the reduced pure strategies are what is uniform, and NashConv is at
    most 1 / lambda times the sum of the logarithms of how many there are.
    """
    if quantal := quantal_intents(game):
        raise InputError(
            f"qre-normal-form cannot solve {game.name}: its intents "
            f"{', '.join(map(repr, quantal))} are quantal, and choose anew at every infoset, not a "
            "strategy for all of them; use the method qre"
        )
    return _solve(
        game, "qre-normal-form", counterfactual, rationality, max_steps, seconds, progress
    )


def conditional(
    equations: Equations, player: int, policy: tuple[Rows, Rows], rationality: Rows
) -> Rows:
    """Return lambda E[u | I, a] for `player`; nan where a possible infoset is too rare to tell."""
    form = equations.form
    plan = reach(form.treeplex[1 - player], policy[1 - player])
    payoff = expectation(form, player, form.leaves.payoff[player], plan)
    values, _ = backup(form.treeplex[player], payoff, mean_of(policy[player]))
    parts = (values, arrivals(form, player, plan), equations.possible[player], rationality)
    return tuple(map(_scaled, *parts))


def _scaled(q: Array, reached: Array, possible: Array, rationality: Array) -> Array:
    xp = namespace(q)
    known = xp.where(reached[:, None] > FAINT, given_reach(q, reached, FAINT), xp.nan)
    return rationality * xp.where(possible, known, 0)


def counterfactual(
    equations: Equations, player: int, policy: tuple[Rows, Rows], rationality: Rows
) -> Rows:
    """Return q(I, a) of the reduced normal form for `player`, against the other's policy."""
    form = equations.form
    treeplex, legal = form.treeplex[player], legal_rows(form.treeplex[player])
    plan = reach(form.treeplex[1 - player], policy[1 - player])
    root, rows = expectation(form, player, form.leaves.payoff[player], plan)
    scaled = tuple(number * part for number, part in zip(rationality, rows, strict=True))
    return backup(treeplex, (root, scaled), lambda q, k: _soft_maximum(q, legal[k]))[0]


def _soft_maximum(q: Float[Array, "K A N"], legal: Array) -> Float[Array, "K N"]:
    xp = namespace(q)
    actions = xp.where(legal, q, -xp.inf)
    most = actions.max(axis=-2)
    return most + xp.log(xp.exp(actions - most[:, None]).sum(axis=-2))


def _solve(
    game: Game,
    method: str,
    rule: Rule,
    rationality: float | None,
    max_steps: int,
    seconds: float,
    progress: Callable[[Progress], object] | None,
) -> Solution:
    began = perf_counter()
    _check(game, rationality, max_steps, seconds)
    equations = _equations(game)
    wanted = USUAL / equations.unit if rationality is None else float(rationality)
    until = wanted * equations.unit
    start = _start(equations, rule)
    policy, reached = _tables(equations, start), 0.0
    history: list[Progress] = []
    branch: list[float] = []
    status: Status = "stationary"
    try:
        curve = follow(_system(equations, rule), start, until=until, first=FIRST)
        for step, point in enumerate(curve):
            policy, reached = _tables(equations, point), float(point[-1] / equations.unit)
            nash_conv = float(value_and_gap(game.form, policy)[1].sum())
            history.append(Progress(step, perf_counter() - began, nash_conv))
            branch.append(reached)
            if progress is not None:
                progress(history[-1])
            if point[-1] == until:
                status, reached = "exact", wanted
                break
            if step == max_steps or perf_counter() - began >= seconds:
                status = "max_steps" if step == max_steps else "seconds"
                break
    except KeyboardInterrupt:
        status = "interrupted"
    found = certify(
        game,
        policy,
        method=method,
        steps=max(0, len(history) - 1),
        seconds=perf_counter() - began,
        status=status,
        history=tuple(history),
    )
    quantal = QuantalResponse(
        rationality=wanted,
        reached=reached,
        residual=_residual(equations, rule, policy, np.float64(reached)),
        branch=tuple(branch),
    )
    return replace(found, quantal=quantal)


def _equations(game: Game) -> Equations:
    form = game.form
    places, infosets, actions, possible, fixed, count = [], [], [], [], [], 0
    for player, treeplex in enumerate(form.treeplex):
        legal = legal_mask(treeplex)
        unknown = legal & (np.arange(treeplex.width) > 0)  # legal actions come first
        infoset, action = np.nonzero(unknown)
        place = np.full(legal.shape, -1)
        place[infoset, action] = count + np.arange(len(infoset))
        count += len(infoset)
        places.append(place)
        infosets.append(infoset)
        actions.append(action)
        other = form.treeplex[1 - player]
        plan = reach(other, rows_of(other, uniform(other)))
        possible.append(tuple(part[:, None] > 0 for part in arrivals(form, player, plan)))
        wide = np.broadcast_to(given_rationality(game, player)[:, None], legal.shape)
        fixed.append(rows_of(treeplex, wide))
    return Equations(
        form=form,
        place=(places[0], places[1]),
        infoset=(infosets[0], infosets[1]),
        action=(actions[0], actions[1]),
        possible=(possible[0], possible[1]),
        fixed=(fixed[0], fixed[1]),
        unit=max(_range(form, player) for player in (0, 1)),
    )


def _range(form: SequenceForm, player: int) -> float:
    """Return the player's largest payoff less its smallest where chance may lead, 1 if it is 0."""
    possible = np.asarray(form.leaves.chance) > 0
    return float(np.ptp(np.asarray(form.leaves.payoff[player])[possible])) or 1.0


def _policy(equations: Equations, odds: Float[Array, " n"]) -> tuple[Rows, Rows]:
    """Return the policy whose log-odds against the first action of each infoset are `odds`."""
    xp = namespace(odds)
    padded = xp.concat([odds, xp.zeros(1, dtype=odds.dtype)])  # place -1 is its last
    first, second = (
        tuple(
            soft(logits, legal)
            for logits, legal in zip(
                rows_of(treeplex, padded[place]), legal_rows(treeplex), strict=True
            )
        )
        for treeplex, place in zip(equations.form.treeplex, equations.place, strict=True)
    )
    return first, second


def _responses(
    equations: Equations, rule: Rule, policy: tuple[Rows, Rows], rationality: Scalar
) -> tuple[Rows, Rows]:
    """Return the logits of everybody's response, strategic players having `rationality`."""
    xp = namespace(equations.form.leaves.chance)
    first, second = (
        rule(
            equations,
            player,
            policy,
            tuple(xp.where(xp.isinf(part), rationality, part) for part in equations.fixed[player]),
        )
        for player in (0, 1)
    )
    return first, second


def _errors(equations: Equations, rule: Rule, point: Float[Array, " M"]) -> Float[Array, " n"]:
    """Return by how much each log-odds differ from those of the response to all of them."""
    odds, rationality = point[:-1], point[-1] / equations.unit
    responses = _responses(equations, rule, _policy(equations, odds), rationality)
    answers, xp = [], namespace(odds)
    for player, treeplex in enumerate(equations.form.treeplex):
        infoset = equations.infoset[player]
        logits = xp.asarray(table_of(treeplex, responses[player]))  # of numpy without decisions
        answers.append(logits[infoset, equations.action[player]] - logits[infoset, 0])
    return odds - xp.concat(answers)


@partial(jax.jit, static_argnames=("rule", "together"))
def _linearised(
    equations: Equations, rule: Rule, point: Float[Array, " M"], together: int
) -> tuple[Float[Array, " n"], Float[Array, "M n"]]:
    """Return the errors at `point` and their derivative, `together` directions at a time."""
    errors, push = jax.linearize(partial(_errors, equations, rule), point)
    unknowns = len(point)
    # Filled up with zeros, so that all batches are of one size and compiled once.
    directions = jnp.eye(-(-unknowns // together) * together, unknowns, dtype=point.dtype)
    batches = directions.reshape(-1, together, unknowns)
    slopes = jax.lax.map(jax.vmap(push), batches)
    return errors, slopes.reshape(len(directions), -1)[:unknowns]


def _system(equations: Equations, rule: Rule) -> System:
    wide = equations.form.leaves.chance.shape[0] + sum(
        treeplex.sequences for treeplex in equations.form.treeplex
    )
    together = min(1 + sum(map(len, equations.infoset)), max(1, ENTRIES // wide))
    with jax.enable_x64(True):
        device = jax.device_put(equations)

    def system(point: Float[np.ndarray, " M"]) -> tuple[np.ndarray, np.ndarray]:
        with jax.enable_x64(True):
            errors, slope = jax.device_get(_linearised(device, rule, point, together))
        return errors, slope.T

    return system


def _start(equations: Equations, rule: Rule) -> Float[np.ndarray, " M"]:
    """Return the point of the branch at lambda = 0: whoever has it is uniform.

    An intent with a lambda of its own responds to that and to its own later choices: settled from
    the last level to the first.
    """
    point = np.zeros(1 + sum(map(len, equations.infoset)))
    for _ in range(1 + max(len(treeplex.levels) for treeplex in equations.form.treeplex)):
        point[:-1] -= _errors(equations, rule, point)
    return point


def _tables(equations: Equations, point: Float[np.ndarray, " M"]) -> Policy:
    rows = _policy(equations, point[:-1])
    first, second = (
        np.asarray(table_of(*pair)) for pair in zip(equations.form.treeplex, rows, strict=True)
    )
    return first, second


def _residual(equations: Equations, rule: Rule, policy: Policy, rationality: Scalar) -> float:
    """Return the largest difference between a log probability and that of the logit response."""
    first, second = (rows_of(*pair) for pair in zip(equations.form.treeplex, policy, strict=True))
    responses = _responses(equations, rule, (first, second), rationality)
    worst = 0.0
    for treeplex, rows, logits in zip(
        equations.form.treeplex, (first, second), responses, strict=True
    ):
        for mine, theirs, legal in zip(rows, logits, legal_rows(treeplex), strict=True):
            answer = soft(theirs, legal)
            apart = np.log(np.maximum(mine, FAINT)) - np.log(np.maximum(answer, FAINT))
            worst = max(worst, float(np.abs(apart).max(initial=0)))
    return worst


def _unknowns(treeplex: Treeplex) -> int:
    """Return how many probabilities of a policy are free: actions less infosets."""
    return sum(
        int(np.count_nonzero(level.legal)) - level.infosets
        if isinstance(level, Level)
        else level.infosets * (level.responses - 1)
        for level in treeplex.levels
    )


def _check(game: Game, rationality: float | None, max_steps: int, seconds: float) -> None:
    faults = []
    if rationality is not None and not 0 <= rationality < math.inf:
        faults.append(
            f"rationality is {rationality}, expected a finite number from 0 on, in 1/payoff"
        )
    if max_steps < 1:
        faults.append(f"max_steps is {max_steps}, expected 1 at least")
    if not seconds > 0:
        faults.append(f"seconds is {seconds}, expected a positive number")
    if (free := sum(map(_unknowns, game.form.treeplex))) > MOST_UNKNOWNS:
        faults.append(
            f"{game.name} has {free} free probabilities (actions less infosets), expected "
            f"{MOST_UNKNOWNS} at most: the branch of quantal response equilibria is followed with "
            "a dense Jacobian"
        )
    if faults:
        raise InputError(*faults)
