"""Oyster-I's constructive score: who is best at which weight of risk, and what a cap costs.

The published figure plots eight models by helpfulness S and risk R. Here they are the eight
responses of an assistant that nobody answers back to, so that its payoff is S - beta R, and
the solvers are asked what the figure was read for.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import solvers
from csa_games.factored import factored_game
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER, Game
from csa_games.override import override
from csa_games.scenario import Scenario, scenario_from
from csa_games.words import join
from papers.paper import Claim, Measured, Paper, run, table
from papers.pictures import Axis, Series, data, draw

POINTS = {
    "gpt_5": ("GPT-5", 0.732, 0.062),
    "qwen3_14b": ("Qwen3-14B", 0.634, 0.079),
    "oyster_ds_14b": ("Oyster DS-14B", 0.621, 0.034),
    "oyster_qwen3_14b": ("Oyster Qwen3-14B", 0.605, 0.021),
    "deepseek_r1_14b": ("DeepSeek-R1-distill-14B", 0.568, 0.289),
    "claude_3_7": ("Claude-3.7-Sonnet", 0.552, 0.096),
    "o1_preview": ("o1-preview", 0.466, 0.055),
    "realsafe_14b": ("RealSafe-DS-14B", 0.434, 0.050),
}
"""Response -> model, S and R: read off the published figure, each to 0.002."""

FIGURE = "figure `model_safety_tradeoff_comparison_linear`, digitised"
TABLE = "table `exp_1`, row constructive"

SCORES = {
    "gpt_5": (0.607, FIGURE),
    "qwen3_14b": (0.4754, TABLE),
    "oyster_ds_14b": (0.5527, TABLE),
    "oyster_qwen3_14b": (0.5627, TABLE),
    "deepseek_r1_14b": (-0.0049, TABLE),
    "claude_3_7": (0.360, FIGURE),
    "o1_preview": (0.356, FIGURE),
    "realsafe_14b": (0.3333, TABLE),
}
"""The normalised constructive score at beta = 2, and where it stands."""
SCORED_AT, SCORE_TOLERANCE = 2.0, 0.002

CROSSINGS = (
    ("gpt_5", "oyster_qwen3_14b", 3.07, 0.10),
    ("oyster_qwen3_14b", "qwen3_14b", 0.50, 0.05),
    ("claude_3_7", "o1_preview", 2.10, 0.10),
    ("qwen3_14b", "o1_preview", 7.0, 0.2),
    ("oyster_ds_14b", "oyster_qwen3_14b", 1.21, 0.25),
)
"""Two models, the beta at which the lines through their plotted markers meet, and its error."""

CAP, CAPPED, PRICE = 0.034, 0.6453, 3.098
"""A cap on risk, the best S within it and its shadow price, by arithmetic on two of the points."""

LARGEST_BETA = 20.0
ASSUMED = "assumption: nobody answers back, and there is nothing to detect"
READ_OFF = "oyster: read off the figure of the constructive score, to 0.002"


def scenario(responses: Iterable[str] = POINTS) -> Scenario:
    """Return the scenario whose only choice is one of `responses`, at beta = 1."""
    names = list(responses)
    one = {"value": 1.0, "source": "assumption: as in the figure"}
    nothing = {"value": 0.0, "source": ASSUMED}
    row: Any = {"source": READ_OFF}
    return scenario_from(
        {
            "format": 1,
            "name": "constructive_score",
            "title": "Eight published models as eight responses",
            "question": "Which model is best at which weight of risk?",
            "turns": 1,
            "discount": one,
            "sources": {
                "oyster": {"cite": "Oyster-I, arXiv 2509.01909", "evidence": "derived"},
            },
            "weights": {"alpha": one, "beta": one, "gamma": one, "psi": nothing},
            "intents": [
                {
                    "name": "anyone",
                    "description": "Whoever wrote the benchmark's prompts.",
                    "prior": one,
                    "behaviour": "kernel",
                    "asks": ["prompt"],
                    "kernel": {"source": ASSUMED, "opening": {"prompt": 1.0}},
                }
            ],
            "asks": [{"name": "prompt", "description": "A prompt of the benchmark."}],
            "signals": [{"name": "none", "description": "There is no classifier."}],
            "responses": [
                {"name": name, "description": f"As {POINTS[name][0]} answers.", "mechanism": "pass"}
                for name in names
            ],
            "categories": [{"name": "harm", "description": "The judged risk.", "severity": one}],
            "channel": [
                {
                    "intents": ["anyone"],
                    "asks": ["prompt"],
                    "probabilities": {"none": 1.0},
                    "source": ASSUMED,
                }
            ],
            "payoff": {
                "satisfaction": [row | {"values": {name: POINTS[name][1] for name in names}}],
                "risk": [
                    row | {"category": "harm", "values": {name: POINTS[name][2] for name in names}}
                ],
                "cost": [{"values": dict.fromkeys(names, 0.0), "source": ASSUMED}],
            },
            "fallback": {"rungs": [["signal"]], "response": names[0]},
            "baselines": {
                "comply": names[0],
                "refuse": names[-1],
                "threshold": {"none": names[0]},
            },
        },
        "constructive_score",
    )


def game_at(beta: float, responses: Iterable[str] = POINTS) -> Game:
    """Return the game in which risk weighs `beta`."""
    return factored_game(override(scenario(responses), {"weights.beta": beta}))


def best(game: Game) -> str:
    """Return the response that is best in `game`, by the solver's best response."""
    first, second = map(uniform, game.form.treeplex)
    found, _ = solvers.best_response(game, ASSISTANT, (first, second))
    return game.names.actions[ASSISTANT][0][int(np.argmax(found[0]))]


def crossing(first: str, second: str) -> float:
    """Return the beta at which the solver changes from one of two responses to the other."""
    low, high = 0.0, LARGEST_BETA
    favourite = best(game_at(low, (first, second)))
    while high - low > 1e-9:
        middle = (low + high) / 2
        if best(game_at(middle, (first, second))) == favourite:
            low = middle
        else:
            high = middle
    return low


def scores(beta: float) -> dict[str, float]:
    """Return the constructive score of each response, from the value of playing it."""
    game = game_at(beta)
    names = game.names.actions[ASSISTANT][0]
    user = uniform(game.form.treeplex[USER])
    return {
        name: float(solvers.value(game, (user, np.eye(len(names))[[k]]))[ASSISTANT])
        for k, name in enumerate(names)
    }


def normalised(score: float, beta: float) -> float:
    """Return the score on the scale of the published figure, at alpha = 1."""
    return score if score >= 0 else score / beta


def undominated(points: Mapping[str, tuple[str, float, float]]) -> list[str]:
    """Return the responses that no other one beats or equals in both S and R."""
    return [
        name
        for name, (_, s, r) in points.items()
        if not any(
            other != name and s <= s_other and r >= r_other
            for other, (_, s_other, r_other) in points.items()
        )
    ]


def capped(cap: float) -> dict[str, Any]:
    """Return the most S within a cap on R, its shadow price, and the mixture that reaches it."""
    game = game_at(0.0)
    budget = f"risk<={cap!r}"
    found = solvers.solve(game, "budget", objective="satisfaction", budgets=budget)
    assert found.budgeted is not None  # this method makes one
    mixture = zip(game.names.actions[ASSISTANT][0], found.policy[ASSISTANT][0], strict=True)
    return {
        "cap": cap,
        "satisfaction": found.budgeted.value,
        "price": found.budgeted.budgets[0].price,
        "mixture": {name: float(p) for name, p in mixture if p > 1e-9},
    }


def measure(quick: bool) -> Measured:
    """Return winners, crossings, scores and the frontier, all found by the solvers."""
    winners = {beta / 10: best(game_at(beta / 10)) for beta in range(1, 101, 33 if quick else 1)}
    least = min(r for _, _, r in POINTS.values())
    caps = np.linspace(least, 0.08, 3 if quick else 60).tolist()
    return {
        "winners": [[beta, winner] for beta, winner in winners.items()],
        "crossings": [
            [first, second, crossing(first, second)] for first, second, _, _ in CROSSINGS
        ],
        "scores": scores(SCORED_AT),
        "undominated": undominated(POINTS),
        "capped": capped(CAP),
        "frontier": [capped(cap) for cap in caps],
    }


def claims(measured: Measured) -> list[Claim]:
    """Return the crossings, the scores at beta = 2, and what a cap costs."""
    found = {(first, second): beta for first, second, beta in measured["crossings"]}
    return [
        *(
            Claim(
                f"beta where {POINTS[first][0]} = {POINTS[second][0]}",
                FIGURE,
                beta,
                found[first, second],
                tolerance,
            )
            for first, second, beta, tolerance in CROSSINGS
        ),
        *(
            Claim(
                f"normalised score of {POINTS[name][0]} at beta = {SCORED_AT:g}",
                where,
                score,
                normalised(measured["scores"][name], SCORED_AT),
                SCORE_TOLERANCE,
            )
            for name, (score, where) in SCORES.items()
        ),
        Claim(
            f"most S with R at most {CAP}",
            "arithmetic on the digitised points",
            CAPPED,
            measured["capped"]["satisfaction"],
            5e-5,
        ),
        Claim(
            "shadow price of that cap",
            "arithmetic on the digitised points",
            PRICE,
            measured["capped"]["price"],
            5e-4,
        ),
    ]


def remarks(measured: Measured) -> str:
    """Return what the numbers say, and what they do not."""
    order = list(dict.fromkeys(winner for _, winner in measured["winners"]))
    first, last = measured["winners"][0][0], measured["winners"][-1][0]
    front = measured["undominated"]
    never = [name for name in front if name not in order]
    mixture = join(
        [
            f"{POINTS[name][0]} with probability {p:.3f}"
            for name, p in measured["capped"]["mixture"].items()
        ]
    )
    pure = max(s for _, s, r in POINTS.values() if r <= CAP)

    def spelled(names: Iterable[str]) -> str:
        return join([POINTS[name][0] for name in names])

    points = table(
        ("model", "S", "R", f"S - {SCORED_AT:g} R"),
        [
            (model, f"{s:.3f}", f"{r:.3f}", f"{measured['scores'][name]:.3f}")
            for name, (model, s, r) in POINTS.items()
        ],
    )
    return "\n\n".join(
        (
            "## What it says",
            f"Between beta = {first:g} and {last:g} the best model is {spelled(order[:1])} at "
            f"first and then {spelled(order[1:])}. Undominated in (S, R) are {spelled(front)}; of "
            f"these {spelled(never) or 'none'} is best at no beta, because it lies below the line "
            f"between two others. With R at most {CAP}, {mixture} reach S = "
            f"{measured['capped']['satisfaction']:.4f}, the best single model {pure:.3f}.",
            points,
            "## What it does not say",
            "Points and crossings are read off the same figure: agreement says that the reading "
            "and the solvers are right, not that the scores are. "
            f"S and R are read to {SCORE_TOLERANCE}. They are scores "
            "by a language model as judge on 383 prompts and carry no sampling error, so that "
            "nothing here says that one model is significantly better than another. Lines that "
            "are nearly parallel cross at an ill-determined beta, hence the tolerances. The "
            "paper defines no prior, no turns and no algorithm for an equilibrium: this is the "
            "smallest game whose payoff is its score.",
        )
    )


def pictures(measured: Measured) -> Mapping[str, str]:
    """Return the frontier between S and R with the models, and its data."""
    line = [(row["cap"], row["satisfaction"]) for row in measured["frontier"]]
    shown = {name: (model, r, s) for name, (model, s, r) in POINTS.items() if r <= 0.1}
    series = [
        Series("frontier by solver", line, look=6),
        *(
            Series(model, [(r, s)], look=k, dots=True)
            for k, (model, r, s) in enumerate(shown.values())
        ),
    ]
    rows = [("frontier", cap, s) for cap, s in line]
    rows += [(model, r, s) for model, s, r in POINTS.values()]
    return {
        "frontier.svg": draw(
            "oyster", [("", series)], Axis("risk R, at most"), Axis("helpfulness S")
        ),
        "frontier.csv": data(("what", "risk", "satisfaction"), rows),
    }


PAPER = Paper(
    name="oyster_1",
    title="Oyster-I: the constructive score",
    about=(
        "Oyster-I scores models by S - beta R, helpfulness less weighed risk, and plots eight of "
        "them against beta. Who is best at which beta, and what does a cap on R cost? Solved as a "
        "game in which the assistant picks one of the eight."
    ),
    sources=(
        "Oyster-I, arXiv 2509.01909; figure and table in the repository Alibaba-AAIG/Oyster at "
        "ec4a215, `assets/model_safety_tradeoff_comparison_linear.png` and `assets/exp_1.png`.",
    ),
    measure=measure,
    claims=claims,
    remarks=remarks,
    pictures=pictures,
)

if __name__ == "__main__":
    raise SystemExit(run([PAPER]))
