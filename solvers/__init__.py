"""Solvers over the sequence form: the CFR family, best responses, exact linear programs."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any

from csa_games.errors import InputError
from csa_games.game import Game, Solution
from solvers import budget, commitment, driver, lcp, lp, population, quantal, refined, robust
from solvers.auto import choose
from solvers.regret import VARIANTS
from solvers.response import best_response, gap, value
from solvers.together import race

__all__ = ["SOLVERS", "VARIANTS", "best_response", "choose", "gap", "solve", "value"]

SOLVERS: dict[str, Callable[..., Solution]] = {
    **{name: partial(driver.solve, variant=variant) for name, variant in VARIANTS.items()},
    "race": race,
    "lp": lp.solve,
    "lp-refined": refined.by_lp,
    "cfr-refined": refined.by_regret,
    "lcp": lcp.solve,
    "commitment": commitment.solve,
    "commitment-milp": commitment.by_milp,
    "commitment-gradient": commitment.by_gradient,
    "qre": quantal.solve,
    "qre-normal-form": quantal.by_normal_form,
    "population": population.solve,
    "budget": budget.solve,
    "robust": robust.solve,
}
"""Every method by name: a function of the game and the method's own options."""


def _chosen(game: Game, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the method that suits `game`, and those of `options` that it takes."""
    method = choose(game).method
    known = signature(SOLVERS[method]).parameters
    return method, {name: value for name, value in options.items() if name in known}


def solve(game: Game, method: str = "pcfr+", **options: Any) -> Solution:
    """Return the certified policy that `method` finds for `game`.

    `options` are those of the method: see `solvers.driver.solve` for the CFR family and `solve` in
    the module of any other. Raises `InputError` for an unknown method, for options that the method
    does not have, and for what it refuses.

    The method "auto" is the one that `choose` picks for the game; of the options it takes what it
    knows.
    """
    if method == "auto":
        method, options = _chosen(game, options)
    if method not in SOLVERS:
        raise InputError(f"there is no method {method!r}; the methods are {', '.join(SOLVERS)}")
    known = [name for name in signature(SOLVERS[method]).parameters if name != "game"]
    unknown = [name for name in options if name not in known]
    if unknown:
        offered = ", ".join(name for name in known if name != "variant") or "no options"
        raise InputError(f"{method} takes no {' and no '.join(unknown)}; it takes {offered}")
    return SOLVERS[method](game, **options)
