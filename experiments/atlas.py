"""Which policy for which prior of malice and which weight of risk, and where it flips.

Every place of the map is a game of its own, solved to its certificate; those of one weight are
solved in one compiled program. A regime is what the assistant mostly does in the first turn after
each signal, over all asks and users. In `csa_oneshot` the places where it flips are known in closed
form (facts on one-shot moderation: complying with everybody against the next best response), which
the tests compare.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from csa_games.charts import Chart, curves, regions
from csa_games.conduct import responses_by
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, Game, Policy
from csa_games.override import override, with_prior
from csa_games.scenario import builtin_scenarios, read_scenario
from csa_games.sweeps import Cell, Row
from csa_games.words import number
from experiments.experiment import Experiment, real
from solvers.together import solve_many

INTENT = "malicious"
OWN_BETA = 2.0  # of the built-in scenarios
TARGET, MAX_STEPS = 1e-4, 4_000
SCENARIOS = {"csa_oneshot": 1, "crisis_guidance": 2}
"""Turns by scenario."""


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each weight of risk, with all priors."""
    priors = np.geomspace(0.001, 0.5, 7 if quick else 25).round(5).tolist()
    betas = np.geomspace(0.25, 16, 4 if quick else 13).round(4).tolist()
    names = ["csa_oneshot"] if quick else list(SCENARIOS)
    return [{"scenario": name, "beta": beta, "priors": priors} for name in names for beta in betas]


def work(cell: Cell) -> list[Row]:
    """Return value, gap and regime at every prior of `cell`."""
    scenario = override(
        read_scenario(builtin_scenarios()[cell["scenario"]]),
        {"turns": SCENARIOS[cell["scenario"]], "weights.beta": cell["beta"]},
    )
    games = [factored_game(with_prior(scenario, INTENT, prior)) for prior in cell["priors"]]
    rows: list[Row] = []
    for prior, game, solution in zip(
        cell["priors"],
        games,
        solve_many(games, "pcfr+", target=TARGET, max_steps=MAX_STEPS),
        strict=True,
    ):
        told: Row = {
            "scenario": cell["scenario"],
            "beta": cell["beta"],
            "prior": prior,
            "value": float(solution.value[ASSISTANT]),
            "nash_conv": solution.nash_conv,
        }
        mostly = first_answers(game, solution.policy)
        told["regime"] = ", ".join(f"{signal} {answer}" for signal, answer in mostly.items())
        rows.append(told)
    return rows


def first_answers(game: Game, policy: Policy) -> dict[str, str]:
    """Return the response given most often in the first turn, by signal."""
    assert game.scenario is not None  # an experiment on dialogues
    responses = [response.name for response in game.scenario.responses]
    answers = {}
    for signal in game.scenario.signals:
        shares = sum(
            (
                choice.reach * np.asarray(choice.shares)
                for (turn, _, heard), choice in responses_by(game, policy).items()
                if turn == "1" and heard == signal.name
            ),
            np.zeros(len(responses)),
        )
        answers[signal.name] = responses[int(shares.argmax())]
    return answers


def flips(rows: Sequence[Row]) -> list[tuple[float, float, str, str]]:
    """Return (beta, prior half way, regime below, regime above) wherever the regime changes."""
    found = []
    for beta in dict.fromkeys(real(row, "beta") for row in rows):
        line = [row for row in rows if row["beta"] == beta]
        line.sort(key=lambda row: real(row, "prior"))
        for below, above in pairwise(line):
            if below["regime"] != above["regime"]:
                middle = float(np.sqrt(real(below, "prior") * real(above, "prior")))
                found.append((beta, middle, str(below["regime"]), str(above["regime"])))
    return found


def answer(rows: Sequence[Row]) -> list[str]:
    """Return how many regimes there are, and where they end at the scenario's own weight."""
    told = []
    for name, part in _by_scenario(rows).items():
        regimes = list(dict.fromkeys(str(row["regime"]) for row in part))
        worst = max(real(row, "nash_conv") for row in part)
        told.append(
            f"`{name}`: {len(regimes)} regimes over {len(part)} places, every one of them solved "
            f"to a NashConv of {number(worst)} at most."
        )
        near = min({real(row, "beta") for row in part}, key=lambda beta: abs(beta - OWN_BETA))
        lines = [
            f"- near a prior of {number(prior)}: {below} → {above}"
            for beta, prior, below, above in flips(part)
            if beta == near
        ]
        told.append("\n".join([f"At β = {number(near)} it changes", "", *lines]))
    return told


def charts(rows: Sequence[Row]) -> dict[str, Chart]:
    """Return the map of regimes and the curves of the value, by scenario."""
    found: dict[str, Chart] = {}
    for name, part in _by_scenario(rows).items():
        places = {(real(row, "prior"), real(row, "beta")): str(row["regime"]) for row in part}
        found[f"{name}-regimes"] = regions(places, f"prior of {INTENT}", "β, the weight of risk")
        found[f"{name}-value"] = curves(
            {
                f"β = {number(beta)}": [
                    (real(row, "prior"), real(row, "value")) for row in part if row["beta"] == beta
                ]
                for beta in sorted({real(row, "beta") for row in part})
            },
            f"prior of {INTENT}",
            "secured payoff of a conversation",
            scale=("log", "linear"),
        )
    return found


def _by_scenario(rows: Sequence[Row]) -> dict[str, list[Row]]:
    names = dict.fromkeys(str(row["scenario"]) for row in rows)
    return {name: [row for row in rows if row["scenario"] == name] for name in names}


ATLAS = Experiment(
    "Which policy is best at which prior of malice and which weight of risk, and where does it "
    "flip?",
    cells,
    "experiments.atlas:work",
    answer,
    charts,
)
