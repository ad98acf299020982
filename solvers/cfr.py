"""Counterfactual regret minimisation: one engine for every row of `regret.VARIANTS`.

A policy is improved at every infoset on its own by regret matching on counterfactual values; in
two-player zero-sum games the average policies approach an equilibrium (Zinkevich et al. 2007). In
general-sum games nothing is promised, and the gap of the result is all that is claimed.

`init`, `step` and `run` are pure functions that keep the dtype of the game's payoffs and can be
jitted and vmapped like any other; call them under `jax.enable_x64(True)` for
float64. `solve` does that by itself.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import perf_counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from csa_games.arrays import Array
from csa_games.errors import InputError
from csa_games.fold import backup, gradient, legal_mask, mean_of, reach, uniform
from csa_games.game import Game, Policy, Progress, SequenceForm, Solution, Status
from solvers.regret import VARIANTS, Number, Variant, at, discount, regret_matching
from solvers.response import certify, refuse_quantal
from solvers.sequence import behavioural, payoff_scale

DEAD_ZONE = 1e-8  # of the largest chance-weighted payoff
PIECE_SECONDS = 0.5  # the longest that the device works before the host looks at the clock
MOST_STEPS = 2**31 - 1


class State(NamedTuple):
    """A run between two iterations; each pair is by player."""

    regret: tuple[Float[Array, "I_0 A_0"], Float[Array, "I_1 A_1"]]  # cumulative
    plan_sum: tuple[Float[Array, " S_0"], Float[Array, " S_1"]]  # weighted; float64 if enabled
    policy: tuple[Float[Array, "I_0 A_0"], Float[Array, "I_1 A_1"]]  # for the next iteration
    t: Int[Array, ""]  # iterations done


class _Half(NamedTuple):
    """One player's part of a state."""

    regret: Float[Array, "I A"]
    plan_sum: Float[Array, " S"]
    policy: Float[Array, "I A"]


def init(form: SequenceForm) -> State:
    """Return the state before the first iteration: no regrets, empty sums, uniform policies.

    Regrets and policies have the dtype of the payoffs, the sums of plans float64.
    """
    dtype = jnp.asarray(form.leaves.chance).dtype
    wide = jnp.result_type(float)  # float64 where it is enabled
    first, second = form.treeplex
    return State(
        regret=(
            jnp.zeros((first.infosets, first.width), dtype),
            jnp.zeros((second.infosets, second.width), dtype),
        ),
        plan_sum=(jnp.zeros(first.sequences, wide), jnp.zeros(second.sequences, wide)),
        policy=(jnp.asarray(uniform(first), dtype), jnp.asarray(uniform(second), dtype)),
        t=jnp.zeros((), jnp.int32),
    )


def step(
    form: SequenceForm,
    variant: Variant,
    state: State,
    *,
    horizon: Number,
    dead_zone: Number,
    simultaneous: bool | Bool[Array, ""] = False,
) -> State:
    """Return the state after one more iteration.

    `horizon` is the number of iterations planned, which schedules refer to, and `dead_zone` is in
    payoff units (see `regret_matching`). In an alternating iteration player 1 responds to the new
    policy of player 0, in a simultaneous one to that of the iteration before.
    """
    t = state.t + 1
    first = _half(form, 0, variant, state, t, state.policy[1], horizon, dead_zone)
    seen = jnp.where(simultaneous, state.policy[0], first.policy)
    second = _half(form, 1, variant, state, t, seen, horizon, dead_zone)
    return State(
        regret=(first.regret, second.regret),
        plan_sum=(first.plan_sum, second.plan_sum),
        policy=(first.policy, second.policy),
        t=t,
    )


def _half(
    form: SequenceForm,
    player: int,
    variant: Variant,
    state: State,
    t: Int[Array, ""],
    opponent: Float[Array, "I_opponent A_opponent"],
    horizon: Number,
    dead_zone: Number,
) -> _Half:
    """Return `player`'s update against the policy of its `opponent`: regrets, sum, new policy."""
    treeplex = form.treeplex[player]
    legal = legal_mask(treeplex)
    old, plan_sum, policy = (part[player] for part in state[:3])

    payoff = gradient(form, player, reach(form.treeplex[1 - player], opponent))
    values, _ = backup(treeplex, payoff, mean_of(policy))
    mean = (policy * values).sum(axis=-1, keepdims=True)
    instantaneous = jnp.where(legal, values - mean, 0)

    now = t.astype(policy.dtype)
    regret = discount(variant, old, now, horizon) * old + instantaneous
    regret = jnp.where(variant.plus, jnp.maximum(regret, 0), regret)

    # The policy that was used enters the average, not the one that this update makes.
    exact = t.astype(plan_sum.dtype)
    keep = ((exact - 1) / exact) ** at(variant.gamma, exact / horizon)
    plan_sum = keep * plan_sum + reach(treeplex, policy)

    coming = jnp.where(
        variant.discounted_prediction, discount(variant, regret, now + 1, horizon), 1
    )
    predicted = coming * regret + variant.prediction * instantaneous
    matched = regret_matching(predicted, legal, dead_zone)
    return _Half(regret.astype(old.dtype), plan_sum, matched.astype(policy.dtype))


@jax.jit
def run(
    form: SequenceForm,
    variant: Variant,
    state: State,
    steps: int | Int[Array, ""],
    *,
    horizon: Number,
    dead_zone: Number,
    simultaneous: bool | Bool[Array, ""] = False,
) -> State:
    """Return the state after `steps` more iterations; arguments as in `step`.

    Everything but the shape of the game is traced: one compilation serves all variants.
    """

    def body(_: Array, state: State) -> State:
        return step(
            form,
            variant,
            state,
            horizon=horizon,
            dead_zone=dead_zone,
            simultaneous=simultaneous,
        )

    return jax.lax.fori_loop(0, steps, body, state)


def average(form: SequenceForm, state: State) -> Policy:
    """Return the average policies, the ones with the guarantee; uniform where never reached."""
    first, second = form.treeplex
    return behavioural(first, state.plan_sum[0]), behavioural(second, state.plan_sum[1])


def default_dead_zone(form: SequenceForm) -> float:
    """Return 1e-8 times the largest chance-weighted payoff: above rounding, below real regrets.

    Kuhn 1/3, Leduc 0.108 and BattleShip2 2 are such payoffs; the factor is measured, for float64.
    """
    return DEAD_ZONE * payoff_scale(form)


def solve(
    game: Game,
    variant: Variant,
    *,
    target: float = 1e-4,
    max_steps: int = 100_000,
    seconds: float = math.inf,
    dead_zone: float | None = None,
    simultaneous: bool = False,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return the best average policy found until NashConv is at most `target` (payoff units).

    The average is checked after 0, 1, 2, 3, 4, 5, 7, 9, ... iterations, always a quarter more, and
    after `max_steps`, which is also the horizon of scheduled variants. Of all policies checked, the
    one with the lowest NashConv is returned: `steps` are its iterations, while `seconds` and
    `history` (one entry per check) are those of the whole run. Iterations and checks are in
    float64, and neither depends on how fast the machine is, unless `seconds` ends the run.

    Status: "target", "max_steps", "seconds" (wall-clock, compilation included, looked at about
    twice a second), "interrupted" (by KeyboardInterrupt), or "nonfinite" (payoffs so large that
    sums overflow; then the best policy before that).

    `dead_zone` is in payoff units, by default `default_dead_zone`; 0 reproduces libraries without
    one bit for bit up to the order of summation. `progress` is called at every check, and about
    twice a second between checks with the NashConv of the last one.

    Raises `InputError` for arguments out of range and for games with quantal intents.
    """
    method = name_of(variant)
    refuse_quantal(game, method)
    _check_arguments(target, max_steps, seconds, dead_zone)
    if dead_zone is None:
        dead_zone = default_dead_zone(game.form)

    start = perf_counter()
    with jax.enable_x64(True):
        form = jax.device_put(game.form)
        state = init(form)
    best: Solution | None = None
    history: list[Progress] = []
    status: Status = "max_steps"

    def more(state: State, steps: int) -> State:
        with jax.enable_x64(True):
            return run(
                form,
                variant,
                state,
                steps,
                horizon=float(max_steps),
                dead_zone=dead_zone,
                simultaneous=simultaneous,
            )

    def report(t: int) -> None:
        if progress is not None:
            progress(Progress(t, perf_counter() - start, history[-1].nash_conv))

    try:
        for stop in check_steps(max_steps):
            state = _advance(more, state, stop, start + seconds, report)
            found = _check(game, jax.device_get(state), method, dead_zone)
            if found is None:
                status = "nonfinite"
                break
            if best is None or found.nash_conv < best.nash_conv:
                best = found
            history.append(Progress(int(state.t), perf_counter() - start, found.nash_conv))
            report(int(state.t))
            if found.nash_conv <= target:
                status = "target"
                break
            if perf_counter() - start >= seconds:
                status = "seconds"
                break
    except KeyboardInterrupt:
        if best is None:
            raise
        status = "interrupted"

    if best is None:
        raise InputError(f"the payoffs of {game.name} are so large that sums of them overflow")
    elapsed = perf_counter() - start
    return replace(best, status=status, seconds=elapsed, history=tuple(history))


def _advance(
    more: Callable[[State, int], State],
    state: State,
    stop: int,
    deadline: float,
    report: Callable[[int], None],
) -> State:
    """Return the state at iteration `stop`, or at an earlier one once `deadline` has passed.

    A device cannot be interrupted, so the work is cut into pieces of about `PIECE_SECONDS`; the
    iterations are the same however they are cut.
    """
    done, piece = int(state.t), 1
    while done < stop:
        before = perf_counter()
        state = more(state, piece)
        done = int(state.t)  # waits for the device
        now = perf_counter()
        if now >= deadline:
            break
        if done < stop:
            report(done)
        piece = max(1, min(stop - done, int(PIECE_SECONDS * piece / (now - before))))
    return state


def check_steps(max_steps: int) -> Iterator[int]:
    """Yield the iterations after which `solve` checks: 0, 1, 2, ... and at last `max_steps`."""
    t = 0
    while t < max_steps:
        yield t
        t = max(t + 1, t * 5 // 4)
    yield max_steps


def name_of(variant: Variant) -> str:
    """Return the name of `variant` in the table, or its parameters where it has none."""
    names = (name for name, row in VARIANTS.items() if row == variant)
    return next(names, repr(variant))


def _check(game: Game, state: State, method: str, dead_zone: float) -> Solution | None:
    """Return the average policy of `state` (numpy) with its certificate, None where not finite."""
    if not all(np.isfinite(numbers).all() for numbers in jax.tree.leaves(state)):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        found = certify(
            game,
            average(game.form, state),
            method=method,
            steps=int(state.t),
            seconds=0.0,
            status="max_steps",
            dead_zone=dead_zone,
        )
    return found if math.isfinite(found.nash_conv) else None


def _check_arguments(
    target: float, max_steps: int, seconds: float, dead_zone: float | None
) -> None:
    faults = []
    if not (target >= 0 and math.isfinite(target)):
        faults.append(f"target is {target}, expected a NashConv of at least 0 in payoff units")
    if not 0 <= max_steps <= MOST_STEPS:
        faults.append(f"max_steps is {max_steps}, expected a whole number from 0 to {MOST_STEPS}")
    if not seconds > 0:
        faults.append(f"seconds is {seconds}, expected a positive number")
    if dead_zone is not None and not (dead_zone >= 0 and math.isfinite(dead_zone)):
        faults.append(f"dead_zone is {dead_zone}, expected at least 0, in payoff units")
    if faults:
        raise InputError(*faults)
