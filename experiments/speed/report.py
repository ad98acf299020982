"""The results as tables and pictures: pure functions of what a run found.

Every table is written twice, for people (Markdown) and for programs (CSV).
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from csa_games.drawing import COLOURS, FAINT, INK, MARKERS, MUTED, TEXT, drawn_plainly, svg_text
from experiments.speed.bar import (
    OUR_CFR_PLUS,
    OURS,
    Record,
    Results,
    bar,
    find,
    moved_bytes,
    nanoseconds,
    timed,
)
from experiments.speed.games import DIALOGUES
from experiments.speed.published import PUBLISHED
from experiments.speed.racers import ENGINES, PEERS

RACED = (*OUR_CFR_PLUS, *PEERS)
"""The engines whose time per iteration is compared: all of them do one of CFR+."""

Table = tuple[Sequence[str], list[Sequence[str]]]
"""Headings and rows."""


def files(results: Results) -> dict[str, bytes]:
    """Return the report as files, name -> content."""
    tables = {
        "bar": bar_table(results),
        "speed": speed_table(results),
        "details": details_table(results),
        "gaps": gap_table(results),
        "solves": solve_table(results),
        "roofline": roofline_table(results),
        "batch": batch_table(results),
    }
    named = {f"{name}.csv": _csv(table) for name, table in tables.items() if table[1]}
    named["speed.md"] = markdown(results, tables)
    pictures = {"speed.svg": speed_picture(results)}
    for game in gap_games(results):
        pictures[f"gap_{game}.svg"] = gap_picture(results, game)
    return {name: text.encode() for name, text in (named | pictures).items()}


def markdown(results: Results, tables: Mapping[str, Table]) -> str:
    """Return the page that shows all tables and says how they were made."""
    made = results["provenance"]
    band = results.get("bandwidth", {})
    packages = ", ".join(f"{k} {v}" for k, v in made["packages"].items() if v is not None)
    versions = {
        engine: r["version"]
        for r in results["records"]
        if (engine := r["engine"]) and "version" in r
    }
    lines = [
        "# Speed",
        "",
        f"Made by `{results['command']}` on {len(results['cores'])} cores of {made['cpu']} "
        f"({made['platform']}), Python {made['python']}, {packages}, {made['time']}. Every engine "
        "ran on its own, in a process of its own, on the same cores.",
    ]
    if others := [r["others"] for r in results["records"] if "others" in r]:
        lines[-1] += (
            f" Other programs kept {median(others):.2g} of the cores busy meanwhile, and "
            f"{max(others):.2g} at the worst."
        )
    if band:
        speeds = {name: f"{v / 1e9:.3g} GB/s" for name, v in band.items() if name != "device"}
        lines += [
            "",
            f"Measured bandwidth: copy {speeds['copy']} ({speeds['copy_one_thread']} by one "
            f"thread), triad {speeds['triad']}, copy by JAX on {band['device']} "
            f"{speeds['device_copy']}.",
        ]
    sections = (
        ("bar", "What was asked for", ""),
        (
            "speed",
            "Milliseconds per iteration",
            "Medians. ≈ is extrapolated: nanoseconds per history on the largest dialogue that the "
            "engine held, times the histories of this one. † was published by others, on other "
            "machines; see below.",
        ),
        (
            "roofline",
            "Dialogues against the memory bandwidth",
            "The least bytes that an iteration can move: every number of the state read and "
            "written once, every number of the game read once. The share is the time that those "
            "bytes take at the measured copy bandwidth, over the measured time.",
        ),
        (
            "batch",
            "Many priors at once against the machine",
            "Bytes as above; operations as XLA counts them. Nothing runs faster than the largest "
            "of the times that these take: the bytes from memory where a batch streams through, "
            "from the cache where it stays there. Times one is that over an iteration of a single "
            "one. A product of matrices multiplies and adds in one instruction, on all lanes; "
            "divisions, comparisons and selections, of which regret matching is made, do not.",
        ),
        (
            "gaps",
            "Time to a gap",
            "Seconds of iterations alone, after compilation; checking is not counted.",
        ),
        (
            "solves",
            "`solvers.solve` to a target",
            "Wall-clock seconds with certificates: the first run compiles, the second does not.",
        ),
        (
            "details",
            "Every run",
            "Setup is importing and building; the first iteration compiles. NashConv is that of "
            "the averages after the last iteration. A window is some iterations in a row; the "
            "windows cover the iterations named.",
        ),
    )
    for key, title, text in sections:
        if tables[key][1]:
            lines += ["", f"## {title}", "", *([text, ""] if text else []), *_markdown(tables[key])]
    lines += ["", "## Engines", ""]
    present = [name for name in ENGINES if any(r["engine"] == name for r in results["records"])]
    lines += [
        f"- **{name}** {versions.get(name) or ''}: {ENGINES[name].about}." for name in present
    ]
    lines += [f"- **{row.name}** †: {row.about}." for row in PUBLISHED]
    return "\n".join(lines) + "\n"


def bar_table(results: Results) -> Table:
    """Return what was asked for, and whether it was reached."""
    met = {True: "yes", False: "NO", None: "–"}
    rows = [(r.what, r.required, r.measured, met[r.met], r.remark) for r in bar(results)]
    return ("requirement", "required", "measured", "met", "remark"), list(rows)


def speed_table(results: Results) -> Table:
    """Return milliseconds per iteration: games by engines, with what others published."""
    engines = [name for name in RACED if any(r["engine"] == name for r in _speed(results))]
    games = _games(_speed(results))
    rows: list[Sequence[str]] = []
    for game in games:
        cells = [_cell(results, game, engine) for engine in engines]
        published = [_number(row.ms[game]) if game in row.ms else "" for row in PUBLISHED]
        rows.append((game, *cells, *published))
    return ("game", *engines, *(f"{row.name} †" for row in PUBLISHED)), rows


def extrapolated(results: Results, game: str, engine: str) -> float | None:
    """Return milliseconds per iteration that `engine` would need on a dialogue, by its histories.

    Taken from the largest dialogue it was timed on; None for other games, or where there is none.
    """
    held = [r for name in DIALOGUES for r in timed(results, name, (engine,))]
    if game not in DIALOGUES or not held:
        return None
    histories = {name: results["games"][name]["histories"] for name in (game, *_games(held))}
    largest = max(held, key=lambda r: histories[r["game"]])
    return float(largest["ms"] / histories[largest["game"]] * histories[game])


def details_table(results: Results) -> Table:
    """Return every timed run, and what became of the others."""
    rows: list[Sequence[str]] = []
    for r in _speed(results):
        ours = timed(results, r["game"], (OURS,))
        ratio = f"{r['ms'] / ours[0]['ms']:.3g}" if ours and "ms" in r else ""
        rows.append(
            (
                r["game"],
                r["engine"],
                _number(r.get("ms")),
                _number(r.get("ms_least")),
                ratio,
                " to ".join(map(str, r.get("iterations", ()))),
                _number(r.get("setup_seconds")),
                _number(r.get("first_seconds")),
                _number(r["peak_bytes"] / 1e6) if "peak_bytes" in r else "",
                _number(r.get("nash_conv")),
                r["status"],
            )
        )
    headings = (
        *("game", "engine", "ms", "least window, ms", f"times {OURS}", "iterations"),
        *("setup, s", "first iteration, s", "peak memory, MB", "NashConv", "status"),
    )
    return headings, rows


def gap_games(results: Results) -> list[str]:
    """Return the games on which the gap was followed."""
    return _games(r for r in results["records"] if r["kind"] == "gap" and r.get("history"))


def gap_table(results: Results) -> Table:
    """Return the seconds of iterations until NashConv was at most the target, by engine."""
    rows: list[Sequence[str]] = []
    for r in results["records"]:
        if r["kind"] != "gap":
            continue
        history = r.get("history", [])
        t, seconds, last = history[-1] if history else ("", None, None)
        reached = last is not None and last <= r["target"]
        rows.append(
            (
                r["game"],
                r["engine"],
                _number(r.get("target")),
                _number(seconds) if reached else f"not in {_number(seconds)}" if history else "",
                str(t),
                _number(last),
                r["status"],
            )
        )
    return (
        "game",
        "engine",
        "NashConv, target",
        "seconds",
        "iterations",
        "NashConv",
        "status",
    ), rows


def solve_table(results: Results) -> Table:
    """Return what `solvers.solve` took."""
    rows: list[Sequence[str]] = []
    for r in results["records"]:
        if r["kind"] != "solve":
            continue
        first, second = r.get("first_run", {}), r.get("second_run", {})
        rows.append(
            (
                r["game"],
                r["engine"],
                _number(r.get("target")),
                _number(r.get("setup_seconds")),
                _number(first.get("seconds")),
                _number(second.get("seconds")),
                str(first.get("steps", "")),
                _number(first.get("nash_conv")),
                _number(r["peak_bytes"] / 1e6) if "peak_bytes" in r else "",
                first.get("status", "") if r["status"] == "ok" else r["status"],
            )
        )
    headings = (
        *("game", "engine", "NashConv, target", "setup, s", "first run, s", "second run, s"),
        *("iterations", "NashConv", "peak memory, MB", "status"),
    )
    return headings, rows


def roofline_table(results: Results) -> Table:
    """Return, for our engine on dialogues, how near an iteration is to the memory bandwidth."""
    rows: list[Sequence[str]] = []
    band = results.get("bandwidth", {})
    for game in DIALOGUES:
        for r in timed(results, game, OUR_CFR_PLUS):
            if "copy" not in band:
                continue
            gpu = not r["device"].startswith("cpu")
            speed = band["device_copy"] if gpu else band["copy"]
            least = 1000 * moved_bytes(r) / speed
            rows.append(
                (
                    game,
                    r["engine"],
                    f"{results['games'][game]['histories']:,}",
                    _number(moved_bytes(r) / 1e6),
                    _number(least),
                    _number(r["ms"]),
                    f"{least / r['ms']:.0%}",
                    _number(nanoseconds(results, r)),
                )
            )
    headings = (
        *("game", "engine", "histories", "least bytes, MB", "least time, ms", "measured, ms"),
        *("share", "ns per history"),
    )
    return headings, rows


def batch_table(results: Results) -> Table:
    """Return the least time that a batch could take, by what an iteration moves and calculates."""
    band = results.get("bandwidth", {})
    rows: list[Sequence[str]] = []
    for r in results["records"]:
        if r["kind"] != "batch" or "operations" not in r or "cache_copy" not in band:
            continue
        for what, amount, unit, speed in (
            ("bytes, from memory", moved_bytes(r), "MB", band["copy"]),
            ("bytes, from the cache", moved_bytes(r), "MB", band["cache_copy"]),
            ("operations, as in a product of matrices", r["operations"], "M", band["operations"]),
        ):
            total = r["batch"] * amount
            least = 1000 * total / speed
            rows.append(
                (
                    *(f"{r['batch']} of {r['game']}", what, f"{_number(total / 1e6)} {unit}"),
                    *(f"{speed / 1e9:.3g} G/s", _number(least), f"{least / r['one_ms']:.3g}x"),
                    f"{least / r['batch_ms']:.0%}",
                )
            )
    headings = ("batch", "what", "per iteration", "measured speed", "least time, ms")
    return (*headings, "times one", "share of the time measured"), rows


@drawn_plainly
def speed_picture(results: Results) -> str:
    """Return a picture of milliseconds per iteration, a row for each game, on a log axis."""
    games = _games(r for r in _speed(results) if "ms" in r)
    figure = Figure(figsize=(9.4, 1.5 + 0.34 * max(1, len(games))))
    axes = figure.add_axes((0.15, 0.14, 0.5, 0.82))
    axes.set_xscale("log")
    for engine in RACED:
        points = [
            (r["ms"], games.index(r["game"]))
            for r in _speed(results)
            if r["engine"] == engine and "ms" in r
        ]
        if points:
            _dots(axes, points, engine)
        guessed = [
            (ms, games.index(game))
            for game in games
            if find(results, "speed", game, engine) is not None
            and not timed(results, game, (engine,))
            and (ms := extrapolated(results, game, engine)) is not None
        ]
        if guessed:
            _dots(axes, guessed, engine, hollow=True)
    for k, row in enumerate(PUBLISHED):
        points = [(ms, games.index(game)) for game, ms in row.ms.items() if game in games]
        if points:
            x, y = zip(*points, strict=True)
            label = f"{row.name} (published)"
            axes.plot(x, y, linestyle="", marker=f"${'abcdef'[k]}$", color=MUTED, label=label)
    axes.set_yticks(range(len(games)), games)
    axes.set_ylim(len(games) - 0.5, -0.5)
    axes.set_xlabel("milliseconds per iteration", fontsize=TEXT, color=MUTED)
    _finish(axes)
    axes.legend(frameon=False, fontsize=TEXT - 1.5, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return svg_text(figure, "speed")


@drawn_plainly
def gap_picture(results: Results, game: str) -> str:
    """Return a picture of NashConv against seconds of iterations, log-log, a line per engine."""
    figure = Figure(figsize=(6.6, 3.4))
    axes = figure.add_axes((0.11, 0.14, 0.56, 0.8))
    axes.set_xscale("log")
    axes.set_yscale("log")
    records = [r for r in results["records"] if r["kind"] == "gap" and r["game"] == game]
    for r in (r for r in records if r.get("history")):
        points = [(seconds, value) for _, seconds, value in r["history"] if value > 0]
        x, y = zip(*points, strict=True)
        axes.plot(x, y, label=r["engine"], markersize=3, linewidth=1.2, **_look(r["engine"]))
    targets = {r["target"] for r in records if "target" in r}
    for target in targets:
        axes.axhline(target, color=MUTED, linewidth=1, linestyle="--", label="target")
    axes.set_xlabel("seconds of iterations, after compilation", fontsize=TEXT, color=MUTED)
    axes.set_ylabel(f"NashConv on {game} (payoff units)", fontsize=TEXT, color=MUTED)
    _finish(axes)
    axes.legend(frameon=False, fontsize=TEXT - 1, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return svg_text(figure, f"gap-{game}")


def _speed(results: Results) -> list[Record]:
    return [r for r in results["records"] if r["kind"] == "speed"]


def _games(records: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(r["game"] for r in records))


def _cell(results: Results, game: str, engine: str) -> str:
    record = find(results, "speed", game, engine)
    if record is None:
        return ""
    if "ms" in record:
        return _number(record["ms"])
    guess = extrapolated(results, game, engine)
    return f"≈ {_number(guess)}" if guess is not None else str(record["status"])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _markdown(table: Table) -> Iterable[str]:
    headings, rows = table
    yield "| " + " | ".join(headings) + " |"
    yield "|" + "---|" * len(headings)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in row) + " |"


def _csv(table: Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table[0])
    writer.writerows(table[1])
    return out.getvalue()


def _look(engine: str) -> dict[str, Any]:
    """Return the look of an engine's lines and dots, without the yellow that white swallows."""
    k = list(dict.fromkeys((*RACED, *ENGINES))).index(engine)
    colours = [colour for colour in COLOURS if colour != "#F0E442"] + [INK]
    n = len(colours)
    return {"color": colours[k % n], "marker": MARKERS[(k + k // n) % len(MARKERS)]}


def _dots(
    axes: Axes, points: Sequence[tuple[float, int]], engine: str, hollow: bool = False
) -> None:
    x, y = zip(*points, strict=True)
    look = _look(engine) | ({"markerfacecolor": "none"} if hollow else {})
    label = f"{engine}, extrapolated" if hollow else engine
    axes.plot(x, y, linestyle="", markersize=5.5, label=label, **look)


def _finish(axes: Axes) -> None:
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=TEXT - 0.5, labelcolor=INK, which="both")
