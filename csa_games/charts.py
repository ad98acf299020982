"""Charts of results: curves, and maps of regimes; each with the numbers that it shows.

The look is that of `csa_games.drawing`: colours that colour-blind readers can tell apart, and
markers, dashes and letters that say the same in grey.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from csa_games.csv_text import csv_text
from csa_games.drawing import (
    COLOURS,
    FAINT,
    INK,
    MARKERS,
    MUTED,
    TEXT,
    bare,
    drawn_plainly,
    ink_on,
    line_colour,
    svg_element,
)
from csa_games.files import write_file
from csa_games.words import number

PIXELS_PER_INCH = 200
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A figure, what it says to those who cannot see it, and the numbers that it shows."""

    figure: Figure
    said: str
    rows: Sequence[Mapping[str, Any]]


@drawn_plainly
def save(folder: Path, name: str, chart: Chart) -> None:
    """Write NAME.svg, NAME.png and NAME.csv into `folder`, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    png = BytesIO()
    svg = svg_element(chart.figure, name, chart.said)
    # Without the version of what drew it: the same numbers give the same bytes.
    chart.figure.savefig(
        png, format="png", dpi=PIXELS_PER_INCH, facecolor="white", metadata={"Software": None}
    )
    write_file(folder / f"{name}.svg", svg.encode())
    write_file(folder / f"{name}.png", png.getvalue())
    write_file(folder / f"{name}.csv", csv_text(chart.rows).encode())


@drawn_plainly
def curves(
    series: Mapping[str, Points],
    across: str,
    up: str,
    *,
    scale: tuple[str, str] = ("linear", "linear"),
    marks: Mapping[str, float] | None = None,
) -> Chart:
    """Return a chart of each of `series`, by name, with a legend where there are several.

    `scale` is that of both axes, "linear" or "log"; `marks` are vertical lines, by what they mark.
    """
    figure = Figure(figsize=(6.2, 3.4))
    axes = figure.add_axes((0.12, 0.15, 0.55 if len(series) > 1 else 0.84, 0.79))
    axes.set_xscale(scale[0])
    axes.set_yscale(scale[1])
    for k, (name, points) in enumerate(series.items()):
        x, y = np.array(sorted(points), dtype=float).reshape(-1, 2).T
        axes.plot(
            x,
            y,
            color=line_colour(k),
            linestyle=DASHES[(k // len(MARKERS)) % len(DASHES)],
            marker=MARKERS[k % len(MARKERS)],
            markersize=4,
            label=name,
            clip_on=False,
            zorder=3,
        )
    for name, place in (marks or {}).items():
        axes.axvline(place, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate(
            name,
            (place, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(2, -2),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=TEXT - 1,
            color=MUTED,
        )
    axes.set_xlabel(across, fontsize=TEXT, color=MUTED)
    axes.set_ylabel(up, fontsize=TEXT, color=MUTED)
    axes.grid(color=FAINT, linewidth=0.6)
    if len(series) > 1:
        axes.legend(
            frameon=False, fontsize=TEXT, loc="upper left", bbox_to_anchor=(1.02, 1.02), borderpad=0
        )
    whole = all(float(x).is_integer() for points in series.values() for x, _ in points)
    if whole and scale[0] == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    bare(axes)
    ends = {name: sorted(points) for name, points in series.items() if points}
    said = "; ".join(
        f"{name}: {number(points[0][1])} at {number(points[0][0])}, "
        f"{number(points[-1][1])} at {number(points[-1][0])}"
        for name, points in ends.items()
    )
    rows = [
        {"series": name, across: x, up: y}
        for name, points in series.items()
        for x, y in sorted(points)
    ]
    return Chart(figure, f"{up} over {across}. {said}.", rows)


@drawn_plainly
def tornado(
    bars: Mapping[str, tuple[float, float]],
    across: str,
    sides: tuple[str, str],
    *,
    most: int = 20,
) -> Chart:
    """Return a chart of two lengths for each name, one to either side, the longest on top.

    `sides` says what is to the left and to the right. The picture has the `most` longest, and none
    that would not be seen, under a hundredth of the longest; the numbers of all are kept.
    """
    order = sorted(bars, key=lambda name: (-max(bars[name]), name))
    longest = max(map(max, bars.values()), default=0.0)
    shown = [name for name in order if max(bars[name]) > longest / 100][:most]
    height = 0.2 * max(len(shown), 1) + 0.85
    figure = Figure(figsize=(7.2, height))
    axes = figure.add_axes((0.52, 0.45 / height, 0.45, 1 - 0.8 / height))
    for k, name in enumerate(shown):
        left, right = bars[name]
        axes.barh(k, -left, height=0.7, color=COLOURS[0])
        axes.barh(k, right, height=0.7, color=COLOURS[1])
    axes.axvline(0, color=INK, linewidth=0.8)
    labels = [name if len(name) <= 54 else f"{name[:53]}…" for name in shown]
    axes.set_yticks(range(len(shown)), labels, fontsize=TEXT - 2, color=INK)
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    reach = 1.05 * (longest or 1.0)
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_formatter(lambda x, _: f"{abs(x):g}")
    axes.set_xlabel(across, fontsize=TEXT, color=MUTED)
    axes.set_title(sides[0], loc="left", fontsize=TEXT, color=MUTED)
    axes.set_title(sides[1], loc="right", fontsize=TEXT, color=MUTED)
    bare(axes)
    said = "; ".join(
        f"{name}: {number(bars[name][0])} at the {sides[0]}, {number(bars[name][1])} at the "
        f"{sides[1]}"
        for name in shown
    )
    rows = [{"number": name, **dict(zip(sides, bars[name], strict=True))} for name in order]
    return Chart(figure, f"{across}. {said or 'Nothing is lost'}.", rows)


@drawn_plainly
def regions(
    cells: Mapping[tuple[float, float], str],
    across: str,
    up: str,
    *,
    order: Callable[[str], Any] | None = None,
) -> Chart:
    """Return a map of what holds at each (across, up): colour and letter, and a legend of both.

    The grid need not be even; its places are drawn evenly and labelled. Regimes are lettered in
    their `order`, by default that of their first appearance.
    """
    columns = sorted({x for x, _ in cells})
    rows = sorted({y for _, y in cells})
    names = list(dict.fromkeys(cells.values()))
    if order is not None:
        names.sort(key=order)
    letter = {name: chr(ord("A") + k % 26) + "'" * (k // 26) for k, name in enumerate(names)}
    height = max(0.24 * len(rows) + 0.75, 0.2 * len(names) + 0.3, 2.2)
    legend = 0.07 * max(map(len, names)) + 0.5
    width = 0.24 * len(columns) + 0.85 + legend
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes(
        (
            0.75 / width,
            1 - (0.24 * len(rows) + 0.1) / height,
            0.24 * len(columns) / width,
            0.24 * len(rows) / height,
        )
    )
    for (x, y), name in cells.items():
        i, j, k = columns.index(x), rows.index(y), names.index(name)
        colour = COLOURS[k % len(COLOURS)]
        axes.fill_between([i, i + 1], j, j + 1, facecolor=colour, edgecolor="white", linewidth=0.5)
        axes.text(
            i + 0.5,
            j + 0.5,
            letter[name],
            ha="center",
            va="center",
            fontsize=TEXT - 2,
            color=ink_on(colour),
        )
    for set_ticks, places, limit, every in (
        (axes.set_xticks, columns, axes.set_xlim, 3),  # as many as there is room for
        (axes.set_yticks, rows, axes.set_ylim, 1),
    ):
        shown = range(0, len(places), every)
        set_ticks([k + 0.5 for k in shown], [f"{places[k]:.3g}" for k in shown])
        limit(0, len(places))
    axes.set_xlabel(across, fontsize=TEXT, color=MUTED)
    axes.set_ylabel(up, fontsize=TEXT, color=MUTED)
    bare(axes)
    left = (0.24 * len(columns) + 0.95) / width
    for k, name in enumerate(names):
        at = 1 - (0.2 * k + 0.2) / height
        colour = COLOURS[k % len(COLOURS)]
        box = {"facecolor": colour, "edgecolor": "none", "pad": 2}
        figure.text(
            left,
            at,
            letter[name],
            fontsize=TEXT - 1,
            color=ink_on(colour),
            bbox=box,
            family="monospace",
            va="center",
        )
        figure.text(left + 0.2 / width, at, name, fontsize=TEXT - 1, color=INK, va="center")
    count = {name: sum(other == name for other in cells.values()) for name in names}
    said = ", ".join(f"{name} at {count[name]} of {len(cells)} places" for name in names)
    table = [
        {across: x, up: y, "regime": cells[x, y], "letter": letter[cells[x, y]]}
        for y in rows
        for x in columns
        if (x, y) in cells
    ]
    return Chart(figure, f"Regimes over {across} and {up}: {said}.", table)
