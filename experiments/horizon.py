"""What each further turn is worth: the value of a longer conversation, and of remembering it.

Every horizon is solved exactly in the sense of the certificate. Beside the best policy stands the
best one of somebody who forgets: it treats every turn like the first one of a conversation, with
the response that the one-turn game gives to the ask and the signal.
"""

from collections.abc import Mapping, Sequence

import numpy as np

import solvers
from csa_games.charts import Chart, curves
from csa_games.dialogue import sizes
from csa_games.evaluate import MEASURES
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, Game
from csa_games.guard.keys import state_key, turns_of
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario
from csa_games.sweeps import Cell, Row
from csa_games.words import number
from experiments.experiment import Experiment, real
from solvers.compare import compare

SCENARIOS = ("crisis_guidance",)
TARGET = 1e-3


def cells(quick: bool) -> list[Cell]:
    """Return a cell for every number of turns."""
    return [
        {"scenario": name, "turns": turns, "target": TARGET}
        for name in SCENARIOS
        for turns in range(1, 3 if quick else 5)
    ]


def work(cell: Cell) -> list[Row]:
    """Return what the best policy and the forgetful one are worth over so many turns."""
    scenario = override(
        read_scenario(builtin_scenarios()[cell["scenario"]]), {"turns": cell["turns"]}
    )
    game = factored_game(scenario)
    solution = solvers.solve(game, "pcfr+", target=cell["target"])
    once = factored_game(override(scenario, {"turns": 1}))
    first = solvers.solve(once, "pcfr+", target=cell["target"] / 10)
    policies = {
        "remembers": solution.policy[ASSISTANT],
        "forgets": forgetful(game, once, np.asarray(first.policy[ASSISTANT])),
    }
    rows: list[Row] = []
    for row in compare(game, policies):
        told: Row = {
            "scenario": cell["scenario"],
            "turns": cell["turns"],
            "histories": sizes(scenario).histories,
            "policy": row.name,
            "value": row.value,
            "gap": solution.nash_conv if row.name == "remembers" else None,
        }
        for measure in MEASURES:
            told |= {f"{measure} {who}": x for who, x in row.outcomes[measure].items()}
        rows.append(told)
    return rows


def forgetful(game: Game, once: Game, policy: np.ndarray) -> np.ndarray:
    """Return the policy [I, A] in `game` that plays in every turn what `policy` does in `once`."""
    known = dict(zip(once.names.infosets[ASSISTANT], policy, strict=True))

    def seen(key: str) -> str:
        last = turns_of(key)[-1]
        return state_key([last._replace(response=None)])

    return np.stack([known[seen(key)] for key in game.names.infosets[ASSISTANT]])


def answer(rows: Sequence[Row]) -> list[str]:
    """Return what a turn more is worth, turn by turn."""
    told = []
    for name in dict.fromkeys(row["scenario"] for row in rows):
        value = _values(rows, str(name))
        turns = sorted(value["remembers"])
        gains = [
            f"turn {t} {number(value['remembers'][t] - value['remembers'].get(t - 1, 0.0))}"
            for t in turns
        ]
        last = turns[-1]
        told.append(
            f"In `{name}` a conversation of {last} turns is worth "
            f"{number(value['remembers'][last])} to the assistant, against users who know its "
            f"policy. By turn: {', '.join(gains)}. Somebody who treats every turn like the first "
            f"one secures {number(value['forgets'][last])}: memory is worth "
            f"{number(value['remembers'][last] - value['forgets'][last])}."
        )
    return told


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return the secured value over the horizon, for both policies."""
    return {
        f"{name}-value": curves(
            {
                policy: [(float(t), v) for t, v in points.items()]
                for policy, points in _values(rows, str(name)).items()
            },
            "turns",
            "secured payoff of a conversation",
        )
        for name in dict.fromkeys(row["scenario"] for row in rows)
    }


def _values(rows: Sequence[Row], scenario: str) -> Mapping[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["scenario"] == scenario:
            found.setdefault(str(row["policy"]), {})[int(real(row, "turns"))] = real(row, "value")
    return found


HORIZON = Experiment(
    "What is each further turn worth, and what is it worth to remember the ones before?",
    cells,
    "experiments.horizon:work",
    answer,
    charts,
)
