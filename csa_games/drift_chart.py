"""What came against what was expected, turn by turn, as a picture."""

import math

from matplotlib.figure import Figure

from csa_games.charts import Chart
from csa_games.drawing import FAINT, INK, MUTED, TEXT, bare, drawn_plainly, line_colour
from csa_games.drift import DRIFT, Drift

WIDTH = 2.0  # standard deviations that a bar reaches to both sides of what is expected


@drawn_plainly
def drift_chart(found: Drift) -> Chart:
    """Return a chart with a row for each ask and signal of each turn: shares of conversations.

    A bar is where about 95 of 100 draws from the prediction fall, taken by itself; a filled mark is
    what came where the test found no drift, a crossed one where it did. The bars are a guide to the
    eye: what the marks are is decided by the tests, which correct for how many there are.
    """
    tests = [test for test in found.tests if test.turn > 0]
    rows = [(test, cell) for test in tests for cell in test.cells]
    height = 0.2 * len(rows) + 0.14 * len(tests) + 0.7
    figure = Figure(figsize=(6.2, height))
    axes = figure.add_axes((0.4, 0.5 / height, 0.57, 1 - 0.6 / height))
    names, places, place = [], [], 0.0
    for k, test in enumerate(tests):
        colour = line_colour(test.turn - 1)
        place += 0.7 if k else 0.0
        for cell in test.cells:
            n = max(test.conversations, 1)
            share, came = cell.expected / n, cell.observed / n
            reach = WIDTH * math.sqrt(share * (1 - share) / n)
            ends = [max(0.0, share - reach), min(1.0, share + reach)]
            axes.plot(ends, [place, place], color=FAINT, linewidth=6, solid_capstyle="butt")
            axes.plot([share], [place], "|", color=MUTED, markersize=8)
            drifts = test.finding == DRIFT
            axes.plot([came], [place], "X" if drifts else "o", color=colour, markersize=5)
            what = cell.name if test.ask is None else f"{test.ask}: {cell.name}"
            names.append(f"turn {test.turn}, {what}")
            places.append(place)
            place += 1.0
    axes.set_yticks(places, names, fontsize=TEXT - 1, color=INK)
    axes.set_ylim(place - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the conversations", fontsize=TEXT, color=MUTED)
    bare(axes)
    said = ", ".join(f"{test.what} of turn {test.turn} {test.finding}" for test in tests)
    table = [
        {
            "turn": test.turn,
            "what": test.what,
            "ask": test.ask or "",
            "name": cell.name,
            "expected": cell.expected,
            "observed": cell.observed,
            "conversations": test.conversations,
            "finding": test.finding,
        }
        for test, cell in rows
    ]
    return Chart(figure, f"Observed against expected by turn: {said}.", table)
