"""Kernels that are not known exactly: users who react as measured, or nearly so.

A kernel has one row of probabilities for the first ask and one after each response. Here every
probability of a row that is not 0 may be off by a radius, within 0 and 1, and the row still sums to
1. The outcome of a policy is then a polynomial in the rows, and its least over them no linear
program. There are two ways round that, and both are here:

- *From below.* Nature picks the row anew at every public history, knowing the intent. That is a
  zero-sum game against users with limited freedom (`solvers.guarantee.Freedom`), and what a policy
  secures in it, it secures against every kernel within the radius: a proof, as those reactions are
  among nature's. (Rectangular uncertainty: Iyengar 2005; Nilim & El Ghaoui 2005.)
- *From above.* A descent finds rows, the same at every history, against which the policy gets
  little. They are an example, and nothing says that there are none worse.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from csa_games.arrays import Array
from csa_games.factored import factored_game
from csa_games.fold import Payoff, backup, mean_of, reach, rows_of, table_of
from csa_games.game import USER, Game, SequenceForm
from csa_games.guard.keys import intent_of
from csa_games.scenario import Intent, Kernel, Scenario
from solvers.guarantee import Freedom, against, least_of, worst_reaction

SWEEPS = 100  # a row after the other; a few are enough
HALVINGS = 20  # of a step that makes nothing worse
STATIONARY = 1e-12  # of the largest number: gains below it are rounding

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


def freed(scenario: Scenario, radius: float) -> Freed:
    """Return the game of `scenario`, kernels and adversarial users only, with kernels that choose.

    The probabilities of theirs that are not 0 may be off by `radius`.
    """
    kernels = {
        part.name: part.kernel
        for part in scenario.intents
        if part.kernel is not None and part.prior.value > 0
    }
    choosing = [_choosing(part) if part.name in kernels else part for part in scenario.intents]
    game = factored_game(scenario.model_copy(update={"intents": choosing}))
    treeplex = game.form.treeplex[USER]
    low = np.zeros((treeplex.infosets, treeplex.width))
    high, reaction = np.zeros_like(low), np.zeros_like(low)
    row = np.full(treeplex.infosets, -1)
    labels: dict[tuple[str, str], int] = {}
    for i, (key, asks) in enumerate(
        zip(game.names.infosets[USER], game.names.actions[USER], strict=True)
    ):
        high[i, : len(asks)] = 1.0
        if (kernel := kernels.get(intent_of(key))) is None:
            continue
        label, chances = _row(kernel, key)
        row[i] = labels.setdefault((intent_of(key), label), len(labels))
        chance = np.array([chances.get(ask, 0.0) for ask in asks])
        reaction[i, : len(asks)] = chance
        low[i, : len(asks)] = np.maximum(chance - radius, 0.0)
        high[i, : len(asks)] = np.where(chance > 0, np.minimum(chance + radius, 1.0), 0.0)
    return Freed(game, Freedom(low, high), reaction, row, tuple(labels))


def worst_kernel(
    given: Freed,
    form: SequenceForm,
    policy: Float[Array, "I A"],
    number: Float[np.ndarray, " L"],
    intent: str,
) -> tuple[Float[np.ndarray, "I_0 A_0"], float]:
    """Return the users' policy with the kernel of `intent` that makes least of its `number` found.

    Also returns how much that is. `form` is the game's, or one with another channel. The search
    changes one row after the other, towards the one that is best to first order, as long as that
    makes the number less: a descent from the scenario's kernel, and another one from the mean of
    what nature does where it may pick rows anew. Against every kernel it found the number is exact;
    that none is worse is not proved.
    """
    free, _ = worst_reaction(form, policy, number, given.freedom)
    payoff = against(form, policy, number)
    rounding = STATIONARY * max(float(np.abs(number).max(initial=0.0)), 1e-300)
    starts = (given.reaction, _mean_rows(given, free))
    descents = (_descent(given, payoff, intent, start, rounding) for start in starts)
    return min(descents, key=lambda found: found[1])


def rows_in(given: Freed, users: Float[np.ndarray, "I_0 A_0"], intent: str) -> KernelRows:
    """Return the rows of the kernel of `intent` in the users' policy."""
    rows = {}
    for k, (who, label) in enumerate(given.labels):
        if who == intent:
            first = int(np.argmax(given.row == k))
            asks = given.game.names.actions[USER][first]
            rows[label] = dict(zip(asks, users[first].tolist(), strict=False))
    return rows


def _choosing(intent: Intent) -> Intent:
    return intent.model_copy(update={"behaviour": "adversarial", "kernel": None})


def _row(kernel: Kernel, key: str) -> tuple[str, Mapping[str, float]]:
    """Return the label of the row that a kernel reacts by at the infoset `key`, and the row."""
    _, said, response = key.rpartition(">")
    return (f"after {response}", kernel.after[response]) if said else ("opening", kernel.opening)


def _descent(
    given: Freed, payoff: Payoff, intent: str, start: Float[np.ndarray, "I A"], rounding: float
) -> tuple[Float[np.ndarray, "I A"], float]:
    """Return the users' policy that a descent from `start` ends with, and its value."""
    treeplex = given.game.form.treeplex[USER]
    infosets = [
        np.flatnonzero(given.row == k) for k, (who, _) in enumerate(given.labels) if who == intent
    ]

    def worth(table: Float[np.ndarray, "I A"]) -> tuple[Float[np.ndarray, "I A"], float]:
        """Return the slope in the probabilities of each infoset, and the value."""
        rows = rows_of(treeplex, table)
        values, value = backup(treeplex, payoff, mean_of(rows))
        own = table_of(treeplex, reach(treeplex, rows)).sum(axis=-1)
        return np.asarray(own[:, None] * table_of(treeplex, values)), float(value)

    table = start
    slope, value = worth(table)
    for _ in range(SWEEPS):
        before = value
        for where in infosets:
            first = where[0]
            bounds = given.freedom.low[first][:, None], given.freedom.high[first][:, None]
            steep = slope[where].sum(axis=0)
            aim = least_of(steep[:, None], *bounds)[:, 0] - table[first]
            for step in 0.5 ** np.arange(HALVINGS if steep @ aim < -rounding else 0):
                trial = table.copy()
                trial[where] += step * aim
                there, less = worth(trial)
                if less < value - rounding:
                    table, slope, value = trial, there, less
                    break
        if value >= before:
            break
    return table, value


def _mean_rows(given: Freed, free: Float[np.ndarray, "I A"]) -> Float[np.ndarray, "I A"]:
    """Return, as rows, the mean of a policy that picks them anew, weighted by its reach."""
    treeplex = given.game.form.treeplex[USER]
    plan = np.asarray(table_of(treeplex, reach(treeplex, rows_of(treeplex, free))))
    table = given.reaction.copy()
    for k in range(len(given.labels)):
        where = given.row == k
        if (mass := plan[where].sum()) > 0:
            table[where] = plan[where].sum(axis=0) / mass
    return table
