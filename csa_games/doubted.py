"""Dialogues of which something is in doubt: payoffs at their worst, kernels that choose.

And treeplexes to which nature is added as one who chooses: what it is free to do is for solvers to
say.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from csa_games.dialogue import tables
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.fold import legal_mask, parent_sequences, sequence_numbers
from csa_games.game import USER, Game, Leaves, Level, SequenceForm, Treeplex
from csa_games.guard.keys import intent_of
from csa_games.intervals import ENDS, End, at, row_after, rows_at
from csa_games.scenario import Category, Cells, Displacement, Intent, Kernel, Scenario
from csa_games.segments import segments

Group = TypeVar("Group", bound=Cells)


def as_factored(game: Game) -> Game:
    """Return a dialogue in the factored layout, itself where it is."""
    assert game.scenario is not None, "only dialogues have that layout"
    return game if game.form.signal is not None else factored_game(game.scenario)


def signal_ends(
    scenario: Scenario,
) -> tuple[Float[np.ndarray, "T B Y"], Float[np.ndarray, "T B Y"]]:
    """Return the least and the most of every σ(signal | intent, ask), by the channel's intervals.

    T are all intents and B the asks that go on and that somebody may use, as in factored games.
    """
    goes_on = np.array([ask.ends is None for ask in scenario.asks])
    low, high = (
        numbers.signal[:, goes_on & numbers.legal.any(axis=0)]
        for numbers in (tables(rows_at(scenario, end)) for end in ENDS)
    )
    return low, high


@dataclass(frozen=True)
class FreeKernels:
    """A dialogue, in the factored layout, some of whose kernels choose. I and A are the users'.

    The assistant has the infosets that it had. `labels` says by which row of which kernel users
    would react at each infoset, (intent, "opening"), "after RESPONSE" or, where that differs by
    turn, "after RESPONSE in turn 1"; `reaction` is what the row says, and `low` and `high` are its
    intervals; of adversarial users None, and 0.
    """

    game: Game
    reaction: Float[np.ndarray, "I A"]
    low: Float[np.ndarray, "I A"]
    high: Float[np.ndarray, "I A"]
    labels: tuple[tuple[str, str] | None, ...]


def free_kernels(game: Game, names: Collection[str]) -> FreeKernels:
    """Return a dialogue with the kernels of the intents `names` made adversarial intents."""
    assert game.scenario is not None, "only dialogues have kernels"
    kernels = {
        part.name: (part.kernel, *(at(part.kernel, end) for end in ENDS))
        for part in game.scenario.intents
        if part.kernel is not None and part.name in names
    }
    intents = [_choosing(part) if part.name in kernels else part for part in game.scenario.intents]
    free = factored_game(game.scenario.model_copy(update={"intents": intents}))
    reaction, low, high = np.zeros((3, *legal_mask(free.form.treeplex[USER]).shape))
    labels: list[tuple[str, str] | None] = []
    for i, key in enumerate(free.names.infosets[USER]):
        intent, asks = intent_of(key), free.names.actions[USER][i]
        if (kernel := kernels.get(intent)) is None:
            labels.append(None)
            continue
        labels.append((intent, _row(kernel[0], key)[0]))
        for table, part in zip((reaction, low, high), kernel, strict=True):
            _, row = _row(part, key)
            table[i, : len(asks)] = [row.get(ask, 0.0) for ask in asks]
    return FreeKernels(free, reaction, low, high, tuple(labels))


def _choosing(intent: Intent) -> Intent:
    return intent.model_copy(update={"behaviour": "adversarial", "kernel": None})


def _row(kernel: Kernel, key: str) -> tuple[str, Mapping[str, float]]:
    """Return the label of the row that a kernel reacts by at the infoset `key`, and the row."""
    _, said, response = key.rpartition(">")
    return row_after(kernel, response, key.count(">")) if said else ("opening", kernel.opening)


def worst_payoffs(game: Game) -> Game:
    """Return a dialogue with payoff cells and severities at the worst ends of their intervals.

    In the factored layout. The assistant's payoff on every leaf is increasing in satisfaction and
    decreasing in risk, severity, cost and displacement: weights, discount and severities are not
    negative. What a plan secures is least for the least payoff on each leaf, since reaches are not
    negative either. So the worst case over all these intervals together is at this one corner,
    whatever the plan. Raises `InputError` where none of them has an interval.
    """
    assert game.scenario is not None, "only dialogues have payoff cells"
    scenario, payoff = game.scenario, game.scenario.payoff
    worst = scenario.model_copy(
        update={
            "payoff": payoff.model_copy(
                update={
                    "satisfaction": _at(payoff.satisfaction, "low"),
                    "risk": _at(payoff.risk, "high"),
                    "cost": _at(payoff.cost, "high"),
                    "displacement": [_displaced(part) for part in payoff.displacement],
                }
            ),
            "categories": [_severe(part) for part in scenario.categories],
        }
    )
    if worst == scenario:
        raise InputError(
            f"{scenario.name} has no interval in which a payoff could be worse than it is, "
            "expected low ends of satisfaction, or high ends of risk, cost, displacement or "
            "severity"
        )
    return factored_game(worst)


def _at(groups: Sequence[Group], end: End) -> list[Group]:
    return [
        cells.model_copy(update={"values": cells.values | (getattr(cells, end) or {})})
        for cells in groups
    ]


def _displaced(part: Displacement) -> Displacement:
    return part if part.high is None else part.model_copy(update={"value": part.high})


def _severe(part: Category) -> Category:
    if (most := part.severity.high) is None:
        return part
    return part.model_copy(update={"severity": part.severity.model_copy(update={"value": most})})


def with_infosets(
    treeplex: Treeplex, parents: Int[np.ndarray, " N"], legal: Bool[np.ndarray, "I_N W"]
) -> tuple[Treeplex, Int[np.ndarray, " I_N"], Int[np.ndarray, " S"]]:
    """Return a treeplex with N more infosets, behind the sequences `parents`.

    `legal` are the actions of the old ones and then of the new. Also returns the place of each of
    these in the new treeplex, and the new number of every old sequence.
    """
    old = sequence_numbers(treeplex)
    whose, action = np.zeros((2, treeplex.sequences), np.int64)
    there = legal_mask(treeplex)
    whose[old[there]], action[old[there]] = np.nonzero(there)
    depth = np.repeat(np.arange(len(treeplex.levels)), [k.infosets for k in treeplex.levels])
    after = np.concatenate([parent_sequences(treeplex), parents]).astype(np.int64)
    below = np.where(parents > 0, 1 + np.append(depth, -1)[whose[parents]], 0)
    depth = np.concatenate([depth, below])
    count = np.bincount(depth)
    order = np.argsort(depth, kind="stable")
    row = np.argsort(order, kind="stable")
    within = row - (np.cumsum(count) - count)[depth]
    width = legal.shape[1]

    # The place of every old sequence within its level; the empty one has place 0.
    position = np.zeros(treeplex.sequences, np.int64)
    position[old[there]] = (action * count[depth[whose]] + within[whose])[old[there]]
    levels = []
    for k in range(len(count)):
        here = order[depth[order] == k]
        slots = 1 if k == 0 else int(count[k - 1]) * width
        parent = position[after[here]].astype(np.int32)
        levels.append(Level(legal[here].T[None], parent, segments(parent, slots)))
    made = Treeplex(tuple(levels), width)
    numbers = sequence_numbers(made)[row]
    moved = np.zeros(treeplex.sequences, np.int64)
    moved[old[there]] = numbers[: treeplex.infosets][:, : there.shape[1]][there]
    return made, row, moved


def explicit_form(
    treeplex: tuple[Treeplex, Treeplex],
    sequence: tuple[Int[np.ndarray, " L"], Int[np.ndarray, " L"]],
    chance: Float[np.ndarray, " L"],
) -> SequenceForm:
    """Return a form with these leaves, whose payoffs are 0: for other numbers on them."""
    first, second = (part.sequences for part in treeplex)
    nothing = np.zeros(len(chance))
    gather = segments(sequence[0], first), segments(sequence[1], second)
    return SequenceForm(treeplex, Leaves(sequence, chance, (nothing, nothing), gather))
