"""Yielding under pressure: how soon models give in, to what, and how much models differ.

Seventeen models hold or yield over five turns of scripted pressure. For false presuppositions and
stereotypes the log records nothing but yields after the first one, so that only its hazard is told;
debates recover. Models and questions differ: a hazard that is pooled over them is a mixture, and
falls over the turns also because those that yield early are gone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int

from csa_games.calibration.fitted import Fitted, fitted_toml
from csa_games.calibration.hazard import clustered_survival
from csa_games.calibration.log import Conversation, Event
from csa_games.charts import Chart, curves
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, Game
from csa_games.override import with_prior
from csa_games.sweeps import Cell, Row
from csa_games.words import number
from experiments.experiment import SEED, Experiment
from experiments.logs.source import LOGS, Line, lines
from experiments.logs.study import (
    LEVEL,
    Found,
    about,
    always,
    estimates,
    fitted,
    grid,
    numbered,
    result,
    robustly,
    rule,
    share,
    source_words,
    whiskers,
)
from solvers.compare import compare

LOG = "sycon"
TURNS = 5
YIELD = "yield/comply"
KINDS = {"misinformed": "misinformed", "biased premise": "biased", "opinion pressure": "opinion"}
"""As the log has them, and the scenario."""
OPINION = "opinion"
SAME = {
    "deepseek-chat": "deepseek-v3",
    "deepseek-reasoner": "deepseek-r1",
    "claude-3-7-sonnet-20250219": "claude",
    "gemma-2-9b": "gemma2-9B",
    "gemma-2-9b-it": "gemma2-9b-it",
    "Llama3.3-70B-Instruct": "Llama-3.3-70B-Instruct",
    "Meta-Llama-3.1-8B-Instruct": "Llama-3.1-8B-Instruct",
}
"""Spellings that are probably of one model, as the README of the log has them."""


@dataclass(frozen=True)
class Sequences:
    """Sequences of answers. Letters: N of them."""

    kind: Sequence[str]
    model: Sequence[str]
    question: Int[np.ndarray, " N"]  # of its kind
    yields: Bool[np.ndarray, "N 5"]

    @property
    def first(self) -> Int[np.ndarray, " N"]:
        """The turn of the first yield, or the last turn."""
        return np.where(self.ever, self.yields.argmax(axis=1), TURNS - 1)

    @property
    def ever(self) -> Bool[np.ndarray, " N"]:
        """Whether there is a yield."""
        return np.asarray(self.yields.any(axis=1))


def model_of(line: Line) -> str:
    """Return the model of a conversation, whatever its spelling."""
    name = str(line["group"])
    return SAME.get(name, name)


@cache
def sequences() -> dict[str, Sequences]:
    """Return the sequences by kind; their question is the place in their block of the log."""
    found = {}
    for label, kind in KINDS.items():
        log = [line for line in lines(LOG) if line["type"] == label]
        model = [model_of(line) for line in log]
        seen: dict[str, int] = {}
        question = []
        for name in model:
            question.append(seen.setdefault(name, 0))
            seen[name] += 1
        yields = np.array([[e["strategy"] == YIELD for e in line["events"]] for line in log])
        found[kind] = Sequences([kind] * len(log), model, np.array(question), yields)
    return found


def log_of_drafts() -> Iterator[Conversation]:
    """Yield the sequences as a log of drafts that were passed: asks and strategies are alike.

    All but debates are cut at the first yield, after which the log records nothing else.
    """
    for line in lines(LOG):
        debate = KINDS[line["type"]] == OPINION
        events = []
        for t, event in enumerate(line["events"]):
            label = event["strategy"]
            events.append(Event(t=t, ask=label, strategy=label))
            if label == YIELD and not debate:
                break
        yield Conversation(
            id=line["id"], group=model_of(line), type=line["type"], events=tuple(events)
        )


@cache
def scenario_of() -> Fitted:
    """Return the fitted scenario."""
    return fitted(log_of_drafts(), "yielding.map.toml", "yielding.base.toml")


def cells(quick: bool) -> list[Cell]:
    """Return a cell for what is counted, and one for the guard."""
    log = {"log": LOG, "sha256": LOGS[LOG], "seed": SEED}
    priors = [0.5] if quick else [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99]
    return [{"part": "counts", **log}, {"part": "guard", "priors": priors, **log}]


def work(cell: Cell) -> list[Row]:
    """Return what the log tells, or what a guard secures."""
    if cell["part"] == "guard":
        return guard(cell["priors"])
    draw = np.random.default_rng(cell["seed"])
    rows = about(LOG)
    for kind, found in sequences().items():
        rows += [*hazards(kind, found, draw), *by_model(kind, found, draw)]
    return rows + chain(sequences()[OPINION], draw)


def hazards(kind: str, found: Sequences, draw: np.random.Generator) -> list[Row]:
    """Return the hazard of the first yield by turn, and who holds through all of them."""
    first, ever = found.first, found.ever
    rows = []
    clusters = {"by model": numbered(found.model), "by question": found.question}
    for t in range(TURNS):
        at = first >= t
        for what, cluster in clusters.items():
            hit = ever[at] & (first[at] == t)
            rows.append(share("hazard", f"{kind}, turn {t + 1}", what, hit, cluster[at], draw))
    for what, cluster in clusters.items():
        low, high = clustered_survival(first, ever, cluster, TURNS, draw, level=LEVEL)
        value = float((~ever).mean())
        rows.append(result("held", kind, what, value, float(low[-1]), float(high[-1]), len(ever)))
        apart = spread(~ever, cluster)
        rows.append(result("spread", kind, what, apart, n=int(cluster.max()) + 1))
    return rows


def spread(hit: Bool[np.ndarray, " N"], cluster: Int[np.ndarray, " N"]) -> float:
    """Return the standard deviation of the clusters' probabilities, without the noise of counts.

    By moments, from clusters of one size: the variance of their shares less that of drawing them.
    """
    size = np.bincount(cluster)
    shares = np.bincount(cluster, hit) / size
    noise = shares * (1 - shares) / (size - 1)
    return float(np.sqrt(max(shares.var(ddof=1) - noise.mean(), 0.0)))


def by_model(kind: str, found: Sequences, draw: np.random.Generator) -> list[Row]:
    """Return who holds to the end by model, and how well hazards foretell other questions."""
    model, ever = np.array(found.model), found.ever
    rows = [
        share("models", kind, name, ~ever[model == name], found.question[model == name], draw)
        for name in sorted(set(found.model))
    ]
    known, other = found.question % 2 == 0, found.question % 2 == 1
    pooled = _log_likelihood(found, known, other) / other.sum()
    apart = sum(
        _log_likelihood(found, known & (model == name), other & (model == name))
        for name in sorted(set(found.model))
    )
    n = int(other.sum())
    rows.append(result("held out", kind, "pooled", pooled, n=n))
    rows.append(result("held out", kind, "by model", float(apart / other.sum()), n=n))
    return rows


def _log_likelihood(
    found: Sequences, known: Bool[np.ndarray, " N"], other: Bool[np.ndarray, " N"]
) -> float:
    """Return the log-likelihood of first yields of `other` by the hazards of `known`."""
    first, ever = found.first, found.ever
    total = 0.0
    for t in range(TURNS):
        (d, n), (e, m) = (
            ((ever & (first == t) & part).sum(), ((first >= t) & part).sum())
            for part in (known, other)
        )
        hazard = (d + 0.5) / (n + 1)
        total += float(e * np.log(hazard) + (m - e) * np.log(1 - hazard))
    return total


def chain(found: Sequences, draw: np.random.Generator) -> list[Row]:
    """Return what follows an answer that holds, and one that yields, in debates."""
    before, after = found.yields[:, :-1].ravel(), found.yields[:, 1:].ravel()
    rows = []
    for what, labels in (("by model", found.model), ("by question", found.question.tolist())):
        cluster = np.repeat(numbered(labels), TURNS - 1)
        for of, part in (("hold", ~before), ("yield", before)):
            rows.append(
                share("chain", f"after {of}", f"holds, {what}", ~after[part], cluster[part], draw)
            )
    return rows


def guard(priors: Sequence[float]) -> list[Row]:
    """Return the fitted scenario, and what guards secure by the prior of debates."""
    found = scenario_of()
    rows = estimates(found)
    for prior in priors:
        of = f"{prior:g}"
        scenario = with_prior(found.scenario, OPINION, prior)
        solution = robustly(scenario)
        robust = solution.robustness
        held = robustly(always(scenario, "hold")).robustness
        assert robust is not None  # of this method
        assert held is not None
        game = factored_game(scenario)
        (passed,) = compare(game, {"pass": passing(game)})
        rows += [
            result("secured", of, "robust", robust.value),
            result("secured", of, "worst found", robust.found),
            result("secured", of, "if the estimates are right", robust.nominal),
            result("secured", of, "best if they are right", robust.optimum),
            result("secured", of, "always hold", held.value),
            result("secured", of, "pass drafts, if the estimates are right", passed.value),
        ]
        for t in (0, 1, TURNS - 1):
            rows.append(result("secured", of, f"rule of turn {t + 1}", rule(scenario, solution, t)))
    return rows


def passing(game: Game) -> Float[np.ndarray, "I A"]:
    """Return the policy that says what the draft says."""
    assert game.scenario is not None
    names = [part.name for part in game.scenario.responses]
    drafts = {"holds": "hold", "yields": "yield"}
    asks = [key.split("/")[-1].split(":")[0] for key in game.names.infosets[ASSISTANT]]
    return np.array([np.eye(len(names))[names.index(drafts[ask])] for ask in asks])


def files(quick: bool) -> dict[str, str]:
    """Return the fitted scenario by file."""
    return {"fitted.toml": fitted_toml(scenario_of())}


def answer(rows: Sequence[Row]) -> list[str]:
    """Return hazards, how models differ, the chain in debates, and what a guard secures."""
    found = Found(rows)
    kinds = list(KINDS.values())
    turns = [f"turn {t + 1}" for t in range(TURNS)]
    return [
        source_words(found),
        "## Hazards",
        grid(
            ["first yield in", *kinds],
            [
                [turn, *(found.words("hazard", f"{kind}, {turn}", "by model") for kind in kinds)]
                for turn in turns
            ]
            + [
                ["none of five", *(found.words("held", kind, "by model") for kind in kinds)],
                [
                    "by questions",
                    *(found.words("held", kind, "by question") for kind in kinds),
                ],
            ],
        ),
        "Of those that have held so far; 90 % intervals by drawing the models again, and in the "
        "last row the questions. False presuppositions (misinformed) and stereotypes (biased) are "
        "recorded as yielded for good, so that only the first yield is told.",
        "## Models",
        grid(
            [
                "kind",
                "least",
                "most",
                "models",
                "spread of models",
                "of questions",
                "held out, pooled",
                "by model",
            ],
            [_spread(found, kind) for kind in kinds],
        ),
        "Share that holds all five turns, of the models that hold least and most; the standard "
        "deviation of models, and of questions, without what chance adds to it; the log-likelihood "
        "per sequence of questions that were left out, by the hazards of all models and by those "
        "of each. A pooled hazard is a mixture, that of no model and no question, and falls over "
        "the turns also because those that yield early are gone. In debates it is the models that "
        "differ, elsewhere even more the questions. The intervals above are for the average of "
        "models like these, not for one model.",
        "## Debates",
        f"After an answer that holds the next one holds in "
        f"{found.words('chain', 'after hold', 'holds, by model')} of cases "
        f"({number(found.count('chain', 'after hold', 'holds, by model'))}), after one that yields "
        f"in {found.words('chain', 'after yield', 'holds, by model')} "
        f"({number(found.count('chain', 'after yield', 'holds, by model'))}); with questions drawn "
        f"in place of models {found.words('chain', 'after hold', 'holds, by question')} and "
        f"{found.words('chain', 'after yield', 'holds, by question')}.",
        "## A guard of drafts",
        "The guard sees whether a draft holds, not who presses (`yielding.base.toml`, fitted: "
        "`fitted.toml`). It guarantees, whatever the rates and payoffs within their intervals:",
        _guard(found, turns),
        "What is seen of the user is only what drafts do: one that yields early tells of a false "
        "claim. Where debates are rare it holds, whatever the draft; where they are nearly all, it "
        "lets drafts pass. What is guaranteed is far below what the estimates give: most of that "
        "is the intervals of payoffs, which are assumed.",
        "## What the data support, and what not",
        SUPPORTED,
    ]


SUPPORTED = """\
- Supported: that these models yield most in the first turn to false presuppositions and \
stereotypes, and seldom in debates; that some models hold nearly always in debates, and some \
hardly ever; that a pooled hazard hides this.
- Not supported: a hazard for a model that is not among these; anything after a first yield but \
in debates; what a guard that holds against the draft does to later drafts, which no log \
without a guard can tell; how common the kinds are (swept); what people do, for the pressure is \
scripted and nobody leaves.
- Assumed: every payoff, and that replacing a draft costs something. Labels are those of one LLM \
judge, whose errors are not known; that spellings are of one model is probable, not sure."""


def _spread(found: Found, kind: str) -> list[str]:
    """Return the line of a kind in the table of models."""
    held = {
        model: found.value("models", kind, model)
        for of, what, model in found.rows
        if of == "models" and what == kind
    }
    least, most = min(held, key=lambda name: held[name]), max(held, key=lambda name: held[name])
    return [
        kind,
        f"{held[least]:.3f} ({least})",
        f"{held[most]:.3f} ({most})",
        str(len(held)),
        *(f"{found.value('spread', kind, what):.3f}" for what in ("by model", "by question")),
        *(f"{found.value('held out', kind, what):.3f}" for what in ("pooled", "by model")),
    ]


def _guard(found: Found, turns: Sequence[str]) -> str:
    """Return what is secured by the prior of debates."""
    worth = (
        "robust",
        "always hold",
        "if the estimates are right",
        "pass drafts, if the estimates are right",
    )
    return grid(
        [
            "P(debate)",
            "guaranteed",
            "always holding",
            "if the estimates are right",
            "passing drafts, if they are",
            f"rule of {turns[0]}",
            f"of {turns[-1]}",
        ],
        [
            [
                prior,
                *(f"{found.value('secured', prior, what):.3f}" for what in worth),
                *(found.text("secured", prior, f"rule of {turns[t]}") for t in (0, -1)),
            ]
            for prior in found.of("secured")
        ],
    )


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return hazards, what models hold, and what a guard secures."""
    found = Found(rows)
    kinds = list(KINDS.values())
    turns = [f"turn {t + 1}" for t in range(TURNS)]
    models = sorted(
        {what for of, _, what in found.rows if of == "models"},
        key=lambda name: found.value("models", kinds[0], name),
    )
    return {
        "hazard": whiskers(
            {
                kind: [
                    (turn, *found.point("hazard", f"{kind}, {turn}", "by model")) for turn in turns
                ]
                for kind in kinds
            },
            "hazard of the first yield",
        ),
        "models": whiskers(
            {
                kind: [
                    (model, *found.point("models", kind, model))
                    for model in models
                    if ("models", kind, model) in found.rows
                ]
                for kind in kinds
            },
            "share that holds all five turns",
        ),
        "secured": curves(
            {
                name: [(float(of), found.value("secured", of, what)) for of in found.of("secured")]
                for name, what in (
                    ("guaranteed", "robust"),
                    ("always hold, guaranteed", "always hold"),
                    ("robust, if right", "if the estimates are right"),
                    ("pass drafts, if right", "pass drafts, if the estimates are right"),
                )
            },
            "P(debate), swept",
            "payoff of a conversation",
        ),
    }


YIELDING = Experiment(
    "How soon do models yield to pressure, and is it the models or the pressure?",
    cells,
    "experiments.logs.yielding:work",
    answer,
    charts,
    files,
)
