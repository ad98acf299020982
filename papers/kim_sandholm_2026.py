"""Kim and Sandholm's parallel CFR: their data beside runs of this project.

Nothing is timed here: their CSV files and the committed results of `experiments.speed` are read.
What can be compared exactly is how far CFR gets by iteration.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import csa_games
from experiments.speed.games import OPENSPIEL
from experiments.speed.results import read as read_speed
from papers.curves import curve
from papers.paper import Claim, Measured, Paper, run, table
from papers.pictures import Axis, Series, data, draw
from papers.published import folder, rows
from solvers.regret import VARIANTS

SPEED = Path(__file__).resolve().parents[1] / "experiments" / "speed" / "results"

NODES = {
    "kuhn": 58,
    "leduc": 9_457,
    "liars_dice_6": 294_883,
    "battleship_tiny": 58_709,
    "battleship_small": 2_271_795,
    "battleship_medium": 14_811_409,
    "battleship_large": 52_081_183,
}
"""Our name of a game -> the nodes by which their summaries tell games apart."""

GPU, CPU = "Ours (parallelized)", "Ours (unparallelized)"
CPP, PYTHON = "OpenSpiel (C++)", "OpenSpiel (Python)"
SOLVERS = (GPU, CPU, CPP, PYTHON)
PAPER_RUN, RERUN = "summary_49a1db2", "summary_4192ed4"

HEADLINE = 18_889
"""The largest speed-up that the paper reports: battleship-large, against OpenSpiel in Python."""

CURVES = {"kuhn": "kuhn-poker", "leduc": "leduc-poker"}
ODD = "battleship-medium"
DOUBLINGS, QUICK_DOUBLINGS = 7, 3
TARGETS = (1e-2, 1e-3, 1e-4)
OUR_ENGINES = ("csa", "csa-float32", "openspiel")
SHARP = 1e-9


def seconds(summary: Sequence[Mapping[str, str]]) -> dict[str, dict[str, float]]:
    """Return seconds per iteration by game and solver."""
    names = {nodes: name for name, nodes in NODES.items()}
    found: dict[str, dict[str, float]] = {}
    for row in summary:
        name = names.get(int(row["Game size (# nodes)"]))
        if name is not None:
            found.setdefault(name, {})[row["Solver"]] = float(row["Iteration time (s)"])
    return found


def progress(path: Path, solver: str) -> list[list[float]]:
    """Return [seconds, exploitability] of one of their curves."""
    return [
        [float(row["Wall-clock time (s)"]), float(row["Exploitability"])]
        for row in rows(path)
        if row["Solver"] == solver
    ]


def time_to(points: Sequence[Sequence[float]], target: float) -> float | None:
    """Return when a curve last falls below `target`, interpolated on logarithms.

    None if it is above it at the end.
    """
    if points[-1][1] > target:
        return None
    above = [k for k, (_, value) in enumerate(points) if value > target]
    if not above:
        return points[0][0]
    (t0, e0), (t1, e1) = points[above[-1]], points[above[-1] + 1]
    share = np.log(e0 / target) / np.log(e0 / e1)
    return float(np.exp(np.log(t0) + share * np.log(t1 / t0)))


def measure(quick: bool) -> Measured:
    """Return their times and curves, ours, and the exploitability of CFR by iteration."""
    published = folder("kim_sandholm_2026")
    doublings = QUICK_DOUBLINGS if quick else DOUBLINGS
    games = list(CURVES)[:1] if quick else list(CURVES)
    speed = read_speed(SPEED)
    ours: dict[str, dict[str, float]] = {}
    for record in speed["records"]:
        wanted = record["game"] in NODES and record["engine"] in OUR_ENGINES
        if record["kind"] == "speed" and wanted and "ms" in record:
            ours.setdefault(record["game"], {})[record["engine"]] = record["ms"] / 1000
    return {
        "paper": seconds(rows(published / f"{PAPER_RUN}.csv")),
        "rerun": seconds(rows(published / f"{RERUN}.csv")),
        "ours": ours,
        "speed": {key: speed[key] for key in ("command", "provenance")},
        "by iteration": [
            {
                "game": name,
                "theirs": [e for _, e in progress(published / f"{CURVES[name]}.csv", CPP)][
                    :doublings
                ],
                "ours": _doubling(name, doublings),
            }
            for name in games
        ],
        "leduc": {solver: progress(published / "leduc-poker.csv", solver) for solver in (GPU, CPP)},
        "our leduc": {
            record["engine"]: [[t, s, nash_conv / 2] for t, s, nash_conv in record["history"]]
            for record in speed["records"]
            if record["kind"] == "gap" and record["game"] == "leduc" and "history" in record
        },
        "odd": {
            solver: [e for _, e in progress(published / f"{ODD}.csv", solver)][:5]
            for solver in (GPU, CPU, CPP)
        },
        "times": {
            name.name.removesuffix(".csv"): {
                solver: [time_to(progress(name, solver), target) for target in TARGETS]
                for solver in (GPU, CPP)
            }
            for name in sorted(published.glob("*.csv"))
            if not name.name.startswith("summary")
        },
    }


def _doubling(name: str, doublings: int) -> list[float]:
    """Return the exploitability of CFR after 1, 2, 4, ... iterations."""
    game = csa_games.load(f"openspiel:{OPENSPIEL[name]}")
    found = curve(game, VARIANTS["cfr"], 2 ** (doublings - 1))
    return [float(found[2**k - 1]) for k in range(doublings)]


def claims(measured: Measured) -> list[Claim]:
    """Return the exploitability of CFR by iteration, and the headline speed-up."""
    found = []
    for row in measured["by iteration"]:
        for k in dict.fromkeys((1, len(row["theirs"]) // 2, len(row["theirs"]) - 1)):
            found.append(
                Claim(
                    f"exploitability of CFR on {row['game']} after {2**k} iterations",
                    f"`data/{CURVES[row['game']]}.csv`, {CPP}",
                    row["theirs"][k],
                    row["ours"][k],
                    SHARP * row["theirs"][k],
                )
            )
    large = measured["paper"]["battleship_large"]
    return [
        *found,
        Claim(
            "largest speed-up, GPU against OpenSpiel in Python, from their data",
            f"abstract; `data/summary.csv` at {PAPER_RUN.partition('_')[2]}",
            HEADLINE,
            large[PYTHON] / large[GPU],
            1.0,
            digits=",.0f",
        ),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _per_iteration(measured: Measured) -> str:
    headings = ("game", "nodes", "their GPU", "their CPU", "OpenSpiel C++, theirs")
    own = ("OpenSpiel C++, ours", "csa, float64", "csa, float32", "their GPU / csa")
    lines = []
    for name, nodes in NODES.items():
        theirs, ours = measured["rerun"][name], measured["ours"].get(name, {})
        cells = [1000 * theirs[solver] for solver in (GPU, CPU, CPP)]
        mine = [
            1000 * ours[engine] if engine in ours else None
            for engine in ("openspiel", "csa", "csa-float32")
        ]
        ratio = theirs[GPU] / ours["csa"] if "csa" in ours else None
        lines.append((name, f"{nodes:,}", *map(_number, (*cells, *mine, ratio))))
    return table((*headings, *own), lines)


def _times(measured: Measured) -> str:
    lines = []
    for name, by_solver in measured["times"].items():
        cells = [
            _number(value) or "not reached" for solver in (GPU, CPP) for value in by_solver[solver]
        ]
        lines.append((name, *cells))
    headings = [f"{who}, {target:g}" for who in ("GPU", "C++") for target in TARGETS]
    return table(("game", *headings), lines)


def _ours_on_leduc(measured: Measured) -> str:
    lines = []
    for engine, points in measured["our leduc"].items():
        times = (next((s for _, s, e in points if e <= target), None) for target in TARGETS[:2])
        lines.append((engine, *map(_number, times)))
    return table(("engine", *(f"{target:g}" for target in TARGETS[:2])), lines)


def remarks(measured: Measured) -> str:
    """Return both sides' times, and what keeps them from being a race."""
    made = measured["speed"]["provenance"]
    slower = [
        name
        for name, ours in measured["ours"].items()
        if "csa" in ours and ours["csa"] > measured["rerun"][name][GPU]
    ]
    odd = {solver: [f"{e:.1e}" for e in values] for solver, values in measured["odd"].items()}
    dice = [measured[key]["liars_dice_6"][CPP] for key in ("paper", "rerun")]
    return "\n\n".join(
        (
            "## Milliseconds per iteration",
            _per_iteration(measured),
            f"Theirs is the rerun (4192ed4) of alternating CFR; the hardware is not named. Ours is "
            f"alternating CFR+, measured by `{measured['speed']['command']}` on "
            f"{made['cores']} cores of {made['cpu']} at commit `{made['git']['commit'][:10]}`. "
            "Empty cells were not run. So it is another rule on another machine, and the last "
            "column is a mark to see by: a GPU against two processor cores. Their GPU time hardly "
            "depends on the size of the game, that of launching "
            "its kernels, so that it wins where games are large: of the games that we ran, "
            f"{', '.join(slower) or 'none'} in float64. Their medium and large games were not run "
            "here.",
            "How far apart are the machines? Both sides timed OpenSpiel's C++ solver (CFR there, "
            "CFR+ here): see the two columns. Their own two runs of it on Liar's dice differ, "
            f"{dice[0]:.3g} s in the paper and {dice[1]:.3g} s in the rerun.",
            "## Seconds to an exploitability",
            _times(measured),
            "Theirs, on logarithms between the points of their curves, at the last time that a "
            "curve falls below; their runs end after about 1000 s.",
            "Ours on Leduc, where both sides followed the gap, until exploitability was first "
            "seen to be at most that; iterations alone, after building and compiling:",
            _ours_on_leduc(measured),
            "Three things are mixed in this difference: the rule, the machine and the engine. "
            "OpenSpiel's C++ solver with CFR+ instead of CFR, in our table, shows what the rule "
            "and the machine do; the rest is the engine.",
            "## Odd values",
            f"The first five exploitabilities of {ODD} are {', '.join(odd[GPU])} on the GPU, "
            f"{', '.join(odd[CPU])} by the same code on the CPU, and {', '.join(odd[CPP])} by "
            "OpenSpiel. The first of the former two, negative, is an average before there is any "
            "(a zero vector is no policy; ours is uniform then). In the fifth the GPU is a "
            f"factor of {measured['odd'][GPU][4] / measured['odd'][CPU][4]:.0f} above the CPU. The "
            "cause is not documented. "
            "Regrets that tie exactly, as in [Battleship curves that are rounding](../battleship), "
            "could explain it; we have not verified that they do.",
        )
    )


def pictures(measured: Measured) -> Mapping[str, str]:
    """Return exploitability on Leduc against seconds, theirs and ours."""
    series = [
        Series(f"{name}, CFR (theirs)", points, look=k)
        for k, (name, points) in enumerate(
            (("GPU", measured["leduc"][GPU]), ("OpenSpiel C++", measured["leduc"][CPP]))
        )
    ]
    labels = {
        "openspiel": "OpenSpiel C++, CFR+ (ours)",
        "csa": "csa, CFR+ (ours)",
        "csa-pcfr+": "csa, PCFR+ (ours)",
    }
    for k, (engine, label) in enumerate(labels.items(), start=1):
        points = [(s, e) for _, s, e in measured["our leduc"].get(engine, ())]
        if points:
            series.append(Series(label, points, look=k, dots=True))
    lines = [(one.label, *point) for one in series for point in one.points]
    return {
        "leduc.svg": draw(
            "leduc", [("Leduc", series)], Axis("seconds", True), Axis("exploitability", True)
        ),
        "leduc.csv": data(("run", "seconds", "exploitability"), lines),
    }


PAPER = Paper(
    name="kim_sandholm_2026",
    title="Kim and Sandholm 2026: parallel CFR",
    about=(
        "CFR as dense linear algebra on a GPU, up to four orders of magnitude faster than "
        "OpenSpiel in Python. Their published times and curves beside the committed runs of this "
        "project."
    ),
    sources=(
        "J. Kim and T. Sandholm, Parallelizing counterfactual regret minimization, arXiv "
        "2605.14277; data of the repository uoftcprg/noregret at 49a1db2 (paper) and 4192ed4 "
        "(rerun of May 2026), MIT.",
        "Ours: [experiments/speed/results](../../experiments/speed/results/speed.md).",
    ),
    measure=measure,
    claims=claims,
    remarks=remarks,
    pictures=pictures,
)

if __name__ == "__main__":
    raise SystemExit(run([PAPER]))
