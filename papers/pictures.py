"""Pictures for the READMEs: lines and dots with labels, and the CSV of what they show."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from csa_games.drawing import (
    FAINT,
    INK,
    MARKERS,
    MUTED,
    TEXT,
    bare,
    drawn_plainly,
    line_colour,
    svg_text,
)


@dataclass(frozen=True)
class Series:
    """Points with a name: dots where `dots`, a line otherwise; `look` picks colour and marker."""

    label: str
    points: Sequence[tuple[float, float]]
    look: int
    dots: bool = False


@dataclass(frozen=True)
class Axis:
    """What an axis shows, and whether it is logarithmic."""

    label: str
    log: bool = False


@drawn_plainly
def draw(name: str, panels: Sequence[tuple[str, Sequence[Series]]], across: Axis, up: Axis) -> str:
    """Return a picture with a panel for each (title, series), side by side, as SVG text.

    The same input gives the same bytes. The legend is that of the last panel.
    """
    width = 0.9 + 2.9 * len(panels) + 2.3
    figure = Figure(figsize=(width, 3.3))
    for k, (title, lines) in enumerate(panels):
        axes = figure.add_axes(((0.7 + 2.9 * k) / width, 0.16, 2.35 / width, 0.72))
        axes.set_xscale("log" if across.log else "linear")
        axes.set_yscale("log" if up.log else "linear")
        for line in lines:
            x, y = zip(*line.points, strict=True)
            axes.plot(
                x,
                y,
                label=line.label,
                color=line_colour(line.look),
                marker=MARKERS[line.look % len(MARKERS)] if line.dots else "",
                linestyle="" if line.dots else "-",
                markersize=4,
                linewidth=1.3,
            )
        axes.set_title(title, fontsize=TEXT, color=INK)
        axes.set_xlabel(across.label, fontsize=TEXT, color=MUTED)
        if k == 0:
            axes.set_ylabel(up.label, fontsize=TEXT, color=MUTED)
        axes.grid(color=FAINT, linewidth=0.6)
        bare(axes)
    axes.legend(frameon=False, fontsize=TEXT - 1, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return svg_text(figure, name)


def data(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return out.getvalue()
