"""Counts: all that the estimators need of a log, in integers, by one pass in pieces.

Counts of two pieces add up to those of both (`merged`), in any order, so that a log of any length
is counted in the memory of a piece. How much clusters differ is kept in sums of squares: with n_gb
the times that outcome b of a row was seen in cluster g and n_g their sum over b,

    squares = sum_g n_gb^2,   cross = sum_g n_gb n_g,   sizes = sum_g n_g^2,

from which the variance among clusters follows (`csa_games.calibration.estimates`). Conversations
are whole within a piece; counts of groups stay open until the end, as triples.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from csa_games.calibration.codes import Codes
from csa_games.calibration.rows import NO_ROW, Layout


@dataclass(frozen=True)
class Counts:
    """Counts of a log.

    T1 and B1 are T + 1 and B + 1: the last index of an intent is of conversations without one, and
    the last index of the ask before is of events whose ask was not recorded.
    """

    conversations: Int[np.ndarray, " T1"]
    reactions: Int[np.ndarray, "T1 H B1 R B"]  # intent, turn, ask before, response, ask after
    signals: Int[np.ndarray, "T1 B Y"]
    rows: Int[np.ndarray, "K W"]
    squares: Int[np.ndarray, "K W"]
    cross: Int[np.ndarray, "K W"]
    sizes: Int[np.ndarray, " K"]
    clusters: Int[np.ndarray, " K"]
    open: Int[np.ndarray, " M"]  # (group, row, outcome) as one number, ascending
    times: Int[np.ndarray, " M"]  # how often each was seen


def nothing(layout: Layout) -> Counts:
    """Return the counts of no conversation."""
    turns, intents, responses = layout.after.shape
    asks = layout.signal.shape[1]
    return Counts(
        conversations=np.zeros(intents + 1, np.int64),
        reactions=np.zeros((intents + 1, turns, asks + 1, responses, asks), np.int64),
        signals=np.zeros((intents + 1, asks, layout.signals), np.int64),
        **_moments(np.zeros(0, np.int64), np.zeros(0, np.int64), layout.base.shape),
        open=np.zeros(0, np.int64),
        times=np.zeros(0, np.int64),
    )


def count(codes: Codes, layout: Layout) -> Counts:
    """Return the counts of `codes`; those of its groups, where it has any, stay open."""
    turns, intents, responses = layout.after.shape
    asks = layout.signal.shape[1]
    who = codes.intent[codes.conversation]
    turn = np.minimum(codes.turn, turns - 1)
    answered = (codes.response >= 0) & (codes.reaction >= 0)
    heard = (codes.ask >= 0) & (codes.signal >= 0)
    known = who >= 0

    opening = known & (codes.turn == 0) & (codes.ask >= 0)
    after, verdict = known & answered, known & heard
    of, typed = codes.conversation, np.flatnonzero(codes.intent >= 0)
    seen = [  # conversation, row, outcome
        (of[opening], layout.opening[who[opening]], codes.ask[opening]),
        (
            of[after],
            layout.after[turn[after], who[after], codes.response[after]],
            codes.reaction[after],
        ),
        (of[verdict], layout.signal[who[verdict], codes.ask[verdict]], codes.signal[verdict]),
        (typed, np.full(len(typed), layout.prior), codes.intent[typed]),
    ]
    place, row, outcome = (np.concatenate(part) for part in zip(*seen, strict=True))
    kept = row != NO_ROW
    rows, widest = layout.base.shape
    grouped = bool((codes.group >= 0).any())
    cluster = (codes.group if grouped else np.arange(len(codes.intent)))[place[kept]]
    keys, times = np.unique(
        (cluster * rows + row[kept]) * widest + outcome[kept], return_counts=True
    )
    none = np.zeros(0, np.int64)
    return Counts(
        conversations=_grid((intents + 1,), codes.intent),
        reactions=_grid(
            (intents + 1, turns, asks + 1, responses, asks),
            *(axis[answered] for axis in (who, turn, codes.ask, codes.response, codes.reaction)),
        ),
        signals=_grid(
            (intents + 1, asks, layout.signals), who[heard], codes.ask[heard], codes.signal[heard]
        ),
        **_moments(none if grouped else keys, none if grouped else times, layout.base.shape),
        open=keys if grouped else none,
        times=times if grouped else none,
    )


def merged(one: Counts, other: Counts) -> Counts:
    """Return the counts of two pieces of a log together."""
    keys, place = np.unique(np.concatenate([one.open, other.open]), return_inverse=True)
    times = np.zeros(len(keys), np.int64)
    np.add.at(times, place, np.concatenate([one.times, other.times]))
    added = {
        name: getattr(one, name) + getattr(other, name)
        for name in Counts.__annotations__
        if name not in ("open", "times")
    }
    return Counts(**added, open=keys, times=times)


def closed(counts: Counts) -> Counts:
    """Return `counts` with the groups that were open counted as clusters."""
    none = np.zeros(0, np.int64)
    moments = _moments(counts.open, counts.times, counts.rows.shape)
    added = {name: getattr(counts, name) + more for name, more in moments.items()}
    kept = {name: getattr(counts, name) for name in ("conversations", "reactions", "signals")}
    return Counts(**kept, **added, open=none, times=none)


def _grid(shape: tuple[int, ...], *axes: Int[np.ndarray, " C"]) -> Int[np.ndarray, "..."]:
    """Return how often each cell was seen; -1 counts for the last index of an axis."""
    cells = tuple(
        np.where(axis < 0, size - 1, axis) for size, axis in zip(shape, axes, strict=True)
    )
    return np.bincount(np.ravel_multi_index(cells, shape), minlength=int(np.prod(shape))).reshape(
        shape
    )


def _moments(
    keys: Int[np.ndarray, " M"], times: Int[np.ndarray, " M"], shape: tuple[int, int]
) -> dict[str, Int[np.ndarray, "..."]]:
    """Return what `Counts` sums over clusters, of (cluster, row, outcome) keys in order."""
    rows, widest = shape
    pair, outcome = np.divmod(keys, widest)  # (cluster, row)
    row = pair % rows
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    size = np.add.reduceat(times, starts) if len(starts) else times
    total = np.repeat(size, np.diff(starts, append=len(keys)))
    found = {name: np.zeros(shape, np.int64) for name in ("rows", "squares", "cross")}
    for name, number in (("rows", times), ("squares", times**2), ("cross", times * total)):
        np.add.at(found[name], (row, outcome), number)
    sizes, clusters = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    np.add.at(sizes, row[starts], size**2)
    np.add.at(clusters, row[starts], 1)
    return {**found, "sizes": sizes, "clusters": clusters}
