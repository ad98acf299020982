"""What each further turn is worth, and each turn of memory.

A conversation of every length is solved to its certificate. Beside the best policy stand those of
somebody who remembers the last few turns alone, and takes them for a whole conversation: what the
best policy of that shorter one does. They are not the best policies of so little memory, which
nobody knows how to find, but they are policies, and what they secure is exact.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

import solvers
from csa_games.charts import Chart, curves
from csa_games.dialogue import sizes
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
    """Return what the best policy, and those of less memory, secure over so many turns."""
    scenario, turns = read_scenario(builtin_scenarios()[cell["scenario"]]), cell["turns"]
    games = [factored_game(override(scenario, {"turns": h})) for h in range(1, turns + 1)]
    solutions = [solvers.solve(game, "pcfr+", target=cell["target"]) for game in games]
    longest = games[-1]
    policies = {
        str(h + 1): remembering(longest, games[h], np.asarray(solutions[h].policy[ASSISTANT]))
        for h in reversed(range(turns))
    }
    assert longest.scenario is not None  # an experiment on dialogues
    return [
        {
            "scenario": cell["scenario"],
            "turns": turns,
            "memory": int(row.name),
            "secured": row.value,
            "histories": sizes(longest.scenario).histories,
            "gap": solutions[-1].nash_conv if int(row.name) == turns else None,
            **{
                f"{measure} {who}": x
                for measure, by in row.outcomes.items()
                for who, x in by.items()
            },
        }
        for row in compare(longest, policies)
    ]


def remembering(
    game: Game, shorter: Game, policy: Float[np.ndarray, "I_1 A"]
) -> Float[np.ndarray, "I A"]:
    """Return the policy in `game` that does what `policy` does in `shorter` on the last turns."""
    assert shorter.scenario is not None  # an experiment on dialogues
    known = dict(zip(shorter.names.infosets[ASSISTANT], policy, strict=True))
    window = shorter.scenario.turns
    return np.stack(
        [known[state_key(turns_of(key)[-window:])] for key in game.names.infosets[ASSISTANT]]
    )


def answer(rows: Sequence[Row]) -> list[str]:
    """Return what a turn more is worth, turn by turn, and memory in the longest conversation."""
    told = []
    for name in dict.fromkeys(str(row["scenario"]) for row in rows):
        secured = _secured(rows, name)
        last = max(turns for turns, _ in secured)
        whole = {turns: secured[turns, turns] for turns in range(1, last + 1)}
        gains = [
            f"turn {turns} {number(value - whole.get(turns - 1, 0.0))}"
            for turns, value in whole.items()
        ]
        memory = [f"{h} {number(secured[last, h])}" for h in range(1, last + 1)]
        told.append(
            f"In `{name}` a conversation of {last} turns is worth {number(whole[last])} to the "
            f"assistant, against users who know its policy. By turn: {', '.join(gains)}. With a "
            f"memory of the last turns alone it secures: {', '.join(memory)}."
        )
    return told


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return the secured value over the turns, by memory."""
    found = {}
    for name in dict.fromkeys(str(row["scenario"]) for row in rows):
        secured = _secured(rows, name)
        found[f"{name}-value"] = curves(
            {
                f"remembers {h} {'turn' if h == 1 else 'turns'}": [
                    (float(turns), value) for (turns, kept), value in secured.items() if kept == h
                ]
                for h in sorted({kept for _, kept in secured})
            },
            "turns of a conversation",
            "secured payoff of a conversation",
        )
    return found


def _secured(rows: Sequence[Row], scenario: str) -> Mapping[tuple[int, int], float]:
    """Return what is secured by (turns, memory)."""
    return {
        (int(real(row, "turns")), int(real(row, "memory"))): real(row, "secured")
        for row in rows
        if row["scenario"] == scenario
    }


HORIZON = Experiment(
    "What is each further turn worth, and each turn of memory?",
    cells,
    "experiments.horizon:work",
    answer,
    charts,
)
