"""Games in normal form, by enumerating pure strategies over the tree: slow, shares no code.

A pure strategy picks an action at each of a player's infosets, whether it gets there or not.
"""

from fractions import Fraction
from itertools import product
from math import prod

import numpy as np
from exact import infosets, value

from experiments.commitment import optimum


def strategies(root, player):
    """Return the player's pure strategies, each a mapping from infosets to actions."""
    counts = {label: n for (p, label), n in sorted(infosets(root).items()) if p == player}
    return [
        dict(zip(counts, choice, strict=True)) for choice in product(*map(range, counts.values()))
    ]


def size(root):
    """Return how many pairs of pure strategies there are."""
    return prod(infosets(root).values())


def bimatrix(root):
    """Return both players' payoffs [2, strategies of player 0, those of player 1]."""
    counts, rows, columns = infosets(root), strategies(root, 0), strategies(root, 1)
    table = np.zeros((2, len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            policy = {
                (p, label): tuple(Fraction(a == (row, column)[p][label]) for a in range(n))
                for (p, label), n in counts.items()
            }
            table[:, i, j] = [float(worth) for worth in value(root, policy)]
    return table


def oriented(table, leader):
    """Return (leader's payoffs, follower's payoffs), the leader choosing rows."""
    return (table[0], table[1]) if leader == 0 else (table[1].T, table[0].T)


def stackelberg(table, leader):
    """Return the strong Stackelberg value: one linear program for each answer (Conitzer 2006)."""
    return optimum(np.stack(oriented(table, leader)))


def pure_stackelberg(table, leader):
    """Return the best strong value of a pure commitment."""
    ours, theirs = oriented(table, leader)
    answers = theirs >= theirs.max(axis=1, keepdims=True) - 1e-9
    return np.where(answers, ours, -np.inf).max()


def pure_equilibria(table):
    """Return both payoffs of every pure equilibrium."""
    first = table[0] >= table[0].max(axis=0, keepdims=True) - 1e-9
    second = table[1] >= table[1].max(axis=1, keepdims=True) - 1e-9
    return [table[:, i, j] for i, j in np.argwhere(first & second)]
