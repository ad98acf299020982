"""Counterfactual regret minimisation: one engine for every row of `regret.VARIANTS`.

A policy is improved at every infoset on its own by regret matching on counterfactual values; in
two-player zero-sum games the average policies approach an equilibrium (Zinkevich et al. 2007). In
general-sum games nothing is promised, and the gap of the result is all that is claimed.

`init`, `step` and `run` are pure functions that keep the dtype of the game's payoffs and can be
jitted and vmapped like any other; call them under `jax.enable_x64(True)` for float64.
`solvers.driver.solve` does that by itself, and decides when to stop.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from csa_games.arrays import Array, sum_of_actions
from csa_games.fold import Rows, Visit, coupled, legal_rows, sweep, table_of
from csa_games.game import CoupledForm, Policy, SequenceForm, Treeplex
from solvers.regret import Number, Variant, at, discount, regret_matching
from solvers.sequence import behavioural
from solvers.trembles import executed, trembling


class State(NamedTuple):
    """A run between two iterations; each pair is by player."""

    regret: tuple[Rows, Rows]  # cumulative
    plan_sum: tuple[Rows, Rows]  # weighted; float64 if enabled
    policy: tuple[Rows, Rows]  # for the next iteration
    t: Int[Array, ""]  # iterations done


def init(form: SequenceForm) -> State:
    """Return the state before the first iteration: no regrets, empty sums, uniform policies.

    Regrets and policies have the dtype of the payoffs, the sums of plans float64.
    """
    dtype = jnp.asarray(form.leaves.chance).dtype
    wide = jnp.result_type(float)  # float64 where it is enabled
    first, second = form.treeplex
    return State(
        regret=(_zeros(first, dtype), _zeros(second, dtype)),
        plan_sum=(_zeros(first, wide), _zeros(second, wide)),
        policy=(_uniform(first, dtype), _uniform(second, dtype)),
        t=jnp.zeros((), jnp.int32),
    )


def _zeros(treeplex: Treeplex, dtype: jnp.dtype) -> Rows:
    return tuple(jnp.zeros(level.rows, dtype) for level in treeplex.levels)


def _uniform(treeplex: Treeplex, dtype: jnp.dtype) -> Rows:
    pairs = zip(_zeros(treeplex, dtype), legal_rows(treeplex), strict=True)
    return tuple(regret_matching(zeros, jnp.asarray(legal)) for zeros, legal in pairs)


def step(
    form: SequenceForm | CoupledForm,
    variant: Variant,
    state: State,
    *,
    horizon: Number,
    dead_zone: Number,
    simultaneous: bool | Bool[Array, ""] = False,
    epsilon: Number | None = None,
) -> State:
    """Return the state after one more iteration.

    `horizon` is the number of iterations planned, which schedules refer to, and `dead_zone` is in
    payoff units (see `regret_matching`). In an alternating iteration player 1 responds to the new
    policy of player 0, in a simultaneous one to that of the iteration before. With `epsilon` the
    policies are what players intend, and everybody trembles: see `solvers.trembles`.
    """
    t, ready = state.t + 1, coupled(form)
    visit = _update(variant, t, horizon, dead_zone)
    if epsilon is not None:
        visit = trembling(visit, epsilon)

    def played(player: int, policy: Rows) -> Rows:
        return policy if epsilon is None else executed(form.treeplex[player], policy, epsilon)

    own = tuple(played(player, state.policy[player]) for player in (0, 1))
    first = _half(ready, 0, state, own[0], own[1], visit)
    seen = jax.tree.map(partial(jnp.where, simultaneous), own[0], played(0, first[2]))
    second = _half(ready, 1, state, own[1], seen, visit)
    regret, plan_sum, policy = zip(first, second, strict=True)
    return State(regret, plan_sum, policy, t)


def _half(
    form: CoupledForm, player: int, state: State, own: Rows, opponent: Rows, visit: Visit
) -> tuple[Rows, Rows, Rows]:
    """Return `player`'s regrets, sums and policy after its update against `opponent`'s policy.

    `own` is the policy that the player's reach is counted by.
    """
    levels = tuple(zip(*(part[player] for part in state[:3]), strict=True))
    _, new = sweep(form, player, own, opponent, levels, visit)
    regret, plan_sum, policy = zip(*new, strict=True) if new else ((), (), ())
    return regret, plan_sum, policy


def _update(variant: Variant, t: Int[Array, ""], horizon: Number, dead_zone: Number) -> Visit:
    """Return what iteration `t` does at infosets; their state is (regret, plan sum, policy)."""

    def visit(
        q: Float[Array, "K A N"],
        legal: Bool[Array, "_ A _"],
        reach: Float[Array, "K N"],
        state: tuple[Array, Array, Array],
    ) -> tuple[Array, tuple[Array, Array, Array]]:
        old, plan_sum, policy = state
        mean = sum_of_actions(policy * q)
        instantaneous = jnp.where(legal, q - mean[:, None], 0)

        now = t.astype(policy.dtype)
        regret = discount(variant, old, now, horizon) * old + instantaneous
        regret = jnp.where(variant.plus, jnp.maximum(regret, 0), regret)

        # The policy that was used enters the average, not the one that this update makes.
        exact = t.astype(plan_sum.dtype)
        keep = ((exact - 1) / exact) ** at(variant.gamma, exact / horizon)
        plan_sum = keep * plan_sum + policy * reach[:, None]

        coming = jnp.where(
            variant.discounted_prediction, discount(variant, regret, now + 1, horizon), 1
        )
        predicted = coming * regret + variant.prediction * instantaneous
        matched = regret_matching(predicted, legal, dead_zone)
        return mean, (regret.astype(old.dtype), plan_sum, matched.astype(policy.dtype))

    return visit


def iterated(
    form: SequenceForm,
    variant: Variant,
    state: State,
    steps: int | Int[Array, ""],
    *,
    horizon: Number,
    dead_zone: Number,
    simultaneous: bool | Bool[Array, ""] = False,
    epsilon: Number | None = None,
) -> State:
    """Return the state after `steps` more iterations; arguments as in `step`."""
    ready = coupled(form)  # outside the loop

    def body(_: Array, state: State) -> State:
        return step(
            ready,
            variant,
            state,
            horizon=horizon,
            dead_zone=dead_zone,
            simultaneous=simultaneous,
            epsilon=epsilon,
        )

    return jax.lax.fori_loop(0, steps, body, state)


run = jax.jit(iterated)
"""`iterated`, compiled. All but the shape of the game is traced: one program for all variants."""

run_in_place = jax.jit(iterated, donate_argnames="state")
"""`run` in the memory of the state that it is given, which cannot be read afterwards."""


def average(form: SequenceForm, state: State) -> Policy:
    """Return the average policies, the ones with the guarantee; uniform where never reached."""
    rows = average_rows(form, state.plan_sum)
    return table_of(form.treeplex[0], rows[0]), table_of(form.treeplex[1], rows[1])


def average_rows(form: SequenceForm, plan_sum: tuple[Rows, Rows]) -> tuple[Rows, Rows]:
    """Return the policies of weighted sums of plans, as rows."""
    first, second = form.treeplex
    return behavioural(first, plan_sum[0]), behavioural(second, plan_sum[1])
