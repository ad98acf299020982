"""Policies to evaluate: of runs and bundles, and those that a log shows, in the game of a scenario.

A policy of the assistant is a table [I, A] over the infosets of that game, which are the states of
a conversation; that of the strategic users [I, A] likewise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from csa_games.calibration.likelihood import check_same_names
from csa_games.calibration.policy import known
from csa_games.dialogue import sizes
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER, Game, Policy
from csa_games.guard.bundle import MANIFEST, SCENARIO, parse
from csa_games.guard.decide import Guard
from csa_games.guard.keys import BETWEEN
from csa_games.runs import read_run
from csa_games.scenario import Scenario, scenario_from

MOST_STATES = 1_000_000  # each is spelled; beyond, that takes minutes


@dataclass(frozen=True)
class Home:
    """The game of a scenario, with the numbers of its states."""

    scenario: Scenario
    game: Game

    @cached_property
    def state(self) -> Mapping[str, int]:
        """The infoset of each state, by its key."""
        return {key: k for k, key in enumerate(self.game.names.infosets[ASSISTANT])}

    @cached_property
    def last(self) -> tuple[Int[np.ndarray, " I"], Int[np.ndarray, " I"]]:
        """The ask and the signal that each state ends with."""
        ask = {part.name: b for b, part in enumerate(self.scenario.asks)}
        signal = {part.name: y for y, part in enumerate(self.scenario.signals)}
        ends = {f"{b}:{y}": (ask[b], signal[y]) for b in ask for y in signal}
        found = np.array([ends[key.rpartition(BETWEEN)[2]] for key in self.state], np.int64)
        return found[:, 0], found[:, 1]


def home(scenario: Scenario) -> Home:
    """Return the game of `scenario`; raises `InputError` if it has more than `MOST_STATES`."""
    states = sizes(scenario).infosets[1]
    if states > MOST_STATES:
        raise InputError(
            f"{scenario.name}: found {states:,} states of a conversation, expected at most "
            f"{MOST_STATES:,} to value policies exactly: take fewer turns"
        )
    return Home(scenario, factored_game(scenario))


def even_users(home: Home) -> Float[np.ndarray, "I A"]:
    """Return the policy of strategic users who ask evenly what they may."""
    return np.asarray(uniform(home.game.form.treeplex[USER]), np.float64)


def read_policy(folder: Path | str, home: Home) -> Policy:
    """Return the policies of users and assistant in a run, or in a bundle as its guard serves it.

    Raises `InputError` if `folder` is neither, or its scenario has other names or turns.
    """
    folder = Path(folder)
    users_of = _users_of_bundle if (folder / MANIFEST).is_file() else _users_of_run
    scenario, asking = users_of(folder)
    check_same_names(home.scenario, scenario)
    _check_same_moves(home.scenario, scenario)
    users = even_users(home)
    labels = zip(home.game.names.infosets[USER], home.game.names.actions[USER], strict=True)
    for i, (key, actions) in enumerate(labels):
        if key in asking:  # there is none for intents that nobody has
            users[i, : len(actions)] = [asking[key][label] for label in actions]
    return users, known(folder, home.game)


Asking = Mapping[str, Mapping[str, float]]
"""The probability of each ask, by key of the users' infosets."""


def _users_of_run(folder: Path) -> tuple[Scenario, Asking]:
    run = read_run(folder)
    if run.game.scenario is None:
        raise InputError(f"{folder}: found {run.game.name}, expected the run of a dialogue")
    names, policy = run.game.names, run.solution.policy[USER]
    return run.game.scenario, {
        key: dict(zip(actions, row.tolist(), strict=False))
        for key, actions, row in zip(names.infosets[USER], names.actions[USER], policy, strict=True)
    }


def _users_of_bundle(folder: Path) -> tuple[Scenario, Asking]:
    guard = Guard.load(folder)
    scenario = scenario_from(parse((folder / SCENARIO).read_bytes()), f"{folder}/{SCENARIO}")
    asks = guard.terms.asks
    return scenario, {
        key: dict(zip(asks, row, strict=True)) for key, row in guard.store.user().items()
    }


def _check_same_moves(scenario: Scenario, other: Scenario) -> None:
    """Raise `InputError` unless intents choose, or not, among the same asks in both scenarios."""
    for one, two in zip(scenario.intents, other.intents, strict=True):
        kernels = (one.behaviour == "kernel", two.behaviour == "kernel")
        if kernels[0] != kernels[1] or set(one.asks) != set(two.asks):
            raise InputError(
                f"{other.name}: intents.{two.name}: found a user who is {two.behaviour} and may "
                f"ask {', '.join(two.asks)}, expected as in {scenario.name}: {one.behaviour}, "
                f"{', '.join(one.asks)}"
            )
