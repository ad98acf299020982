"""How far a solver is: a bar on a terminal, a line now and then elsewhere; on standard error."""

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from csa_games.cli.output import console

if TYPE_CHECKING:
    from csa_games.game import Progress

SECONDS_BETWEEN_LINES = 10.0
STOPPING = b"\ncsa: stopping, with the best policy so far; Ctrl-C again stops at once\n"


@dataclass(frozen=True)
class Limits:
    """What ends a run: a NashConv in payoff units, iterations, wall-clock seconds."""

    target: float
    max_steps: int
    seconds: float


def done(first: float, best: float, now: "Progress", limits: Limits) -> float:
    """Return how far a run is, from 0 to 1: as far as it is to the nearest of its ends.

    `first` and `best` are the first and the lowest NashConv seen. Gaps shrink by factors, so the
    way to the target is measured in logarithms.
    """
    if best <= limits.target:
        return 1.0
    way = math.log(first / best) / math.log(first / limits.target) if limits.target > 0 else 0.0
    return min(1.0, max(way, now.step / limits.max_steps, now.seconds / limits.seconds))


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
def _bar(what: str, limits: Limits) -> Iterator[Callable[["Progress"], None]]:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    first = best = math.inf
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[state]}", markup=False),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console(sys.stderr), expand=True, transient=True) as bar:
        task = bar.add_task(_short(what), total=None, state="starting")

        def show(now: "Progress") -> None:
            nonlocal first, best
            first = now.nash_conv if first == math.inf else first
            best = min(best, now.nash_conv)
            so_far = done(first, best, now, limits)
            bar.update(task, total=1.0, completed=so_far, state=_state(now, limits))

        yield show


@contextmanager
def _lines(what: str, limits: Limits) -> Iterator[Callable[["Progress"], None]]:
    last = -math.inf

    def show(now: "Progress") -> None:
        nonlocal last
        if now.seconds - last >= SECONDS_BETWEEN_LINES:
            last = now.seconds
            sys.stderr.write(f"{what}: {_state(now, limits)} after {now.seconds:.0f} s\n")
            sys.stderr.flush()

    yield show


def _state(now: "Progress", limits: Limits) -> str:
    return f"NashConv {now.nash_conv:.2e}, target {limits.target:g}, step {now.step:,}"


def _short(name: str) -> str:
    return name if len(name) <= 20 else name[:19] + "…"
