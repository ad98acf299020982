"""The results as a page and a table: pure functions of what a run found."""

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from csa_games.guard.bundle import PLAYS, ROWS
from experiments.guard.bundles import MADE_UP_TURNS, NAME, STEPS, TURNS

TITLES = {
    "solved": "solved and exported",
    "million": "made up, 10^6 rows",
    "largest": "made up, 10^7 rows",
}
TIMED = {
    "deciding": "decide, keys uniformly at random",
    "deciding by reach": "decide, keys as often as play gets there",
    "explaining": "decide and as_dict, uniformly",
    "keyed_read": "sqlite3 alone reads the row, uniformly",
    "dictionary": "a dict of all rows, uniformly",
}
HEADINGS = ("bundle", "what", "clock", "p50", "p90", "p99", "least p50", "least p99", "runs")


class Bar(NamedTuple):
    """A line of the bar: what was asked and what was found, in the same unit."""

    what: str
    unit: str
    asked: float
    found: float

    @property
    def met(self) -> str:
        """Whether it is met."""
        return "yes" if self.found <= self.asked else "no"


def bars(results: Mapping[str, Any]) -> list[Bar]:
    """Return the bar: of repeated runs the median counts, as the clock on the wall goes."""
    million, largest = results["million"], results["largest"]
    played, rows = results["solved"]["deciding by reach"], f"{results['solved']['rows']:,} rows"
    opened = {name: median(seconds) for name, seconds in million["opening"].items()}
    return [
        Bar("decide, 10^6 rows, keys uniform, p50", "us", 15, _typical(million["deciding"], "p50")),
        Bar("decide, 10^6 rows, keys uniform, p99", "us", 50, _typical(million["deciding"], "p99")),
        Bar(f"decide, {rows}, keys as play has them, p50", "us", 15, _typical(played, "p50")),
        Bar(f"decide, {rows}, keys as play has them, p99", "us", 50, _typical(played, "p99")),
        Bar("open 10^6 rows, verification off", "ms", 20, 1e3 * opened["unchecked"]),
        Bar("open 10^6 rows, verification on", "ms", 2000, 1e3 * opened["checked"]),
        Bar("resident memory, 10^7 rows", "MB", 80, largest["memory"]["decided"] / 1e6),
    ]


def timings(results: Mapping[str, Any]) -> list[Sequence[Any]]:
    """Return a row of `HEADINGS` for whatever was timed call by call, in microseconds."""
    table: list[Sequence[Any]] = []
    for bundle, found in results.items():
        for kind in TIMED:
            runs = found.get(kind, [])
            for clock in ("wall_us", "cpu_us") if runs else ():
                typical = [_typical(runs, share, clock) for share in ("p50", "p90", "p99")]
                least = [min(run[clock][share] for run in runs) for share in ("p50", "p99")]
                table.append((bundle, kind, clock[:-3], *typical, *least, len(runs)))
    return table


def csv_text(results: Mapping[str, Any]) -> str:
    """Return the timings as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADINGS)
    writer.writerows(timings(results))
    return text.getvalue()


def markdown(results: Mapping[str, Any]) -> str:
    """Return the page, of results of every bundle."""
    dictionary = results["million"]["dictionary"][0]
    return "\n".join(
        [
            "# A guard in process",
            "",
            *_lines(
                ("the bar", "at most", "found", "met"),
                [(b.what, f"{b.asked:g} {b.unit}", f"{b.found:.3g}", b.met) for b in bars(results)],
            ),
            "",
            "Of repeated runs, each a process of its own, the median counts, by the clock on the "
            "wall. Keys drawn uniformly are the worst case: nearly every one is in a place of the "
            "file that nobody has asked for lately. It is one read away all the same, as what rows "
            "play is in a file of its own, ordered by a hash of the key; finding and reading it in "
            "SQLite, which is all that *sqlite3 alone* does, would take most of what is allowed. "
            "Play leads to few states often, and those are remembered. Memory is that of the whole "
            "process.",
            "",
            "## Bundles",
            "",
            f"*{TITLES['solved']}*: {NAME} of {TURNS} turns after {STEPS} steps of pcfr+, exported "
            f"as any run is. *made up*: random numbers for keys of {MADE_UP_TURNS} turns of it, by "
            "the same writer of rows (`experiments/guard/bundles.py`).",
            "",
            *_lines(
                (
                    *("bundle", "rows", "rows, MB", "plays, MB", "made in s"),
                    *("open, ms", "checked, ms"),
                    *("opened, MB", "after deciding, MB", "peak, MB", "Python and modules, MB"),
                ),
                [_described(name, found) for name, found in results.items()],
            ),
            "",
            "## Calls",
            "",
            "Each decision is of another conversation, and its action, mechanism and text are "
            "read. In microseconds. *wall* is what a caller waits, whatever others do on the cores "
            "meanwhile; *cpu* is the time of the thread alone, with 0.5 us or so for reading that "
            "clock. Beside the medians of the runs, the least of them.",
            "",
            *_lines(
                HEADINGS,
                [
                    (TITLES[bundle], TIMED[kind], clock, *(f"{x:.3g}" for x in numbers), runs)
                    for bundle, kind, clock, *numbers, runs in timings(results)
                ],
            ),
            "",
            f"The dict of all rows took {dictionary['seconds']:.1f} s to fill and "
            f"{dictionary['held'] / 1e6:.0f} MB to hold.",
            "",
            "## Where",
            "",
            *_lines(
                ("bundle", "when", "commit", "Python", "SQLite", "processor", "load average"),
                [_made(name, found) for name, found in results.items()],
            ),
            "",
            "`python -m experiments.guard`. The load average counts what else ran on the same "
            "cores; files are in the page cache of the system.",
            "",
        ]
    )


def _made(name: str, found: Mapping[str, Any]) -> Sequence[str]:
    made = found["provenance"]
    return (
        TITLES[name],
        made["time"],
        made["git"]["commit"][:12] + (" and changes" if made["git"]["dirty"] else ""),
        made["python"],
        made["sqlite"],
        f"{made['cpu']}, {made['cores']} cores, {made['platform']}",
        f"{found['load_before']:.1f} to {found['load_after']:.1f}",
    )


def _described(name: str, found: Mapping[str, Any]) -> Sequence[str]:
    opened, memory = found["opening"], found["memory"]
    return (
        TITLES[name],
        f"{found['rows']:,}",
        *(f"{found['bytes'][file] / 1e6:.0f}" for file in (ROWS, PLAYS)),
        f"{found['seconds']:.0f}",
        f"{1e3 * median(opened['unchecked']):.2g}",
        f"{1e3 * median(opened['checked']):.0f}",
        *(f"{memory[when] / 1e6:.0f}" for when in ("opened", "decided", "peak", "imported")),
    )


def _typical(runs: Sequence[Mapping[str, Any]], share: str, clock: str = "wall_us") -> float:
    return median(run[clock][share] for run in runs)


def _lines(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    return [
        f"| {' | '.join(map(str, cells))} |" for cells in (headings, ["---"] * len(headings), *rows)
    ]
