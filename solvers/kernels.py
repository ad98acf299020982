"""Kernels that are not known exactly: users who react as measured, or nearly so.

A kernel has one row of probabilities for the first ask and one after each response. Here every
probability of a row lies in an interval, and the row still sums to 1. The intervals are those of
the scenario's file, row by row; or every probability that is not 0 may be off by one radius, within
0 and 1. The outcome of a policy is then a polynomial in the rows, and its least over them no linear
program. There are two ways round that, and both are here:

- *From below.* Nature picks the row anew at every public history, knowing the intent. That is a
  zero-sum game against users with limited freedom (`solvers.guarantee.Freedom`), and what a policy
  secures in it, it secures against every kernel within the intervals: a proof, as those reactions
  are among nature's. (Rectangular uncertainty: Iyengar 2005; Nilim & El Ghaoui 2005.)
- *From above.* A descent finds rows, the same at every history, against which the policy gets
  little. They are an example, and nothing says that there are none worse.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from csa_games.arrays import Array
from csa_games.doubted import free_kernels
from csa_games.fold import backup, legal_mask, mean_of, reach, rows_of, table_of
from csa_games.game import USER, Game, SequenceForm
from solvers.descent import descend
from solvers.guarantee import Freedom, against, around, worst_reaction

KernelRows = Mapping[str, Mapping[str, float]]
"""Of a kernel, "opening" or "after RESPONSE" -> probabilities by ask."""


@dataclass(frozen=True)
class Freed:
    """A game whose kernels choose, within `freedom`. Letters: K rows of kernels, I, A the users'.

    It is the factored layout of the scenario, whose assistant has the same infosets.
    """

    game: Game
    freedom: Freedom
    reaction: Float[np.ndarray, "I A"]  # that of the scenario; of adversarial users 0
    row: Int[np.ndarray, " I"]  # which row users react by, -1 for adversarial ones
    labels: tuple[tuple[str, str], ...]  # [K]: the intent, and "opening" or "after RESPONSE"


def freed(game: Game, names: Collection[str], radius: float | None = None) -> Freed:
    """Return a dialogue of kernels and adversarial users, where the kernels of `names` choose.

    Their probabilities lie in the intervals of the scenario's file; or those that are not 0 may be
    off by `radius`, whatever the file says.
    """
    free = free_kernels(game, names)
    legal = legal_mask(free.game.form.treeplex[USER])
    labels = tuple(dict.fromkeys(label for label in free.labels if label is not None))
    row = np.array([-1 if one is None else labels.index(one) for one in free.labels], np.int64)
    low, high = (free.low, free.high) if radius is None else around(free.reaction, radius)
    high = np.where((row >= 0)[:, None], high, legal.astype(np.float64))
    return Freed(free.game, Freedom(low, high), free.reaction, row, labels)


def worst_kernel(
    given: Freed,
    form: SequenceForm,
    policy: Float[Array, "I A"],
    number: Float[np.ndarray, " L"],
    intent: str,
) -> tuple[Float[np.ndarray, "I_0 A_0"], float]:
    """Return the users' policy with the kernel of `intent` that makes least of its `number` found.

    Also returns how much that is. `form` is the game's, or one with another channel. There is a
    descent (`solvers.descent`) from the scenario's kernel, and another one from the mean of what
    nature does where it may pick rows anew. Against the kernel found the number is exact; that
    none is worse is not proved.
    """
    treeplex, freedom = form.treeplex[USER], given.freedom
    free, _ = worst_reaction(form, policy, number, freedom)
    payoff = against(form, policy, number)
    own = [k for k, (who, _) in enumerate(given.labels) if who == intent]
    where = [np.flatnonzero(given.row == k) for k in own]

    def react(rows: Float[np.ndarray, "K A"]) -> Float[np.ndarray, "I A"]:
        table = given.reaction.copy()
        for infosets, row in zip(where, rows, strict=True):
            table[infosets] = row
        return table

    def worth(rows: Float[np.ndarray, "K A"]) -> float:
        return float(backup(treeplex, payoff, mean_of(rows_of(treeplex, react(rows))))[1])

    first = [infosets[0] for infosets in where]
    low, high, nominal = (table[first] for table in (freedom.low, freedom.high, given.reaction))
    plan = np.asarray(table_of(treeplex, reach(treeplex, rows_of(treeplex, free))))
    weight = np.stack([plan[infosets].sum(axis=0) for infosets in where])
    mass = weight.sum(axis=1, keepdims=True)
    mean = np.where(mass > 0, weight / np.where(mass > 0, mass, 1.0), nominal)
    scale = float(np.abs(number).max(initial=0.0))
    found = [descend(worth, start, low, high, scale) for start in (nominal, mean)]
    rows, value = min(found, key=lambda one: one[1])
    return react(rows), value


def rows_in(given: Freed, users: Float[np.ndarray, "I_0 A_0"], intent: str) -> KernelRows:
    """Return the rows of the kernel of `intent` in the users' policy."""
    rows = {}
    for k, (who, label) in enumerate(given.labels):
        if who == intent:
            first = int(np.argmax(given.row == k))
            asks = given.game.names.actions[USER][first]
            rows[label] = dict(zip(asks, users[first].tolist(), strict=False))
    return rows
