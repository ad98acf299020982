"""Commitment by gradient ascent through the followers' reactions, for games of any size.

The leader's policy is a soft-max of logits, and what it is worth is a differentiable function of
them once every best response is softened to a logit response of rationality lambda (quantal
intents have a lambda of their own):

    logits -> policy -> plan -> the follower's payoffs -> its logit reaction -> the leader's value

Lambda grows geometrically while Adam (Kingma & Ba 2015) climbs, so that early steps see through
ties and late ones meet nearly exact reactions. The problem is not concave: several starts climb
side by side (`vmap`), and nothing is proved. What a policy is worth is always computed from exact
reactions afterwards.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JaxArray
from jaxtyping import Float

from csa_games.arrays import Array
from csa_games.fold import (
    Rows,
    Scalar,
    backup,
    expectation,
    legal_rows,
    mean_of,
    reach,
    rows_of,
    table_of,
)
from csa_games.game import Game, Grid, SequenceForm, Treeplex
from csa_games.logit import arrivals, given_reach, soft
from solvers.reaction import payoff_range, rationality
from solvers.regret import Number

SOFTEST, HARDEST = 3.0, 3_000.0
"""Lambda at the first and at the last step, per payoff range of the follower."""

RATE = 0.1  # Adam's, for logits
MIXED = 1e-3  # of the uniform policy in every start: a logit of minus infinity never comes back


class Climb(NamedTuple):
    """Runs between two steps: logits, Adam's moments of their gradient, and steps done.

    Numbers are rows with a leading axis for the starts.
    """

    logits: Any
    mean: Any
    square: Any
    t: JaxArray


def whole(form: SequenceForm) -> SequenceForm:
    """Return `form` with no level visited block by block, which gradients cannot go through."""

    def plain(treeplex: Treeplex) -> Treeplex:
        levels = (_whole(level) if isinstance(level, Grid) else level for level in treeplex.levels)
        return Treeplex(tuple(levels), treeplex.width)

    first, second = form.treeplex
    return SequenceForm((plain(first), plain(second)), form.leaves, form.signal)


def worth(form: SequenceForm, leader: int, logits: Rows, rationality: Rows) -> Scalar:
    """Return the leader's value of the policy of `logits`, to which followers react with logits.

    `rationality` is lambda per action [K, A, N] of the follower's levels, all of it finite.
    """
    follower, payoff = 1 - leader, form.leaves.payoff
    plan = reach(form.treeplex[leader], _policy(form.treeplex[leader], logits))
    reached = arrivals(form, follower, plan)
    treeplex = form.treeplex[follower]
    legal = legal_rows(treeplex)
    chosen: dict[int, Array] = {}

    def react(q: Array, k: int) -> Array:
        chosen[k] = soft(rationality[k] * given_reach(q, reached[k]), legal[k])
        return (chosen[k] * q).sum(axis=-2)

    backup(treeplex, expectation(form, follower, payoff[follower], plan), react)
    reply = tuple(chosen[k] for k in range(len(legal)))
    return backup(treeplex, expectation(form, follower, payoff[leader], plan), mean_of(reply))[1]


def climb(
    game: Game,
    leader: int,
    starts: Sequence[Float[np.ndarray, "I A"]],
    *,
    steps: int,
    pieces: int,
    stop: Callable[[int], bool] = lambda _: False,
) -> Iterator[tuple[int, list[Float[np.ndarray, "I A"]]]]:
    """Yield (steps done, policies so far, one for each start) after every piece of the ascent.

    `starts` are policies of the leader, from which all climb at once. Between pieces `stop` is
    asked whether to end early. A leader without infosets has nowhere to go.
    """
    if not game.form.treeplex[leader].levels:
        return
    form = whole(game.form)
    ours, theirs = form.treeplex[leader], form.treeplex[1 - leader]
    given = np.broadcast_to(rationality(game, 1 - leader)[:, None], (theirs.infosets, theirs.width))
    lambdas = rows_of(theirs, given)
    unit = 1.0 / payoff_range(form, 1 - leader)
    with jax.enable_x64(True):
        form = jax.device_put(form)
        logits = jax.tree.map(lambda *rows: jnp.stack(rows), *(_logits(ours, s) for s in starts))
        zeros = jax.tree.map(jnp.zeros_like, logits)
        state = Climb(logits, zeros, zeros, jnp.zeros((), jnp.int64))
        more = partial(_more, form, leader, lambdas, unit)
    for piece in range(1, pieces + 1):
        done = steps * piece // pieces
        with jax.enable_x64(True):
            state = more(state, done, float(steps))
            policies = jax.vmap(partial(_policy, ours))(state.logits)
        found = jax.device_get(policies)
        tables = [table_of(ours, tuple(part[k] for part in found)) for k in range(len(starts))]
        yield done, [np.asarray(table) for table in tables]
        if stop(done):
            return


@partial(jax.jit, static_argnames="leader")
def _more(
    form: SequenceForm,
    leader: int,
    lambdas: Rows,
    unit: Number,
    state: Climb,
    until: int | Array,
    steps: Number,
) -> Climb:
    """Return the state after step `until` of `steps`."""
    best = tuple(jnp.isinf(part) for part in lambdas)

    def step(state: Climb) -> Climb:
        t = state.t + 1
        hardness = unit * SOFTEST * (HARDEST / SOFTEST) ** (t / steps)
        now = tuple(
            jnp.where(free, hardness, part) for free, part in zip(best, lambdas, strict=True)
        )
        slope = jax.vmap(jax.grad(lambda logits: worth(form, leader, logits, now)))(state.logits)
        # Adam with its usual decays 0.9 and 0.999, uphill, and the rate falling to nothing.
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.mean, slope)
        square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, state.square, slope)
        rate = RATE * (1 - (t - 1) / steps)
        first, second = 1 - 0.9**t, 1 - 0.999**t

        def move(x: JaxArray, m: JaxArray, s: JaxArray) -> JaxArray:
            return x + rate * (m / first) / (jnp.sqrt(s / second) + 1e-12 * unit)

        return Climb(jax.tree.map(move, state.logits, mean, square), mean, square, t)

    return jax.lax.while_loop(lambda state: state.t < until, step, state)


def _policy(treeplex: Treeplex, logits: Rows) -> Rows:
    """Return the soft-max of `logits` over the legal actions."""
    pairs = zip(logits, legal_rows(treeplex), strict=True)
    return tuple(jax.nn.softmax(jnp.where(legal, part, -jnp.inf), axis=-2) for part, legal in pairs)


def _logits(treeplex: Treeplex, policy: Float[np.ndarray, "I A"]) -> Rows:
    """Return logits of `policy`, mixed with a little of the uniform policy."""
    legal = legal_rows(treeplex)
    rows = rows_of(treeplex, np.asarray(policy, np.float64))
    even = (np.asarray(part) / np.asarray(part).sum(axis=-2, keepdims=True) for part in legal)
    return tuple(
        np.log(np.maximum((1 - MIXED) * part + MIXED * flat, 1e-300))
        for part, flat in zip(rows, even, strict=True)
    )


def _whole(level: Grid) -> Grid:
    return replace(level, block=len(level.open) ** level.turn, looped=False, mesh=None)
