"""Counterfactual regret minimisation: one engine for every row of `regret.VARIANTS`.

A policy is improved at every infoset on its own by regret matching on counterfactual values; in
two-player zero-sum games the average policies approach an equilibrium (Zinkevich et al. 2007). In
general-sum games nothing is promised, and the gap of the result is all that is claimed.

`init`, `step` and `run` are pure functions that keep the dtype of the game's payoffs and can be
jitted and vmapped like any other; call them under `jax.enable_x64(True)` for float64.
`solvers.driver.solve` does that by itself, and decides when to stop.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from csa_games.arrays import Array
from csa_games.fold import backup, gradient, legal_mask, mean_of, reach, uniform
from csa_games.game import Policy, SequenceForm
from solvers.regret import Number, Variant, at, discount, regret_matching
from solvers.sequence import behavioural


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
