"""Many runs at once: one compilation, one program, a leading axis for the runs.

`solve_many` solves a stack of games that differ in numbers alone, such as the priors, weights or
kernels of one scenario; `race` runs several variants on one game and keeps the best certificate.
What the runs have in common, the treeplexes above all, is there once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import jax
import numpy as np

from csa_games.errors import InputError
from csa_games.game import Game, Progress, SequenceForm, Solution, Status
from solvers.cfr import State, average, init, iterated
from solvers.driver import default_dead_zone
from solvers.regret import VARIANTS
from solvers.response import certify, refuse_quantal


def solve_many(
    games: Sequence[Game],
    method: str = "pcfr+",
    *,
    target: float = 1e-4,
    max_steps: int = 10_000,
    progress: Callable[[Progress], object] | None = None,
) -> tuple[Solution, ...]:
    """Return a solution of each of `games` by `method`, all iterated together.

    Averages are checked after 0, 1, 2, 4, 8, ... iterations and after `max_steps`, and of each game
    the one with the lowest NashConv is returned, until all are at most `target` (payoff units) and
    their status is "target"; else it is "max_steps" for those that are not. `progress` is told the
    largest NashConv at every check. Everything else is as in `solvers.driver.solve`.

    Raises `InputError` for no games, for games of different shapes, and for quantal intents.
    """
    return _solve(games, [method] * len(games), target, max_steps, progress, all)


def race(
    game: Game,
    methods: Sequence[str] = tuple(VARIANTS),
    *,
    target: float = 1e-4,
    max_steps: int = 10_000,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return the best certified policy that any of `methods` finds, all iterated together.

    The race ends at the check at which the first of them reaches `target`; which one it was is the
    `method` of the result. Checks, arguments and errors are those of `solve_many`; the NashConv
    that `progress` is told is the lowest.
    """
    solutions = _solve([game] * len(methods), methods, target, max_steps, progress, any)
    return min(solutions, key=lambda solution: solution.nash_conv)


def _solve(
    games: Sequence[Game],
    methods: Sequence[str],
    target: float,
    max_steps: int,
    progress: Callable[[Progress], object] | None,
    enough: Callable[[Sequence[bool]], bool],
) -> tuple[Solution, ...]:
    """Return a solution per run, game i by method i, until `enough` of them reach the target."""
    _check(games, methods)
    start = perf_counter()
    zones = np.array([default_dead_zone(game.form) for game in games])
    form, axes = stacked([game.form for game in games])
    variants = jax.tree.map(lambda *numbers: np.stack(numbers), *map(VARIANTS.__getitem__, methods))

    def run(form: Any, variant: Any, zone: Any, state: State, steps: Any) -> State:
        return iterated(form, variant, state, steps, horizon=float(max_steps), dead_zone=zone)

    with jax.enable_x64(True):
        states = [init(game.form) for game in games]
        state = jax.tree.map(lambda *parts: np.stack(parts), *jax.device_get(states))
        more = jax.jit(jax.vmap(run, in_axes=(axes, 0, 0, 0, None)))
        form, variants, zones = jax.device_put((form, variants, zones))
    best: list[Solution | None] = [None] * len(games)
    history: list[list[Progress]] = [[] for _ in games]
    done = 0
    for stop in _doubling(max_steps):
        if stop > done:
            with jax.enable_x64(True):
                state, done = more(form, variants, zones, state, stop - done), stop
        host = jax.device_get(state)
        for k, (game, method) in enumerate(zip(games, methods, strict=True)):
            mine = jax.tree.map(lambda part, k=k: part[k], host)
            found = certify(
                game,
                average(game.form, mine),
                method=method,
                steps=stop,
                seconds=0.0,
                status="max_steps",
                dead_zone=float(zones[k]),
            )
            history[k].append(Progress(stop, perf_counter() - start, found.nash_conv))
            before = best[k]
            if math.isfinite(found.nash_conv):
                better = before is None or found.nash_conv < before.nash_conv
                best[k] = found if better else before
        reached = [solution is not None and solution.nash_conv <= target for solution in best]
        if progress is not None:
            gaps = [solution.nash_conv for solution in best if solution is not None]
            shown = (max if enough is all else min)(gaps, default=math.inf)
            progress(Progress(stop, perf_counter() - start, shown))
        if enough(reached):
            break

    def ended(solution: Solution | None, checks: list[Progress], met: bool) -> Solution:
        if solution is None:
            raise InputError("the payoffs are so large that sums of them overflow")
        status: Status = "target" if met else "max_steps"
        seconds = perf_counter() - start
        return replace(solution, status=status, seconds=seconds, history=tuple(checks))

    return tuple(map(ended, best, history, reached))


def _check(games: Sequence[Game], methods: Sequence[str]) -> None:
    if not games:
        raise InputError("found no games to solve together, expected one at least")
    for method in methods:
        if method not in VARIANTS:
            raise InputError(
                f"found {method!r} among the methods, expected some of {', '.join(VARIANTS)}"
            )
    for game in games:
        refuse_quantal(game, "a stack of runs")
    first, *others = games
    for game in others:
        if not alike((first, game)):
            raise InputError(
                f"{game.name} and {first.name} differ in more than numbers: games that are solved "
                "together need the same infosets, actions and leaves"
            )


def alike(games: Sequence[Game]) -> bool:
    """Return whether `games` differ in numbers alone, so that they can be solved together."""
    shapes = [_shape(game.form) for game in games]
    return all(shape == shapes[0] for shape in shapes)


def _shape(form: SequenceForm) -> Any:
    return jax.tree.structure(form), [np.shape(leaf) for leaf in jax.tree.leaves(form)]


def stacked(forms: Sequence[SequenceForm]) -> tuple[SequenceForm, SequenceForm]:
    """Return the forms as one, and the axis along which each of its arrays is mapped.

    Arrays that are the same in all of them are not repeated; their axis is None.
    """

    def axis(*leaves: Any) -> int | None:
        return None if all(np.array_equal(leaves[0], leaf) for leaf in leaves[1:]) else 0

    def stack(*leaves: Any) -> Any:
        return leaves[0] if axis(*leaves) is None else np.stack(leaves)

    return jax.tree.map(stack, *forms), jax.tree.map(axis, *forms)


def _doubling(max_steps: int) -> list[int]:
    """Return 0, 1, 2, 4, 8, ... and at last `max_steps`."""
    powers = [2**k for k in range(max_steps.bit_length()) if 2**k < max_steps]
    return sorted({0, *powers, max_steps})
