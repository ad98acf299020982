"""What is measured of an engine on a game: iterations, the gap against time, time to a target."""

import math
from statistics import median
from time import perf_counter

from experiments.speed.job import Job, Note, peak_bytes
from experiments.speed.racers import ENGINES, METHODS, Racer, dtype_of, our_game

WINDOW = 0.5  # seconds of a window of iterations, about
MOST_STEPS = 2**31 - 1  # of a window
WINDOWS = 7
LONG = 30.0  # seconds of a solve that is not done twice


def speed(job: Job, note: Note) -> None:
    """Note milliseconds per iteration: the median and the least of some windows.

    Windows have the same number of iterations, enough for about `WINDOW` seconds by the last of
    some growing trials, which also warm up. There are `WINDOWS` of them, or as many as the budget
    has time for, at least one. What the average is worth afterwards is checked last.
    """
    racer = _started(job, note)
    begin, done, steps = perf_counter(), 1, 1
    while True:
        seconds = _seconds(racer, steps)
        done += steps
        late = perf_counter() - begin > job.seconds / 4
        if seconds >= WINDOW / 2 or late or steps >= MOST_STEPS:
            break
        steps = max(2 * steps, min(10 * steps, int(steps * WINDOW / max(seconds, 1e-9))))
    first = done + 1
    times: list[float] = []
    while not times or (len(times) < WINDOWS and perf_counter() - begin < job.seconds):
        times.append(1000 * _seconds(racer, steps) / steps)
        done += steps
    note(
        {
            "ms": median(times),
            "ms_least": min(times),
            "windows": times,
            "iterations": [first, done],  # that the windows cover
            "loop_peak_bytes": peak_bytes(),  # before anything is checked
        }
    )
    start = perf_counter()
    nash_conv = racer.nash_conv()
    note({"nash_conv": nash_conv, "check_seconds": perf_counter() - start})


def gap(job: Job, note: Note) -> None:
    """Note [iterations, seconds, NashConv] at growing checks, down to the target or the budget.

    Seconds are those of iterations alone: neither compiling nor checking counts, which favours
    engines that check slowly. The budget is in seconds of both.
    """
    racer = _started(job, note)
    racer.restart()
    begin, seconds, t, nash_conv = perf_counter(), 0.0, 0, math.inf
    history: list[tuple[int, float, float]] = []
    while nash_conv > job.target and perf_counter() - begin < job.seconds:
        steps = max(1, t // 4)
        seconds += _seconds(racer, steps)
        t += steps
        nash_conv = racer.nash_conv()
        history.append((t, seconds, nash_conv))
        note({"target": job.target, "history": history})


def solve(job: Job, note: Note) -> None:
    """Note how long `solvers.solve` takes to the target, with certificates. Ours alone.

    The first run compiles; where it did not take long, there is a second that does not have to.
    """
    import solvers

    start = perf_counter()
    game = our_game(job.track)
    note({"setup_seconds": perf_counter() - start, "target": job.target})
    for which in ("first_run", "second_run"):
        start = perf_counter()
        solution = solvers.solve(
            game,
            METHODS[job.engine],
            target=job.target,
            seconds=job.seconds,
            dtype=dtype_of(job.engine),
        )
        note(
            {
                which: {
                    "seconds": perf_counter() - start,
                    "steps": solution.steps,
                    "nash_conv": solution.nash_conv,
                    "gap": solution.gap.tolist(),
                    "status": solution.status,
                    "history": [(c.step, c.seconds, c.nash_conv) for c in solution.history],
                }
            }
        )
        if perf_counter() - start > LONG:
            break


def _started(job: Job, note: Note) -> Racer:
    """Return the racer after its first iteration, which compiles; imports are part of setup."""
    start = perf_counter()
    racer = ENGINES[job.engine].start(job.track)
    note({"setup_seconds": perf_counter() - start})
    note({"first_seconds": _seconds(racer, 1), **racer.facts()})
    return racer


def _seconds(racer: Racer, steps: int) -> float:
    start = perf_counter()
    racer.iterate(steps)
    return perf_counter() - start
