"""At which cost of disguise attacks stop paying, and what the assistant does about disguise.

In `strata_escalation` an attacker who knows the policy picks a level of disguise, or stays away; a
level succeeds with a published rate. What the heaviest disguise costs is swept, the lighter one
being a fifth of it. The best commitment stands beside a policy that answers everything, against
which an attack stops paying where its cost is above its rate of success.
"""

from collections.abc import Sequence

import numpy as np

import solvers
from csa_games.arrays import Array
from csa_games.baselines import always_comply
from csa_games.charts import Chart, curves
from csa_games.evaluate import MEASURES, response_use
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, USER, Game, Policy
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario
from csa_games.sweeps import Cell, Row
from csa_games.words import number, percent
from experiments.experiment import Experiment, real
from solvers.reaction import Ties, answered
from solvers.response import value

SCENARIO, INTENT = "strata_escalation", "attacker"
LIGHTER = 0.2  # of the cost of the heaviest disguise
COMMITMENT, ANSWERS = "best commitment", "answers everything"


def cells(quick: bool) -> list[Cell]:
    """Return a cell for every few costs."""
    costs = np.linspace(0.0, 0.36, 7 if quick else 37).round(4).tolist()
    return [{"costs": costs[k : k + 8]} for k in range(0, len(costs), 8)]


def work(cell: Cell) -> list[Row]:
    """Return what the attacker asks and what comes of it, at every cost of `cell`."""
    scenario = read_scenario(builtin_scenarios()[SCENARIO])
    base = scenario.payoff.effort[0].values
    rows: list[Row] = []
    for cost in cell["costs"]:
        effort = {**base, "reworded": LIGHTER * cost, "hidden": cost}
        game = factored_game(override(scenario, {"payoff.effort.0.values": effort}))
        found = solvers.solve(game, "commitment-milp")
        assert found.commitment is not None  # this method makes one
        choices: tuple[tuple[str, Array, Ties, float | None], ...] = (
            (COMMITMENT, found.policy[ASSISTANT], "for", found.commitment.optimality_gap),
            (ANSWERS, always_comply(game), "against", None),
        )
        for name, policy, ties, room in choices:
            played = answered(game, ASSISTANT, policy, ties)
            rows.append({"cost": cost, "policy": name, "room": room, **_outcome(game, played)})
    return rows


def _outcome(game: Game, played: Policy) -> Row:
    where = next(k for k, key in enumerate(game.names.infosets[USER]) if INTENT in key)
    asked = dict(zip(game.names.actions[USER][where], played[USER][where].tolist(), strict=False))
    use = response_use(game, played)
    return {
        "value": float(value(game, played)[ASSISTANT]),
        "harm": MEASURES["risk"](game, played)[INTENT],
        **{f"asks {name}": share for name, share in asked.items()},
        "answered ordinary": use["ordinary"]["answer"],
    }


def answer(rows: Sequence[Row]) -> list[str]:
    """Return where attacks stop paying against each policy."""
    told = []
    for name in (COMMITMENT, ANSWERS):
        part = sorted(
            (row for row in rows if row["policy"] == name), key=lambda row: real(row, "cost")
        )
        hidden = [real(row, "cost") for row in part if real(row, "asks hidden") > 1e-6]
        used = (
            f"used up to a cost of {number(max(hidden))} of what a success is worth (on this grid)"
            if hidden
            else "never used"
        )
        first, last = part[0], part[-1]
        told.append(
            f"- {name}: the heaviest disguise is {used}; the harm done by an attacker goes from "
            f"{number(real(first, 'harm'))} to {number(real(last, 'harm'))}, and "
            f"{percent(real(first, 'answered ordinary'))} to "
            f"{percent(real(last, 'answered ordinary'))} of ordinary asks are answered."
        )
    return [
        f"In `{SCENARIO}`, from no cost of disguise to "
        f"{number(max(real(row, 'cost') for row in rows))}:",
        "\n".join(told),
        "No effort has been measured: these are switches of the model, exact up to the grid.",
    ]


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return the harm of attacks and what is asked, over the cost of disguise."""

    def over(policy: str, column: str) -> list[tuple[float, float]]:
        part = [row for row in rows if row["policy"] == policy]
        return [(real(row, "cost"), real(row, column)) for row in part]

    asked = [column for column in rows[0] if column.startswith("asks ")]
    return {
        "harm": curves(
            {name: over(name, "harm") for name in (COMMITMENT, ANSWERS)},
            "cost of the heaviest disguise, in successes",
            "success rate of the attacker",
        ),
        "asked": curves(
            {column.removeprefix("asks "): over(COMMITMENT, column) for column in asked},
            "cost of the heaviest disguise, in successes",
            "what the attacker asks, best commitment",
        ),
    }


DISGUISE = Experiment(
    "At which cost of disguise do attacks stop paying?",
    cells,
    "experiments.disguise:work",
    answer,
    charts,
)
