"""OpenSpiel games in, and every game of ours out as one table-driven `pyspiel` game."""

from typing import Any

from csa_games.rules import Chance, Decision, Node, Terminal


def unfold(state: Any) -> Node:
    """Return the node of an OpenSpiel state (`pyspiel.State`) of a sequential two-player game."""
    if state.is_terminal():
        payoffs = state.returns()
        return Terminal((payoffs[0], payoffs[1]))
    player = state.current_player()
    actions = state.legal_actions()
    child = lambda k: unfold(state.child(actions[k]))
    labels = tuple(state.action_to_string(player, a) for a in actions)
    if state.is_chance_node():
        return Chance(labels, tuple(p for _, p in state.chance_outcomes()), child)
    return Decision(player, state.information_state_string(player), labels, child)
