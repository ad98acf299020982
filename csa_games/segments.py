"""Deterministic sums over segments: gathers and dense reductions, no scatter.

A scatter-add on a GPU adds in whatever order its atomics arrive, so two runs differ in their last
bits, and regret matching turns last bits into different pure actions. Here the values of every
segment are gathered into rows of equal width and reduced along the row, in a fixed order.
"""

from dataclasses import dataclass
from typing import no_type_check

import jax
import numpy as np
from jaxtyping import Float, Int

from csa_games.arrays import Array, namespace


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@no_type_check  # JAX rebuilds pytrees through __init__ with leaves that are not arrays.
class Segments:
    """Which of N values belong to which of R segments. Letters: W the width of a bin.

    `bins` holds, for the segments of similar size, rows [R_b, W] of indices into the values, padded
    with N (one past the end, where a zero is appended); the widths are powers of two, so padding at
    most doubles the reads. `place` [R] is each segment's position in the concatenated bins; empty
    segments point one past their end, at a zero.
    """

    bins: tuple[Int[Array, "R_b W"], ...]
    place: Int[Array, " R"]


def segments(segment_of: Int[np.ndarray, " N"], number: int) -> Segments:
    """Return the plan that sums N values into `number` segments, value n into `segment_of[n]`."""
    order = np.argsort(segment_of, kind="stable")
    size = np.bincount(segment_of, minlength=number)
    start = np.concatenate([[0], np.cumsum(size)])
    width = np.where(size > 0, 2 ** np.ceil(np.log2(np.maximum(size, 1))).astype(np.int64), 0)
    bins = []
    place = np.full(number, np.count_nonzero(size), dtype=np.int32)
    filled = 0
    for w in np.unique(width[width > 0]):
        rows = np.flatnonzero(width == w)
        column = np.arange(w)
        inside = column < size[rows, None]
        index = np.where(inside, start[rows, None] + column, 0)
        bins.append(np.where(inside, order[index], len(order)).astype(np.int32))
        place[rows] = filled + np.arange(len(rows), dtype=np.int32)
        filled += len(rows)
    return Segments(tuple(bins), place)


def segment_sum(plan: Segments, values: Float[Array, " N"]) -> Float[Array, " R"]:
    """Return the sum of `values` over each segment of `plan`, always added in the same order."""
    xp = namespace(values)
    zero = xp.zeros(1, dtype=values.dtype)
    padded = xp.concat([values, zero])
    sums = [padded[rows].sum(axis=-1) for rows in plan.bins]
    return xp.concat([*sums, zero])[plan.place]
