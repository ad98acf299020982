"""Many runs at once: one compilation, one program, a leading axis for the runs.

`solve_many` solves a stack of games that differ in numbers alone, such as the priors, weights or
kernels of one scenario; `race` runs several variants on one game and keeps the best certificate.
What the runs have in common, the treeplexes above all, is there once.

On a CPU, runs are stacked in batches that a core's cache holds, and a batch is iterated to the next
check before the batch after it, one on every core; a single stack would stream from memory.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import jax
import numpy as np

from csa_games.devices import cores
from csa_games.errors import InputError
from csa_games.game import Game, Progress, SequenceForm, Solution, Status
from solvers.cfr import State, average, init, iterated
from solvers.driver import default_dead_zone
from solvers.regret import VARIANTS, Number, Variant
from solvers.response import certify, refuse_quantal

BATCH_BYTES = 400_000
"""What the states and payoffs of a batch of runs take on a CPU, at most: they stay in the cache."""

Advance = Callable[[Sequence[State], int], list[State]]
"""(states of the batches, iterations) -> states after so many more."""


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

    As a method its name is "race", and all variants run; it takes the memory of each of them. The
    race ends at the check at which the first of them reaches `target`; which one it was is the
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
    zones = [default_dead_zone(game.form) for game in games]
    variants = [VARIANTS[method] for method in methods]
    more, states = runs([game.form for game in games], variants, zones, horizon=float(max_steps))
    best: list[Solution | None] = [None] * len(games)
    history: list[list[Progress]] = [[] for _ in games]
    done = 0
    for stop in _doubling(max_steps):
        if stop > done:
            states, done = more(states, stop - done), stop
        host = jax.device_get(states)
        for k, (game, method) in enumerate(zip(games, methods, strict=True)):
            mine = run_of(host, k)
            found = certify(
                game,
                average(game.form, mine),
                method=method,
                steps=stop,
                seconds=0.0,
                status="max_steps",
                dead_zone=zones[k],
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


def runs(
    forms: Sequence[SequenceForm],
    variants: Sequence[Variant],
    dead_zones: Sequence[Number],
    *,
    horizon: float,
) -> tuple[Advance, list[State]]:
    """Return what iterates a run per form, and the states [run of the batch, ...] of all batches.

    The forms differ in numbers alone. All batches are of one width, the last filled up with copies
    of the last run, so that there is one compilation; run k is the k % width-th of its batch.
    """
    together, axes = stacked(forms)

    def run(form: Any, variant: Any, zone: Any, state: State, steps: Any) -> State:
        return iterated(form, variant, state, steps, horizon=horizon, dead_zone=zone)

    with jax.enable_x64(True):
        first = jax.device_get([init(form) for form in forms])
        numbers = [leaf[0] for leaf in _mapped(together, axes)]
        bytes_ = sum(leaf.nbytes for leaf in (*numbers, *jax.tree.leaves(first[0])))
        width = _width(len(forms), bytes_)
        whole = jax.device_put(together)  # so that what the runs have in common is there once
        batches, states = [], []
        for start in range(0, len(forms), width):
            those = np.minimum(np.arange(start, start + width), len(forms) - 1)
            variant = jax.tree.map(lambda *x: np.stack(x), *(variants[k] for k in those))
            zone = np.array([dead_zones[k] for k in those])
            form = jax.tree.map(
                lambda axis, leaf, those=those: leaf if axis is None else leaf[those],
                axes,
                whole,
                is_leaf=lambda axis: axis is None,
            )
            batches.append((form, *jax.device_put((variant, zone))))
            state = jax.tree.map(lambda *parts: np.stack(parts), *(first[k] for k in those))
            states.append(jax.device_put(state))
        vmapped = jax.jit(jax.vmap(run, in_axes=(axes, 0, 0, 0, None)))
        more = vmapped.lower(*batches[0], states[0], 1).compile()

    def one(batch: Any, state: State, steps: int) -> State:
        with jax.enable_x64(True):  # which is the thread's own
            new: State = more(*batch, state, steps)
            jax.tree.leaves(new)[0].block_until_ready()
            return new

    def advance(states: Sequence[State], steps: int) -> list[State]:
        with ThreadPoolExecutor(min(cores(), len(batches))) as pool:
            return list(pool.map(partial(one, steps=steps), batches, states))

    return advance, states


def run_of(states: Sequence[State], k: int) -> State:
    """Return the state of run `k` among those of all batches."""
    width = len(states[0].t)
    mine: State = jax.tree.map(lambda part: part[k % width], states[k // width])
    return mine


def _mapped(together: SequenceForm, axes: SequenceForm) -> list[np.ndarray]:
    """Return the arrays of a stack that are not the same in all of its forms."""
    mapped = jax.tree.map(
        lambda axis, leaf: None if axis is None else leaf,
        axes,
        together,
        is_leaf=lambda axis: axis is None,
    )
    return jax.tree.leaves(mapped)


def _width(count: int, bytes_: int) -> int:
    """Return how many of `count` runs, of so many bytes each, make a batch."""
    if jax.default_backend() != "cpu":
        return count
    batches = -(-count // max(1, BATCH_BYTES // bytes_))
    return -(-count // batches)


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
