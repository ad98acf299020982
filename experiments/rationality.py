"""What changes when malicious users are adversarial, rational or noisily rational.

A policy is made for each kind of user: the equilibrium against an adversary, commitments against
the others. Each is then held against every kind, who know it. What matters is the regret of having
guessed the kind wrong: the best policy against a kind less what the policy gets from it.
"""

from collections.abc import Sequence

import numpy as np

import solvers
from csa_games.charts import Chart, curves
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT
from csa_games.override import override, with_behaviour
from csa_games.scenario import Scenario, builtin_scenarios, read_scenario
from csa_games.sweeps import Cell, Row
from csa_games.words import number
from experiments.experiment import SEED, Experiment, real
from solvers.compare import compare

SCENARIO, INTENT = "crisis_guidance", "malicious"
ADVERSARIAL, RATIONAL = "adversarial", "rational"
EFFORT = {"plain": 0.0, "contextualised": 0.05, "disguised": 0.15, "leave": 0.0, "migrate": 0.1}
"""What asking costs, where a harmful answer is worth 1: assumptions."""
STEPS = 1_500


def cells(quick: bool) -> list[Cell]:
    """Return one cell for each kind of user that a policy is made for."""
    lambdas = [1.0, 30.0] if quick else [0.3, 1.0, 3.0, 10.0, 30.0, 100.0]
    kinds = [ADVERSARIAL, RATIONAL, *(f"quantal {x:g}" for x in lambdas)]
    return [
        {"made for": kind, "kinds": kinds, "turns": 1 if quick else 2, "seed": SEED}
        for kind in kinds
    ]


def kind_of(scenario: Scenario, kind: str) -> Scenario:
    """Return `scenario` with malicious users of a kind: "adversarial", "rational", "quantal 3"."""
    name, _, rationality = kind.partition(" ")
    if name == "quantal":
        return with_behaviour(
            scenario, INTENT, "quantal", rationality=float(rationality), effort=EFFORT
        )
    return with_behaviour(
        scenario, INTENT, "rational" if name == RATIONAL else "adversarial", effort=EFFORT
    )


def work(cell: Cell) -> list[Row]:
    """Return what the policy made for one kind of user gets from every kind."""
    scenario = override(read_scenario(builtin_scenarios()[SCENARIO]), {"turns": cell["turns"]})
    game = factored_game(kind_of(scenario, cell["made for"]))
    if cell["made for"] == ADVERSARIAL:
        solution = solvers.solve(game, "pcfr+", target=1e-4)
        certificate, room = "gap", solution.nash_conv
    else:
        solution = solvers.solve(
            game, "commitment-gradient", max_steps=STEPS, seed=cell["seed"], nudge=1e-3
        )
        assert solution.commitment is not None  # this method makes one
        certificate, room = "optimality gap", solution.commitment.optimality_gap
    policy = np.asarray(solution.policy[ASSISTANT])
    rows: list[Row] = []
    for kind in cell["kinds"]:
        (row,) = compare(factored_game(kind_of(scenario, kind)), {"policy": policy})
        rows.append(
            {
                "made for": cell["made for"],
                "meets": kind,
                "turns": cell["turns"],
                "value": row.value,
                "certificate": certificate,
                "room": room,
                **{f"{measure} {INTENT}": by[INTENT] for measure, by in row.outcomes.items()},
            }
        )
    return rows


def answer(rows: Sequence[Row]) -> list[str]:
    """Return what each policy loses by having been made for another kind of user."""
    kinds = list(dict.fromkeys(str(row["meets"]) for row in rows))
    value = {(str(row["made for"]), str(row["meets"])): real(row, "value") for row in rows}
    best = {kind: max(value[made, kind] for made in kinds) for kind in kinds}
    regret = {made: max(best[kind] - value[made, kind] for kind in kinds) for made in kinds}
    lines = ["| made for | " + " | ".join(f"meets {kind}" for kind in kinds) + " | most lost |"]
    lines.append("|" + "---|" * (len(kinds) + 2))
    for made in kinds:
        cellsof = " | ".join(number(value[made, kind]) for kind in kinds)
        lines.append(f"| {made} | {cellsof} | {number(regret[made])} |")
    safest = min(regret, key=lambda made: regret[made])
    turns = int(real(rows[0], "turns"))
    return [
        f"`{SCENARIO}` over {turns} {'turn' if turns == 1 else 'turns'}: the assistant's payoff "
        "when malicious users of a kind (columns) meet a policy made for a kind (rows). Ties are "
        "broken against the assistant.",
        "\n".join(lines),
        f"Made for {safest} users a policy loses least by a wrong guess: {number(regret[safest])} "
        "at most, against the best of these policies.",
        "Against adversaries the equilibrium is certified by its gap; the others are commitments "
        "found by ascent, whose room below an upper bound stands in the rows. λ is in 1/payoff.",
    ]


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return what every policy gets from quantal users, over their rationality."""
    made = dict.fromkeys(str(row["made for"]) for row in rows)
    return {
        "over-rationality": curves(
            {
                f"made for {name}": [
                    (float(str(row["meets"]).split()[1]), real(row, "value"))
                    for row in rows
                    if row["made for"] == name and str(row["meets"]).startswith("quantal ")
                ]
                for name in made
            },
            "λ of the malicious users it meets, 1/payoff",
            "payoff of a conversation",
            scale=("log", "linear"),
        )
    }


RATIONALITY = Experiment(
    "What changes when malicious users are adversarial, rational or err at random?",
    cells,
    "experiments.rationality:work",
    answer,
    charts,
)
