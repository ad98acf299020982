"""How a table fares when its classifier catches less than it was made for.

On prompts that it had not seen, a guard fell from 91.0 to 33.8 % (arXiv 2511.22047; accuracies,
read as recall). Here a share of the alarms on malicious asks survives and the rest turns into
"clear", down to 33.8/91.0 of them. Three tables meet every drift, malicious users knowing which:
the one made for no drift, the one made for the most, and the one made for the drift at hand.
"""

from collections.abc import Sequence

import numpy as np

import solvers
from csa_games.charts import Chart, curves
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT
from csa_games.override import override
from csa_games.scenario import Scenario, builtin_scenarios, read_scenario
from csa_games.sweeps import Cell, Row
from csa_games.words import number
from experiments.experiment import Experiment, real
from solvers.compare import compare

LEAST = 33.8 / 91.0
INTENT, SAFE = "malicious", "clear"
UNROBUST = (
    " It does worse there although more alarms are right: it was made for alarms that are mostly "
    "false, so that it is no robust table."
)
NOMINAL, PREPARED, INFORMED = "made for no drift", "made for the most", "made for this one"


def cells(quick: bool) -> list[Cell]:
    """Return a cell for every scenario and share of alarms that survive."""
    shares = np.linspace(LEAST, 1.0, 3 if quick else 7).round(4).tolist()
    scenarios = {"csa_oneshot": 1, "crisis_guidance": 1 if quick else 2}
    return [
        {
            "scenario": name,
            "turns": turns,
            "survive": share,
            "least": round(LEAST, 4),
            "target": 1e-4,
        }
        for name, turns in scenarios.items()
        for share in shares
    ]


def drifted(scenario: Scenario, survive: float) -> Scenario:
    """Return `scenario` where so many of the alarms on malicious asks survive."""
    changes = {}
    for k, part in enumerate(scenario.channel):
        if part.intents == [INTENT]:
            left = {
                signal: survive * p for signal, p in part.probabilities.items() if signal != SAFE
            }
            changes[f"channel.{k}.probabilities"] = {SAFE: 1 - sum(left.values())} | left
    return override(scenario, changes)


def work(cell: Cell) -> list[Row]:
    """Return what each table secures at the drift of `cell`."""
    scenario = override(
        read_scenario(builtin_scenarios()[cell["scenario"]]), {"turns": cell["turns"]}
    )
    made_for = {NOMINAL: 1.0, PREPARED: cell["least"], INFORMED: cell["survive"]}
    policies = {
        name: solvers.solve(
            factored_game(drifted(scenario, share)), "pcfr+", target=cell["target"]
        ).policy[ASSISTANT]
        for name, share in made_for.items()
    }
    game = factored_game(drifted(scenario, cell["survive"]))
    return [
        {
            "scenario": cell["scenario"],
            "turns": cell["turns"],
            "survive": cell["survive"],
            "table": row.name,
            "secured": row.value,
            f"risk {INTENT}": row.outcomes["risk"][INTENT],
            "satisfaction benign": row.outcomes["satisfaction"]["benign"],
        }
        for row in compare(game, policies)
    ]


def answer(rows: Sequence[Row]) -> list[str]:
    """Return what drift costs, and what having been prepared for it costs."""
    told = []
    for name, value in _by_scenario(rows).items():
        least, most = min(s for s, _ in value), max(s for s, _ in value)
        told.append(
            f"- `{name}`: without drift the table secures {number(value[most, NOMINAL])}; when "
            f"{number(least)} of the alarms survive, {number(value[least, NOMINAL])}, where "
            f"{number(value[least, INFORMED])} was possible: not knowing costs "
            f"{number(value[least, INFORMED] - value[least, NOMINAL])}. The table made for the "
            f"most drift secures {number(value[least, PREPARED])} there, and without drift "
            f"{number(value[most, PREPARED])}: being prepared costs "
            f"{number(value[most, NOMINAL] - value[most, PREPARED])}."
            + (UNROBUST if value[most, PREPARED] < value[least, PREPARED] - 1e-6 else "")
        )
    return [
        "What the assistant secures against users who know its table:",
        "\n".join(told),
        "Recall on new attacks is a reading of accuracies, and false alarms are held still.",
    ]


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return what each table secures over the drift, by scenario."""
    return {
        f"{name}-drift": curves(
            {
                table: [(share, v) for (share, made), v in value.items() if made == table]
                for table in (INFORMED, NOMINAL, PREPARED)
            },
            "share of alarms on malicious asks that survive",
            "secured payoff of a conversation",
        )
        for name, value in _by_scenario(rows).items()
    }


def _by_scenario(rows: Sequence[Row]) -> dict[str, dict[tuple[float, str], float]]:
    found: dict[str, dict[tuple[float, str], float]] = {}
    for row in rows:
        place = (real(row, "survive"), str(row["table"]))
        found.setdefault(str(row["scenario"]), {})[place] = real(row, "secured")
    return found


DRIFT = Experiment(
    "Does a table survive a classifier that catches less than it was made for?",
    cells,
    "experiments.drift:work",
    answer,
    charts,
)
