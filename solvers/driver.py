"""Running the CFR family to a target: how far to iterate, when to check, what to return."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from csa_games.arrays import Array
from csa_games.devices import everywhere, is_looped, placed, spread
from csa_games.errors import InputError
from csa_games.evaluate import value_and_gap_of_rows
from csa_games.fold import Rows, table_of
from csa_games.game import Game, Progress, SequenceForm, Solution, Status
from solvers.cfr import State, average_rows, init, run_in_place
from solvers.checkpoint import Checked, Reached, identity, read, write
from solvers.regret import VARIANTS, Variant
from solvers.response import refuse_quantal
from solvers.sequence import payoff_scale

DEAD_ZONES: Mapping[str, float] = MappingProxyType({"float64": 1e-8, "float32": 1e-4})
"""For iterations in each dtype, the dead zone as a share of the largest chance-weighted payoff."""

PIECE_SECONDS = 0.5  # the longest that the device works before the host looks at the clock
CHECKPOINT_SECONDS = 30.0  # of work between two checkpoints, where checks are farther apart
CHECKPOINT_SHARE = 0.1  # the most of that work that writing checkpoints may cost
MOST_STEPS = 2**31 - 1


def default_dead_zone(form: SequenceForm, dtype: str = "float64") -> float:
    """Return the dead zone that is above rounding and below real regrets, in payoff units.

    It is 1e-8 of the largest chance-weighted payoff for iterations in float64, and 1e-4 of it for
    those in float32. Kuhn 1/3, Leduc 0.108 and BattleShip2 2 are such payoffs; the factors are
    measured.
    """
    return DEAD_ZONES[dtype] * payoff_scale(form)


def solving_bytes(form: SequenceForm) -> int:
    """Return what `solve` takes at its peak beside `form`, roughly, on top of Python and JAX.

    That is a copy of the form and another two while it is compiled and checked, and the state four
    times: before and after a piece of work, in between, and as policies. Resident memory grew by
    2.2 times the form, and 250 MB for the compiler, on Liar's dice and crisis_guidance with their
    leaves repeated to 3 and 6 million.

    A state that is visited block by block is there once; the average that is being checked and the
    best one, at most half a state each, are beside it. Resident memory grew by 1.9 to 2.3 times the
    state on dialogues of 2·10^8 and 10^9 histories, on one device and on two.
    """
    with jax.enable_x64(True):
        state = jax.eval_shape(init, form)
    return 3 * _bytes(form) + (9 * _bytes(state) // 4 if is_looped(form) else 4 * _bytes(state))


def _bytes(tree: SequenceForm | State) -> int:
    return sum(math.prod(part.shape) * part.dtype.itemsize for part in jax.tree.leaves(tree))


def solve(
    game: Game,
    variant: Variant,
    *,
    target: float = 1e-4,
    max_steps: int = 100_000,
    seconds: float = math.inf,
    dead_zone: float | None = None,
    simultaneous: bool = False,
    dtype: str = "float64",
    checkpoint: Path | str | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return the best average policy found until NashConv is at most `target` (payoff units).

    The average is checked after 0, 1, 2, 3, 4, 5, 7, 9, ... iterations, always a quarter more, and
    after `max_steps`, which is also the horizon of scheduled variants. Of all policies checked, the
    one with the lowest NashConv is returned: `steps` are its iterations, while `seconds` and
    `history` (one entry per check) are those of the whole run. Neither iterations nor checks depend
    on how fast the machine is, unless `seconds` ends the run.

    Status: "target", "max_steps", "seconds" (wall-clock, compilation included, looked at about
    twice a second), "interrupted" (by KeyboardInterrupt), or "nonfinite" (payoffs so large that
    sums overflow; then the best policy before that).

    `dead_zone` is in payoff units, by default `default_dead_zone`; 0 reproduces libraries without
    one bit for bit up to the order of summation. `dtype` is that of the iterations, "float64" or
    "float32"; sums of plans and certificates are in float64 either way, and certificates are of
    the game as it is. `progress` is called at every check, and about twice a second between checks
    with the NashConv of the last one.

    With `checkpoint`, a folder, the run is kept there: how far it has come is written at every
    check, and about twice a minute between checks. If the run with the same arguments is there
    already it goes on, after telling `progress` of the checks before, and ends with the same bits
    as one that never stopped. Its `seconds`, the limit and the result, are those of all processes
    together; `target` and `seconds` may be others than before. The checkpoint stays after the end,
    so that the same call returns the result at once. One process at a time may use a folder.

    Raises `InputError` for arguments out of range, for games with quantal intents or with payoffs
    beyond `dtype`, for float32 without a `dead_zone` where no default is known to be safe, and for
    a checkpoint that is damaged or of another run, which is left as it is.
    """
    method = name_of(variant)
    refuse_quantal(game, method)
    _check_arguments(target, max_steps, seconds, dead_zone, dtype)
    if dead_zone is None:
        _refuse_default_dead_zone(variant, method, dtype)
        dead_zone = default_dead_zone(game.form, dtype)

    began = perf_counter()
    with jax.enable_x64(True):
        game = replace(game, form=spread(game.form))
        form = everywhere(game.form, cast(game, dtype))
        reached = Reached(beginning(form), best=None, history=(), seconds=0.0)
    save: Callable[[Reached], None] = lambda _: None
    if checkpoint is not None:
        this = identity(
            game,
            method,
            {
                "parameters": repr(jax.tree.map(float, variant)),
                "max_steps": int(max_steps),
                "dead_zone": float(dead_zone),
                "simultaneous": bool(simultaneous),
                "dtype": dtype,
            },
        )
        reached = _resumed(checkpoint, this, reached, game.form)
        save = partial(write, checkpoint, this)
    before = reached.seconds

    def clock() -> float:
        return before + perf_counter() - began

    def more(state: State, steps: int) -> State:
        with jax.enable_x64(True):
            return run_in_place(
                form,
                variant,
                state,
                steps,
                horizon=float(max_steps),
                dead_zone=dead_zone,
                simultaneous=simultaneous,
            )

    def show(now: Progress) -> None:
        if progress is not None:
            progress(now)

    status: Status = "max_steps"
    try:
        for check in reached.history:
            show(check)
        due = clock() + CHECKPOINT_SECONDS
        for stop in check_steps(max_steps):
            if stop <= _last_check(reached):
                continue
            if _met(reached, target):
                break
            if reached.best is not None and clock() >= seconds:
                status = "seconds"
                break
            for state in _pieces(more, reached.state, stop):
                reached = replace(reached, state=state, seconds=clock())
                if int(state.t) == stop or reached.seconds >= seconds:
                    break
                if reached.seconds >= due:
                    save(reached)
                    cost = clock() - reached.seconds
                    due = clock() + max(CHECKPOINT_SECONDS, cost / CHECKPOINT_SHARE)
                show(Progress(int(state.t), clock(), reached.history[-1].nash_conv))
            if int(reached.state.t) < stop:
                status = "seconds"
                break
            checked = _checked(game.form, reached, clock)
            if checked is None:
                status = "nonfinite"
                break
            reached = checked
            save(reached)
            due = clock() + CHECKPOINT_SECONDS
            show(reached.history[-1])
        if status == "seconds":
            save(replace(reached, seconds=clock()))
            if int(reached.state.t) > _last_check(reached):
                # This check depends on the clock, so a run that goes on must not know of it.
                checked = _checked(game.form, reached, clock)
                status = "nonfinite" if checked is None else "seconds"
                reached = checked or reached
    except KeyboardInterrupt:
        if reached.best is None:
            raise
        status = "interrupted"
        if not any(array.is_deleted() for array in jax.tree.leaves(reached.state)):
            save(replace(reached, seconds=clock()))  # else in the middle of an iteration

    if reached.best is None:
        raise InputError(f"the payoffs of {game.name} are so large that sums of them overflow")
    ended: Status = "target" if _met(reached, target) else status
    for array in jax.tree.leaves(reached.state):
        array.delete()  # for tables of a large policy need memory
    found = _solution(game, reached.best, method=method, dead_zone=dead_zone, status=ended)
    return replace(found, seconds=clock(), history=reached.history)


def cast(game: Game, dtype: str) -> SequenceForm:
    """Return the form of `game` with its floating numbers in `dtype`.

    Raises `InputError` where that overflows.
    """

    def converted(array: Array) -> Array:
        floating = np.issubdtype(array.dtype, np.floating)
        return array.astype(dtype, copy=False) if floating else array

    with np.errstate(over="ignore"):
        form: SequenceForm = jax.tree.map(converted, game.form)
    if _finite(game.form) and not _finite(form):
        raise InputError(
            f"the payoffs of {game.name} overflow in {dtype}, whose largest number is "
            f"{np.finfo(dtype).max:.3g}; solve it in float64"
        )
    return form


def _resumed(
    folder: Path | str, this: Mapping[str, Any], fresh: Reached, form: SequenceForm
) -> Reached:
    """Return how far the run `this` has come, on the device; `fresh` where it has not begun."""
    found = read(folder, this, fresh.state)
    if found is None:
        return fresh
    with jax.enable_x64(True):
        return replace(found, state=_on_devices(form, found.state))


@jax.jit
def beginning(form: SequenceForm) -> State:
    """Return the state before the first iteration, laid out as `form` is.

    Each device makes its own share, so that there is never a copy of the whole.
    """
    return _on_devices(form, init(form))


def _on_devices(form: SequenceForm, state: State) -> State:
    """Return `state` laid out as `form`, which `csa_games.devices.spread` returned, has it."""
    regret, plan_sum, policy = (jax.device_put(placed(form, pair)) for pair in state[:3])
    return State(regret, plan_sum, policy, everywhere(form, state.t))


def _pieces(more: Callable[[State, int], State], state: State, stop: int) -> Iterator[State]:
    """Yield the state after every piece of the work up to iteration `stop`.

    A device cannot be interrupted, so the work is cut into pieces of about `PIECE_SECONDS`; the
    iterations are the same however they are cut.
    """
    done, piece = int(state.t), 1
    while done < stop:
        before = perf_counter()
        state = more(state, piece)
        done = int(state.t)  # waits for the device
        took = perf_counter() - before
        yield state
        piece = max(1, min(stop - done, int(PIECE_SECONDS * piece / max(took, 1e-9))))


def _last_check(reached: Reached) -> int:
    """Return the iteration of the last check, -1 before the first."""
    return reached.history[-1].step if reached.history else -1


def _met(reached: Reached, target: float) -> bool:
    return reached.best is not None and reached.best.nash_conv <= target


def _checked(form: SequenceForm, reached: Reached, clock: Callable[[], float]) -> Reached | None:
    """Return `reached` with a check of its state, None where that is not finite."""
    checked = checked_average(form, reached.state)
    if checked is None:
        return None
    now, before = clock(), reached.best
    better = before is None or checked.nash_conv < before.nash_conv
    return Reached(
        state=reached.state,
        best=checked if better else before,
        history=(*reached.history, Progress(checked.steps, now, checked.nash_conv)),
        seconds=now,
    )


def _finite(tree: SequenceForm | State) -> bool:
    return all(np.isfinite(array).all() for array in jax.tree.leaves(tree))


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


def checked_average(form: SequenceForm, state: State) -> Checked | None:
    """Return the average policy of `state` with its certificate, None where it is not finite."""
    if is_looped(form):
        with jax.enable_x64(True):
            finite, rows = _average_on_device(form, state)
        if not finite:
            return None
    else:
        state = jax.device_get(state)
        if not _finite(state):
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            rows = average_rows(form, state.plan_sum)
    with np.errstate(over="ignore", invalid="ignore"):
        value, gap = value_and_gap_of_rows(form, rows)
    checked = Checked(_out_of_the_way(rows), value, gap, int(state.t))
    return checked if math.isfinite(checked.nash_conv) else None


@jax.jit
def _average_on_device(form: SequenceForm, state: State) -> tuple[Array, tuple[Rows, Rows]]:
    """Return whether all numbers of `state` are finite, and its average policies."""
    # Neither an array of answers is needed for these, nor one of absolute values.
    ends = [end for array in jax.tree.leaves(state) for end in (array.min(), array.max())]
    finite = jnp.stack([jnp.isfinite(end) for end in ends]).all()
    return finite, average_rows(form, state.plan_sum)


def _out_of_the_way(rows: tuple[Rows, Rows]) -> tuple[Rows, Rows]:
    """Return `rows` where they take none of an accelerator's memory."""
    return rows if jax.default_backend() == "cpu" else jax.device_get(rows)


def _solution(
    game: Game, best: Checked, *, method: str, dead_zone: float, status: Status
) -> Solution:
    """Return the tables of `best` with its certificate."""
    first, second = map(table_of, game.form.treeplex, jax.device_get(best.rows))
    return Solution(
        game=game.name,
        method=method,
        policy=(first, second),
        value=best.value,
        gap=best.gap,
        steps=best.steps,
        seconds=0.0,
        status=status,
        game_class=game.game_class,
        dead_zone=dead_zone,
    )


def _refuse_default_dead_zone(variant: Variant, method: str, dtype: str) -> None:
    """Refuse to guess where no dead zone is both clean at exact ties and harmless elsewhere.

    In float32 that is so for rules that keep negative regrets: measured for CFR, LCFR and DCFR,
    whose regrets carry the noise of all iterations.
    """
    if dtype == "float32" and not variant.plus:
        raise InputError(
            f"{method} keeps negative regrets, and no dead zone is known that suits it in float32; "
            "give a dead_zone, or solve in float64 or with a plus rule such as pcfr+"
        )


def _check_arguments(
    target: float, max_steps: int, seconds: float, dead_zone: float | None, dtype: str
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
    if dtype not in DEAD_ZONES:
        faults.append(f"dtype is {dtype!r}, expected {' or '.join(DEAD_ZONES)}")
    if faults:
        raise InputError(*faults)
