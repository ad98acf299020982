"""Coarse correlated equilibria: what regret minimisation reaches in general-sum games.

A *correlation device* draws a policy profile and both players follow their part of it. It is a
coarse correlated equilibrium (CCE) of the normal form if no player would gain by refusing before
the draw and playing some policy of its own against the other's part (Moulin & Vial 1978). Player
i's *CCE gap* is that gain,

    max over x of u_i(x, the other's average plan)  -  average of u_i(x^t, y^t)

and no more than 0 in a CCE; below 0 the device is worth more than any refusal.

When both players' regrets are sublinear, the device that draws one of the iterates, each as likely,
approaches a CCE (Hart & Mas-Colell 2000; Zinkevich et al. 2007 for the regrets of CFR). What is
averaged are the *products* of plans, a joint distribution. The product of the averages is another
thing: it has the same best responses, but other values, and need not be any kind of equilibrium.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JaxArray
from jaxtyping import Float, Int

from csa_games.arrays import Array
from csa_games.errors import InputError
from csa_games.fold import Rows, coupled, reach, seen, table_of
from csa_games.game import Game, Policy, SequenceForm
from solvers import cfr
from solvers.driver import default_dead_zone
from solvers.regret import VARIANTS, Number, Variant
from solvers.response import best_response, refuse_quantal, value
from solvers.sequence import behavioural, plan_of, policy_of

Device = Sequence[tuple[float, Policy]]
"""Policy profiles with their probabilities."""


@dataclass(frozen=True)
class CoarseCorrelated:
    """A correlation device that draws one of the first `steps` iterates of a run, each as likely.

    `leaves` is the probability of every leaf, `marginal` what each player plays on average,
    `value[i]` player i's expected payoff and `gap[i]` its CCE gap, in payoff units, computed in
    float64. `gap` is not that of `marginal` as a policy profile, which is `solvers.gap`.
    """

    leaves: Float[np.ndarray, " L"]
    marginal: Policy
    value: Float[np.ndarray, "2"]
    gap: Float[np.ndarray, "2"]
    steps: int


class _Sums(NamedTuple):
    """Sums over iterates: of both players' plans, and of their products at leaves."""

    plans: tuple[Rows, Rows]
    leaves: Float[JaxArray, " L"]


def coarse_gap(game: Game, device: Device) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Return both players' expected payoffs under `device`, and their CCE gaps.

    In payoff units and float64. Raises `InputError` when a policy is not one of this game, or the
    probabilities are none.
    """
    weights = np.array([weight for weight, _ in device], np.float64)
    if not (len(device) > 0 and (weights >= 0).all() and abs(weights.sum() - 1) <= 1e-9):
        raise InputError(
            f"the probabilities of the device are {weights.tolist()}, expected numbers of at least "
            "0 that sum to 1"
        )
    worth = sum(weight * value(game, policy) for weight, policy in device)
    marginal = []
    for player, treeplex in enumerate(game.form.treeplex):
        plans = [weight * plan_of(treeplex, policy[player]) for weight, policy in device]
        marginal.append(policy_of(treeplex, np.sum(plans, axis=0)))
    return np.asarray(worth), _gained(game, (marginal[0], marginal[1]), np.asarray(worth))


def solve(game: Game, *, variant: str = "cfr+", max_steps: int = 1_000) -> CoarseCorrelated:
    """Return the device that draws one of the first `max_steps` iterates of `variant`.

    Updates are simultaneous, so that each player's regret is measured against the very policies
    that it is drawn with. For CFR and CFR+ the CCE gaps go to 0 as 1 / sqrt(max_steps); of the
    variants that discount regrets the measured gap is all that is claimed. To follow the device,
    draw t and play the policies after t - 1 steps of `cfr.run`, simultaneous, with the game's
    default dead zone.

    Raises `InputError` for unknown variants, quantal intents and less than one step.
    """
    refuse_quantal(game, "regret minimisation")
    if variant not in VARIANTS:
        raise InputError(f"there is no variant {variant!r}; the variants are {', '.join(VARIANTS)}")
    if max_steps < 1:
        raise InputError(f"max_steps is {max_steps}, expected at least 1")
    dead_zone = default_dead_zone(game.form)
    with jax.enable_x64(True):
        form = jax.device_put(game.form)
        sums = _summed(form, VARIANTS[variant], max_steps, dead_zone)
    sums = jax.device_get(sums)
    first, second = (
        np.asarray(table_of(treeplex, behavioural(treeplex, plan)))
        for treeplex, plan in zip(game.form.treeplex, sums.plans, strict=True)
    )
    leaves = np.asarray(game.form.leaves.chance) * sums.leaves / max_steps
    worth = np.array([leaves @ np.asarray(payoff) for payoff in game.form.leaves.payoff])
    return CoarseCorrelated(
        leaves=leaves,
        marginal=(first, second),
        value=worth,
        gap=_gained(game, (first, second), worth),
        steps=max_steps,
    )


def _gained(game: Game, marginal: Policy, worth: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2"]:
    """Return what players gain over `worth` by best responses to the other's average plan."""
    return np.array([best_response(game, i, marginal)[1] - worth[i] for i in (0, 1)])


@jax.jit
def _summed(
    form: SequenceForm, variant: Variant, steps: int | Int[Array, ""], dead_zone: Number
) -> _Sums:
    ready = coupled(form)

    def body(_: Array, carry: tuple[cfr.State, _Sums]) -> tuple[cfr.State, _Sums]:
        state, sums = carry
        first, second = plans = _plans(form, state)
        at = form.leaves.sequence
        joint = seen(form, 0, first)[at[0]] * seen(form, 1, second)[at[1]]
        new = _Sums(jax.tree.map(jnp.add, sums.plans, plans), sums.leaves + joint)
        after = cfr.step(
            ready,
            variant,
            state,
            horizon=1.0 * steps,
            dead_zone=dead_zone,
            simultaneous=True,
        )
        return after, new

    begin = cfr.init(form)
    nothing = jax.tree.map(jnp.zeros_like, _plans(form, begin))
    empty = _Sums(nothing, jnp.zeros_like(form.leaves.chance))
    return jax.lax.fori_loop(0, steps, body, (begin, empty))[1]


def _plans(form: SequenceForm, state: cfr.State) -> tuple[Rows, Rows]:
    first, second = map(reach, form.treeplex, state.policy)
    return first, second
