"""General-sum games with known answers, as rules; payoffs are exact.

Their equilibria and commitment values were computed by two methods that agree, the normal form with
one linear program per follower's strategy and a mixed-integer program (see `test_commitment`).
"""

from fractions import Fraction

from csa_games.build import build
from csa_games.rules import Chance, Decision, Terminal, from_function, no_child
from papers.bagwell_1995 import noisy as bagwell
from papers.von_stengel_forges_2008 import signalling as forges

__all__ = [
    "MATRICES",
    "bagwell",
    "forges",
    "guess_the_ace",
    "matrix_game",
    "stripped_poker",
    "watson",
]

HALF = Fraction(1, 2)


def stripped_poker():
    """Return the poker of Reiley, Urbancic and Walker 2008: bet or fold with a king or a queen."""

    def node(history):
        match history:
            case ():
                return Chance(("K", "Q"), (HALF, HALF), no_child)
            case (card,):
                return Decision(0, card, ("bet", "fold"), no_child)
            case (_, "fold"):
                return _leaf((-1, 1))
            case (_, "bet"):
                return Decision(1, "bet", ("fold", "call"), no_child)
            case (_, "bet", "fold"):
                return _leaf((1, -1))
            case (card, "bet", "call"):
                return _leaf((2, -2) if card == "K" else (-2, 2))

    return _built(node, "stripped_poker")


def watson():
    """Return exercise 29.6 of Watson 2013: a strong or a weak type goes up or stays."""

    def node(history):
        match history:
            case ():
                return Chance(("strong", "weak"), (HALF, HALF), no_child)
            case (kind,):
                return Decision(0, kind, ("Up", "Stay"), no_child)
            case (_, action):
                return Decision(1, action, ("Surrender", "Fight"), no_child)
            case ("strong", _, answer):
                return _leaf((1, 0) if answer == "Surrender" else (0, -2))
            case ("weak", "Up", answer):
                return _leaf((-1, 0) if answer == "Surrender" else (-3, 1))
            case ("weak", _, answer):
                return _leaf((1, 0) if answer == "Surrender" else (-1, 1))

    return _built(node, "watson")


def guess_the_ace():
    """Return a game where playing on never pays: only refined equilibria say what follows it."""

    def node(history):
        match history:
            case ():
                return Chance(("ace", "other"), (Fraction(1, 52), Fraction(51, 52)), no_child)
            case (card,):
                return Decision(0, card, ("Stop", "Play"), no_child)
            case (_, "Stop"):
                return _leaf((0, 0))
            case (_, "Play"):
                return Decision(1, "guess", ("ace", "other"), no_child)
            case (card, _, guess):
                return _leaf((-1000, 1000) if card == guess else (0, 0))

    return _built(node, "guess_the_ace")


def matrix_game(rows, columns, name="matrix"):
    """Return a matrix game: the column player moves second and does not see the row."""

    def node(history):
        match history:
            case ():
                return Decision(0, "", tuple(f"r{i}" for i in range(len(rows))), no_child)
            case (_,):
                return Decision(1, "", tuple(f"c{j}" for j in range(len(rows[0]))), no_child)
            case (row, column):
                i, j = int(row[1:]), int(column[1:])
                return _leaf((rows[i][j], columns[i][j]))

    return _built(node, name)


MATRICES = {
    # OpenSpiel's stackelberg_lp_test: (row payoffs, column payoffs, value of the row leader)
    "mixed": ([[2, 4], [1, 3]], [[1, 0], [0, 1]], 3.5),
    "thirds": ([[2, 0, 0], [1, 0, 0]], [[0, 2, 5], [0, -1, -4]], 4 / 3),
    "pure": ([[3, 9], [9, 1]], [[0, 0], [1, 8]], 9.0),
}


def _leaf(payoffs):
    first, second = map(Fraction, payoffs)
    return Terminal((first, second))


def _built(node, name):
    return build(lambda: from_function(node), name)
