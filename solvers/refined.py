"""Refined equilibria: policies that make sense as well where equilibrium play never leads.

An equilibrium says nothing about states that it does not lead to: once the assistant would never
comply, how it goes on after having complied is arbitrary, and so is what it answers to an ask that
no user would make. Deployed policies get there all the same. So players are made to tremble
(`solvers.trembles`), which leads everywhere, and the perturbed game is solved. As epsilon goes to 0
its equilibria approach extensive-form perfect ones (Selten 1975), which are sequential equilibria
(Kreps & Wilson 1982): with the beliefs that trembles give, nobody gains by a change of policy
anywhere.

What is proved of a result, and what is measured. `value` and `gap` are those of the intended policy
in the game without trembles, where nobody's gap is more than the price of trembles: the perturbed
gap, plus what mistakes cost, of the order of epsilon times decisions times payoffs.
`Solution.refinement` says what the policy gives away at every single infoset given trembles,
computed from the policy alone. At an infoset that play of trembling hands gets to with probability
r, the loss is at most the perturbed gap divided by r, and r may be as small as a product of
epsilons: far off the path small losses are measured, not promised.

A refined policy pays for its trembles on the path. `completed` does not: it takes rows from it only
where another policy's own play never leads, and leaves that policy's certificate as it is.

Policies that are commitments should not be refined: off the path they hold threats, which are what
they are worth, and which nobody would want to carry out.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import perf_counter

import jax
import numpy as np
from jaxtyping import Float
from scipy import sparse

from csa_games.arrays import Array
from csa_games.errors import InputError
from csa_games.evaluate import infoset_reach, own_reach
from csa_games.findings import FINDINGS, Refinement
from csa_games.fold import (
    backup,
    gradient,
    legal_mask,
    legal_rows,
    parent_sequences,
    reach,
    rows_of,
    sequence_numbers,
    table_of,
)
from csa_games.game import Game, Policy, Progress, Solution, Status, Treeplex
from solvers import cfr
from solvers.driver import check_steps
from solvers.lp import constraints, legal_sequences
from solvers.regret import VARIANTS
from solvers.response import certify, refuse_quantal
from solvers.sequence import payoff_matrix, payoff_scale, policy_of
from solvers.trembles import executed

NEVER = 1e-6
"""An own reach below it counts as none, as it does where tables hold rows to be noise."""


def trembled(game: Game, policy: Policy, epsilon: float) -> Policy:
    """Return the policy that is executed by those who intend `policy`."""
    first, second = (
        np.asarray(
            table_of(treeplex, executed(treeplex, rows_of(treeplex, np.asarray(rows)), epsilon))
        )
        for treeplex, rows in zip(game.form.treeplex, policy, strict=True)
    )
    return first, second


def examine(game: Game, policy: Policy, epsilon: float) -> Refinement:
    """Return what `policy` gives away at each infoset when hands tremble with `epsilon`.

    Computed in float64 from the policy alone, whoever made it. Raises `InputError` for an epsilon
    that is not between 0 and 1.
    """
    _check_epsilon(epsilon)
    first, second = (np.asarray(rows, np.float64) for rows in policy)
    played = trembled(game, (first, second), epsilon)
    (gap_0, loss_0, stake_0), (gap_1, loss_1, stake_1) = (
        _given_away(game, player, played, epsilon) for player in (0, 1)
    )
    return Refinement(epsilon, np.array([gap_0, gap_1]), (loss_0, loss_1), (stake_0, stake_1))


def by_lp(game: Game, *, epsilon: float = 1e-2) -> Solution:
    """Return an exact equilibrium of the perturbed zero-sum game, by linear programming.

    The program is that of `solvers.lp` with rows that hold every executed choice above its mistake,
    x(I a) >= epsilon / |A(I)| x(sequence to I), which is linear (Farina & Gatti 2017). HiGHS works
    with absolute tolerances of 1e-10, and what is at stake at an infoset shrinks with a factor of
    epsilon for every mistake on the way: a smaller epsilon is not always better, and
    `refinement.worst` tells. `steps` counts HiGHS iterations.

    Raises `InputError` for games that are not zero-sum, for quantal intents, for an epsilon that is
    not between 0 and 1, and when HiGHS finds no optimum.
    """
    _check_epsilon(epsilon)
    refuse_quantal(game, "the refined linear program")
    if game.game_class == "general-sum":
        raise InputError(
            f"the refined linear program solves zero-sum games only, and the payoffs of "
            f"{game.name} do not sum to the same number at all its leaves"
        )
    began = perf_counter()
    policy, iterations = _optimal(game, epsilon)
    return _judged(
        game,
        policy,
        epsilon,
        method="lp-refined",
        steps=iterations,
        began=began,
        status="exact",
    )


def by_regret(
    game: Game,
    *,
    epsilon: float = 1e-2,
    target: float = 1e-4,
    max_steps: int = 20_000,
    seconds: float = math.inf,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return the average policy of PCFR+ among trembling hands.

    It stops once the NashConv of the perturbed game is at most `target`, in payoff units, which is
    also what `history` holds and `progress` is told; of all policies checked (see
    `driver.check_steps`) the one where it is lowest is returned. In zero-sum games it goes to 0
    (Farina, Kroer & Sandholm 2017), the more slowly the smaller epsilon is; in general-sum games
    nothing is promised. The status is "target", "max_steps", "seconds" (looked at when policies are
    checked) or "interrupted" (by KeyboardInterrupt).

    Raises `InputError` for quantal intents and arguments out of range.
    """
    _check_epsilon(epsilon)
    refuse_quantal(game, "refinement")
    if not (target >= 0 and max_steps >= 1 and seconds > 0):
        raise InputError(
            f"target is {target}, max_steps is {max_steps} and seconds is {seconds}, expected at "
            "least 0, at least 1 and a positive number"
        )
    began = perf_counter()
    best, lowest, history = None, math.inf, []
    status: Status = "max_steps"
    with jax.enable_x64(True):
        form = jax.device_put(game.form)
        state = cfr.init(form)
        more = partial(cfr.run, form, VARIANTS["pcfr+"], horizon=float(max_steps), epsilon=epsilon)
    try:
        for stop in check_steps(max_steps):
            with jax.enable_x64(True):
                # Regrets shrink with every mistake on the way: no dead zone suits all infosets.
                state = more(state, stop - int(state.t), dead_zone=0.0)
                policy = cfr.average(game.form, jax.device_get(state))
            played = trembled(game, policy, epsilon)
            gap = sum(_given_away(game, player, played, epsilon)[0] for player in (0, 1))
            history.append(Progress(stop, perf_counter() - began, gap))
            if progress is not None:
                progress(history[-1])
            if gap < lowest:
                best, lowest, steps = policy, gap, stop
            if gap <= target:
                status = "target"
                break
            if perf_counter() - began >= seconds:
                status = "seconds"
                break
    except KeyboardInterrupt:
        if best is None:
            raise
        status = "interrupted"
    assert best is not None  # the first check is kept: payoffs are bounded, and so are gaps
    return replace(
        _judged(
            game,
            best,
            epsilon,
            method="cfr-refined",
            steps=steps,
            began=began,
            status=status,
        ),
        history=tuple(history),
    )


def completed(game: Game, solution: Solution, refinement: Solution) -> Solution:
    """Return `solution` with the rows of a refined one where its own play never leads.

    An own reach below `NEVER` counts as none. Such rows are no part of a player's plan but for
    that much: values and gaps change by at most the own reach of the first of them on each way,
    times payoffs. Everything is certified again, and examined with the epsilon of the refined
    solution; a row that was kept may give away as much as before.

    Raises `InputError` when `refinement` is not a refined solution, and for solutions of methods
    that promise more than value and gap: their promises hold for the very policy they were made of.
    """
    promised = [name for name in FINDINGS if name != "refinement" and getattr(solution, name)]
    if promised:
        raise InputError(
            f"the solution by {solution.method} promises more than a gap ({', '.join(promised)}), "
            "and off the path it may hold what that rests on, expected one of equilibrium play"
        )
    if refinement.refinement is None:
        raise InputError(
            f"the solution by {refinement.method} is not a refined one, expected that of "
            "lp-refined or cfr-refined"
        )
    first, second = (
        np.where(
            own_reach(game, player, solution.policy)[:, None] < NEVER,
            refinement.policy[player],
            solution.policy[player],
        )
        for player in (0, 1)
    )
    found = certify(
        game,
        (first, second),
        method=solution.method,
        steps=solution.steps,
        seconds=solution.seconds,
        status=solution.status,
        dead_zone=solution.dead_zone,
        history=solution.history,
    )
    return replace(found, refinement=examine(game, found.policy, refinement.refinement.epsilon))


def _judged(
    game: Game,
    policy: Policy,
    epsilon: float,
    *,
    method: str,
    steps: int,
    began: float,
    status: Status,
) -> Solution:
    found = certify(
        game, policy, method=method, steps=steps, seconds=perf_counter() - began, status=status
    )
    return replace(found, refinement=examine(game, found.policy, epsilon))


def _given_away(
    game: Game, player: int, played: Policy, epsilon: float
) -> tuple[float, Float[np.ndarray, " I"], Float[np.ndarray, " I"]]:
    """Return what `player` gives away from the start, and at each infoset given that it is there.

    `played` is what both execute; the player compares it with the best that it could intend. The
    last are what is at stake at each infoset: the best intention less the worst.
    """
    treeplex, other = game.form.treeplex[player], game.form.treeplex[1 - player]
    own = rows_of(treeplex, played[player])
    payoff = gradient(game.form, player, reach(other, rows_of(other, played[1 - player])))
    legal = legal_rows(treeplex)
    most: dict[int, Array] = {}
    mean: dict[int, Array] = {}
    spread: dict[int, Array] = {}

    def best(q: Array, k: int) -> Array:
        mistake = np.where(legal[k], q, 0).sum(axis=-2) / legal[k].sum(axis=-2)
        right = np.where(legal[k], q, -np.inf).max(axis=-2)
        wrong = np.where(legal[k], q, np.inf).min(axis=-2)
        spread[k] = (1 - epsilon) * (right - wrong)
        most[k] = (1 - epsilon) * right + epsilon * mistake
        return most[k]

    def actual(q: Array, k: int) -> Array:
        mean[k] = (own[k] * q).sum(axis=-2)
        return mean[k]

    best_value, actual_value = (backup(treeplex, payoff, rule)[1] for rule in (best, actual))
    levels = range(len(legal))
    others = infoset_reach(game, player, played)[1]

    def given(numbers: list[Array]) -> Float[np.ndarray, " I"]:
        column = table_of(treeplex, tuple(number[:, None] for number in numbers))[:, :1]
        flat = np.reshape(column, treeplex.infosets)  # no infosets have no columns
        return np.divide(flat, others, out=np.full_like(flat, np.nan), where=others > 0)

    lost = given([most[k] - mean[k] for k in levels])
    return float(best_value - actual_value), lost, given([spread[k] for k in levels])


def _optimal(game: Game, epsilon: float) -> tuple[Policy, int]:
    """Return the intended policies of an equilibrium, and the number of HiGHS iterations."""
    from scipy.optimize import linprog  # slow to import, and only needed here

    form = game.form
    legal = [legal_sequences(treeplex) for treeplex in form.treeplex]
    payoff = payoff_matrix(form, 0)[legal[0]][:, legal[1]] / (payoff_scale(form) or 1.0)
    own, other = (
        constraints(treeplex)[:, mask] for treeplex, mask in zip(form.treeplex, legal, strict=True)
    )
    first, second = (
        _intended(treeplex, epsilon)[mask][:, mask]
        for treeplex, mask in zip(form.treeplex, legal, strict=True)
    )
    # x is executed; maximise q_0 subject to E x = e, R_0 x >= 0, A' x = F' q + R_1' w, w >= 0.
    # The dual variables of the last equality are what the other executes.
    sizes = (own.shape[1], other.shape[0], second.shape[0])
    start = sizes[0]

    result = linprog(
        c=-np.eye(1, sum(sizes), start)[0],
        A_ub=sparse.hstack([-first, _nothing(first, sum(sizes[1:]))], format="csr"),
        b_ub=np.zeros(first.shape[0]),
        A_eq=sparse.vstack(
            [
                sparse.hstack([own, _nothing(own, sum(sizes[1:]))]),
                sparse.hstack([-payoff.T, other.T, second.T]),
            ],
            format="csr",
        ),
        b_eq=np.concatenate([np.eye(1, own.shape[0])[0], np.zeros(other.shape[1])]),
        bounds=[(None, None)] * sum(sizes[:2]) + [(0, None)] * sizes[2],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if result.status != 0:
        raise InputError(f"HiGHS found no equilibrium of {game.name}: {result.message}")
    plans = (result.x[:start], -result.eqlin.marginals[own.shape[0] :])
    policy = []
    for treeplex, mask, above, plan in zip(
        form.treeplex, legal, (first, second), plans, strict=True
    ):
        weight = np.zeros(treeplex.sequences)
        weight[mask] = np.maximum(above @ plan, 0.0)
        # What exceeds mistakes is intended, in proportion: at each infoset, not as a plan.
        policy.append(policy_of(treeplex, weight))
    return (policy[0], policy[1]), int(result.nit)


def _intended(treeplex: Treeplex, epsilon: float) -> sparse.csr_array:
    """Return the matrix [S, S] that takes mistakes away from an executed plan.

    What is left of x(I a) is (1 - epsilon) x(sequence to I) times the intended probability of a.
    """
    legal, numbers = legal_mask(treeplex), sequence_numbers(treeplex)
    infoset = np.nonzero(legal)[0]
    share = epsilon / legal.sum(axis=1)
    row, above = numbers[legal], parent_sequences(treeplex)[infoset]
    every = np.arange(treeplex.sequences)
    shape = (treeplex.sequences, treeplex.sequences)
    mistakes = sparse.coo_array((share[infoset], (row, above)), shape=shape)
    itself = sparse.coo_array((np.ones(treeplex.sequences), (every, every)), shape=shape)
    return sparse.csr_array(itself - mistakes)


def _nothing(rows: sparse.csr_array, columns: int) -> sparse.csr_array:
    return sparse.csr_array((rows.shape[0], columns))


def _check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < 1:
        raise InputError(
            f"epsilon is {epsilon}, expected a probability of mistakes between 0 and 1, such as "
            "0.01"
        )
