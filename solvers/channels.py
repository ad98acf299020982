"""Channels that are not known exactly: a classifier that drifts.

A channel has one row of probabilities of signals for each intent and ask. Here every probability of
a row lies in an interval, and the row still sums to 1. The intervals are those of the scenario's
file, row by row; or every probability that is not 0 may be off by one radius, within 0 and 1. Over
several turns the outcome of a policy is a polynomial in the rows. As for kernels
(`solvers.kernels`) there is a bound from below and an example from above:

- *From below.* The likelihood of a history of signals, given the intent and the asks, is a product
  of one entry a turn, and lies between the products of the least and of the most. Nature picks
  likelihoods within these intervals that sum to 1, at every history of asks and responses anew,
  knowing the intent. The rows' own products are among them, so that what a policy secures against
  all of these it secures against every channel within the intervals. In one turn nothing is lost.
  Nature's choice is one more infoset behind each of the users' sequences, with limited freedom
  (`solvers.guarantee.Freedom`): users, who see no signals, choose before it.
- *From above.* A descent finds rows against which the policy gets little: an example, and nothing
  says that there are none worse.

Letters, besides those of `csa_games.game` and `csa_games.grid`: J histories, signals included; N
infosets of nature's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from csa_games.arrays import Array
from csa_games.doubted import explicit_form, with_infosets
from csa_games.fold import backup, legal_mask, mean_of, rows_of, sequence_numbers
from csa_games.game import ASSISTANT, USER, Grid, SequenceForm
from csa_games.grid import likelihood, public_sequences
from solvers.descent import descend
from solvers.guarantee import Freedom, against

Signal = Float[np.ndarray, "T B Y"]


@dataclass(frozen=True)
class Drifting:
    """A sequence form in which nature picks likelihoods: `form`, and how freely users and it may.

    Its leaves are histories with their signals; `leaf` says which of the factored leaves each is.
    The assistant has the infosets that it had.
    """

    form: SequenceForm
    freedom: Freedom
    leaf: Int[np.ndarray, " J"]


def drifting(form: SequenceForm, freedom: Freedom | None, box: tuple[Signal, Signal]) -> Drifting:
    """Return the factored `form` with signals that nature picks, within the `box` of a channel.

    `freedom` is the users' own, None where they are adversarial.
    """
    theirs, ours = form.treeplex
    picks = list(_picks(form, box))
    legal = legal_mask(theirs)
    own = Freedom(np.zeros(legal.shape), legal.astype(float)) if freedom is None else freedom
    treeplex, row, old = with_infosets(
        theirs,
        np.concatenate([np.zeros(0, np.int64), *(part.parent for part in picks)]),
        _stacked([legal, *(np.ones(part.low.shape, bool) for part in picks)]),
    )
    low, high = np.zeros((2, treeplex.infosets, treeplex.width))
    low[row] = _stacked([own.low, *(part.low for part in picks)])
    high[row] = _stacked([own.high, *(part.high for part in picks)])

    # Conversations that end with the first ask have no signals.
    silent = np.flatnonzero(np.asarray(form.leaves.sequence[ASSISTANT]) == 0)
    leaf, ours_last = [silent], [np.zeros(len(silent), np.int64)]
    theirs_last = [old[np.asarray(form.leaves.sequence[USER])[silent]]]
    numbers, first = sequence_numbers(treeplex)[row], theirs.infosets
    for part in picks:
        signals = part.low.shape[1]
        leaf.append(np.repeat(part.leaf, signals))
        theirs_last.append(numbers[first + part.infoset][:, :signals].ravel())
        ours_last.append(part.sequence.ravel())
        first += len(part.parent)
    every = np.concatenate(leaf)
    sequence = (
        np.concatenate(theirs_last).astype(np.int32),
        np.concatenate(ours_last).astype(np.int32),
    )
    chance = np.asarray(form.leaves.chance)[every]
    return Drifting(explicit_form((treeplex, ours), sequence, chance), Freedom(low, high), every)


def worst_channel(
    form: SequenceForm,
    users: Float[np.ndarray, "I_0 A_0"],
    policy: Float[Array, "I A"],
    number: Float[np.ndarray, " L"],
    intent: int,
    box: tuple[Signal, Signal],
) -> tuple[Signal, float]:
    """Return the channel found that makes least of an intent's `number`, and how much.

    The users' policy is kept. A descent (`solvers.descent`) from the channel of the factored
    `form`, within the `box`. Against the channel found the number is exact; that none is worse is
    not proved.
    """
    table = rows_of(form.treeplex[USER], users)
    signal = np.asarray(form.signal, np.float64)

    def put(rows: Float[np.ndarray, "B Y"]) -> Signal:
        changed = signal.copy()
        changed[intent] = rows
        return changed

    def worth(rows: Float[np.ndarray, "B Y"]) -> float:
        payoff = against(replace(form, signal=put(rows)), policy, number)
        return float(backup(form.treeplex[USER], payoff, mean_of(table))[1])

    low, high = (part[intent] for part in box)
    scale = float(np.abs(number).max(initial=0.0))
    rows, value = descend(worth, signal[intent], low, high, scale)
    return put(rows), value


@dataclass(frozen=True)
class _Picks:
    """Nature's infosets of one turn. Letters: Z the histories of signals, M leaves behind them."""

    parent: Int[np.ndarray, " N"]  # the users' sequence before
    low: Float[np.ndarray, "N Z"]
    high: Float[np.ndarray, "N Z"]
    leaf: Int[np.ndarray, " M"]
    infoset: Int[np.ndarray, " M"]  # which of the N is before the leaf
    sequence: Int[np.ndarray, "M Z"]  # the assistant's


def _picks(form: SequenceForm, box: tuple[Signal, Signal]) -> Iterator[_Picks]:
    """Yield nature's infosets turn by turn: one for each history of asks and responses before.

    Leaves behind the same one share the likelihoods, as they do of a channel.
    """
    ours = form.treeplex[ASSISTANT]
    user, public = map(np.asarray, form.leaves.sequence)
    numbers, start, infosets = sequence_numbers(ours), 1, 0
    for grid in ours.levels:
        assert isinstance(grid, Grid)
        p, q, z = grid.axes
        shape = (p, grid.responses, q, len(box[0]))
        stop = start + public_sequences(grid, len(box[0]))
        leaf = np.flatnonzero((start <= public) & (public < stop))
        asked, response, answered, intent = np.unravel_index(public[leaf] - start, shape)
        (parent, who, asks, _), infoset = np.unique(
            np.stack([user[leaf], intent, asked, answered]), axis=1, return_inverse=True
        )
        least, most = (np.asarray(likelihood(end, grid.turn + 1))[asks, who] for end in box)
        ends = infosets + (asked * q + answered)[:, None] * z + np.arange(z)
        yield _Picks(
            parent=parent,
            low=least,
            high=np.minimum(most, 1.0),
            leaf=leaf,
            infoset=infoset.reshape(-1),
            sequence=numbers[ends, response[:, None]],
        )
        start, infosets = stop, infosets + grid.infosets


def _stacked(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Return tables one below the other, filled up with zeros to the same width."""
    width = max(table.shape[1] for table in tables)
    return np.concatenate(
        [np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in tables]
    )
