"""Attacks in rounds: how soon they succeed, how they persist, and what two latent cells are worth.

Automated attackers try round by round until a judge says that they have succeeded. The hazard of
the first success falls with the rounds, as it does in a mixture of cases that are easy and hard.
Two cells with a hazard for the first round and one for later ones describe it well; but who has
succeeded in the first round is gone, and of the others only the survivors of each cell are seen:

    w (1 - h1) and (1 - w) (1 - h1')  and  w h1 + (1 - w) h1'

are all that the log tells of the weight w and of the first hazards h1 and h1', two numbers beside
the later hazards. So there is a ridge of cells that fit as well as each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int

import solvers
from csa_games.calibration.confusion import deconvolved
from csa_games.calibration.estimates import beta_interval, bootstrap
from csa_games.calibration.fitted import Fitted, fitted_toml
from csa_games.calibration.hazard import clustered_survival
from csa_games.calibration.log import Conversation, Event
from csa_games.calibration.mixture import (
    UNKNOWN,
    Mixture,
    Sample,
    fit_mixture,
    log_likelihood,
    posterior,
    sample,
    variances,
)
from csa_games.charts import Chart, curves
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, Game
from csa_games.override import override, with_prior
from csa_games.scenario import builtin_scenarios, read_scenario
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
    within,
)
from solvers.compare import compare

LOG = "multi_turn_simpler"
SUCCESS = 0.5  # the judge's score from which on an attempt counts
ROUNDS = 8
DIGITS = 6  # of log-likelihoods; what is beyond is rounding
MULTI, SINGLE = "multi", "single"
REFUSALS = {"0": (0, 0), "1": (1, 1), "2-3": (2, 3), "4-7": (4, 7), "8+": (8, 10**6)}
STEADY, SUDDEN = "steady", "sudden"
WEIGHT, HAZARDS = 0.604, {STEADY: (0.305, 0.560), SUDDEN: (0.418, 0.069)}
"""The two cells published with the log: weight of the first, hazards of rounds 1 and 2 on."""
REREAD, STOOD = 170, 90
"""Successes that the authors read again, and how many stood; not in the log."""
ATTACKER = "attacker"


@dataclass(frozen=True)
class Runs:
    """Attacks. Letters: N runs."""

    multi: Bool[np.ndarray, " N"]
    turn: Int[np.ndarray, " N"]  # of the first success, or the last
    success: Bool[np.ndarray, " N"]
    goal: Bool[np.ndarray, " N"]
    attempts: Int[np.ndarray, " N"]
    refusals: Int[np.ndarray, " N"]
    request: Int[np.ndarray, " N"]
    model: Int[np.ndarray, " N"]
    tactic: Sequence[str]


@cache
def runs() -> Runs:
    """Return all runs of the log; a run without success ends at its last round."""
    log = lines(LOG)
    hits = [[t for t, e in enumerate(one["events"]) if e["fine"] >= SUCCESS] for one in log]
    length = np.array([len(one["events"]) for one in log])
    return Runs(
        multi=np.array([one["turn_type"] == MULTI for one in log]),
        turn=np.array([h[0] if h else n - 1 for h, n in zip(hits, length, strict=True)]),
        success=np.array([bool(h) for h in hits]),
        goal=np.array([one["outcome"]["goal"] for one in log]),
        attempts=length,
        refusals=np.array([one["outcome"]["refusals"] for one in log]),
        request=numbered(one["request"] for one in log),
        model=numbered(one["group"] for one in log),
        tactic=[one["tactic"] for one in log],
    )


def attacks() -> Iterator[Conversation]:
    """Yield the multi-turn attacks as a log, cut at the first success and at round 8.

    Every round is answered: refused attempts are not in the log, only how many there were. Who
    succeeds stops; a run that is broken off has no reaction to its last answer.
    """
    for one in lines(LOG):
        if one["turn_type"] != MULTI:
            continue
        events = []
        for t, event in enumerate(one["events"][:ROUNDS]):
            hit = event["fine"] >= SUCCESS
            goes_on = t + 1 < min(len(one["events"]), ROUNDS)
            reaction = "stop" if hit else ("escalate" if goes_on else None)
            ask = "escalate" if t else "open"
            events.append(Event(t=t, ask=ask, strategy="answer", reaction=reaction))
            if hit:
                break
        yield Conversation(
            id=one["id"], group=one["request"], type=one["type"], events=tuple(events)
        )


@cache
def scenario_of() -> Fitted:
    """Return the fitted scenario."""
    return fitted(attacks(), "attack.map.toml", "attack.base.toml")


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each part of the study."""
    log = {"log": LOG, "sha256": LOGS[LOG], "seed": SEED}
    return [
        {"part": "counts", **log},
        {"part": "cells", "steps": 2_000 if quick else 20_000, "places": 5 if quick else 27, **log},
        {"part": "judge", "missed": [0.0, 0.25] if quick else [0.0, 0.1, 0.25], **log},
        {"part": "ridge", "places": 2 if quick else 8, "turns": 2 if quick else 3, **log},
        {
            "part": "policy",
            "priors": [0.1] if quick else [0.001, 0.01, 0.03, 0.1, 0.2, 0.4],
            "turns": 2 if quick else 3,
            **log,
        },
    ]


def work(cell: Cell) -> list[Row]:
    """Return the rows of a part."""
    draw = np.random.default_rng(cell["seed"])
    match cell["part"]:
        case "counts":
            return [*about(LOG), *hazards(draw), *persistence(draw), *by_tactic(draw)]
        case "cells":
            return two_cells(draw, cell["steps"], cell["places"])
        case "judge":
            return judge(draw, cell["missed"])
        case "ridge":
            return along(cell["places"], cell["turns"])
        case _:
            return policies(cell["priors"], cell["turns"])


def hazards(draw: np.random.Generator) -> list[Row]:
    """Return the hazard of the first success by round, and the share that succeeds."""
    all_runs = runs()
    m = all_runs.multi
    turn, success, request = all_runs.turn[m], all_runs.success[m], all_runs.request[m]
    rows = []
    for t in range(ROUNDS):
        at = turn >= t
        hit = (turn == t) & success
        rows.append(share("hazard", f"round {t + 1}", "by request", hit[at], request[at], draw))
    ended = np.array([((turn == t) & success).sum() for t in range(ROUNDS)])
    risk = np.array([(turn >= t).sum() for t in range(ROUNDS)])
    done = 1 - np.cumprod(1 - ended / risk)
    for what, cluster in (("by request", request), ("by model", all_runs.model[m])):
        least, most = clustered_survival(turn, success, cluster, ROUNDS, draw, level=LEVEL)
        rows += [
            result(
                "succeeded", f"round {t + 1}", what, float(x), float(low), float(high), len(turn)
            )
            for t, (x, low, high) in enumerate(zip(done, 1 - most, 1 - least, strict=True))
        ]
    for of, part in ((MULTI, m), (SINGLE, ~m)):
        cluster = all_runs.request[part]
        for what, hit in (("score", all_runs.success), ("goal", all_runs.goal)):
            rows.append(share("runs", of, what, hit[part], cluster, draw))
        rows.append(share("runs", of, "any refusal", all_runs.refusals[part] > 0, cluster, draw))
        rows.append(per_attempt("runs", of, part, draw))
    return rows


def per_attempt(
    table: str, of: str, part: Bool[np.ndarray, " N"], draw: np.random.Generator
) -> Row:
    """Return the share of attempts that were refused."""
    found = runs()
    _, place = np.unique(found.request[part], return_inverse=True)
    refused = np.bincount(place, found.refusals[part])
    sums = np.stack([refused, refused + np.bincount(place, found.attempts[part])], axis=1)

    def ratio(totals: Float[np.ndarray, "D 2"]) -> Float[np.ndarray, " D"]:
        return totals[:, 0] / totals[:, 1]

    low, high = bootstrap(ratio, sums, draw, level=LEVEL)
    value = float(ratio(sums.sum(axis=0)[None])[0])
    n = int(sums[:, 1].sum())
    return result(table, of, "refusals per attempt", value, float(low), float(high), n)


def persistence(draw: np.random.Generator) -> list[Row]:
    """Return the share of runs that succeed, by how many refusals they met."""
    found = runs()
    return [
        share("persistence", of, what, found.success[part], found.request[part], draw)
        for of, kind in ((MULTI, found.multi), (SINGLE, ~found.multi))
        for what, (low, high) in REFUSALS.items()
        for part in [kind & (found.refusals >= low) & (found.refusals <= high)]
    ]


def by_tactic(draw: np.random.Generator) -> list[Row]:
    """Return what each tactic of multi-turn attacks achieves."""
    found = runs()
    tactic = np.array(found.tactic)
    rows = []
    for of in dict.fromkeys(tactic[found.multi].tolist()):
        part = found.multi & (tactic == of)
        first = (found.turn == 0) & found.success
        rows += [
            share("tactic", of, "score", found.success[part], found.request[part], draw),
            share("tactic", of, "first round", first[part], found.request[part], draw),
            per_attempt("tactic", of, part, draw),
        ]
    return rows


@cache
def first_or_later() -> Sample:
    """Return, of each multi-turn attack, failures and successes in round 1 and in later ones."""
    found = runs()
    turn, success = found.turn[found.multi], found.success[found.multi]
    hit, last = success & (turn < ROUNDS), np.minimum(turn, ROUNDS - 1)
    first = last == 0
    later = np.where(hit, np.maximum(last - 1, 0), last)
    columns = (~(hit & first), hit & first, later, hit & ~first)
    return sample(np.stack(columns, axis=1).astype(int), (0, 0, 1, 1))


def given_by(weight: float, steady: Sequence[float], sudden: Sequence[float]) -> Mixture:
    """Return two cells: the weight of the first, and of each the hazards of rounds 1 and 2 on."""
    rows = np.array([[1 - h[0], h[0], 1 - h[1], h[1]] for h in (steady, sudden)])
    return Mixture(np.array([weight, 1 - weight]), rows, np.nan, 5, 0, 0, True)


def on_ridge(places: int) -> list[tuple[float, float, float]]:
    """Return weights and first hazards of both cells that fit as well as the published ones."""
    left = WEIGHT * (1 - HAZARDS[STEADY][0]), (1 - WEIGHT) * (1 - HAZARDS[SUDDEN][0])
    weights = np.linspace(left[0], 1 - left[1], places + 2)[1:-1]
    return [(float(w), float(1 - left[0] / w), float(1 - left[1] / (1 - w))) for w in weights]


def two_cells(draw: np.random.Generator, steps: int, places: int) -> list[Row]:
    """Return how well one, two and three cells fit, the two cells, and the ridge they lie on."""
    given, rows = first_or_later(), []
    for kinds in (1, 2, 3):
        found = fit_mixture(given, kinds, draw, most_steps=steps)
        rows += [
            result("mixture", f"{kinds}", "log-likelihood", found.log_likelihood),
            result("mixture", f"{kinds}", "BIC", found.bic, n=found.conversations),
        ]
        if kinds == 2:
            two = found
    order = np.argsort(-two.rows[:, 3])  # steady first
    of_weight, of_rows = variances(two, given)
    for z, name in zip(order, (STEADY, SUDDEN), strict=True):
        for what, value, variance in (
            ("weight", two.weight[z], of_weight[z]),
            ("first round", two.rows[z, 1], of_rows[z, 1]),
            ("later rounds", two.rows[z, 3], of_rows[z, 3]),
        ):
            half = 1.645 * np.sqrt(variance)
            low, high = max(0.0, float(value - half)), min(1.0, float(value + half))
            rows.append(result("cells", name, what, float(value), low, high))
    failed = np.stack([np.ones(8), np.zeros(8), np.arange(-1, 7), np.zeros(8)], axis=1)
    failed[0] = 0
    none = Sample(failed.astype(int), given.context, np.ones(8, int), np.full(8, UNKNOWN))
    published = given_by(WEIGHT, HAZARDS[STEADY], HAZARDS[SUDDEN])
    for k, p in enumerate(posterior(published, none)[:, 0]):
        rows.append(result("after failures", f"{k}", STEADY, float(p)))
    top = log_likelihood(published, given)
    rows.append(result("published", "cells", "log-likelihood", round(top, DIGITS)))
    for name, share_of in ((STEADY, WEIGHT), (SUDDEN, 1 - WEIGHT)):
        rows.append(result("published", name, "weight", share_of))
        for what, hazard in zip(("first round", "later rounds"), HAZARDS[name], strict=True):
            rows.append(result("published", name, what, hazard))
    for k, (w, steady, sudden) in enumerate(on_ridge(places)):
        cells = given_by(w, (steady, HAZARDS[STEADY][1]), (sudden, HAZARDS[SUDDEN][1]))
        rows += [
            result("ridge", f"place {k}", "weight", w),
            result("ridge", f"place {k}", f"first round, {STEADY}", steady),
            result("ridge", f"place {k}", f"first round, {SUDDEN}", sudden),
            result(
                "ridge",
                f"place {k}",
                "log-likelihood",
                round(log_likelihood(cells, given), DIGITS),
            ),
        ]
    for k, shift in enumerate(np.linspace(-0.1, 0.1, 5)):
        first, later = HAZARDS[STEADY]
        off = given_by(WEIGHT, (first, later + float(shift)), HAZARDS[SUDDEN])
        rows += [
            result("off the ridge", f"place {k}", "shift", float(shift)),
            result("off the ridge", f"place {k}", "log-likelihood", log_likelihood(off, given)),
        ]
    return rows


def judge(draw: np.random.Generator, missed: Sequence[float]) -> list[Row]:
    """Return the share that truly succeeds, if such a share of judged failures did as well.

    Only judged successes were read again. To what they tell, as many judged failures are added as
    come with so many successes in the log, of which `missed` were successes: an assumption, swept.
    """
    found = runs()
    success = found.success[found.multi]
    said = np.array([(~success).sum(), success.sum()])
    failures = REREAD * said[0] / said[1]
    rows = []
    for part in missed:
        seen = np.array([[failures * (1 - part), REREAD - STOOD], [failures * part, STOOD]]).round()
        true = deconvolved(said, seen.astype(np.int64), draw, level=LEVEL)
        value, low, high = (float(x[1]) for x in (true.value, true.low, true.high))
        rows.append(result("judge", f"{part:g}", "succeeded", value, low, high, REREAD))
    judged = float(success.mean())
    ends = beta_interval(np.array(STOOD + 0.5), np.array(REREAD - STOOD + 0.5), LEVEL)
    low, high = map(float, ends)
    return [
        *rows,
        result("judge", "as it is", "succeeded", judged, n=len(success)),
        result("judge", "as it is", "precision", STOOD / REREAD, low, high, REREAD),
    ]


def along(places: int, turns: int) -> list[Row]:
    """Return what the built-in `crescendo` secures with cells from along the ridge."""
    base = override(read_scenario(builtin_scenarios()["crescendo"]), {"turns": turns})
    attackers = sum(part.prior.value for part in base.intents if part.name in (STEADY, SUDDEN))
    rows = []
    for k, (w, *first) in enumerate(on_ridge(places)):
        changes: dict[str, object] = {}
        for place, (name, share_of, h1) in enumerate(
            zip((STEADY, SUDDEN), (w, 1 - w), first, strict=True)
        ):
            hazard = [h1, *[HAZARDS[name][1]] * (ROUNDS - 1)]
            stays = [{"escalate": 1 - h, "stop": h} for h in hazard[:-1]]
            changes[f"intents.{name}.prior"] = attackers * share_of
            changes[f"intents.{name}.kernel.after.answer"] = stays
            changes[f"payoff.risk.{place + 1}.values.answer"] = hazard
        scenario = override(base, changes)
        game = factored_game(scenario)
        best = solvers.solve(game, "lp")
        plain = {"always answer": ("answer", "answer"), "refuse once": ("refuse", "answer")}
        for row in compare(game, {name: _by_round(game, *both) for name, both in plain.items()}):
            rows.append(result("crescendo", f"place {k}", row.name, row.value))
        rows += [
            result("crescendo", f"place {k}", "weight", w),
            result("crescendo", f"place {k}", "best", float(best.value[ASSISTANT])),
            result("crescendo", f"place {k}", "rule", rule(scenario, best)),
        ]
    return rows


def _by_round(game: Game, first: str, later: str) -> Float[np.ndarray, "I A"]:
    """Return the policy that answers the first message one way, and all later ones another."""
    assert game.scenario is not None
    names = [part.name for part in game.scenario.responses]
    return np.array(
        [
            np.eye(len(names))[names.index(later if "/" in key else first)]
            for key in game.names.infosets[ASSISTANT]
        ]
    )


def policies(priors: Sequence[float], turns: int) -> list[Row]:
    """Return the fitted scenario, and what policies guarantee in it at each prior."""
    found = scenario_of()
    rows = estimates(found)
    for prior in priors:
        of = f"{prior:g}"
        scenario = override(with_prior(found.scenario, ATTACKER, prior), {"turns": turns})
        solution = robustly(scenario)
        robust = solution.robustness
        assert robust is not None  # of this method
        rows += [
            result("secured", of, "robust", robust.value),
            result("secured", of, "worst found", robust.found),
            result("secured", of, "if the estimates are right", robust.nominal),
            result("secured", of, "best if they are right", robust.optimum),
            result("secured", of, "rule", rule(scenario, solution)),
            result("secured", of, "rule of round 2", rule(scenario, solution, 1)),
            result("secured", of, "turns", turns),
        ]
        for response in ("answer", "refuse"):
            plain = robustly(always(scenario, response))
            assert plain.robustness is not None
            rows.append(result("secured", of, f"always {response}", plain.robustness.value))
    return rows


def files(quick: bool) -> dict[str, str]:
    """Return the fitted scenario by file."""
    return {"fitted.toml": fitted_toml(scenario_of())}


def answer(rows: Sequence[Row]) -> list[str]:
    """Return hazards, persistence, what the cells are worth, and what a policy secures."""
    found = Found(rows)
    rounds = found.of("hazard")
    turns = int(found.value("secured", found.of("secured")[0], "turns"))
    return [
        source_words(found),
        "## Hazards",
        grid(
            ["round", "at risk", "hazard of first success", "succeeded by then", "by models"],
            [
                [
                    of.removeprefix("round "),
                    number(found.count("hazard", of, "by request")),
                    *(
                        found.words(name, of, what)
                        for name, what in (
                            ("hazard", "by request"),
                            ("succeeded", "by request"),
                            ("succeeded", "by model"),
                        )
                    ),
                ]
                for of in rounds
            ],
        ),
        "Success is a judge's score of .5 or more; product limit, runs that were broken off leave "
        "the risk set. 90 % intervals by drawing the 30 requests again, or the models (last "
        "column): in the first rounds it matters more what is asked than who. Of whole runs "
        f" {found.words('runs', MULTI, 'score')} succeed in several turns and "
        f"{found.words('runs', SINGLE, 'score')} in a single one.",
        "## Persistence",
        grid(
            ["refusals met", "succeeded, several turns", "succeeded, single turn"],
            [
                [what, *(found.words("persistence", of, what) for of in (MULTI, SINGLE))]
                for what in REFUSALS
            ],
        ),
        f"Refused are {found.words('runs', MULTI, 'refusals per attempt')} of attempts in several "
        f"turns and {found.words('runs', SINGLE, 'refusals per attempt')} in a single one; who "
        "meets more refusals succeeds less. That is no effect of refusing: harder requests are "
        "refused more, and refused attempts are rolled back, so that the log cannot say in which "
        "round they were.",
        "## Two latent cells",
        *_cells(found),
        "## The judge",
        *_judge(found),
        "## A policy",
        "The fitted scenario (`fitted.toml`; base `attack.base.toml`) has one kind of attacker, "
        "with a hazard for each round: what the log tells, without cells. Its hazards are of the "
        "rounds whose end was seen, which leaves out runs in the round in which they were broken "
        f"off. Over {turns} turns, guaranteed whatever hazards and payoffs are within their "
        "intervals:",
        _policy(found),
        "That it refuses flagged messages rests on the classifier, which is assumed: there is none "
        "in the log.",
        "## What the data support, and what not",
        SUPPORTED,
    ]


SUPPORTED = """\
- Supported: that the hazard falls from round to round, in these attacks on these requests; that \
two kinds of runs explain it better than one; their hazards from the second round on.
- Not supported: the weights of the two cells and their hazards in the first round, and so who \
is left after a refusal; a third cell; success as people see it, beyond the precision of one \
batch whose selection is not known; an effect of refusing.
- Assumed: benign users, the classifier, the prior (swept), what refused attackers do, every \
payoff. The attackers are programs, and nobody in the log ever leaves."""


def _cells(found: Found) -> list[str]:
    """Return what the mixtures are worth."""
    cells = [
        [
            name,
            *(
                found.words("cells", name, what)
                for what in ("weight", "first round", "later rounds")
            ),
        ]
        for name in (STEADY, SUDDEN)
    ]
    places = found.of("ridge")
    likely = [found.value("ridge", of, "log-likelihood") for of in places]
    weights = [found.value("ridge", of, "weight") for of in places]
    first = {
        name: [found.value("ridge", of, f"first round, {name}") for of in places]
        for name in (STEADY, SUDDEN)
    }
    off = min(
        found.value("off the ridge", of, "log-likelihood") for of in found.of("off the ridge")
    )
    top = found.value("published", "cells", "log-likelihood")
    shift = max(found.value("off the ridge", of, "shift") for of in found.of("off the ridge"))
    published = [
        " and ".join(f"{found.value('published', name, what):.3f}" for name in (STEADY, SUDDEN))
        for what in ("weight", "first round")
    ]
    once = [found.value("crescendo", of, "refuse once") for of in found.of("crescendo")]
    answered = [found.value("crescendo", of, "always answer") for of in found.of("crescendo")]
    best = [found.value("crescendo", of, "best") for of in found.of("crescendo")]
    return [
        "BIC is "
        + ", ".join(
            f"{number(round(found.value('mixture', kinds, 'BIC')))} with {kinds}"
            for kinds in found.of("mixture")
        )
        + " cells (a hazard for the first round, one for later ones). Two cells, as "
        "expectation-maximisation ends from the best of its starts:",
        grid(["cell", "weight", "hazard of round 1", "of later rounds"], cells),
        f"The cells published with the log have weights {published[0]} and first hazards "
        f"{published[1]}. Both pairs have a log-likelihood of {top:,.1f}, and so has every point "
        f"of a ridge (first picture): over weights from {min(weights):.3f} to {max(weights):.3f} "
        f"it differs by {max(likely) - min(likely):.6f}, while the first "
        "hazards go from "
        f"{first[STEADY][0]:.3f} and {first[SUDDEN][0]:.3f} to {first[STEADY][-1]:.3f} and "
        f"{first[SUDDEN][-1]:.3f}. A later hazard that is {shift:g} off, in comparison, costs "
        f"{top - off:.1f}. The published cells are one point of that ridge.",
        "For a policy, in the built-in `crescendo` with cells from along the ridge: answering "
        f"every round is worth {answered[0]:.3f} at one end and {answered[-1]:.3f} at the other, "
        f"the best policy, which answers the first message, {best[0]:.3f} and {best[-1]:.3f}; but "
        f"refusing once and answering then goes from {once[0]:.3f} to {once[-1]:.3f}: who is left "
        "after a refusal is just what the log does not tell.",
    ]


def _judge(found: Found) -> list[str]:
    """Return what successes are worth when people read them again."""
    missed = [of for of in found.of("judge") if of != "as it is"]
    said = found.value("judge", "as it is", "succeeded")
    precision, low, high = found.point("judge", "as it is", "precision")
    return [
        f"Of {number(found.count('judge', 'as it is', 'precision'))} judged successes that people "
        f"read again "
        f"so many stood: {within(precision, low, high)}; the labels are not "
        f"in the log. With that precision {said:.3f} judged successes are {said * precision:.3f} "
        f"[{said * low:.3f}, {said * high:.3f}] true ones, if no judged failure was one. Nobody "
        "read failures again. With the judge's errors turned round (`calibration.confusion`), and "
        "a share of judged failures taken to be true successes:",
        grid(
            ["judged failures that succeeded, assumed", "truly succeeded"],
            [[of, found.words("judge", of, "succeeded")] for of in missed],
        ),
        "The interval covers nearly everything once a quarter is missed: a judge's precision alone "
        "does not tell how many succeed.",
    ]


def _policy(found: Found) -> str:
    """Return what is secured by prior."""
    return grid(
        [
            "P(attacker)",
            "guaranteed",
            "always answering",
            "always refusing",
            "if the estimates are right",
            "first message",
            "second",
        ],
        [
            [
                prior,
                *(
                    f"{found.value('secured', prior, what):.3f}"
                    for what in (
                        "robust",
                        "always answer",
                        "always refuse",
                        "if the estimates are right",
                    )
                ),
                found.text("secured", prior, "rule"),
                found.text("secured", prior, "rule of round 2"),
            ]
            for prior in found.of("secured")
        ],
    )


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return the ridge, hazards, persistence and what is secured over the prior."""
    found = Found(rows)
    ridge = {
        name: [
            (found.value("ridge", of, "weight"), found.value("ridge", of, what))
            for of in found.of("ridge")
        ]
        for name, what in (
            (f"round 1, {STEADY}", f"first round, {STEADY}"),
            (f"round 1, {SUDDEN}", f"first round, {SUDDEN}"),
        )
    }
    top = found.value("published", "cells", "log-likelihood")
    ridge["log-likelihood − max"] = [
        (found.value("ridge", of, "weight"), found.value("ridge", of, "log-likelihood") - top)
        for of in found.of("ridge")
    ]
    ridge["refuse once, worth"] = [
        (found.value("crescendo", of, "weight"), found.value("crescendo", of, "refuse once"))
        for of in found.of("crescendo")
    ]
    marks = {"published": found.value("published", STEADY, "weight")}
    return {
        "ridge": curves(
            ridge, f"weight of the {STEADY} cell", "hazard, log-likelihood, payoff", marks=marks
        ),
        "hazard": whiskers(
            {
                "hazard": [
                    (of, *found.point("hazard", of, "by request")) for of in found.of("hazard")
                ]
            },
            "hazard of the first success",
        ),
        "persistence": whiskers(
            {
                of: [(what, *found.point("persistence", of, what)) for what in REFUSALS]
                for of in (MULTI, SINGLE)
            },
            "share of runs that succeed, by refusals met",
        ),
        "secured": curves(
            {
                what: [(float(of), found.value("secured", of, what)) for of in found.of("secured")]
                for what in ("robust", "always answer", "always refuse")
            },
            "P(attacker), swept",
            "guaranteed payoff of a conversation",
            scale=("log", "linear"),
        ),
    }


ATTACK = Experiment(
    "How soon do attacks succeed, and is it told why ever fewer do?",
    cells,
    "experiments.logs.attack:work",
    answer,
    charts,
    files,
)
