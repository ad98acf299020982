"""What the case studies share: rows of results, scenarios fitted and solved, intervals drawn.

A result is a row: of which `table`, `of` whom, `what`, its `value` with an interval (`low`, `high`)
where it has one, and the `n` that it rests on.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure

import solvers
from csa_games.calibration.check import check, surveyed
from csa_games.calibration.codes import coder
from csa_games.calibration.estimates import bootstrap
from csa_games.calibration.fitted import Fitted, fit, fittable, listed
from csa_games.calibration.log import Conversation, write_jsonl
from csa_games.calibration.mapping import read_mapping
from csa_games.charts import Chart
from csa_games.drawing import FAINT, MARKERS, MUTED, TEXT, bare, drawn_plainly, line_colour
from csa_games.evaluate import infoset_reach
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, Solution
from csa_games.override import override, with_responses
from csa_games.scenario import Scenario, read_scenario
from csa_games.sweeps import Row
from csa_games.words import number
from experiments.experiment import real
from experiments.logs.source import LOGS, lines

FOLDER = Path(__file__).parent
LEVEL = 0.9
"""Of every interval."""


def result(
    table: str,
    of: str,
    what: str,
    value: float | str,
    low: float | None = None,
    high: float | None = None,
    n: int | None = None,
) -> Row:
    """Return a row of results."""
    return {"table": table, "of": of, "what": what, "value": value} | {
        "low": low,
        "high": high,
        "n": n,
    }


def about(name: str) -> list[Row]:
    """Return rows that say which log a study was made from, and how much is in it."""
    log = lines(name)
    return [
        result("log", name, "sha256", f"sha256:{LOGS[name]}"),
        result("log", name, "conversations", len(log)),
        result("log", name, "events", sum(len(line["events"]) for line in log)),
    ]


def share(
    table: str,
    of: str,
    what: str,
    hit: Bool[np.ndarray, " N"],
    cluster: Int[np.ndarray, " N"],
    draw: np.random.Generator,
) -> Row:
    """Return the share of N that are `hit`, with an interval from drawing clusters again."""
    low, high = bootstrap(_ratio, _summed(hit, cluster), draw, level=LEVEL)
    return result(table, of, what, float(hit.mean()), float(low), float(high), len(hit))


def difference(
    table: str,
    of: str,
    what: str,
    one: Bool[np.ndarray, " N"],
    other: Bool[np.ndarray, " N"],
    cluster: Int[np.ndarray, " N"],
    draw: np.random.Generator,
) -> Row:
    """Return by how much the share of `one` exceeds that of `other` among the same N, in pairs."""

    def gap(totals: Float[np.ndarray, "D F"]) -> Float[np.ndarray, " D"]:
        return _ratio(totals[:, :2]) - _ratio(totals[:, 2:])

    both = np.concatenate([_summed(one, cluster), _summed(other, cluster)], axis=1)
    low, high = bootstrap(gap, both, draw, level=LEVEL)
    value = float(one.mean() - other.mean())
    return result(table, of, what, value, float(low), float(high), len(one))


def _summed(hit: Bool[np.ndarray, " N"], cluster: Int[np.ndarray, " N"]) -> Int[np.ndarray, "G 2"]:
    """Return how many of each cluster are hit, and how many there are."""
    _, place = np.unique(cluster, return_inverse=True)
    both = [np.bincount(place, hit.astype(np.float64)), np.bincount(place)]
    return np.stack(both, axis=1).astype(np.int64)


def _ratio(totals: Float[np.ndarray, "D F"]) -> Float[np.ndarray, " D"]:
    return totals[:, 0] / np.maximum(totals[:, 1], 1)


def numbered(labels: Iterable[object]) -> Int[np.ndarray, " N"]:
    """Return a number for each label, the same for those that are alike."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(label, len(known)) for label in labels], np.int64)


def fitted(log: Iterable[Conversation], mapping: str, base: str) -> Fitted:
    """Return what `csa fit LOG --map MAPPING --base BASE` fits; both are files of this folder."""
    reading, scenario = read_mapping(FOLDER / mapping), read_scenario(FOLDER / base)
    wanted = fittable(scenario, reading)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        write_jsonl(path, log)
        survey, counts = surveyed([path], coder(reading, scenario), wanted)
    check(survey)
    return fit(scenario, reading, wanted, counts, level=LEVEL)


def estimates(found: Fitted, of: str = "fitted") -> list[Row]:
    """Return a row for every probability that a log has told."""
    return [
        result("fitted", f"{of}: {field}", name, one.value, one.low, one.high, int(one.n))
        for field, row in listed(found).items()
        for name, one in row.items()
        if one.n > 0
    ]


def robustly(scenario: Scenario, **doubts: object) -> Solution:
    """Return the policy that is robust to what the file leaves open, at the priors given.

    Those are the intervals of rows and, unless `doubts` say otherwise, payoffs (`solvers.robust`).
    """
    return solvers.solve(
        factored_game(scenario), "robust", **{"radius": 0.0, "payoffs": True} | doubts
    )


def always(scenario: Scenario, response: str) -> Scenario:
    """Return `scenario` with one response alone: what it secures is what always giving it does."""
    return with_responses(override(scenario, {"baselines.refuse": response}), [response])


def rule(scenario: Scenario, solution: Solution, turn: int = 0) -> str:
    """Return what a policy answers in a turn, by what is seen in it: "refuse (open flag); ...".

    Of later turns only what follows its own answers; where the past matters, all answers are named.
    """
    game = factored_game(scenario)
    policy = np.asarray(solution.policy[ASSISTANT])
    own, others = infoset_reach(game, ASSISTANT, solution.policy)
    told: dict[str, dict[str, None]] = {}
    for key, row, reach in zip(game.names.infosets[ASSISTANT], policy, own * others, strict=True):
        if key.count("/") == turn and reach > 1e-9:
            best = [scenario.responses[k].name for k in np.flatnonzero(row > 0.01)]
            ask, signal = key.split("/")[-1].split(":")
            seen = f"{ask} {signal}" if len(scenario.signals) > 1 else ask
            told.setdefault(seen, {}).update(dict.fromkeys(best))
    answers: dict[str, list[str]] = {}
    for seen, names in told.items():
        answers.setdefault(" or ".join(names), []).append(seen)
    return "; ".join(f"{response} ({', '.join(seen)})" for response, seen in answers.items())


class Found:
    """Rows of results, looked up by table, of and what."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Take `rows`."""
        # A name that is a number has been read as one.
        self.rows = {
            tuple(
                f"{x:g}" if isinstance(x, float) else str(x)
                for x in (row["table"], row["of"], row["what"])
            ): row
            for row in rows
        }

    def of(self, table: str) -> list[str]:
        """Return whom a table is of, in order."""
        return list(dict.fromkeys(of for name, of, _ in self.rows if name == table))

    def value(self, table: str, of: str, what: str) -> float:
        """Return a value."""
        return real(self.rows[table, of, what], "value")

    def text(self, table: str, of: str, what: str) -> str:
        """Return a value that is words."""
        return str(self.rows[table, of, what]["value"])

    def count(self, table: str, of: str, what: str) -> int:
        """Return what a value rests on."""
        return int(real(self.rows[table, of, what], "n"))

    def point(self, table: str, of: str, what: str) -> tuple[float, float, float]:
        """Return a value and its interval."""
        row = self.rows[table, of, what]
        return real(row, "value"), real(row, "low"), real(row, "high")

    def words(self, table: str, of: str, what: str) -> str:
        """Return a share with its interval: ".350 [.331, .370]"."""
        return within(*self.point(table, of, what))


def source_words(found: Found) -> str:
    """Return a sentence on the log that a study is of."""
    (log,) = found.of("log")
    return (
        f"Log `{log}`: {number(found.value('log', log, 'conversations'))} conversations, "
        f"{number(found.value('log', log, 'events'))} events, SHA-256 "
        f"`{found.text('log', log, 'sha256').removeprefix('sha256:')}`; a designed sample."
    )


def within(value: float, low: float, high: float) -> str:
    """Return a number with its interval."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


Whisker = tuple[str, float, float, float]
"""Label, value, low, high."""


@drawn_plainly
def whiskers(series: Mapping[str, Sequence[Whisker]], across: str) -> Chart:
    """Return a chart of numbers with their intervals, a line for each label, by series."""
    labels = list(dict.fromkeys(label for points in series.values() for label, *_ in points))
    height = 0.8 + 0.32 * len(labels) * max(1.0, 0.45 * len(series))
    figure = Figure(figsize=(6.6, height))
    left = min(0.45, 0.04 + 0.0125 * max(map(len, labels)))
    right = 0.02 if len(series) == 1 else 0.09 + 0.0125 * max(map(len, series))
    axes = figure.add_axes((left, 0.5 / height, 1 - left - right, (height - 0.6) / height))
    room = 0.66 / len(series)
    for k, (name, points) in enumerate(series.items()):
        shift = (k - (len(series) - 1) / 2) * room
        y = [labels.index(label) + shift for label, *_ in points]
        x, low, high = np.array([point[1:] for point in points], dtype=float).reshape(-1, 3).T
        axes.errorbar(
            x,
            y,
            xerr=np.maximum([x - low, high - x], 0.0),
            fmt=MARKERS[k % len(MARKERS)],
            color=line_colour(k),
            markersize=4,
            linewidth=1.2,
            label=name,
            clip_on=False,
        )
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.set_xlabel(across, fontsize=TEXT, color=MUTED)
    axes.grid(color=FAINT, linewidth=0.6, axis="x")
    bare(axes)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=TEXT, loc="upper left", bbox_to_anchor=(1.01, 1.02))
    said = "; ".join(
        f"{name}: " + ", ".join(f"{label} {number(value)}" for label, value, *_ in points)
        for name, points in series.items()
    )
    rows = [
        {"series": name, "label": label, across: value, "low": low, "high": high}
        for name, points in series.items()
        for label, value, low, high in points
    ]
    return Chart(figure, f"{across}, with intervals. {said}.", rows)
