"""Refusal first against constructive: what the responses between complying and refusing are worth.

The constructive policy may answer anything; the refusal-first one is the best policy of somebody
who can only comply or refuse; flat rules stand beside them. All are held against users who know the
policy. The weight ψ of users who take their ask elsewhere is swept, because no migration rate and
no harm of migrating has been measured: refusing looks cheap where it is 0. What each response is
worth by itself is what the best policy loses without it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

import solvers
from csa_games.baselines import BASELINES
from csa_games.charts import Chart, curves
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, Game
from csa_games.override import override, with_responses
from csa_games.scenario import builtin_scenarios, read_scenario
from csa_games.sweeps import Cell, Row
from csa_games.words import number
from experiments.experiment import Experiment, real
from solvers.compare import compare

SCENARIO = "crisis_guidance"
CONSTRUCTIVE, REFUSAL_FIRST = "constructive", "comply or refuse"


def cells(quick: bool) -> list[Cell]:
    """Return a cell for every weight of displacement."""
    weights = [0.0, 3.0] if quick else [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0]
    return [{"psi": psi, "turns": 2, "target": 1e-2 if quick else 1e-3} for psi in weights]


def work(cell: Cell) -> list[Row]:
    """Return what each policy secures, and what the best one secures without each response."""
    scenario = override(
        read_scenario(builtin_scenarios()[SCENARIO]),
        {"turns": cell["turns"], "weights.psi": cell["psi"]},
    )
    game = factored_game(scenario)
    rules, target = scenario.baselines, cell["target"]
    policies = {
        CONSTRUCTIVE: best(game, [response.name for response in scenario.responses], target),
        REFUSAL_FIRST: best(game, [rules.comply, rules.refuse], target),
        **{name: BASELINES[name](game) for name in ("always comply", "always refuse", "threshold")},
    }
    for gone in scenario.responses:
        if gone.name != rules.refuse:
            left = [response.name for response in scenario.responses if response.name != gone.name]
            policies[f"without {gone.name}"] = best(game, left, target)
    return [
        {
            "psi": cell["psi"],
            "turns": cell["turns"],
            "target": target,
            "policy": row.name,
            "secured": row.value,
            **{
                f"{measure} {who}": x
                for measure, by in row.outcomes.items()
                for who, x in by.items()
            },
        }
        for row in compare(game, policies)
    ]


def best(game: Game, names: Sequence[str], target: float) -> Float[np.ndarray, "I A"]:
    """Return the policy in `game` that is best for somebody who has only the responses `names`."""
    scenario = game.scenario
    assert scenario is not None  # an experiment on dialogues
    smaller = factored_game(with_responses(scenario, names))
    rows = np.asarray(solvers.solve(smaller, "pcfr+", target=target).policy[ASSISTANT])
    known = dict(zip(smaller.names.infosets[ASSISTANT], rows, strict=True))
    columns = [k for k, part in enumerate(scenario.responses) if part.name in names]
    refuse = [part.name for part in scenario.responses].index(scenario.baselines.refuse)
    policy = np.zeros((len(game.names.infosets[ASSISTANT]), len(scenario.responses)))
    for i, key in enumerate(game.names.infosets[ASSISTANT]):
        if key in known:
            policy[i, columns] = known[key]
        else:  # after a response that was never given: anything does
            policy[i, refuse] = 1.0
    return policy


def answer(rows: Sequence[Row]) -> list[str]:
    """Return what being constructive is worth, and which response most of it comes from."""
    told = []
    for psi in sorted({real(row, "psi") for row in rows}):
        here = {str(row["policy"]): real(row, "secured") for row in rows if row["psi"] == psi}
        top = here[CONSTRUCTIVE]
        worth = {name: top - x for name, x in here.items() if name.startswith("without ")}
        most = max(worth, key=lambda name: worth[name])
        told.append(
            f"- ψ = {number(psi)}: constructive secures {number(top)}, {REFUSAL_FIRST} "
            f"{number(here[REFUSAL_FIRST])}, a threshold rule {number(here['threshold'])}, always "
            f"refusing {number(here['always refuse'])}. The response missed most is "
            f"{most.removeprefix('without ')}, worth {number(worth[most])}."
        )
    turns = int(real(rows[0], "turns"))
    return [
        f"`{SCENARIO}` over {turns} {'turn' if turns == 1 else 'turns'}, payoff of a conversation "
        f"against users who know the policy; equilibria to a NashConv of "
        f"{number(real(rows[0], 'target'))}.",
        "\n".join(told),
        "Who leaves, who migrates and what that does are assumptions of the scenario.",
    ]


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return what each policy secures, and what each response is worth, over ψ."""
    names = list(dict.fromkeys(str(row["policy"]) for row in rows))
    points = {
        name: [(real(row, "psi"), real(row, "secured")) for row in rows if row["policy"] == name]
        for name in names
    }
    whole = dict(points[CONSTRUCTIVE])
    whole = dict(points[CONSTRUCTIVE])
    return {
        "secured": curves(
            {name: points[name] for name in names if not name.startswith("without ")},
            "ψ, the weight of displacement",
            "secured payoff of a conversation",
        ),
        "worth-of-responses": curves(
            {
                name.removeprefix("without "): [(psi, whole[psi] - x) for psi, x in points[name]]
                for name in names
                if name.startswith("without ")
            },
            "ψ, the weight of displacement",
            "what is lost without the response",
        ),
    }


REFUSAL = Experiment(
    "What are the responses between complying and refusing worth?",
    cells,
    "experiments.refusal_first:work",
    answer,
    charts,
)
