"""Exploitability after every iteration of the CFR family, in one compiled scan.

`solvers.solve` checks now and then, and certifies with numpy; a curve needs every iteration.
"""

from collections.abc import Sequence
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

import csa_games
from csa_games.arrays import Array
from csa_games.fold import backup, gradient, legal_rows, mean_of, reach, rows_of
from csa_games.game import Game, Policy, SequenceForm
from solvers import cfr
from solvers.regret import Number, Variant

GAMES = {
    "KuhnPoker": "kuhn_poker",
    "GoofSpiel3": (
        "turn_based_simultaneous_game("
        "game=goofspiel(num_cards=3,imp_info=True,points_order=descending))"
    ),
    "LiarsDice3": "liars_dice(numdice=1,dice_sides=3)",
    "LeducPoker": "leduc_poker",
    "BattleShip2": (
        "battleship(board_width=2,board_height=2,ship_sizes=[2],ship_values=[2],num_shots=3,"
        "allow_repeated_shots=False)"
    ),
}
"""A game's name in the DDCFR repository -> OpenSpiel's load string."""

METHODS = {"CFR": "cfr", "CFRPlus": "cfr+", "DCFR": "dcfr"}
"""An algorithm's name in the DDCFR repository -> ours."""


@cache
def game(name: str) -> Game:
    """Return the game called `name` in `GAMES`."""
    return csa_games.load(f"openspiel:{GAMES[name]}")


def exploitability(form: SequenceForm, policy: Policy) -> Array:
    """Return half of the NashConv of `policy`, in payoff units, on the device."""
    total = jnp.zeros(())
    for player, treeplex in enumerate(form.treeplex):
        legal = legal_rows(treeplex)
        own, other = (rows_of(form.treeplex[p], policy[p]) for p in (player, 1 - player))
        payoff = gradient(form, player, reach(form.treeplex[1 - player], other))

        def maximum(q: Array, k: int, legal: Sequence[Array] = legal) -> Array:
            return jnp.where(legal[k], q, -jnp.inf).max(axis=-2)

        best, mean = (backup(treeplex, payoff, rule)[1] for rule in (maximum, mean_of(own)))
        total = total + best - mean
    return total / 2


@jax.jit
def _trace(form: SequenceForm, variants: Variant, horizon: Number, dead_zone: Number) -> Array:
    def body(state: cfr.State, variant: Variant) -> tuple[cfr.State, Array]:
        state = cfr.step(form, variant, state, horizon=horizon, dead_zone=dead_zone)
        return state, exploitability(form, cfr.average(form, state))

    return jax.lax.scan(body, cfr.init(form), variants)[1]


def curve(
    game: Game,
    variants: Variant | Sequence[Variant],
    steps: int,
    *,
    dead_zone: float = 0.0,
    horizon: float | None = None,
) -> Float[np.ndarray, " steps"]:
    """Return the exploitability of the average after each of `steps` alternating iterations.

    `variants` is one row of parameters, or one for each iteration. `horizon` is that of scheduled
    ones, by default `steps`; `dead_zone` is in payoff units.
    """
    rows = [variants] * steps if isinstance(variants, Variant) else list(variants)
    stacked = jax.tree.map(lambda *numbers: np.array(numbers), *rows)
    with jax.enable_x64(True):
        found = _trace(game.form, stacked, float(horizon or steps), dead_zone)
        return np.asarray(found)
