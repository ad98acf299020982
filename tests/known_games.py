"""Games from the literature, built once per test run from OpenSpiel."""

from functools import cache

import pyspiel

from csa_games.build import build
from csa_games.game import Game
from csa_games.interop.openspiel import unfold

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
