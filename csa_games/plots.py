"""Pictures of a policy and its certificate, as SVG text; the data behind them is in `conduct`.

The look is that of `csa_games.drawing`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from csa_games.conduct import (
    Choice,
    asks_by,
    posterior_path,
    responses_by,
    shares_by_intent,
)
from csa_games.drawing import (
    COLOURS,
    FAINT,
    HATCHES,
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
from csa_games.game import ASSISTANT, Game, Policy, Progress, Solution
from csa_games.guard.keys import turns_of
from csa_games.scenario import Scenario
from csa_games.words import join, number, percent

ROW, HEADING = 0.25, 0.27  # inches
ACROSS = 3  # panels in a row of `policy_picture`
SHORTEST = 1.5  # inches of a bar or a curve, however long the names beside it are
LEAST = 0.3  # points; thinner segments are not drawn
SMALLEST = 1e-5  # what a picture on a logarithmic scale of probability shows


@dataclass(frozen=True)
class Bar:
    """A row of a stack: a heading, or a label with shares that sum to 1 (None: never reached)."""

    label: str
    shares: Float[np.ndarray, " N"] | None = None
    note: str = ""  # on the right
    heading: bool = False


@drawn_plainly
def response_stack(game: Game, policy: Policy, turn: int) -> str:
    """Return a picture of what the assistant answers in `turn`, by signal and ask."""
    scenario = _scenario(game)
    choices = responses_by(game, policy)
    asks = [ask.name for ask in scenario.asks if ask.ends is None]
    bars: list[Bar] = []
    for signal in scenario.signals:
        where = [choices.get((str(turn), ask, signal.name)) for ask in asks]
        if len(asks) == 1:
            bars.append(_bar(signal.name, where[0]))
        else:
            bars.append(Bar(signal.name, heading=True))
            bars += map(_bar, asks, where)
    names = [response.name for response in scenario.responses]
    said = f"What the assistant answers in turn {turn}. {_said(bars, names)}"
    return svg_element(_panels([("", bars)], names, width=4.4), f"turn-{turn}", said)


@drawn_plainly
def intent_stack(game: Game, policy: Policy) -> str:
    """Return a picture of what each intent is answered, over all turns."""
    scenario = _scenario(game)
    shares = shares_by_intent(game, policy)
    bars = [Bar(intent.name, shares.get(intent.name)) for intent in scenario.intents]
    names = [response.name for response in scenario.responses]
    said = f"What each intent is answered, over all turns. {_said(bars, names)}"
    return svg_element(_panels([("", bars)], names, width=4.6), "intents", said)


@drawn_plainly
def ask_stack(game: Game, policy: Policy, intent: str) -> str:
    """Return a picture of what a strategic `intent` asks, by turn and the last response."""
    scenario = _scenario(game)
    choices = {key[1:]: it for key, it in asks_by(game, policy).items() if key[0] == intent}
    answers = [response.name for response in scenario.responses if not response.ends]
    bars = [Bar("turn 1", heading=True), _bar("at first", choices.get((1, "")))]
    for turn in range(2, 1 + max((turn for turn, _ in choices), default=1)):
        bars.append(Bar(f"turn {turn}, after the response", heading=True))
        bars += [_bar(name, choices.get((turn, name))) for name in answers]
    names = [ask.name for ask in scenario.asks]
    said = f"What {intent} users ask. {_said(bars, names)}"
    figure = _panels([("", bars)], names, width=4.4, first=len(scenario.responses))
    return svg_element(figure, f"asks-{intent}", said)


@drawn_plainly
def policy_picture(game: Game, solution: Solution) -> str:
    """Return a picture of what the assistant does, by turn and signal, with its legend."""
    scenario = _scenario(game)
    choices = responses_by(game, solution.policy, ("turn", "signal"))
    panels = []
    for turn in range(1, scenario.turns + 1):
        where = [
            (signal.name, choices.get((str(turn), signal.name))) for signal in scenario.signals
        ]
        panels.append((f"Turn {turn}", [_bar(*pair) for pair in where]))
    names = [response.name for response in scenario.responses]
    said = " ".join(f"{title}: {_said(bars, names)}" for title, bars in panels)
    figure = _panels(panels, names, width=3.1, legend=True)
    return svg_element(figure, "policy", f"What the assistant answers in {game.name}. {said}")


def response_legend(scenario: Scenario) -> list[str]:
    """Return a small picture of the colour and hatch of each response, as in the stacks."""
    return _legend([response.name for response in scenario.responses], 0)


def ask_legend(scenario: Scenario) -> list[str]:
    """Return a small picture of the colour and hatch of each ask, as in `ask_stack`."""
    return _legend([ask.name for ask in scenario.asks], len(scenario.responses))


@drawn_plainly
def _legend(names: Sequence[str], first: int) -> list[str]:
    pictures = []
    for k, name in enumerate(names, start=first):
        figure = Figure(figsize=(0.36, 0.2))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.barh([0], [1], height=1, **_fill(k))
        axes.set(xlim=(0, 1), ylim=(-0.5, 0.5))
        pictures.append(svg_element(figure, f"key-{k}", f"the colour of {name}"))
    return pictures


@drawn_plainly
def posterior_picture(game: Game, policy: Policy, infoset: int) -> str:
    """Return a picture of the belief about intents along the conversation that ends in `infoset`.

    The scale is logarithmic; probabilities below one in a hundred thousand lie on its edge.
    """
    scenario = _scenario(game)
    path = posterior_path(game, policy, infoset)
    turns = turns_of(game.names.infosets[ASSISTANT][infoset])
    lowest = float(np.clip(path[path > 0].min(), SMALLEST, 0.09))
    floor = 10.0 ** np.floor(np.log10(lowest))
    ends = [
        f"{intent.name} {percent(p)}" for intent, p in zip(scenario.intents, path[-1], strict=True)
    ]
    left, right = 0.6, 0.2 + _inches(max(ends, key=len))
    width = max(4.4, left + right + SHORTEST)
    figure = Figure(figsize=(width, 2.8))
    axes = figure.add_axes((left / width, 0.2, (width - left - right) / width, 0.74))
    steps = np.arange(len(path))
    for k in range(len(scenario.intents)):
        axes.plot(
            steps,
            np.maximum(path[:, k], floor),
            color=line_colour(k),
            marker=MARKERS[k % len(MARKERS)],
            markersize=5.5,
            linewidth=1.6,
            clip_on=False,
            zorder=3,
        )
    heights = np.log10(np.maximum(path[-1], floor)) / -np.log10(floor) + 1
    for label, height in zip(ends, _spread(heights, least=0.075), strict=True):
        axes.text(1.05, height, label, transform=axes.transAxes, **_text("left", INK))
    axes.set_yscale("log")
    axes.set(xlim=(0, len(path) - 1), ylim=(floor, 1))
    decades = [10.0**-d for d in range(round(-np.log10(floor)) + 1)]
    axes.set_yticks(decades, [f"{100 * tick:g} %" for tick in decades])
    axes.set_yticks([], minor=True)
    marks = ["prior", *(f"{turn.ask}\n{turn.signal}" for turn in turns)]
    longest = max((line for mark in marks for line in mark.splitlines()), key=len)
    room = (width - left - right) / len(turns) - 0.04
    axes.set_xticks(steps, marks)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    bare(axes)
    axes.tick_params(axis="x", labelsize=TEXT * min(0.9, room / _inches(longest)), pad=7)
    said = "; ".join(
        f"{intent.name} {join([percent(p) for p in path[:, k]], 'then')}"
        for k, intent in enumerate(scenario.intents)
    )
    name = "belief-" + "-".join(f"{turn.ask}-{turn.signal}" for turn in turns)
    return svg_element(figure, name, f"Belief about intents, prior first: {said}.")


def convergence_points(history: Sequence[Progress]) -> Float[np.ndarray, "N 2"]:
    """Return (steps, NashConv) of the checks that a log-log picture can show."""
    points = [(check.step, check.nash_conv) for check in history]
    return np.array([p for p in points if p[0] > 0 and p[1] > 0], dtype=float).reshape(-1, 2)


@drawn_plainly
def convergence(solution: Solution, target: float | None = None) -> str:
    """Return a picture of NashConv against steps, log-log, with a line that falls as 1/steps."""
    points = convergence_points(solution.history)
    figure = Figure(figsize=(4.6, 3.0))
    axes = figure.add_axes((0.155, 0.165, 0.8, 0.78))
    axes.set_xscale("log")
    axes.set_yscale("log")
    if len(points):
        steps, gaps = points.T
        end = steps[-1] if steps[-1] > steps[0] else 10 * steps[0]
        axes.plot(
            [steps[0], end],
            [gaps[0], gaps[0] * steps[0] / end],
            color=MUTED,
            linewidth=1,
            linestyle=(0, (1, 2)),
            label="1 / steps",
        )
        axes.plot(
            steps,
            gaps,
            color="#0072B2",
            marker="o",
            markersize=3.5,
            label="NashConv",
            clip_on=False,
            zorder=3,
        )
        axes.set_xlim(steps[0], end)
    if target is not None and target > 0:
        axes.axhline(target, color="#D55E00", linewidth=1.2, linestyle="--", label="target")
    axes.set_xlabel("steps", fontsize=TEXT, color=MUTED)
    axes.set_ylabel("NashConv (payoff units)", fontsize=TEXT, color=MUTED)
    axes.grid(color=FAINT, linewidth=0.6)
    if axes.lines:
        axes.legend(frameon=False, fontsize=TEXT, loc="upper right")
    bare(axes)
    said = (
        f"NashConv against steps: {number(points[0, 1])} after {number(points[0, 0])}, "
        f"{number(points[-1, 1])} after {number(points[-1, 0])}."
        if len(points)
        else "No checks were recorded."
    )
    return svg_element(figure, "convergence", said)


@drawn_plainly
def frontier(points: Sequence[tuple[float, float]], over: str, objective: str) -> str:
    """Return a picture of the guaranteed `objective` against what it is traced `over`."""
    across, up = np.array(sorted(points), dtype=float).reshape(-1, 2).T
    figure = Figure(figsize=(4.6, 3.0))
    axes = figure.add_axes((0.175, 0.165, 0.78, 0.78))
    axes.plot(across, up, color="#0072B2", marker="o", markersize=3.5, clip_on=False, zorder=3)
    axes.set_xlabel(over, fontsize=TEXT, color=MUTED)
    axes.set_ylabel(f"{objective}, guaranteed", fontsize=TEXT, color=MUTED)
    axes.grid(color=FAINT, linewidth=0.6)
    bare(axes)
    said = (
        f"{objective}, guaranteed, over {over}: {number(up[0])} at {number(across[0])}, "
        f"{number(up[-1])} at {number(across[-1])}."
    )
    return svg_element(figure, "frontier", said)


Rate = tuple[float, float, float]
"""(lower end, rate, upper end) of a share with its interval, all the same where it is exact."""


@dataclass(frozen=True)
class RatePoint:
    """A policy, or a published system, in the plane of the two errors."""

    label: str
    over_refusal: Rate
    unsafe_compliance: Rate
    published: bool


@drawn_plainly
def pareto(points: Sequence[RatePoint]) -> str:
    """Return a picture of who is refused for nothing against who is served for harm.

    The line steps along the policies of the scenario, apart from published systems, that no other
    of them beats in both; published systems have their 95 % intervals. Points are numbered as in
    the key beside the picture, and points in one place share a label. Scales are in square roots,
    for small rates are what matters.
    """
    said = "; ".join(
        f"{point.label}: over-refusal {percent(point.over_refusal[1])}, unsafe compliance "
        f"{percent(point.unsafe_compliance[1])}"
        for point in points
    )
    return svg_element(
        _pareto(points), "pareto", f"Over-refusal against unsafe compliance. {said}."
    )


@drawn_plainly
def pareto_png(points: Sequence[RatePoint]) -> bytes:
    """Return `pareto` as a PNG file, at 200 dots per inch."""
    out = BytesIO()
    _pareto(points).savefig(
        out, format="png", dpi=200, facecolor="white", metadata={"Software": None}
    )
    return out.getvalue()


def undominated(points: Sequence[RatePoint]) -> list[RatePoint]:
    """Return the points that no other beats in both rates, by over-refusal; of equals the first."""
    best: list[RatePoint] = []
    for point in sorted(points, key=lambda p: (p.over_refusal[1], p.unsafe_compliance[1])):
        if not best or point.unsafe_compliance[1] < best[-1].unsafe_compliance[1]:
            best.append(point)
    return best


def _pareto(points: Sequence[RatePoint]) -> Figure:
    ours = [point for point in points if not point.published]
    others = [point for point in points if point.published]
    left, below, above, step = 0.72, 0.55, 0.22, 0.215
    side = max(3.6, step * (len(points) + 3.5))  # the key has two headings, and room between them
    right = 0.95 + _inches(max((point.label for point in points), key=len))
    width, height = left + side + right, below + side + above
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, below / height, side / width, side / height))
    ticks = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)
    for scale in (axes.set_xscale, axes.set_yscale):
        scale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.tick_params(pad=7)
    labels = [f"{100 * tick:g}" for tick in ticks]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_xlabel("over-refusal, % of answers to the harmless", fontsize=TEXT, color=MUTED)
    axes.set_ylabel("unsafe compliance, % of answers to the harmful", fontsize=TEXT, color=MUTED)
    bare(axes)
    for point in others:
        (x0, x, x1), (y0, y, y1) = point.over_refusal, point.unsafe_compliance
        across, up = [[x - x0], [x1 - x]], [[y - y0], [y1 - y]]
        axes.errorbar([x], [y], xerr=across, yerr=up, **_look(published=True))
    best = undominated(ours)
    if best:
        steps = [best[0].over_refusal[1], *(p.over_refusal[1] for p in best), 1.0]
        heights = [1.0, *(p.unsafe_compliance[1] for p in best), best[-1].unsafe_compliance[1]]
        axes.plot(
            steps,
            heights,
            drawstyle="steps-post",
            clip_on=False,
            color="#0072B2",
            linewidth=1.1,
            zorder=2,
        )
    for point in ours:
        axes.errorbar([point.over_refusal[1]], [point.unsafe_compliance[1]], **_look())
    _number_points(axes, points, side)
    y, at, tab = below + side - 0.06, left + side + 0.4, 0.25
    for heading, group in (("in this scenario", ours), ("published, bars 95 %", others)):
        if not group:
            continue
        key = _look(published=group is others) | {"transform": figure.transFigure}
        key.pop("elinewidth", None)
        figure.add_artist(Line2D([(at + 0.1) / width], [y / height], **key))
        figure.text((at + tab) / width, y / height, heading, **_text("left", INK, bold=True))
        for point in group:
            y -= step
            k = str(points.index(point) + 1)
            figure.text((at + 0.17) / width, y / height, k, **_text("right", MUTED))
            figure.text((at + tab) / width, y / height, point.label, **_text("left", INK))
        y -= 1.6 * step
    return figure


def _look(published: bool = False) -> dict[str, Any]:
    """Return the look of a point: blue squares here, hollow circles with bars if published."""
    shared = {"linestyle": "none", "clip_on": False}
    if published:
        hollow = {"marker": "o", "markersize": 5, "markerfacecolor": "white"}
        return shared | hollow | {"color": "#B04A00", "elinewidth": 0.8, "zorder": 3}
    return shared | {"marker": "s", "markersize": 6, "color": "#0072B2", "zorder": 4}


def _number_points(axes: Axes, points: Sequence[RatePoint], side: float) -> None:
    """Write each point's number beside it; points of one place, and only those, share a label."""
    places: dict[tuple[float, float], list[int]] = {}
    for k, point in enumerate(points, start=1):
        here = (float(np.sqrt(point.over_refusal[1])), float(np.sqrt(point.unsafe_compliance[1])))
        near = (at for at in places if max(abs(at[0] - here[0]), abs(at[1] - here[1])) < 0.012)
        places.setdefault(next(near, here), []).append(k)
    taken: list[tuple[float, float, float]] = []  # (left, right, height) of labels, in inches
    for (x, y), numbers in sorted(places.items(), key=lambda place: (place[0][1], place[0][0])):
        text = ", ".join(map(str, numbers))
        wide = _inches(text) + 0.03
        # Above on the right, then the other corners: the first that no other label stands in.
        spots = [
            (side * x + (0.07 if east else -0.07 - wide), side * y + up)
            for up in (0.11, -0.12, 0.24, -0.25)
            for east in (True, False)
        ]
        free = [
            spot
            for spot in spots
            if all(
                spot[0] > b or spot[0] + wide < a or abs(spot[1] - h) > 0.14 for a, b, h in taken
            )
            and spot[1] > 0.05
            and spot[0] > 0
        ]
        at, high = free[0] if free else spots[0]
        taken.append((at, at + wide, high))
        axes.text(
            at / side,
            high / side,
            text,
            transform=axes.transAxes,
            **_text("left", INK),
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.85},
        )


def _inches(text: str) -> float:
    """Return about how wide `text` is; the fonts of browsers are narrower than matplotlib's."""
    return len(text) * TEXT * 0.56 / 72


def _bar(label: str, choice: Choice | None) -> Bar:
    """Return the bar of a situation, noted with how often it arises."""
    return Bar(label) if choice is None else Bar(label, choice.shares, percent(choice.reach))


def _scenario(game: Game) -> Scenario:
    assert game.scenario is not None, "only dialogues have turns and signals"
    return game.scenario


def _fill(k: int) -> dict[str, Any]:
    """Return the look of the k-th name: colour and hatch, together different for the first 56."""
    colour = COLOURS[k % len(COLOURS)]
    hatch = HATCHES[(k + k // len(COLOURS)) % len(HATCHES)]
    return {"facecolor": colour, "hatch": hatch, "edgecolor": (*to_rgb("white"), 0.55)}


def _panels(
    panels: Sequence[tuple[str, Sequence[Bar]]],
    names: Sequence[str],
    width: float,
    legend: bool = False,
    first: int = 0,
) -> Figure:
    """Return a figure of stacked bars, up to three panels a row, of at least `width` inches each.

    `first` is the number of the first name's colour: responses and asks should not share theirs.
    """
    labels = [bar.label for _, bars in panels for bar in bars if not bar.heading]
    left = 0.14 + _inches(max(labels, key=len, default=""))
    right, gap = 0.52, 0.1
    width = max(width, left + right + SHORTEST)
    across = min(len(panels), ACROSS)
    down = ceil(len(panels) / ACROSS)
    bars_high = max(sum(HEADING if bar.heading else ROW for bar in bars) for _, bars in panels)
    titled = 0.3 if any(title for title, _ in panels) else 0.0
    high = titled + bars_high + gap
    columns = max(1, int(across * width / (0.5 + _inches(max(names, key=len)))))
    below = 0.12 + 0.22 * ceil(len(names) / columns) if legend else 0.0
    page = (across * width, down * high + below)
    figure = Figure(figsize=page)
    for k, (title, bars) in enumerate(panels):
        x, y = (k % ACROSS) * width, page[1] - (k // ACROSS + 1) * high
        axes = figure.add_axes(
            (
                (x + left) / page[0],
                (y + gap) / page[1],
                (width - left - right) / page[0],
                bars_high / page[1],
            )
        )
        axes.set(xlim=(0, 1), ylim=(bars_high, 0))
        axes.set_axis_off()
        if title:
            axes.text(0, -0.1, title, fontsize=TEXT + 1.5, fontweight="bold", color=INK)
        bar_width = width - left - right
        looks = [_fill(first + j) for j in range(len(names))]
        _stack(axes, bars, names, looks, 72 * bar_width, margin=(0.04 - left) / bar_width)
    if legend:
        figure.legend(
            handles=[Patch(label=name, **_fill(first + k)) for k, name in enumerate(names)],
            loc="lower center",
            ncols=min(columns, len(names)),
            frameon=False,
            fontsize=TEXT,
            labelcolor=INK,
            borderaxespad=0.2,
            handlelength=2,
            handleheight=1.1,
        )
    return figure


def _stack(
    axes: Axes,
    bars: Sequence[Bar],
    names: Sequence[str],
    looks: Sequence[dict[str, Any]],
    points: float,
    margin: float,
) -> None:
    """Draw `bars` from the top, each `points` long; a segment is labelled where its name fits."""
    y = 0.0
    for bar in bars:
        if bar.heading:
            axes.text(margin, y + HEADING * 0.62, bar.label, **_text("left", INK, bold=True))
            y += HEADING
            continue
        middle = y + ROW / 2
        y += ROW
        axes.text(-0.015, middle, bar.label, **_text("right", INK))
        if bar.shares is None:
            axes.text(0.0, middle, "never reached", **_text("left", MUTED))
            continue
        start = 0.0
        for k, share in enumerate(map(float, bar.shares)):
            if share * points < LEAST:
                start += share
                continue
            axes.barh([middle], [share], left=start, height=ROW * 0.84, linewidth=0.8, **looks[k])
            for label in (f"{names[k]} {percent(share)}", names[k]):
                if share * points > 72 * _inches(label) + 6:
                    axes.text(
                        start + share / 2,
                        middle,
                        label,
                        **_text("center", ink_on(looks[k]["facecolor"])),
                        bbox={"facecolor": looks[k]["facecolor"], "edgecolor": "none", "pad": 1.2},
                    )
                    break
            start += share
        axes.text(1.02, middle, bar.note, **_text("left", MUTED))


def _text(side: str, colour: str, bold: bool = False) -> dict[str, Any]:
    return {
        "ha": side,
        "va": "center_baseline",
        "color": colour,
        "fontsize": TEXT,
        "fontweight": "bold" if bold else "normal",
        "parse_math": False,
    }


def _said(bars: Sequence[Bar], names: Sequence[str]) -> str:
    """Say what a stack shows to those who cannot see it."""
    parts, group = [], ""
    for bar in bars:
        if bar.heading:
            group = bar.label + ", "
        elif bar.shares is not None:
            order = np.argsort(-bar.shares, kind="stable")
            likely = [f"{names[k]} {percent(s)}" for k in order if (s := bar.shares[k]) >= 0.01]
            parts.append(f"{group}{bar.label}: {join(likely)}")
    return "; ".join(parts) + "."


def _spread(heights: Float[np.ndarray, " N"], least: float) -> Float[np.ndarray, " N"]:
    """Return `heights` moved apart, where needed, to be `least` from each other and within 0..1."""
    order = np.argsort(heights, kind="stable")
    slots = least * np.arange(len(heights))
    # At least `least` above the one below; then, from the top, no higher than there is room for.
    up = np.maximum.accumulate(heights[order] - slots) + slots
    down = np.minimum(up, 1 - slots[::-1])
    apart = np.empty_like(heights)
    apart[order] = down
    return apart
