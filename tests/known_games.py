"""Games from the literature, built once per test run from OpenSpiel."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pyspiel

from csa_games.build import build
from csa_games.game import Game, Policy
from csa_games.interop.openspiel import unfold
from csa_games.rules import Number

KUHN = "kuhn_poker"
LEDUC = "leduc_poker"
GOOFSPIEL_3 = (
    "turn_based_simultaneous_game("
    "game=goofspiel(num_cards=3,imp_info=True,points_order=descending))"
)
LIARS_DICE_3 = "liars_dice(numdice=1,dice_sides=3)"
BATTLESHIP_2 = (
    "battleship(board_width=2,board_height=2,ship_sizes=[2],ship_values=[2],num_shots=3,"
    "allow_repeated_shots=False)"
)


@cache
def game(load_string: str) -> Game:
    """Return the OpenSpiel game of `load_string`, which must be sequential, as one of ours."""
    spiel = pyspiel.load_game(load_string)
    return build(lambda: unfold(spiel.new_initial_state()), load_string)


def arrays_of(ours: Game, policy: Mapping[tuple[int, str], Sequence[Number]]) -> Policy:
    """Return a policy by (player, infoset) as the arrays of `ours`."""
    rows = []
    for player, treeplex in enumerate(ours.form.treeplex):
        array = np.zeros((treeplex.infosets, treeplex.width))
        for i, label in enumerate(ours.names.infosets[player]):
            probabilities = policy[player, label]
            array[i, : len(probabilities)] = [float(p) for p in probabilities]
        rows.append(array)
    return rows[0], rows[1]


def play_in_openspiel(ours: Game, policy: Policy) -> pyspiel.TabularPolicy:
    """Return `policy` for OpenSpiel's own evaluators; `ours.name` is the load string."""
    found: dict[str, list[tuple[int, float]]] = {}
    row_of = [
        dict(zip(labels, rows, strict=True))
        for labels, rows in zip(ours.names.infosets, policy, strict=True)
    ]
    stack = [pyspiel.load_game(ours.name).new_initial_state()]
    while stack:
        state = stack.pop()
        if state.is_terminal():
            continue
        actions = state.legal_actions()
        if not state.is_chance_node():
            label = state.information_state_string()
            row = row_of[state.current_player()][label]
            found[label] = [(a, float(p)) for a, p in zip(actions, row, strict=False)]
        stack += [state.child(a) for a in actions]
    return pyspiel.TabularPolicy(found)
