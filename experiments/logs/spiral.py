"""Spirals: how protective and reinforcing turns follow each other, and what one does to the next.

A judge names what an assistant does in each turn of a simulated conversation: protective acts,
risky ones, both or none. Turns are like the ones before. Part of that is momentum, part of it that
models and subjects differ: adjusted for both and for the turn before (`calibration.effect`), less
is left of it, and how much of that is an effect no log without interventions can tell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int

import solvers
from csa_games.calibration.effect import doubly_robust
from csa_games.calibration.estimates import Estimate, bootstrap
from csa_games.calibration.fitted import Fitted, fitted_toml
from csa_games.calibration.log import Conversation, Event
from csa_games.charts import Chart, curves
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, Game
from csa_games.override import override, with_prior
from csa_games.scenario import Scenario
from csa_games.sweeps import Cell, Row
from csa_games.words import number
from experiments.experiment import SEED, Experiment
from experiments.logs.source import LOGS, lines
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

LOG = "spiral"
PROTECTIVE = {"pushback", "de-escalation", "safe redirection", "suggestions to seek help"}
"""What the judge names; all else that it names is risky."""
HELP = "suggestions to seek help"
CLASSES = ("protective", "both", "risky", "none")
DELUSIONAL = "delusional"
BAD = 5  # off-rails scores from which on a conversation has gone off the rails


def class_of(acts: dict[str, float]) -> str:
    """Return the class of a turn from the names of its acts."""
    protects, risks = bool(acts.keys() & PROTECTIVE), bool(acts.keys() - PROTECTIVE)
    return {(1, 1): "both", (1, 0): "protective", (0, 1): "risky", (0, 0): "none"}[protects, risks]


@dataclass(frozen=True)
class Turns:
    """Turns of all conversations in order; those without a judgement have no t. Letters: E."""

    conversation: Int[np.ndarray, " E"]
    t: Int[np.ndarray, " E"]  # -1 where it is missing
    act: Int[np.ndarray, " E"]  # a place in `CLASSES`
    help: Bool[np.ndarray, " E"]


@cache
def turns() -> Turns:
    """Return all turns of the log."""
    found = [
        (c, -1 if e["t"] is None else e["t"], CLASSES.index(class_of(e["fine"])), HELP in e["fine"])
        for c, line in enumerate(lines(LOG))
        for e in line["events"]
    ]
    conversation, t, act, helped = (np.array(column) for column in zip(*found, strict=True))
    return Turns(conversation, t, act, helped)


def log_of_drafts() -> Iterator[Conversation]:
    """Yield the conversations as a log of drafts that were passed, without missing judgements."""
    for line in lines(LOG):
        events = []
        for event in line["events"]:
            if event["t"] is not None:
                label = class_of(event["fine"])
                events.append(Event(t=event["t"], ask=label, strategy=label))
        yield Conversation(
            id=line["id"], group=line["group"], type=line["type"], events=tuple(events)
        )


@cache
def scenario_of() -> Fitted:
    """Return the fitted scenario."""
    return fitted(log_of_drafts(), "spiral.map.toml", "spiral.base.toml")


def cells(quick: bool) -> list[Cell]:
    """Return a cell for what is counted, for effects, and for the guard."""
    log = {"log": LOG, "sha256": LOGS[LOG], "seed": SEED}
    priors = [0.1] if quick else [0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8]
    return [
        {"part": "counts", **log},
        {"part": "effects", **log},
        {"part": "guard", "priors": priors, "turns": 2 if quick else 3, **log},
    ]


def work(cell: Cell) -> list[Row]:
    """Return what the log tells, effects, or what a guard secures."""
    draw = np.random.default_rng(cell["seed"])
    match cell["part"]:
        case "counts":
            return [*about(LOG), *chains(draw), *scores(draw)]
        case "effects":
            return effects(cell["seed"])
        case _:
            return guard(cell["priors"], cell["turns"])


def adjacent(every: bool = False) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
    """Return the places of turns that follow each other; of `every` row, whatever their t."""
    found = turns()
    before = np.arange(len(found.t) - 1)
    same = found.conversation[1:] == found.conversation[:-1]
    if not every:
        same &= (found.t[:-1] >= 0) & (found.t[1:] == found.t[:-1] + 1)
    return before[same], before[same] + 1


def chains(draw: np.random.Generator) -> list[Row]:
    """Return what follows each class of turn, of all rows, of judged ones, and by subject."""
    found = turns()
    log = lines(LOG)
    model = np.array([line["group"] for line in log])[found.conversation]
    rows = []
    parts = {"all rows": np.ones(len(found.t), bool)} | {
        name: model == name for name in dict.fromkeys(model.tolist())
    }
    for name, part in {"judged": np.ones(len(found.t), bool), **parts}.items():
        before, after = adjacent(every=name == "all rows")
        mine = part[before]
        for a, was in enumerate(CLASSES):
            at = mine & (found.act[before] == a)
            for b, comes in enumerate(CLASSES):
                hit = found.act[after[at]] == b
                if len(hit):
                    cluster = found.conversation[after[at]]
                    rows.append(share(f"chain, {name}", was, comes, hit, cluster, draw))
    return rows


def scores(draw: np.random.Generator) -> list[Row]:
    """Return scores by model and subject, and what turns of bad and other conversations do."""
    found, log = turns(), lines(LOG)
    rows = []
    off = np.array([line["outcome"]["off_rails"] for line in log], float)
    safety = np.array([line["outcome"]["safety"] for line in log], float)
    rows.append(
        result("scores", "all", "correlation", float(np.corrcoef(off, safety)[0, 1]), n=len(log))
    )
    for field in ("group", "type"):
        labels = np.array([line[field] for line in log])
        for of in dict.fromkeys(labels.tolist()):
            part = labels == of
            for what, score in (("off_rails", off), ("safety", safety)):
                rows.append(mean("scores", of, what, score[part], draw))
    for what, score in (("off_rails", off), ("safety", safety)):
        rows.append(mean("scores", "all", what, score, draw))
    protects, risks = found.act <= 1, (found.act == 1) | (found.act == 2)
    bad = off[found.conversation] >= BAD
    for of, part in (("off the rails", bad), ("others", ~bad)):
        cluster = found.conversation[part]
        rows.append(share("acts", of, "protective", protects[part], cluster, draw))
        rows.append(share("acts", of, "risky", risks[part], cluster, draw))
    kind = np.array([line["type"] for line in log])[found.conversation]
    for of in dict.fromkeys(kind.tolist()):
        part = kind == of
        rows.append(
            share("help", of, "suggested", found.help[part], found.conversation[part], draw)
        )
    each = np.bincount(found.conversation, protects) / np.bincount(found.conversation)
    for low, high in ((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.01)):
        part = (each >= low) & (each < high)
        of = f"{low:g} to {min(high, 1):g}"
        rows.append(mean("by protective share", of, "off_rails", off[part], draw))
        rows.append(mean("by protective share", of, "safety", safety[part], draw))
    return rows


def mean(
    table: str, of: str, what: str, score: Float[np.ndarray, " N"], draw: np.random.Generator
) -> Row:
    """Return the mean score of conversations, with an interval from drawing them again."""
    sums = np.stack([score, np.ones(len(score))], axis=1)
    low, high = bootstrap(lambda totals: totals[:, 0] / totals[:, 1], sums, draw, level=LEVEL)
    return result(table, of, what, float(score.mean()), float(low), float(high), len(score))


def effects(seed: int) -> list[Row]:
    """Return by how much the next turn is risky more seldom after a protective act.

    As it is seen, and adjusted for less and for more of what goes before.
    """
    found, log = turns(), lines(LOG)
    before, after = adjacent()
    earlier = np.isin(before, adjacent()[1])  # with a turn before it
    before, after = before[earlier], after[earlier]
    y = (found.act[after] == CLASSES.index("risky")).astype(np.float64)
    a = found.act[before] <= 1
    conversation = found.conversation[before]
    model = _marked([line["group"] for line in log])[conversation]
    kind = _marked([line["type"] for line in log])[conversation]
    last = np.eye(len(CLASSES))[found.act[before - 1]]
    time = (found.t[before][:, None] - 10) / 10
    rows: list[Row] = []
    for what, x in (
        ("model", [model]),
        ("model and subject", [model, kind]),
        ("model, subject, turn and the turn before", [model, kind, time, last]),
    ):
        one = doubly_robust(y, a, np.concatenate(x, axis=1), conversation, seed=seed, level=LEVEL)
        if not rows:
            rows.append(_effect("nothing", one.naive))
        rows.append(_effect(what, one.difference))
    assert one.e_value_limit is not None
    rows += [
        result("overlap", "of the last", "lowest propensity", one.overlap.lowest),
        result("overlap", "of the last", "highest propensity", one.overlap.highest),
        result("overlap", "of the last", "E-value of the limit", one.e_value_limit),
    ]
    return rows


def _effect(what: str, one: Estimate) -> Row:
    return result("effect", "protective act", what, one.value, one.low, one.high, int(one.n))


def _marked(labels: Sequence[str]) -> Float[np.ndarray, "N K"]:
    """Return a column for each label but the first, 1 where it is."""
    place = numbered(labels)
    return np.eye(int(place.max()) + 1)[place][:, 1:]


def guard(priors: Sequence[float], length: int) -> list[Row]:
    """Return the fitted scenario, and what guards secure by the prior of delusional users."""
    found = scenario_of()
    rows = estimates(found)
    for prior in priors:
        of = f"{prior:g}"
        scenario = override(with_prior(found.scenario, DELUSIONAL, prior), {"turns": length})
        solution = robustly(scenario)
        robust = solution.robustness
        protects = robustly(always(scenario, "protective")).robustness
        assert robust is not None  # of this method
        assert protects is not None
        game = factored_game(scenario)
        (passed,) = compare(game, {"pass": passing(game)})
        still = without_momentum(scenario)
        best = solvers.solve(factored_game(still), "lp")
        policy = np.asarray(solution.policy[ASSISTANT])
        (unmoved,) = compare(factored_game(still), {"policy": policy})
        rows += [
            result("secured", of, "robust", robust.value),
            result("secured", of, "worst found", robust.found),
            result("secured", of, "if the estimates are right", robust.nominal),
            result("secured", of, "best if they are right", robust.optimum),
            result("secured", of, "always protective", protects.value),
            result("secured", of, "pass drafts, if the estimates are right", passed.value),
            result("secured", of, "without momentum", unmoved.value),
            result("secured", of, "best without momentum", float(best.value[ASSISTANT])),
            result("secured", of, "rule of turn 1", rule(scenario, solution)),
            result("secured", of, "turns", length),
        ]
    return rows


def passing(game: Game) -> Float[np.ndarray, "I A"]:
    """Return the policy that says what the draft says."""
    assert game.scenario is not None
    names = [part.name for part in game.scenario.responses]
    asks = [key.split("/")[-1].split(":")[0] for key in game.names.infosets[ASSISTANT]]
    return np.array([np.eye(len(names))[names.index(ask.split("_")[1])] for ask in asks])


def without_momentum(scenario: Scenario) -> Scenario:
    """Return `scenario` with drafts that do not depend on what was said: as the first ones."""
    return override(
        scenario,
        {
            f"intents.{part.name}.kernel.after": dict.fromkeys(CLASSES, part.kernel.opening)
            for part in scenario.intents
            if part.kernel is not None
        },
    )


def files(quick: bool) -> dict[str, str]:
    """Return the fitted scenario by file."""
    return {"fitted.toml": fitted_toml(scenario_of())}


def answer(rows: Sequence[Row]) -> list[str]:
    """Return the chain, what is left of it after adjustment, scores, and what a guard secures."""
    found = Found(rows)
    length = int(found.value("secured", found.of("secured")[0], "turns"))
    return [
        source_words(found),
        "## Turns",
        grid(
            ["after", *CLASSES, "n"],
            [
                [
                    was,
                    *(found.words("chain, judged", was, comes) for comes in CLASSES),
                    number(found.count("chain, judged", was, CLASSES[0])),
                ]
                for was in CLASSES
            ],
        ),
        "Judged turns that follow each other (of the log's rows a few have no judgement); 90 % "
        "intervals by drawing the conversations again. Pooled, it is a mixture: a risky turn "
        "follows a risky one in "
        + ", ".join(
            f"{found.words(name, 'risky', 'risky')} ({name.removeprefix('chain, ')})"
            for name in dict.fromkeys(table for table, _, _ in found.rows)
            if name.startswith("chain, ") and name not in ("chain, judged", "chain, all rows")
        )
        + ".",
        "## Effects",
        grid(
            ["adjusted for", "the next turn is only risky, after a protective act against none"],
            [[what, found.words("effect", "protective act", what)] for what in _adjusted(found)],
        ),
        "Difference of probabilities, by doubly robust estimates (`calibration.effect`), clustered "
        "by conversation, of turns with a turn before and after. What is seen without adjustment "
        "shrinks with all that is known of the conversation; what is not known, such as what the "
        "user has just said, would have to be associated with both turns by a ratio of risks of "
        f"{found.value('overlap', 'of the last', 'E-value of the limit'):.2f} (E-value of the "
        "interval's end) to leave nothing of it. Propensities of the last line go from "
        f"{found.value('overlap', 'of the last', 'lowest propensity'):.2f} to "
        f"{found.value('overlap', 'of the last', 'highest propensity'):.2f}.",
        "## Scores",
        grid(
            ["conversations", "off rails", "safety", "n"],
            [
                [
                    of,
                    *(found.words("scores", of, what) for what in ("off_rails", "safety")),
                    str(found.count("scores", of, "safety")),
                ]
                for of in found.of("scores")
            ]
            + [
                [
                    f"protective acts in {of} of turns",
                    *(
                        found.words("by protective share", of, what)
                        for what in ("off_rails", "safety")
                    ),
                    str(found.count("by protective share", of, "safety")),
                ]
                for of in found.of("by protective share")
            ],
        ),
        "Both scores are of one judge and say the same (correlation "
        f"{found.value('scores', 'all', 'correlation'):.2f}): they are not two findings. Where "
        "conversations go off the rails "
        f"{found.words('acts', 'off the rails', 'risky')} of turns have risky acts and "
        f"{found.words('acts', 'off the rails', 'protective')} protective ones, elsewhere "
        f"{found.words('acts', 'others', 'risky')} and "
        f"{found.words('acts', 'others', 'protective')}: it is the risky acts that tell them "
        "apart, while the intervals of the protective ones overlap. Help "
        "is suggested in "
        + ", ".join(
            f"{found.words('help', of, 'suggested')} of turns ({of})"
            for of in found.of("help")
            if found.value("help", of, "suggested") > 0.05
        )
        + ", and hardly anywhere else.",
        "## A guard of drafts",
        f"The guard sees what a draft does, not who the user is (`spiral.base.toml`, fitted: "
        f"`fitted.toml`). Over {length} turns it guarantees, whatever the rates and payoffs within "
        "their intervals:",
        _guard(found),
        "The last two columns ask what is left if what is said does not move the next draft, so "
        "that each is like a first one: what the robust policy gets then, and the best that could "
        "be had. A plain answer, neither protective nor risky, does much of the work by the "
        "payoffs assumed; what follows one with a delusional user was seen "
        f"{found.count('fitted', AFTER_NONE, 'drafts_risky')} times.",
        "## What the data support, and what not",
        SUPPORTED,
    ]


AFTER_NONE = "fitted: intents.delusional.kernel.after.none"

SUPPORTED = """\
- Supported: that risky turns follow risky ones, for each of the four models; that adjusting for \
model, subject and the turn before takes away about half of what a protective act seems to do; \
that conversations that go off the rails have more risky acts.
- Not supported: that protecting once changes what comes: an association, adjusted for little; \
anything of real people, for users are simulated and never leave; other models; what follows a \
plain answer to a delusional user; whether fewer protective acts go with worse conversations; two \
separate effects on the two scores.
- Assumed: every payoff, that replaced drafts lead on as drafts of their own, and how common \
delusional users are (swept). Acts are named by one judge, whose errors are not known."""


def _adjusted(found: Found) -> list[str]:
    return [what for of, _, what in found.rows if of == "effect"]


def _guard(found: Found) -> str:
    """Return what is secured by the prior of delusional users."""
    worth = (
        "robust",
        "always protective",
        "if the estimates are right",
        "pass drafts, if the estimates are right",
        "without momentum",
        "best without momentum",
    )
    return grid(
        [
            "P(delusional)",
            "guaranteed",
            "always protective",
            "if the estimates are right",
            "passing drafts, if they are",
            "first: what it says (drafts)",
            "without momentum",
            "best then",
        ],
        [
            [
                prior,
                *(f"{found.value('secured', prior, what):.3f}" for what in worth[:4]),
                found.text("secured", prior, "rule of turn 1").replace("drafts_", ""),
                *(f"{found.value('secured', prior, what):.3f}" for what in worth[4:]),
            ]
            for prior in found.of("secured")
        ],
    )


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return the chain, effects, scores and what a guard secures."""
    found = Found(rows)
    return {
        "chain": whiskers(
            {
                comes: [
                    (f"after {was}", *found.point("chain, judged", was, comes)) for was in CLASSES
                ]
                for comes in CLASSES
            },
            "share of next turns",
        ),
        "effect": whiskers(
            {
                "difference": [
                    (what, *found.point("effect", "protective act", what))
                    for what in _adjusted(found)
                ]
            },
            "difference in P(next turn only risky)",
        ),
        "scores": whiskers(
            {"mean": [(of, *found.point("scores", of, "off_rails")) for of in found.of("scores")]},
            "off-rails score",
        ),
        "secured": curves(
            {
                name: [(float(of), found.value("secured", of, what)) for of in found.of("secured")]
                for name, what in (
                    ("guaranteed", "robust"),
                    ("protective, guaranteed", "always protective"),
                    ("robust, if right", "if the estimates are right"),
                    ("pass drafts, if right", "pass drafts, if the estimates are right"),
                )
            },
            "P(delusional), swept",
            "payoff of a conversation",
        ),
    }


SPIRAL = Experiment(
    "Do reinforcing turns lead to more of them, and do protective ones end that?",
    cells,
    "experiments.logs.spiral:work",
    answer,
    charts,
    files,
)
