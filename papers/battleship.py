"""Curves that are rounding: CFR on a Battleship game whose regrets tie exactly.

In this game regrets that are exactly zero come out of floating point as something like 1e-17, and
regret matching turns that into a policy. Exact rationals say what the rules really do.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from experiments.speed.job import Job
from experiments.speed.race import run as run_engine
from experiments.speed.racers import Track
from papers.curves import GAMES, curve, game
from papers.literal_cfr import averages, exploitability, unfolded
from papers.paper import Claim, Measured, Paper, run, table
from papers.pictures import Axis, Series, data, draw
from papers.published import CURVE_STEPS, ddcfr_columns, folder
from solvers.driver import default_dead_zone
from solvers.regret import VARIANTS, Variant, constant
from solvers.sequence import payoff_scale

NAME = "BattleShip2"
PUBLISHED = {"CFR": "cfr", "CFRPlus": "cfr+", "DCFR": "dcfr", "DDCFR_es_model": "ddcfr"}
"""An algorithm's name in the DDCFR repository -> ours; ddcfr is DCFR with their exponents."""

RATIONAL = ("cfr", "cfr+", "dcfr", "pcfr+")
RATIONAL_STEPS, QUICK_STEPS = 10, 2

CLOSED: dict[str, Callable[[int], Fraction]] = {
    "cfr": lambda t: Fraction(5, 8 * t),
    "cfr+": lambda t: Fraction(17, 12 * t * (t + 1)),
    "dcfr": lambda t: Fraction(11, 2 * t * (t + 1) * (2 * t + 1)),
    "pcfr+": lambda t: Fraction(11, 2 * t * (t + 1) * (2 * t + 1)),
}
"""Exploitability of the average after t >= 3 iterations. From iteration 3 on (CFR: 4) the policies
are exact equilibria, so that only averaging is left of the first ones."""

SHARES = (0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6)
"""Dead zones, as shares of the largest chance-weighted payoff; 1e-8 is the solvers' default."""

ENGINES = ("openspiel", "openspiel-jax", "noregret", "liteefg", "csa")
GUARDS = {
    "openspiel": "none: regrets above 0 count",
    "openspiel-jax": "none; float32 by default",
    "noregret": "uniform where all of an infoset's regrets are within 1e-8 of 0",
    "liteefg": "uniform where an infoset's regrets sum to less than 1e-9",
    "csa": "regrets below 1e-8 of the largest chance-weighted payoff count as 0",
}
"""What each does with tiny regrets, by its source."""
ENGINE_SECONDS, ENGINE_LIMIT = 15.0, 100.0

SHOWN = (1, 2, 3, 5, 7, 10, 20, 33, 50, 97, 100, 200, 500, 1000)
EARLY, LATE = 10, 1000
LIBRARY_STEPS = (10, 97)  # of those shown, where engines are checked, too
TABLE_STEPS = (10, 51)  # where all engines are checked, however slow
NEAR = 1e-3  # of the exact value: our own solver follows it until it does not
CLOSE, SHARP = 1e-6, 1e-9

ROUNDING = "the published run follows rounding errors in regrets that are exactly zero; see below"


def rational(steps: int) -> dict[str, list[str]]:
    """Return the exploitability after 1, 2, ... iterations of each rule, as fractions."""
    tree = unfolded(game(NAME).root())
    found: dict[str, list[str]] = {}
    for method in RATIONAL:
        exact = [
            exploitability(tree, averages(lambda: tree, method, t, CURVE_STEPS))
            for t in range(1, steps + 1)
        ]
        # The discounts of DCFR are irrational and rounded once; the fractions are those nearby.
        found[method] = [str(value.limit_denominator(10**6)) for value in exact]
    return found


def learned(curves: Path) -> list[Variant]:
    """Return DCFR with the exponents that DDCFR's network chose, iteration by iteration."""
    exponents = ddcfr_columns(curves, "DDCFR_es_model", NAME, "alpha", "beta", "gamma")
    return [
        Variant(alpha=constant(a), beta=constant(b), gamma=constant(g), discount=1.0)
        for a, b, g in zip(*exponents, strict=True)
    ]


def engine(name: str) -> dict[str, Any]:
    """Return the exploitabilities that a library's CFR+ comes to, in a process of its own."""
    cores = tuple(sorted(os.sched_getaffinity(0)))
    track = Track(openspiel=GAMES[NAME])
    job = Job(name, NAME, "gap", track, ENGINE_SECONDS, ENGINE_LIMIT, cores)
    with tempfile.TemporaryDirectory() as folder_:
        record = run_engine(job, Path(folder_))
    return {
        "engine": name,
        "version": record.get("version"),
        "status": record["status"],
        "points": [[t, nash_conv / 2] for t, _, nash_conv in record.get("history", ())],
    }


def measure(quick: bool) -> Measured:
    """Return published, exact and our curves, and what other libraries come to."""
    curves = folder("ddcfr_curves")
    steps = 2 * EARLY if quick else CURVE_STEPS
    ours, shown = game(NAME), [t for t in SHOWN if t <= steps]
    scale = payoff_scale(ours.form)

    def traced(variants: Variant | list[Variant], dead_zone: float) -> list[list[float]]:
        found = curve(ours, variants, steps, dead_zone=dead_zone, horizon=CURVE_STEPS)
        return [[t, float(found[t - 1])] for t in shown]

    guarded = default_dead_zone(ours.form)
    methods = RATIONAL[:2] if quick else RATIONAL
    published = {
        method: ddcfr_columns(curves, algorithm, NAME, "conv")[0]
        for algorithm, method in PUBLISHED.items()
    }
    return {
        "steps": steps,
        "rational": rational(QUICK_STEPS if quick else RATIONAL_STEPS),
        "published": {
            method: [[t, column[t - 1]] for t in shown] for method, column in published.items()
        },
        "guarded": {method: traced(VARIANTS[method], guarded) for method in methods}
        | {"ddcfr": traced(learned(curves)[:steps], guarded)},
        "plain": {method: traced(VARIANTS[method], 0.0) for method in methods},
        "shares": [
            [share, *(traced(VARIANTS[method], share * scale)[-1][1] for method in methods[1:])]
            for share in (SHARES[:2] if quick else SHARES)
        ],
        "engines": [] if quick else [engine(name) for name in ENGINES],
    }


def claims(measured: Measured) -> list[Claim]:
    """Return published values beside exact ones, beside OpenSpiel's, and exact ones beside ours."""
    found = []
    early = min(EARLY, len(measured["rational"]["cfr"]))
    for algorithm, method in PUBLISHED.items():
        if method not in RATIONAL:
            continue
        where = f"`results/{algorithm}/{NAME}/data.csv`"
        curve_ = dict(measured["published"][method])
        for t in (1, early):
            exact = float(Fraction(measured["rational"][method][t - 1]))
            statement = f"{method}: published, against exact rationals, after {t}"
            found.append(
                Claim(statement, where, curve_[t], exact, CLOSE * curve_[t], reason=ROUNDING)
            )
    for row in measured["engines"]:
        if row["engine"] == "openspiel":
            curve_, points = dict(measured["published"]["cfr+"]), dict(row["points"])
            found += [
                Claim(
                    f"cfr+: published, against OpenSpiel {row['version']} (C++), after {t}",
                    f"`results/CFRPlus/{NAME}/data.csv`",
                    curve_[t],
                    points.get(t, float("nan")),
                    CLOSE * curve_[t],
                )
                for t in LIBRARY_STEPS
            ]
    for method, exact_after in CLOSED.items():
        if method in measured["guarded"]:
            points, t = dict(measured["guarded"][method]), min(measured["steps"], LATE)
            exact = float(exact_after(t))
            found += (
                [
                    Claim(
                        f"{method}: exact, against our solver with its dead zone, after {t}",
                        "closed form",
                        exact,
                        points.get(t, float("nan")),
                        max(SHARP * exact, 2e-12),
                    )
                ]
                if t in points
                else []
            )
    return found


def remarks(measured: Measured) -> str:
    """Return the finding: what happens, to whom, what follows and what does not."""
    return "\n\n".join(
        (
            "## What happens",
            "Regret matching plays every action in proportion to its positive regret, and "
            "uniformly where none is positive. In this game the rules come to exact ties at once: "
            "many regrets are exactly zero, and the policies of iteration 3 and later are exact "
            "equilibria (of iteration 4 and later for CFR). In floating point a regret of zero is "
            "left at about 1e-17, positive for some actions and not for others, by the order in "
            "which sums were taken. Regret matching divides by the sum of these, and out comes an "
            "arbitrary, often pure policy, which the averages and the other player's regrets then "
            "carry along.",
            "In exact rationals, exploitability of the average after 1, 2, ... iterations:",
            table(
                ("rule", *(f"{t + 1}" for t in range(len(measured["rational"]["cfr"])))),
                [(method, *values) for method, values in measured["rational"].items()],
            ),
            "By how much the published values exceed the exact ones:",
            _factors(measured),
            "Our own solver, one program with two dead zones, gives both:",
            _twice(measured),
            "How large the dead zone has to be, by exploitability after "
            f"{measured['steps']} iterations:",
            table(
                ("dead zone, share of the largest payoff", *list(measured["guarded"])[1:-1]),
                [
                    (f"{share:g}", *(f"{v:.2e}" for v in values))
                    for share, *values in measured["shares"]
                ],
            ),
            "## Which libraries",
            "CFR+ in libraries as they are installed, each with its own averaging, and the same "
            "game. The last column is by their source.",
            _libraries(measured),
            "OpenSpiel's two solvers show the effect; noregret and LiteEFG, which have guards, do "
            "not. LiteEFG averages the policies after each update, which makes its exact value "
            "another one: 5 / (24 t (t + 1)) for what is 17 / (12 t (t + 1)) with the usual "
            "averaging. Read in source only: the code of DDCFR (0e4de9b) and that of PDCFR+ "
            "have no guard, gpugt of Kim and Sandholm takes the uniform policy where an infoset's "
            "regrets sum to less than 1e-8, and the noregret that was rewritten in May 2026, "
            "unlike the release above, has none. OpenSpiel's JAX solver says in its docstring "
            "that rounding small regrets to zero makes it match the solver in Python.",
            "## What it changes",
            "Convergence curves on this game, in any library without a guard, show how rounding "
            "errors are averaged away, and not how the rules converge: the exact curves of CFR+, "
            "DCFR and PCFR+ are nothing but weighted averages of two early policies. Comparisons "
            "of rules on it, ours included without the dead zone, have no meaning beyond that. "
            f"{_ranking(measured)} Which arbitrary policies come out depends on the compiler, the "
            "order of sums and the device, so that such curves cannot be expected to be "
            "reproducible between programs, although two that sum in the same order agree to all "
            "digits, as above.",
            "Games over hidden intents are full of such ties (equal types, signals that say "
            "nothing, symmetric actions), which is why the solvers here have a dead zone by "
            "default and report it.",
            "## What it does not change",
            "The published numbers are what they say: exploitabilities, correctly evaluated, of "
            "policies that were really computed. No theorem is in doubt: where regrets are zero "
            "any policy keeps the regret bound, and the averages converge to equilibrium, only "
            "later. The other games of that repository are not affected: on Kuhn, Goofspiel with "
            "three cards, Liar's dice with three sides and Leduc the same authors' curves are "
            "those of our solvers ([convergence curves](../cfr_curves)). What they conclude "
            "from those games and from larger ones is untouched. Nor is a dead zone free: one "
            "that is too small helps nothing, as the table shows, and one that is too large cuts "
            "real regrets.",
            f"Our own is not the last word. {_ours_at_last(measured)}"
            if measured["engines"]
            else "",
            "Whether the same effect is behind odd values in other published Battleship data "
            "([Kim and Sandholm](../kim_sandholm_2026)) we do not know.",
        )
    )


def _exact(method: str, t: int) -> float:
    """Return the exact exploitability: 1/2 after one iteration, then by the closed form."""
    return 0.5 if t == 1 else float(CLOSED[method](t))


def _factors(measured: Measured) -> str:
    times = [t for t in (EARLY, 100, LATE) if t <= measured["steps"]]
    rows = []
    for method, points in measured["published"].items():
        if method in CLOSED:
            at = dict(points)
            rows.append((method, *(f"{at[t] / _exact(method, t):,.3g} times" for t in times)))
    return table(("rule", *(f"after {t}" for t in times)), rows)


def _twice(measured: Measured) -> str:
    times = [t for t in (EARLY, 100, LATE) if t <= measured["steps"]]
    rows = [
        (
            method,
            name,
            *(f"{dict(measured[key][method])[t]:.3e}" for t in times),
        )
        for method in measured["plain"]
        for key, name in (("plain", "0"), ("guarded", "1e-8 of the largest payoff"))
    ]
    return table(("rule", "dead zone", *(f"after {t}" for t in times)), rows)


def _libraries(measured: Measured) -> str:
    rows = []
    for row in measured["engines"]:
        points = dict(row["points"])
        rows.append(
            (
                row["engine"],
                str(row["version"]),
                *(f"{points[t]:.3e}" if t in points else "not reached" for t in TABLE_STEPS),
                GUARDS[row["engine"]],
            )
        )
    usual = (f"{_exact('cfr+', t):.3e}" for t in TABLE_STEPS)
    rows.append(("exact", "", *usual, ""))
    return table(("library", "version", *(f"after {t}" for t in TABLE_STEPS), "guard"), rows)


def _ours_at_last(measured: Measured) -> str:
    """Say how far our own dead zone carries."""
    points = next(row["points"] for row in measured["engines"] if row["engine"] == "csa")
    off = [abs(value / _exact("cfr+", t) - 1) > NEAR for t, value in points]
    late = [
        k
        for k, ((t, _), is_off) in enumerate(zip(points, off, strict=True))
        if is_off and t > EARLY
    ]
    if not late:
        return f"It is followed to the last of {points[-1][0]:,} iterations."
    (kept, exact), (left, value) = points[late[0] - 1], points[late[0]]
    return (
        f"CFR+ follows the exact curve for {kept:,} iterations, down to {exact:.1e}, and has left "
        f"it after {left:,}, at {value:.1e}: rounding has then grown past the dead zone. "
        "`solvers.solve` returns the best policy that it has checked, with its certificate, so "
        "that its result does not get worse; going on does not make it better either."
    )


def _ranking(measured: Measured) -> str:
    """Say in which order the published and the exact curves put the rules."""

    def order(curves: Mapping[str, list[list[float]]]) -> str:
        last = {method: curves[method][-1][1] for method in curves if method in PUBLISHED.values()}
        ranked = sorted(last, key=last.__getitem__)
        return ", ".join(f"{m} ({last[m]:.1e})" for m in ranked)

    return (
        f"After {measured['steps']} iterations the published order is "
        f"{order(measured['published'])}; with a dead zone it is {order(measured['guarded'])}."
    )


def pictures(measured: Measured) -> Mapping[str, str]:
    """Return published, exact and our curves of CFR+ and DCFR, and their data."""
    panels, rows = [], []
    for method in measured["plain"]:
        series = []
        for k, (label, key, dots) in enumerate(
            (
                ("published", "published", False),
                ("ours, no dead zone", "plain", True),
                ("ours, dead zone", "guarded", True),
            )
        ):
            if method in measured[key]:
                points = measured[key][method]
                series.append(Series(label, points, look=k, dots=dots))
                rows += [(method, label, t, value) for t, value in points]
        exact = [(t, _exact(method, t)) for t, _ in measured["plain"][method] if t != 2]
        series.append(Series("exact", exact, look=2))
        rows += [(method, "exact", t, value) for t, value in exact]
        panels.append((method, series))
    panels.sort(key=lambda panel: len(panel[1]))  # the legend is that of the last, with all curves
    return {
        "battleship.svg": draw(
            "battleship", panels, Axis("iterations", log=True), Axis("exploitability", log=True)
        ),
        "battleship.csv": data(("rule", "curve", "iterations", "exploitability"), rows),
    }


PAPER = Paper(
    name="battleship",
    title="Battleship curves that are rounding",
    about=(
        "A small Battleship game (2 x 2, one ship of length 2, three shots) is used to compare CFR "
        "variants. Its published curves, and those of OpenSpiel's solvers, are far above what the "
        "rules do in exact arithmetic. This page says why, by how much, for whom, and what follows."
    ),
    sources=(
        "Curves of CFR, CFR+, DCFR and DDCFR: rpSebastian/DDCFR at 0e4de9b (ICLR 2024; MIT).",
        "The game: OpenSpiel, `battleship(board_width=2,board_height=2,ship_sizes=[2],"
        "ship_values=[2],num_shots=3,allow_repeated_shots=False)`: 10,069 nodes, value 0.625.",
    ),
    measure=measure,
    claims=claims,
    remarks=remarks,
    pictures=pictures,
)

if __name__ == "__main__":
    raise SystemExit(run([PAPER]))
