"""The assistant's infosets in a dialogue as dense grids, and what its plan looks like in public.

The factored layout rests on three facts. Public histories are a regular grid, so that parent and
child are a reshape apart. Signals influence nobody but the assistant, so that a payoff depends on
the intent and the public history alone. And given the intent and the asks, the likelihood of a
history of signals is a product of one factor a turn. Hence leaves need not carry signals: with
Λ[θ, asks, signals] that likelihood,

    mass[θ, public, a]     = Σ_signals plan[public, signals, a] Λ[θ, asks, signals]
    payoff[public, s, a]   = Σ_θ weight[θ, public, a] Λ[θ, asks, s]

say what leaves see of the assistant's plan, and what its sequences get from weights on leaves
(`spread_intents` and `sum_intents` below); both are batched products of matrices of rank T, and no
array has both T and the signals of all turns as axes (cf. the public-tree best response of
Johanson, Waugh, Bowling & Zinkevich 2011).

A *public sequence* is an (intent, public history, ask, response), whatever the signals were. They
are numbered from 1, level by level, each level flattened from [P, A, Q, B, T]; 0 is the empty one.

Letters are those of `csa_games.game.Grid`; Z = E·Y are the histories of signals, the present one
included.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from csa_games.arrays import Array, namespace
from csa_games.game import Grid

Block = Callable[[Any, Any], tuple[Any, Any]]
"""(rows of a block, other inputs of it) -> (outputs, new rows), all with a leading axis."""


def axes(grid: Grid) -> tuple[int, int, int]:
    """Return (P, Q, E): histories of asks, of responses that go on and of signals before."""
    t = grid.turn
    return grid.asks**t, len(grid.open) ** t, grid.signals**t


def public_sequences(grid: Grid, intents: int) -> int:
    """Return how many public sequences the level has."""
    return grid.public * grid.responses * grid.asks * intents


def likelihood(signal: Float[Array, "T B Y"], turns: int) -> Float[Array, "P T E"]:
    """Return Λ, the likelihood of each history of `turns` signals given asks and intent."""
    xp = namespace(signal)
    intents, asks, signals = signal.shape
    whole = xp.ones((1, intents, 1), dtype=signal.dtype)
    for _ in range(turns):
        longer = whole[:, None, :, :, None] * xp.permute_dims(signal, (1, 0, 2))[None, :, :, None]
        whole = longer.reshape(-1, intents, whole.shape[2] * signals)
    return whole


def by_block(grid: Grid, public: Float[Array, "P A Q B T"]) -> Float[Array, "K A C B T"]:
    """Return numbers on the level's public sequences in the order of its blocks."""
    xp = namespace(public)
    p, a, q, b, intents = public.shape
    split = public.reshape(p, a, q // grid.block, grid.block, b, intents)
    blocks = xp.permute_dims(split, (0, 2, 1, 3, 4, 5)).reshape(-1, a, grid.block, b, intents)
    return _filled(grid, blocks)


def from_blocks(grid: Grid, blocks: Float[Array, "K A C B T"]) -> Float[Array, "P A Q B T"]:
    """Undo `by_block`."""
    xp = namespace(blocks)
    p, q, _ = axes(grid)
    used = grid.public // grid.block
    split = blocks[:used].reshape(p, q // grid.block, *blocks.shape[1:])
    joined = xp.permute_dims(split, (0, 2, 1, 3, 4, 5))
    return joined.reshape(p, grid.responses, q, grid.asks, blocks.shape[-1])


def block_likelihood(grid: Grid, signal: Float[Array, "T B Y"]) -> Float[Array, "K T E"]:
    """Return the likelihood of the signals before the turn, for the asks behind each block."""
    xp = namespace(signal)
    before = likelihood(signal, grid.turn)
    blocks = xp.repeat(before, axes(grid)[1] // grid.block, axis=0)
    return _filled(grid, blocks)


def present(
    before: Float[Array, "K T E"], signal: Float[Array, "T B Y"]
) -> Float[Array, "K T B Z"]:
    """Return the likelihood of all signals, that of the present turn included."""
    joint = before[:, :, None, :, None] * signal[None, :, :, None, :]
    return joint.reshape(*joint.shape[:3], -1)


def spread_intents(
    grid: Grid, plan: Float[Array, "K A N"], heard: Float[Array, "K T B Z"]
) -> Float[Array, "K A C B T"]:
    """Return the probability of each public sequence: `plan`, averaged over what was `heard`."""
    xp = namespace(plan)
    split = plan.reshape(*plan.shape[:2], grid.block, grid.asks, -1)
    return xp.einsum("kacbz,ktbz->kacbt", split, heard)


def sum_intents(
    weight: Float[Array, "K A C B T"], heard: Float[Array, "K T B Z"]
) -> Float[Array, "K A N"]:
    """Return what each sequence gets of a `weight` on public sequences, given what was `heard`."""
    xp = namespace(weight)
    summed = xp.einsum("kacbt,ktbz->kacbz", weight, heard)
    return summed.reshape(*weight.shape[:2], -1)


def descend(grid: Grid, above: Grid, plan: Float[Array, "K_j A N_j"]) -> Float[Array, "K C E"]:
    """Return the plan of the level `above` at the sequences that lead to the level, per block.

    Infosets that differ in the present ask and signal alone have the same parent: see `fan`.
    """
    xp = namespace(plan)
    p, q, e = axes(above)
    split = plan.reshape(p, q // above.block, above.responses, above.block, above.asks, -1)
    going = split[:, :, list(above.open)]  # [P, Q/C, G, C, B, Z]
    ordered = xp.permute_dims(going, (0, 4, 1, 3, 2, 5))
    return _filled(grid, ordered.reshape(-1, grid.block, e * above.signals))


def ascend(grid: Grid, above: Grid, value: Float[Array, "K C E"]) -> Float[Array, "K_j A N_j"]:
    """Return values of the level, summed as by `unfan`, at the sequences of the level `above`."""
    xp = namespace(value)
    p, q, e = axes(above)
    used = grid.public // grid.block
    split = value[:used].reshape(
        p, above.asks, q // above.block, above.block, len(above.open), e * above.signals
    )
    ordered = xp.permute_dims(split, (0, 2, 4, 3, 1, 5))  # [P, Q/C, G, C, B, Z]
    nothing = xp.zeros_like(ordered[:, :, :1])
    place = [
        above.open.index(a) if a in above.open else len(above.open) for a in range(above.responses)
    ]
    every = xp.concat([ordered, nothing], axis=2)[:, :, place]
    return every.reshape(p * (q // above.block), above.responses, -1)


def fan(grid: Grid, number: Float[Array, "K C E"]) -> Float[Array, "K N"]:
    """Return a number per parent at each of its infosets, those of one ask and signal each."""
    xp = namespace(number)
    k, c, e = number.shape
    wide = xp.broadcast_to(number[:, :, None, :, None], (k, c, grid.asks, e, grid.signals))
    return wide.reshape(k, -1)


def unfan(grid: Grid, value: Float[Array, "K N"]) -> Float[Array, "K C E"]:
    """Return the sum of `value` over the infosets of each parent."""
    split = value.reshape(value.shape[0], grid.block, grid.asks, -1, grid.signals)
    return split.sum(axis=4).sum(axis=2)


def visit_blocks(grid: Grid, block: Block, rows: Any, inputs: Any) -> tuple[Any, Any]:
    """Return (outputs, new rows) of `block` over all blocks; leading axes are K.

    All at once, or in a looped level one after the other: what a block needs then stays in the
    cache, and the rows are changed in place. A looped level of several shards runs one loop per
    shard, over blocks that lie together.
    """
    if not grid.looped or not isinstance(jax.tree.leaves(inputs)[0], jax.Array):
        return block(rows, inputs)
    split = lambda x: x.reshape(grid.shards, -1, *x.shape[1:])
    join = lambda x: x.reshape(-1, *x.shape[2:])
    loop = lambda rows, inputs: _loop(block, rows, inputs)
    if grid.shards == 1:
        return loop(rows, inputs)
    found = jax.vmap(loop)(jax.tree.map(split, rows), jax.tree.map(split, inputs))
    return jax.tree.map(join, found)


def _loop(block: Block, rows: Any, inputs: Any) -> tuple[Any, Any]:
    at = lambda tree, k: jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, k, 1), tree)
    count = jax.tree.leaves(inputs)[0].shape[0]
    first = at(inputs, 0)
    shapes, _ = jax.eval_shape(block, at(rows, 0), first)
    outputs = jax.tree.map(lambda x: jnp.zeros((count, *x.shape[1:]), x.dtype), shapes)

    def body(k: Any, carry: Any) -> Any:
        # The block is handed from turn to turn: were it read here, XLA would read again after the
        # write, in a copied array, instead of changing the array in place.
        rows, outputs, here = carry
        out, new = block(here, at(inputs, k))
        put = lambda x, part: jax.lax.dynamic_update_slice_in_dim(x, part, k, 0)
        rows, outputs = jax.tree.map(put, rows, new), jax.tree.map(put, outputs, out)
        return rows, outputs, at(rows, jnp.minimum(k + 1, count - 1))

    rows, outputs, _ = jax.lax.fori_loop(0, count, body, (rows, outputs, at(rows, 0)))
    return outputs, rows


def _filled(grid: Grid, blocks: Float[Array, "K ..."]) -> Float[Array, "K_filled ..."]:
    """Return `blocks` with idle ones of zeros behind, as many as the level has."""
    xp = namespace(blocks)
    idle = grid.blocks - blocks.shape[0]
    if not idle:
        return blocks
    return xp.concat([blocks, xp.zeros((idle, *blocks.shape[1:]), dtype=blocks.dtype)])


def largest_block(grid: Grid, entries: int) -> int:
    """Return the largest C for which a block has at most `entries` rows, or 1."""
    width = grid.responses * grid.asks * grid.signals ** (grid.turn + 1)
    divisors = (len(grid.open) ** k for k in range(grid.turn + 1))
    return max((c for c in divisors if c * width <= entries), default=1)
