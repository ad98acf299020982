"""What a guard is worth: one more point of recall, and a second look by a better guard.

- `csa_oneshot`: the share of malicious asks that the guard flags is swept, at the rate of false
  alarms that it has. The value is that of the best policy for the guard, so that a guard that would
  not change any response is worth nothing.
- `guard_cascade`: a cheap guard sees every ask, and a better one may be asked for a cost. The cost
  is swept; a conversation of one turn has no second look.
"""

from collections.abc import Sequence
from itertools import pairwise

import solvers
from csa_games.charts import Chart, curves
from csa_games.evaluate import response_use
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT
from csa_games.override import override, with_prior
from csa_games.scenario import Scenario, builtin_scenarios, read_scenario
from csa_games.sweeps import Cell, Row
from csa_games.words import number
from experiments.experiment import Experiment, real
from solvers.together import solve_many

TARGET, MAX_STEPS = 1e-6, 20_000
GUARD, CASCADE = "csa_oneshot", "guard_cascade"


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each prior of malice, and one for the cascade."""
    step = 0.25 if quick else 0.05
    recalls = [round(step * k, 2) for k in range(round(1 / step) + 1)]
    costs = [0.0, 0.5, 1.0] if quick else [round(0.05 * k, 2) for k in range(25)]
    priors = (0.04,) if quick else (0.01, 0.04, 0.1, 0.3)
    guards: list[Cell] = [{"what": GUARD, "prior": p, "recalls": recalls} for p in priors]
    return [*guards, {"what": CASCADE, "costs": costs}]


def work(cell: Cell) -> list[Row]:
    """Return the rows of one prior, or of the cascade."""
    scenario = read_scenario(builtin_scenarios()[cell["what"]])
    return _guard(scenario, cell) if cell["what"] == GUARD else _cascade(scenario, cell)


def _guard(scenario: Scenario, cell: Cell) -> list[Row]:
    before = with_prior(scenario, "malicious", cell["prior"])
    where = next(k for k, part in enumerate(scenario.channel) if part.intents == ["malicious"])
    games = [
        factored_game(
            override(
                before, {f"channel.{where}.probabilities": {"clear": 1 - recall, "flag": recall}}
            )
        )
        for recall in cell["recalls"]
    ]
    solutions = solve_many(games, "pcfr+", target=TARGET, max_steps=MAX_STEPS)
    return [
        {
            "what": GUARD,
            "prior": cell["prior"],
            "recall": recall,
            "value": float(solution.value[ASSISTANT]),
            "gap": solution.nash_conv,
        }
        for recall, solution in zip(cell["recalls"], solutions, strict=True)
    ]


def _cascade(scenario: Scenario, cell: Cell) -> list[Row]:
    where = next(k for k, part in enumerate(scenario.payoff.cost) if "check" in part.values)
    alone = solvers.solve(factored_game(override(scenario, {"turns": 1})), "lp")
    rows: list[Row] = []
    for cost in cell["costs"]:
        # γ is set to 1, so that the cost is in units of a full answer.
        game = factored_game(
            override(
                scenario, {"weights.gamma": 1.0, f"payoff.cost.{where}.values": {"check": cost}}
            )
        )
        solution = solvers.solve(game, "lp")
        use = response_use(game, solution.policy)
        rows.append(
            {
                "what": CASCADE,
                "cost": cost,
                "value": float(solution.value[ASSISTANT]),
                "alone": float(alone.value[ASSISTANT]),
                "gap": solution.nash_conv,
                **{f"checked {who}": by["check"] for who, by in use.items()},
            }
        )
    return rows


def answer(rows: Sequence[Row]) -> list[str]:
    """Return what a point of recall is worth, and up to which cost the second look pays."""
    told = []
    for prior, points in _values(rows).items():
        slopes = [
            (high - low) / (100 * (more - less)) for (less, low), (more, high) in pairwise(points)
        ]
        idle = [recall for recall, value in points if value - points[0][1] <= 2 * TARGET]
        useless = max(idle) == points[-1][0]
        told.append(
            f"- at a prior of malice of {number(prior)} "
            + (
                "no recall is worth anything."
                if useless
                else f"recall up to {number(max(idle))} is worth nothing, and above it a point is "
                f"worth up to {number(max(slopes))}; a perfect recall is worth "
                f"{number(points[-1][1] - points[0][1])}."
            )
        )
    cascade = [row for row in rows if row["what"] == CASCADE]
    free = min(cascade, key=lambda row: real(row, "cost"))
    bought = [real(row, "cost") for row in cascade if real(row, "checked malicious") > 1e-6]
    return [
        f"One more point of recall, in `{GUARD}`, false alarms as they are:",
        "\n".join(told),
        f"The cascade, in `{CASCADE}`: a free second look is worth "
        f"{number(real(free, 'value') - real(free, 'alone'))} a conversation beyond the cheap "
        f"guard's {number(real(free, 'alone'))}. On this grid it is bought up to a cost of "
        f"{number(max(bought, default=0.0))} of a full answer. Errors of the two guards are taken "
        "as independent, which flatters the second.",
    ]


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return the value over the recall, and the value of the cascade over its cost."""
    cascade = [row for row in rows if row["what"] == CASCADE]
    return {
        "recall": curves(
            {
                f"prior {number(prior)}": [(x, y - points[0][1]) for x, y in points]
                for prior, points in _values(rows).items()
            },
            "recall of the guard",
            "worth of the guard",
        ),
        "cascade": curves(
            {
                "with a second look": [(real(row, "cost"), real(row, "value")) for row in cascade],
                "the cheap guard alone": [
                    (real(row, "cost"), real(row, "alone")) for row in cascade
                ],
            },
            "cost of a second look, in full answers",
            "payoff of a conversation",
        ),
    }


def _values(rows: Sequence[Row]) -> dict[float, list[tuple[float, float]]]:
    """Return (recall, value) in the order of recall, by prior."""
    found: dict[float, list[tuple[float, float]]] = {}
    for row in rows:
        if row["what"] == GUARD:
            found.setdefault(real(row, "prior"), []).append(
                (real(row, "recall"), real(row, "value"))
            )
    return {prior: sorted(points) for prior, points in found.items()}


GUARD_ECONOMICS = Experiment(
    "What is one more point of recall worth, and when does a second look pay?",
    cells,
    "experiments.guard_economics:work",
    answer,
    charts,
)
