"""The fold as tests want to see it: tables [I, A] in, tables and vectors [S] out."""

import numpy as np

from csa_games import fold


def plan_of(treeplex, table):
    """Return the realisation plan of a policy [I, A] as a vector [S]."""
    return flat(1.0, fold.reach(treeplex, fold.rows_of(treeplex, np.asarray(table))))


def gradient_of(form, player, table):
    """Return `player`'s payoff per sequence [S] against a policy [I, A] of the other."""
    return flat(*payoff_of(form, player, table))


def payoff_of(form, player, table):
    """Return the same as the fold does: that of the empty sequence, and rows."""
    other = form.treeplex[1 - player]
    return fold.gradient(form, player, fold.reach(other, fold.rows_of(other, np.asarray(table))))


def values_of(form, player, own, other):
    """Return (counterfactual values [I, A], value) of playing `own` against `other`."""
    treeplex = form.treeplex[player]
    rows = fold.rows_of(treeplex, np.asarray(own))
    q, value = fold.backup(treeplex, payoff_of(form, player, other), fold.mean_of(rows))
    return fold.table_of(treeplex, q), value


def flat(root, rows):
    """Return a number of the empty sequence and rows of the others as one vector [S]."""
    return np.concatenate([[root], *(np.ravel(part) for part in rows)])


def places(treeplex):
    """Return (infoset, action) by the number of a sequence; the empty one is left out."""
    numbers = fold.sequence_numbers(treeplex)
    legal = fold.legal_mask(treeplex)
    return {int(numbers[at]): at for at in zip(*np.nonzero(legal), strict=True)}
