"""Running the CFR family to a target: how far to iterate, when to check, what to return."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import perf_counter

import jax
import numpy as np

from csa_games.errors import InputError
from csa_games.game import Game, Progress, SequenceForm, Solution, Status
from solvers.cfr import State, average, init, run
from solvers.regret import VARIANTS, Variant
from solvers.response import certify, refuse_quantal
from solvers.sequence import payoff_scale

DEAD_ZONE = 1e-8  # of the largest chance-weighted payoff
PIECE_SECONDS = 0.5  # the longest that the device works before the host looks at the clock
MOST_STEPS = 2**31 - 1


def default_dead_zone(form: SequenceForm) -> float:
    """Return 1e-8 times the largest chance-weighted payoff: above rounding, below real regrets.

    Kuhn 1/3, Leduc 0.108 and BattleShip2 2 are such payoffs; the factor is measured, for float64.
    """
    return DEAD_ZONE * payoff_scale(form)


def solve(
    game: Game,
    variant: Variant,
    *,
    target: float = 1e-4,
    max_steps: int = 100_000,
    seconds: float = math.inf,
    dead_zone: float | None = None,
    simultaneous: bool = False,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return the best average policy found until NashConv is at most `target` (payoff units).

    The average is checked after 0, 1, 2, 3, 4, 5, 7, 9, ... iterations, always a quarter more, and
    after `max_steps`, which is also the horizon of scheduled variants. Of all policies checked, the
    one with the lowest NashConv is returned: `steps` are its iterations, while `seconds` and
    `history` (one entry per check) are those of the whole run. Iterations and checks are in
    float64, and neither depends on how fast the machine is, unless `seconds` ends the run.

    Status: "target", "max_steps", "seconds" (wall-clock, compilation included, looked at about
    twice a second), "interrupted" (by KeyboardInterrupt), or "nonfinite" (payoffs so large that
    sums overflow; then the best policy before that).

    `dead_zone` is in payoff units, by default `default_dead_zone`; 0 reproduces libraries without
    one bit for bit up to the order of summation. `progress` is called at every check, and about
    twice a second between checks with the NashConv of the last one.

    Raises `InputError` for arguments out of range and for games with quantal intents.
    """
    method = name_of(variant)
    refuse_quantal(game, method)
    _check_arguments(target, max_steps, seconds, dead_zone)
    if dead_zone is None:
        dead_zone = default_dead_zone(game.form)

    start = perf_counter()
    with jax.enable_x64(True):
        form = jax.device_put(game.form)
        state = init(form)
    best: Solution | None = None
    history: list[Progress] = []
    status: Status = "max_steps"

    def more(state: State, steps: int) -> State:
        with jax.enable_x64(True):
            return run(
                form,
                variant,
                state,
                steps,
                horizon=float(max_steps),
                dead_zone=dead_zone,
                simultaneous=simultaneous,
            )

    def report(t: int) -> None:
        if progress is not None:
            progress(Progress(t, perf_counter() - start, history[-1].nash_conv))

    try:
        for stop in check_steps(max_steps):
            state = _advance(more, state, stop, start + seconds, report)
            found = _check(game, jax.device_get(state), method, dead_zone)
            if found is None:
                status = "nonfinite"
                break
            if best is None or found.nash_conv < best.nash_conv:
                best = found
            history.append(Progress(int(state.t), perf_counter() - start, found.nash_conv))
            report(int(state.t))
            if found.nash_conv <= target:
                status = "target"
                break
            if perf_counter() - start >= seconds:
                status = "seconds"
                break
    except KeyboardInterrupt:
        if best is None:
            raise
        status = "interrupted"

    if best is None:
        raise InputError(f"the payoffs of {game.name} are so large that sums of them overflow")
    elapsed = perf_counter() - start
    return replace(best, status=status, seconds=elapsed, history=tuple(history))


def _advance(
    more: Callable[[State, int], State],
    state: State,
    stop: int,
    deadline: float,
    report: Callable[[int], None],
) -> State:
    """Return the state at iteration `stop`, or at an earlier one once `deadline` has passed.

    A device cannot be interrupted, so the work is cut into pieces of about `PIECE_SECONDS`; the
    iterations are the same however they are cut.
    """
    done, piece = int(state.t), 1
    while done < stop:
        before = perf_counter()
        state = more(state, piece)
        done = int(state.t)  # waits for the device
        now = perf_counter()
        if now >= deadline:
            break
        if done < stop:
            report(done)
        piece = max(1, min(stop - done, int(PIECE_SECONDS * piece / (now - before))))
    return state


def check_steps(max_steps: int) -> Iterator[int]:
    """Yield the iterations after which `solve` checks: 0, 1, 2, ... and at last `max_steps`."""
    t = 0
    while t < max_steps:
        yield t
        t = max(t + 1, t * 5 // 4)
    yield max_steps


def name_of(variant: Variant) -> str:
    """Return the name of `variant` in the table, or its parameters where it has none."""
    names = (name for name, row in VARIANTS.items() if row == variant)
    return next(names, repr(variant))


def _check(game: Game, state: State, method: str, dead_zone: float) -> Solution | None:
    """Return the average policy of `state` (numpy) with its certificate, None where not finite."""
    if not all(np.isfinite(numbers).all() for numbers in jax.tree.leaves(state)):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        found = certify(
            game,
            average(game.form, state),
            method=method,
            steps=int(state.t),
            seconds=0.0,
            status="max_steps",
            dead_zone=dead_zone,
        )
    return found if math.isfinite(found.nash_conv) else None


def _check_arguments(
    target: float, max_steps: int, seconds: float, dead_zone: float | None
) -> None:
    faults = []
    if not (target >= 0 and math.isfinite(target)):
        faults.append(f"target is {target}, expected a NashConv of at least 0 in payoff units")
    if not 0 <= max_steps <= MOST_STEPS:
        faults.append(f"max_steps is {max_steps}, expected a whole number from 0 to {MOST_STEPS}")
    if not seconds > 0:
        faults.append(f"seconds is {seconds}, expected a positive number")
    if dead_zone is not None and not (dead_zone >= 0 and math.isfinite(dead_zone)):
        faults.append(f"dead_zone is {dead_zone}, expected at least 0, in payoff units")
    if faults:
        raise InputError(*faults)
