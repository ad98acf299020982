"""Over-refusal: where five models stand between refusing too much and too little, and who judges.

XSTest has the same 250 safe and 200 unsafe prompts for every model, each answer labelled by people
and by an LLM judge. One model answers a prompt once, so its shares are of independent prompts;
what is pooled over models, and what compares two, is clustered by prompt. The judge's errors on
other models, and on half of a model's own prompts, are used to correct what it says of the rest.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from jaxtyping import Float, Int

from csa_games.calibration.confusion import deconvolved, judged
from csa_games.calibration.estimates import beta_interval, bootstrap
from csa_games.calibration.fitted import Fitted, fitted_toml
from csa_games.calibration.log import Conversation, Event
from csa_games.charts import Chart, curves
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT
from csa_games.override import override, with_prior
from csa_games.scenario import Scenario
from csa_games.sweeps import Cell, Row
from csa_games.words import number
from experiments.experiment import SEED, Experiment, real
from experiments.logs.source import LOGS, lines
from experiments.logs.study import (
    LEVEL,
    Found,
    about,
    always,
    difference,
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

LOG = "xstest"
MODELS = ("gpt4", "llama2new", "llama2orig", "mistralguard", "mistralinstruct")
HUMAN = ("comply", "safe-complete", "refuse")
JUDGE = ("1_full_compliance", "3_partial_refusal", "2_full_refusal")
DRAFTS = ("full", "partial", "refusal")
"""What people and the judge call them, and the scenario."""
SAFE, UNSAFE = "safe", "unsafe"
KINDS = {"benign": SAFE, "malicious": UNSAFE}
PAIRS = (
    ("mistralinstruct", "gpt4"),
    ("mistralinstruct", "mistralguard"),
    ("llama2new", "llama2orig"),
)
OWN, OTHERS = "half of its own prompts", "the other models"


@cache
def answers() -> dict[str, Int[np.ndarray, " N"]]:
    """Return model, prompt, kind (0 safe, 1 unsafe), sort of prompt, and both labels of answers.

    Labels are places in `DRAFTS`, -1 where the judge gave none.
    """
    log = lines(LOG)
    said = {name: k for k, name in enumerate(JUDGE)}
    return {
        "model": np.array([MODELS.index(line["group"]) for line in log]),
        "prompt": np.arange(len(log)) % (len(log) // len(MODELS)),
        "kind": np.array([line["type"] == "malicious" for line in log]).astype(np.int64),
        "sort": numbered(line["events"][0]["signal"] for line in log),
        "human": np.array([HUMAN.index(line["events"][0]["strategy"]) for line in log]),
        "judge": np.array([said.get(line["events"][0]["fine"], -1) for line in log]),
    }


def log_of(model: str) -> Iterator[Conversation]:
    """Yield the answers of one model as a log: the ask is what people say that its draft does."""
    for line in lines(LOG):
        if line["group"] == model:
            label = line["events"][0]["strategy"]
            yield Conversation(id=line["id"], type=line["type"], events=(Event(t=0, ask=label),))


@cache
def scenario_of(model: str) -> Fitted:
    """Return the guard of the drafts of one model, fitted."""
    return fitted(log_of(model), "over_refusal.map.toml", "over_refusal.base.toml")


def cells(quick: bool) -> list[Cell]:
    """Return a cell for what is counted, and one for each model's scenario."""
    log = {"log": LOG, "sha256": LOGS[LOG], "seed": SEED}
    priors = [0.01, 0.1] if quick else [0.001, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5]
    return [
        {"part": "counts", **log},
        *({"part": "guard", "model": model, "priors": priors, **log} for model in MODELS),
    ]


def work(cell: Cell) -> list[Row]:
    """Return what the log tells, or what a guard of one model's drafts secures."""
    if cell["part"] == "counts":
        return counts(np.random.default_rng(cell["seed"]))
    return guard(cell["model"], cell["priors"])


def counts(draw: np.random.Generator) -> list[Row]:
    """Return operating points, the judge's errors, and what correcting for them does."""
    found = answers()
    model, prompt, human, judge = (found[name] for name in ("model", "prompt", "human", "judge"))
    safe = found["kind"] == 0
    rows = about(LOG)
    for m, name in enumerate(MODELS):
        mine = model == m
        for of, part in ((SAFE, mine & safe), (UNSAFE, mine & ~safe)):
            n = int(part.sum())
            for d, draft in enumerate(DRAFTS):
                hits = int((human[part] == d).sum())
                rows.append(point("points", f"{name}, {of}", draft, hits, n))
        both = judge[mine] == human[mine]
        rows.append(point("judge accuracy", name, "accuracy", int(both.sum()), len(both)))
    for a, b in PAIRS:
        for of, kind in ((SAFE, safe), (UNSAFE, ~safe)):
            one, other = (
                human[(model == MODELS.index(x)) & kind] == 0 for x in (a, b)
            )  # the same prompts in the same order
            at = prompt[(model == MODELS.index(a)) & kind]
            rows.append(difference("pairs", f"{a} less {b}", of, one, other, at, draw))
    log = lines(LOG)
    labels = [line["events"][0]["signal"] for line in log]
    for label in dict.fromkeys(np.array(labels)[safe].tolist()):
        part = safe & (np.array(labels) == label)
        rows.append(share("kinds", label, "full", human[part] == 0, prompt[part], draw))
    confusion = judged(human, judge, 3, 3)
    for i, truth in enumerate(DRAFTS):
        for j, verdict in enumerate(DRAFTS):
            cell = int(confusion[i, j])
            rows.append(point("confusion", truth, verdict, cell, int(confusion[i].sum())))
        rows.append(result("confusion", truth, "no label", int(((human == i) & (judge < 0)).sum())))
    return rows + switches(draw) + corrected(draw)


def point(table: str, of: str, what: str, hits: int, n: int) -> Row:
    """Return a share of independent prompts, with the interval of Jeffreys' prior."""
    ends = beta_interval(np.array(hits + 0.5), np.array(n - hits + 0.5), LEVEL)
    low, high = 0.0 if hits == 0 else float(ends[0]), 1.0 if hits == n else float(ends[1])
    return result(table, of, what, hits / n, low, high, n)


def switches(draw: np.random.Generator) -> list[Row]:
    """Return at which weight of unsafe compliance against over-refusal the best point changes."""
    found = answers()
    rows = []
    for a, b in (("mistralinstruct", "gpt4"), ("gpt4", "llama2new")):
        # By prompt: safe and not answered in full, unsafe and answered in full, of each model.
        sums = np.zeros((450, 4))
        for k, name in enumerate((a, b)):
            mine = found["model"] == MODELS.index(name)
            kind, full = found["kind"][mine], found["human"][mine] == 0
            sums[:, 2 * k] = (kind == 0) & ~full
            sums[:, 2 * k + 1] = (kind == 1) & full
        low, high = bootstrap(_one_over_switch, sums, draw, level=LEVEL)
        (value,) = _one_over_switch(sums.sum(axis=0)[None])
        rows.append(  # without an end where no more prompts than none tell the two apart
            result(
                "switch",
                f"{a} to {b}",
                "weight",
                float(1 / value),
                float(1 / high),
                float(1 / low) if low > 0 else None,
                450,
            )
        )
    return rows


def _one_over_switch(totals: Float[np.ndarray, "D 4"]) -> Float[np.ndarray, " D"]:
    """Return unsafe compliance that the second model spares, over what more it refuses."""
    return ((totals[:, 1] - totals[:, 3]) / 200) / ((totals[:, 2] - totals[:, 0]) / 250)


def corrected(draw: np.random.Generator) -> list[Row]:
    """Return shares of full compliance by people, by the judge, and corrected for its errors.

    Of full compliance or not: what the judge says of partial refusals is so like a mixture of what
    it says of the others that three labels cannot be told apart by it.
    """
    found = answers()
    model, prompt, judge = (found[name] for name in ("model", "prompt", "judge"))
    not_full, said_not = (np.minimum(found[name], 1) for name in ("human", "judge"))
    rows = []
    for m, name in enumerate(MODELS):
        mine = (model == m) & (judge >= 0)
        ways = {
            OTHERS: (model != m, mine),
            OWN: (mine & (prompt % 2 == 0), mine & (prompt % 2 == 1)),
        }
        for way, (taught, asked) in ways.items():
            of, n = f"{name}, by {way}", int(asked.sum())
            confusion = judged(not_full[taught], said_not[taught], 2, 2)
            said = np.bincount(said_not[asked], minlength=2)
            known = deconvolved(said, confusion, draw, level=LEVEL)
            rows += [
                point("corrected", of, "human", int((not_full[asked] == 0).sum()), n),
                point("corrected", of, "judge", int(said[0]), n),
                result(
                    "corrected",
                    of,
                    "deconvolved",
                    float(known.value[0]),
                    float(known.low[0]),
                    float(known.high[0]),
                    n,
                ),
            ]
    return rows


def guard(model: str, priors: Sequence[float]) -> list[Row]:
    """Return the fitted scenario of a model, and what guards of it secure at each prior."""
    found = scenario_of(model)
    rows = estimates(found, model)
    naive = judged_scenario(found.scenario, model)
    for prior in priors:
        of = f"{model}, prior {prior:g}"
        scenario = with_prior(found.scenario, UNSAFE, prior)
        solution = robustly(scenario)
        plain = robustly(always(scenario, "pass"))
        robust = solution.robustness
        assert robust is not None  # of this method
        assert plain.robustness is not None
        misled = robustly(with_prior(naive, UNSAFE, prior), kernels=0.0, payoffs=False)
        (row,) = compare(factored_game(scenario), {"policy": np.asarray(misled.policy[ASSISTANT])})
        rows += [
            result("secured", of, "robust", robust.value),
            result("secured", of, "worst found", robust.found),
            result("secured", of, "if the estimates are right", robust.nominal),
            result("secured", of, "best if they are right", robust.optimum),
            result("secured", of, "always pass", plain.robustness.value),
            result("secured", of, "made from the judge's labels", row.value),
            result("secured", of, "rule", rule(scenario, solution)),
        ]
    return rows


def judged_scenario(scenario: Scenario, model: str) -> Scenario:
    """Return `scenario` with the shares of drafts that the judge alone would give."""
    found = answers()
    mine = (found["model"] == MODELS.index(model)) & (found["judge"] >= 0)
    changes = {}
    for k, intent in enumerate((SAFE, UNSAFE)):
        said = np.bincount(found["judge"][mine & (found["kind"] == k)], minlength=3) + 0.5
        shares = np.round(said / said.sum(), 6)
        shares[0] = 1 - shares[1:].sum()
        opening = dict(zip(DRAFTS, shares.tolist(), strict=True))
        changes[f"intents.{intent}.kernel.opening"] = opening
    return override(scenario, changes)


def files(quick: bool) -> dict[str, str]:
    """Return the fitted scenarios by file."""
    return {f"{model}.toml": fitted_toml(scenario_of(model)) for model in MODELS}


def answer(rows: Sequence[Row]) -> list[str]:
    """Return where models stand, what the judge is worth, and what a guard secures."""
    found = Found(rows)
    points = grid(
        ["model", "safe: full", "partial", "refusal", "unsafe: full", "judge right"],
        [
            [
                model,
                *(found.words("points", f"{model}, {SAFE}", draft) for draft in DRAFTS),
                found.words("points", f"{model}, {UNSAFE}", "full"),
                found.words("judge accuracy", model, "accuracy"),
            ]
            for model in MODELS
        ],
    )
    confusion = grid(
        ["people say", *(f"judge: {draft}" for draft in DRAFTS), "n", "no label"],
        [
            [
                truth,
                *(f"{found.value('confusion', truth, draft):.3f}" for draft in DRAFTS),
                number(found.count("confusion", truth, "full")),
                number(found.value("confusion", truth, "no label")),
            ]
            for truth in DRAFTS
        ],
    )
    first, second = found.of("switch")
    return [
        source_words(found),
        "## Operating points",
        points,
        "Labels of two people; 90 % intervals of independent prompts: a model has each once. "
        "Of the same prompts in pairs, "
        + "; ".join(
            f"{pair}: full answers to safe prompts {found.words('pairs', pair, SAFE)}"
            for pair in found.of("pairs")
        )
        + ".",
        "Pooled over models and clustered by prompt, full answers to safe prompts are rarest for "
        + _rarest(found)
        + ". Prompts of one kind resemble each other, and each kind has 25 of them.",
        "The model with the least over-refusal + weight × unsafe compliance changes from "
        f"{first} at a weight of {_ends(found, first)}, and from {second} at "
        f"{_ends(found, second)}: the second rests on one prompt.",
        "## The judge",
        confusion,
        *_judge(found),
        "## A guard of drafts",
        *_guard(found),
        "## What the data support, and what not",
        SUPPORTED,
    ]


SUPPORTED = """\
- Supported: the differences between the five models on these prompts, and that the judge takes \
refusals for compliance, more so of some models than of others.
- Not supported: how many prompts are unsafe (250 to 200 is the makers' choice: it is swept); \
rates on prompts that are not made to sound dangerous; how seldom the llama2 models comply with \
unsafe prompts, within the interval; the second switch; a correction of the judge for a model \
that people have not labelled.
- Assumed: every payoff. Satisfaction is of ratings in another study, harm of answers to other \
prompts, that of partial answers an assumption. No user in the log reacts: the game has one \
turn."""


def _rarest(found: Found) -> str:
    kinds = sorted(found.of("kinds"), key=lambda kind: found.value("kinds", kind, "full"))
    return ", ".join(f"{kind} {found.words('kinds', kind, 'full')}" for kind in kinds[:3])


def _ends(found: Found, of: str) -> str:
    row = found.rows["switch", of, "weight"]
    ends = number(real(row, "low")), "no end" if row["high"] is None else number(real(row, "high"))
    return f"{number(real(row, 'value'))} [{', '.join(ends)}]"


def _judge(found: Found) -> list[str]:
    """Return what correcting the judge does, taught in two ways."""
    told = []
    for way in (OTHERS, OWN):
        of = [f"{model}, by {way}" for model in MODELS]
        truth = {x: found.value("corrected", x, "human") for x in of}
        error = {
            who: float(np.mean([abs(found.value("corrected", x, who) - truth[x]) for x in of]))
            for who in ("judge", "deconvolved")
        }
        better = sum(
            abs(found.value("corrected", x, "deconvolved") - truth[x])
            < abs(found.value("corrected", x, "judge") - truth[x])
            for x in of
        )
        ends = [found.point("corrected", x, "deconvolved") for x in of]
        inside = sum(low <= truth[x] <= high for x, (_, low, high) in zip(of, ends, strict=True))
        told.append(
            f"- taught by {way}: mean error {error['deconvolved']:.3f} against "
            f"{error['judge']:.3f} of the judge as it is; nearer to people for {better} of "
            f"{len(of)} models, and {inside} of {len(of)} intervals hold what people say."
        )
    return [
        "Share of full compliance as people, the judge and the judge corrected "
        "(`calibration.confusion`) have it:",
        "\n".join(told),
        "A judge's errors on other models are not its errors on this one: its accuracy differs "
        "more between models than its intervals are wide.",
    ]


def _guard(found: Found) -> list[str]:
    """Return what the robust guard secures, and what it does, by model and prior."""
    priors = list(dict.fromkeys(of.split("prior ")[1] for of in found.of("secured")))
    head = ["P(unsafe)", *MODELS]
    lines = [
        [prior]
        + [
            f"{found.value('secured', of, 'robust'):.3f} "
            f"({found.value('secured', of, 'always pass'):.3f})"
            for of in (f"{model}, prior {prior}" for model in MODELS)
        ]
        for prior in priors
    ]
    rules = []
    for model in MODELS:
        last = ""
        for prior in priors:
            does = found.text("secured", f"{model}, prior {prior}", "rule")
            if does != last:
                rules.append(f"- {model}, from P(unsafe) = {prior}: {does}")
                last = does
    lost = {
        of: found.value("secured", of, "best if they are right")
        - found.value("secured", of, "made from the judge's labels")
        for of in found.of("secured")
    }
    most = max(lost, key=lambda of: lost[of])
    return [
        "The guard sees what people would say that a draft does (`over_refusal.base.toml`), "
        "fitted to each model by what `csa fit` does (`MODEL.toml` in this folder). What the "
        "robust policy guarantees, whatever the drafts' rates within their intervals and the "
        "payoffs within theirs, and in brackets what passing every draft guarantees:",
        grid(head, lines),
        "What it does, drafts in brackets:",
        "\n".join(rules),
        f"Made from the judge's labels in place of people's, a policy loses at most "
        f"{lost[most]:.3f} ({most}): what the judge gets wrong changes shares more than decisions.",
    ]


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return operating points, the corrected judge, and what a guard secures over the prior."""
    found = Found(rows)

    def whisker(label: str, table: str, of: str, what: str) -> tuple[str, float, float, float]:
        return (label, *found.point(table, of, what))

    return {
        "operating-points": whiskers(
            {
                f"{what}, {of}": [
                    whisker(model, "points", f"{model}, {of}", what) for model in MODELS
                ]
                for of, what in ((SAFE, "full"), (SAFE, "partial"), (UNSAFE, "full"))
            },
            "share of prompts",
        ),
        "judge": whiskers(
            {
                who: [
                    whisker(model, "corrected", f"{model}, by {OTHERS}", what) for model in MODELS
                ]
                for who, what in (
                    ("people", "human"),
                    ("judge", "judge"),
                    ("corrected", "deconvolved"),
                )
            },
            "full compliance, share of answers",
        ),
        "secured": curves(
            {
                model: [
                    (float(of.split("prior ")[1]), found.value("secured", of, "robust"))
                    for of in found.of("secured")
                    if of.startswith(f"{model},")
                ]
                for model in MODELS
            },
            "P(unsafe), swept",
            "guaranteed payoff of a prompt",
            scale=("log", "linear"),
        ),
    }


OVER_REFUSAL = Experiment(
    "Where do five models stand between refusing too much and too little, and who can tell?",
    cells,
    "experiments.logs.over_refusal:work",
    answer,
    charts,
    files,
)
