"""What was predicted against what came, as a picture."""

from collections.abc import Sequence
from math import ceil

from matplotlib.figure import Figure

from csa_games.calibration.reliability import Reliability
from csa_games.charts import Chart
from csa_games.drawing import FAINT, INK, MUTED, TEXT, bare, drawn_plainly, line_colour
from csa_games.words import number

ACROSS = 3
SIDE = 2.1  # inches
ENDS = (0.05, 0.1, 0.2, 0.5, 1.0)  # of the axes: rare events would huddle in a corner


@drawn_plainly
def reliability_chart(found: Sequence[Reliability]) -> Chart:
    """Return a reliability diagram for each of `found`, of one kind, three in a row.

    A mark is a bin: its mean prediction across, the share that came up, with its interval. Filled
    marks have an interval that holds the prediction, crossed ones do not; the larger, the more
    cases. The line is where both are the same.
    """
    rows = ceil(len(found) / ACROSS)
    columns = min(len(found), ACROSS)
    height, width = SIDE * rows + 0.35, SIDE * columns + 0.45
    figure = Figure(figsize=(width, height))
    for k, one in enumerate(found):
        row, column = divmod(k, ACROSS)
        axes = figure.add_axes(
            (
                (0.5 + SIDE * column) / width,
                1 - (SIDE * (row + 1) - 0.18) / height,
                (SIDE - 0.4) / width,
                (SIDE - 0.55) / height,
            )
        )
        farthest = max(max(part.predicted, part.observed) for part in one.bins)
        end = next((end for end in ENDS if farthest <= end), 1.0)
        axes.plot([0, end], [0, end], color=FAINT, linewidth=1, zorder=1)
        for part in one.bins:
            colour = line_colour(0 if part.holds else 3)
            size = 2.5 + 3 * (part.n / one.n) ** 0.5
            x = part.predicted
            axes.plot([x, x], [part.low, min(part.high, end)], color=colour, linewidth=1, zorder=2)
            mark = "o" if part.holds else "X"
            axes.plot([x], [part.observed], mark, color=colour, markersize=size, zorder=3)
        axes.set_xlim(-0.03 * end, 1.03 * end)
        axes.set_ylim(-0.03 * end, 1.03 * end)
        ticks = ([0, end / 2, end], [f"{tick:g}" for tick in (0, end / 2, end)])
        axes.set_xticks(*ticks)
        axes.set_yticks(*ticks)
        axes.set_title(one.event, fontsize=TEXT, color=INK, loc="left")
        axes.grid(color=FAINT, linewidth=0.4)
        bare(axes)
    figure.text(0.5, 0.02, "predicted", ha="center", fontsize=TEXT, color=MUTED)
    figure.text(0.01, 0.5, "came", va="center", rotation=90, fontsize=TEXT, color=MUTED)
    said = "; ".join(
        f"{one.event}: {sum(part.holds for part in one.bins)} of {len(one.bins)} bins hold, "
        f"expected calibration error {number(one.error)}"
        for one in found
    )
    table = [
        {
            "kind": one.kind,
            "event": one.event,
            "predicted": part.predicted,
            "observed": part.observed,
            "low": part.low,
            "high": part.high,
            "n": part.n,
        }
        for one in found
        for part in one.bins
    ]
    return Chart(figure, f"Predicted against observed. {said}.", table)
