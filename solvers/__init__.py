"""Solvers over the sequence form: the CFR family, best responses, exact linear programs."""

from collections.abc import Callable
from functools import partial
from typing import Any

from csa_games.errors import InputError
from csa_games.game import Game, Solution
from solvers import driver, lp
from solvers.regret import VARIANTS
from solvers.response import best_response, gap, value

__all__ = ["SOLVERS", "VARIANTS", "best_response", "gap", "solve", "value"]

SOLVERS: dict[str, Callable[..., Solution]] = {
    **{name: partial(driver.solve, variant=variant) for name, variant in VARIANTS.items()},
    "lp": lp.solve,
}
"""Every method by name: a function of the game and the method's own options."""


def solve(game: Game, method: str = "pcfr+", **options: Any) -> Solution:
    """Return the certified policy that `method` finds for `game`.

    `options` are those of the method: see `solvers.driver.solve` for the CFR family and
    `solvers.lp.solve`. Raises `InputError` for an unknown method and for what the method refuses.
    """
    if method not in SOLVERS:
        raise InputError(f"there is no method {method!r}; the methods are {', '.join(SOLVERS)}")
    return SOLVERS[method](game, **options)
