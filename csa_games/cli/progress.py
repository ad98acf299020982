"""How far a solver is: a bar on a terminal, a line now and then elsewhere; on standard error."""

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from csa_games.cli.output import console

if TYPE_CHECKING:
    from csa_games.game import Progress

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0
RECENT = 10  # checks that the slope is taken from: the last factor of nine in steps
FLAT = -0.05  # a slope of log gap on log steps above this is none: the target is out of sight
STOPPING = b"\ncsa: stopping, with the best policy so far; Ctrl-C again stops at once\n"


@dataclass(frozen=True)
class Limits:
    """What ends a run: a gap in payoff units, iterations, wall-clock seconds; the gap's name."""

    target: float = 0.0
    max_steps: int | float = math.inf
    seconds: float = math.inf
    gap: str = "NashConv"


def done(first: float, best: float, now: "Progress", limits: Limits) -> float:
    """Return how far a run is, from 0 to 1: as far as it is to the nearest of its ends.

    `first` and `best` are the first and the lowest NashConv seen. Gaps shrink by factors, so the
    way to the target is measured in logarithms.
    """
    if best <= limits.target:
        return 1.0
    known = limits.target > 0 and math.isfinite(first)
    way = math.log(first / best) / math.log(first / limits.target) if known else 0.0
    return min(1.0, max(way, now.step / limits.max_steps, now.seconds / limits.seconds))


def seconds_to_target(checks: "Sequence[Progress]", limits: Limits) -> float | None:
    """Return how long it takes, from the last of `checks` on, until the target is reached.

    The lowest gap so far is taken to go on falling with the power of t that it fell with lately, by
    the median slope of log gap on log t over all pairs of recent checks (Theil 1950; Sen 1968), at
    as many seconds per iteration as these took. None while there are too few checks to tell, and if
    the target will not be reached within the limits.
    """
    best = math.inf
    lowest = []
    for check in checks:
        best = min(best, check.nash_conv)
        lowest.append((check, best))
    recent = [(check, gap) for check, gap in lowest[-RECENT:] if check.step > 0 and gap > 0]
    if len(recent) < 3 or limits.target <= 0:
        return None
    (first, _), (last, gap) = recent[0], recent[-1]
    slope = median(
        math.log(h / g) / math.log(b.step / a.step) for (a, g), (b, h) in combinations(recent, 2)
    )
    if gap <= limits.target:
        return 0.0
    if slope > FLAT:
        return None
    logarithm = math.log(last.step) + math.log(limits.target / gap) / slope
    if logarithm > math.log(limits.max_steps):
        return None
    pace = (last.seconds - first.seconds) / (last.step - first.step)
    left = (math.exp(logarithm) - last.step) * pace
    return left if last.seconds + left <= limits.seconds else None


@contextmanager
def watched(what: str, limits: Limits) -> Iterator[Callable[["Progress"], None]]:
    """Yield a function that shows how far the solving of `what` is, each time it is called.

    After Ctrl-C its next call raises KeyboardInterrupt. Raised anywhere else, in the middle of a
    compilation say, it would leave JAX in a state that crashes when Python ends. A second Ctrl-C is
    not held back.
    """
    with (_bar if sys.stderr.isatty() else _lines)(what, limits) as show, _held() as interrupted:

        def show_or_stop(now: "Progress") -> None:
            show(now)
            if interrupted():
                raise KeyboardInterrupt

        yield show_or_stop


@contextmanager
def _held() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back and yield a function that says whether it came."""
    came = False

    def note(*_: object) -> None:
        nonlocal came
        came = True
        os.write(2, STOPPING)  # a print could be inside another print
        signal.signal(signal.SIGINT, signal.default_int_handler)

    # Whoever has another handler, or ignores the signal (as nohup does), means it.
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on a terminal that `what` takes a moment."""
    if sys.stderr.isatty():
        with console(sys.stderr).status(what):
            yield
    else:
        yield


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how many are done of how many, each time it is called."""
    if not sys.stderr.isatty():

        def tell(done: int, count: int) -> None:
            sys.stderr.write(f"{what}: {done} of {count}\n")
            sys.stderr.flush()

        yield tell
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console(sys.stderr), expand=True, transient=True) as bar:
        task = bar.add_task(_short(what), total=None)
        yield lambda done, count: bar.update(task, total=count, completed=done)


def counted(items: Iterable[T], count: int, what: str) -> Iterator[T]:
    """Yield `items`, of which there are `count`, showing on a terminal how many have come."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.progress import track

    shown = console(sys.stderr)
    yield from track(items, _short(what), count, console=shown, transient=True)


@contextmanager
def _bar(what: str, limits: Limits) -> Iterator[Callable[["Progress"], None]]:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    checks: list[Progress] = []
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[state]}", markup=False),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console(sys.stderr), expand=True, transient=True) as bar:
        task = bar.add_task(_short(what), total=None, state="starting")

        def show(now: "Progress") -> None:
            _note(checks, now)
            best = min(check.nash_conv for check in checks)
            so_far = done(checks[0].nash_conv, best, now, limits)
            bar.update(task, total=1.0, completed=so_far, state=_state(checks, now, limits))

        yield show


@contextmanager
def _lines(what: str, limits: Limits) -> Iterator[Callable[["Progress"], None]]:
    checks: list[Progress] = []
    last = -math.inf

    def show(now: "Progress") -> None:
        nonlocal last
        _note(checks, now)
        if now.seconds - last >= SECONDS_BETWEEN_LINES:
            last = now.seconds
            state = _state(checks, now, limits)
            sys.stderr.write(f"{what}: {state} after {now.seconds:.0f} s\n")
            sys.stderr.flush()

    yield show


def _note(checks: "list[Progress]", now: "Progress") -> None:
    """Append `now` if it is a check: between checks the gap of the last one is repeated."""
    if not checks or now.nash_conv != checks[-1].nash_conv:
        checks.append(now)


def _state(checks: "Sequence[Progress]", now: "Progress", limits: Limits) -> str:
    target = f", target {limits.target:g}" if limits.target > 0 else ""
    text = f"{limits.gap} {now.nash_conv:.2e}{target}, step {now.step:,}"
    left = seconds_to_target(checks, limits)
    if not left:
        return text
    since = now.seconds - checks[-1].seconds
    return f"{text}, about {duration(max(left - since, 1.0))} to target"


def duration(seconds: float) -> str:
    """Return a time in words, to one unit: "40 s", "3 min", "5 h", "12 days"."""
    for unit, length, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{math.ceil(seconds / length)} {unit}"
    return f"{math.ceil(seconds / 86400)} days"


def _short(name: str) -> str:
    return name if len(name) <= 20 else name[:19] + "…"
