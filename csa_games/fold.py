"""The three functions everything is made of: gradient, reach and backup.

A policy's plan runs down a treeplex (`reach`), leaf payoffs come back as one number per sequence
(`gradient`, the only function that knows how payoffs are stored), and values run up (`backup`)
under whatever rule collapses an infoset's actions into one number: the policy's mean gives
counterfactual values, a maximum a best response. Shapes use the letters of `csa_games.game`.

Everything runs on numpy arrays (certificates) and on JAX arrays (solvers) alike.
"""

from collections.abc import Callable

from jaxtyping import Float

from csa_games.arrays import Array, namespace
from csa_games.game import SequenceForm, Treeplex
from csa_games.segments import segment_sum

Collapse = Callable[[Float[Array, "I_k A"], slice], Float[Array, " I_k"]]
"""(action values of a level, where the level stands among the player's infosets) -> values."""


def gradient(
    form: SequenceForm, player: int, plan: Float[Array, " S_opponent"]
) -> Float[Array, " S"]:
    """Return `player`'s payoff per own sequence against the opponent's `plan`, chance included.

    The expected payoff of a plan x is the inner product of x and this vector (von Stengel 1996).
    """
    return expectation(form, player, form.leaves.payoff[player], plan)


def expectation(
    form: SequenceForm,
    player: int,
    number: Float[Array, " L"],
    plan: Float[Array, " S_opponent"],
) -> Float[Array, " S"]:
    """Return `gradient` with any `number` per leaf in place of the payoff: a component, a tag."""
    leaves = form.leaves
    weight = leaves.chance * number * plan[leaves.sequence[1 - player]]
    return segment_sum(leaves.gather[player], weight)


def reach(treeplex: Treeplex, policy: Float[Array, "I A"]) -> Float[Array, " S"]:
    """Return the realisation plan of `policy`: the product of its choices up to each sequence."""
    xp = namespace(policy)
    above = xp.ones(1, dtype=policy.dtype)
    plan, start = [above], 0
    for level in treeplex.levels:
        rows = policy[start : start + level.parent.shape[0]]
        above = (rows * above[level.parent][:, None]).reshape(-1)
        plan.append(above)
        start += rows.shape[0]
    return xp.concat(plan)


def backup(
    treeplex: Treeplex, payoff: Float[Array, " S"], collapse: Collapse
) -> tuple[Float[Array, "I A"], Float[Array, ""]]:
    """Return the value of every action and of the whole treeplex, from the bottom up.

    `payoff` is per sequence, as `gradient` returns it; an action's value is its own payoff plus the
    values, collapsed by `collapse`, of the infosets that follow it. With the policy's mean these
    are counterfactual values (Zinkevich et al. 2007): weighted by the reach of chance and the
    opponent, not by the player's own.
    """
    xp = namespace(payoff)
    width = treeplex.width
    values: list[Array] = []
    stop = treeplex.infosets
    below = None
    for level in reversed(treeplex.levels):
        start = stop - level.parent.shape[0]
        q = payoff[1 + start * width : 1 + stop * width]
        if below is not None:
            q = q + below
        q = q.reshape(-1, width)
        values.append(q)
        below = segment_sum(level.children, collapse(q, slice(start, stop)))
        stop = start
    root = payoff[0] if below is None else payoff[0] + below[0]
    empty = xp.zeros((0, width), dtype=payoff.dtype)
    return xp.concat([*reversed(values), empty]), xp.asarray(root)


def mean_of(policy: Float[Array, "I A"]) -> Collapse:
    """Return the rule that collapses action values to their mean under `policy`."""
    return lambda q, rows: (policy[rows] * q).sum(axis=-1)


def legal_mask(treeplex: Treeplex) -> Array:
    """Return the mask [I, A] of the actions that exist."""
    if not treeplex.levels:
        import numpy as np

        return np.zeros((0, treeplex.width), dtype=bool)
    xp = namespace(treeplex.levels[0].legal)
    return xp.concat([level.legal for level in treeplex.levels])


def uniform(treeplex: Treeplex) -> Float[Array, "I A"]:
    """Return the policy [I, A] that plays every legal action with the same probability."""
    legal = legal_mask(treeplex)
    count = legal.sum(axis=-1, keepdims=True)
    return legal / count
