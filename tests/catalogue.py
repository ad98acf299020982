"""Built-in scenarios as their tests want them: read, solved, played by a rule, in a line each."""

from collections.abc import Callable
from functools import cache

import numpy as np

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.evaluate import action_values, infoset_reach
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER, Game, Policy
from csa_games.scenario import Scenario, builtin_scenarios, read_scenario


@cache
def builtin(name: str) -> Scenario:
    return read_scenario(builtin_scenarios()[name])


def best(scenario: Scenario, method: str = "population") -> tuple[float, dict[str, str]]:
    """Return the assistant's best value, and its likeliest response wherever it is led to."""
    game = dialogue_game(scenario)
    solution = solvers.solve(game, method)
    return float(solution.value[ASSISTANT]), choices(game, solution.policy)


def choices(game: Game, policy: Policy) -> dict[str, str]:
    """Return the assistant's likeliest response at each infoset that play leads to."""
    own, others = infoset_reach(game, ASSISTANT, policy)
    names, rows = game.names, np.asarray(policy[ASSISTANT])
    return {
        key: names.actions[ASSISTANT][i][int(rows[i].argmax())]
        for i, key in enumerate(names.infosets[ASSISTANT])
        if own[i] * others[i] > 0
    }


def by_rule(game: Game, rule: Callable[[str], str]) -> Policy:
    """Return the assistant's policy that plays `rule(infoset)`, the users' being uniform."""
    names = game.names
    columns = [
        names.actions[ASSISTANT][i].index(rule(key))
        for i, key in enumerate(names.infosets[ASSISTANT])
    ]
    return uniform(game.form.treeplex[USER]), np.eye(game.form.treeplex[ASSISTANT].width)[columns]


def worth(scenario: Scenario, infoset: str) -> dict[str, float]:
    """Return what each response is worth at an infoset of kernels, uniform play following."""
    game = dialogue_game(scenario)
    play = (uniform(game.form.treeplex[USER]), uniform(game.form.treeplex[ASSISTANT]))
    i = game.names.infosets[ASSISTANT].index(infoset)
    values = action_values(game, ASSISTANT, play)[i].tolist()
    return dict(zip(game.names.actions[ASSISTANT][i], values, strict=True))
