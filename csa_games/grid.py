"""The assistant's infosets in a dialogue as dense grids, and what its plan looks like in public.

The factored layout rests on three facts. Public histories are a regular grid, so that parent and
child are a reshape apart. Signals influence nobody but the assistant, so that a payoff depends on
the intent and the public history alone. And given the intent and the asks, the likelihood of a
history of signals is a product of one factor a turn. Hence leaves need not carry signals: with
Λ[θ, asks, signals] that likelihood,

    mass[θ, public, a]     = Σ_signals plan[public, signals, a] Λ[θ, asks, signals]
    payoff[public, s, a]   = Σ_θ weight[θ, public, a] Λ[θ, asks, s]

say what leaves see of the assistant's plan, and what its sequences get from weights on leaves
(`sum_signals` and `sum_intents` below); both are batched products of matrices of rank T, and no
array has both T and the signals of all turns as axes (cf. the public-tree best response of
Johanson, Waugh, Bowling & Zinkevich 2011).

A *public sequence* is an (intent, asks, responses), whatever the signals were. They are numbered
from 1, level by level, each level flattened from [P, A, Q, T]; 0 is the empty one.

Letters are those of `csa_games.game.Grid`; E = Z / Y are the histories of signals before the turn.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float, Int, Num

from csa_games.arrays import Array, namespace
from csa_games.game import Grid

Block = Callable[[Any, Any, Any], tuple[Any, Any]]
"""(rows of a block, other inputs of it, what is the same for all) -> (outputs, new rows).

All have a leading axis, but for what is the same."""


def public_sequences(grid: Grid, intents: int) -> int:
    """Return how many public sequences the level has."""
    p, q, _ = grid.axes
    return p * grid.responses * q * intents


def likelihood(signal: Float[Array, "T B Y"], turns: int) -> Float[Array, "P T Z"]:
    """Return Λ, the likelihood of each history of `turns` signals given asks and intent."""
    xp = namespace(signal)
    intents, _, signals = signal.shape
    by_ask = xp.permute_dims(signal, (1, 0, 2))
    whole = xp.ones((1, intents, 1), dtype=signal.dtype)
    for _ in range(turns):
        longer = whole[:, None, :, :, None] * by_ask[None, :, :, None]
        whole = longer.reshape(-1, intents, whole.shape[2] * signals)
    return whole


def heard(grid: Grid, signal: Float[Array, "T B Y"]) -> Float[Array, "K T Z"]:
    """Return the likelihood of the signals, for the asks behind each block."""
    return namespace(signal).take(likelihood(signal, grid.turn + 1), asked(grid), axis=0)


def asked(grid: Grid) -> Int[np.ndarray, " K"]:
    """Return which history of asks each block is of; idle blocks, where nothing is, name any."""
    p, q, _ = grid.axes
    blocks = np.zeros(grid.rows[0], np.int32)
    blocks[: p * q // grid.block] = np.repeat(np.arange(p), q // grid.block)
    return blocks


def by_block(grid: Grid, public: Float[Array, "P A Q T"]) -> Float[Array, "K A C T"]:
    """Return numbers on the level's public sequences in the order of its blocks."""
    xp = namespace(public)
    p, a, q, intents = public.shape
    split = public.reshape(p, a, q // grid.block, grid.block, intents)
    blocks = xp.permute_dims(split, (0, 2, 1, 3, 4))
    return _filled(grid, blocks.reshape(-1, a, grid.block, intents))


def from_blocks(grid: Grid, blocks: Float[Array, "K A C T"]) -> Float[Array, "P A Q T"]:
    """Undo `by_block`."""
    xp = namespace(blocks)
    p, q, _ = grid.axes
    split = blocks[: p * q // grid.block].reshape(p, q // grid.block, *blocks.shape[1:])
    joined = xp.permute_dims(split, (0, 2, 1, 3, 4))
    return joined.reshape(p, grid.responses, q, blocks.shape[-1])


def sum_signals(
    plan: Float[Array, "K A N"], heard: Float[Array, "K T Z"]
) -> Float[Array, "K A C T"]:
    """Return the probability of each public sequence: `plan`, summed over what was `heard`."""
    xp = namespace(plan)
    split = plan.reshape(*plan.shape[:2], -1, heard.shape[-1])
    return xp.einsum("kacz,ktz->kact", split, heard)


def sum_intents(
    weight: Float[Array, "K A C T"], heard: Float[Array, "K T Z"]
) -> Float[Array, "K A N"]:
    """Return what each sequence gets of a `weight` on public sequences, given what was `heard`."""
    xp = namespace(weight)
    return xp.einsum("kact,ktz->kacz", weight, heard).reshape(*weight.shape[:2], -1)


def descend(grid: Grid, above: Grid, plan: Num[Array, "K_j A N_j"]) -> Num[Array, "K C E"]:
    """Return the plan of the level `above` at the sequences that lead to the level, per block.

    Infosets that differ in the present signal alone have the same parent: see `fan`.
    """
    xp = namespace(plan)
    p, q, z = above.axes
    split = plan.reshape(p, q // above.block, above.responses, above.block, z)
    going = xp.permute_dims(split[:, :, list(above.open)], (0, 1, 3, 2, 4))
    asked = xp.repeat(going.reshape(p, -1, z), above.asks, axis=0)  # the same, whatever comes next
    return _filled(grid, asked.reshape(-1, grid.block, z))


def ascend(grid: Grid, above: Grid, value: Float[Array, "K C E"]) -> Float[Array, "K_j A N_j"]:
    """Return values of the level, summed as by `unfan`, at the sequences of the level `above`."""
    xp = namespace(value)
    p, q, z = above.axes
    going = len(above.open)
    used = value[: p * above.asks * q * going // grid.block]
    every = used.reshape(p, above.asks, q // above.block, above.block, going, z).sum(axis=1)
    nothing = xp.zeros_like(every[:, :, :, :1])
    place = [above.open.index(a) if a in above.open else going for a in range(above.responses)]
    rows = xp.concat([every, nothing], axis=3)[:, :, :, place]
    return xp.permute_dims(rows, (0, 1, 3, 2, 4)).reshape(above.rows)


def fan(grid: Grid, number: Num[Array, "K C E"]) -> Num[Array, "K N"]:
    """Return a number per parent at each of its infosets of one ask, a signal each."""
    xp = namespace(number)
    wide = xp.broadcast_to(number[..., None], (*number.shape, grid.signals))
    return wide.reshape(number.shape[0], -1)


def unfan(grid: Grid, value: Float[Array, "K N"]) -> Float[Array, "K C E"]:
    """Return the sum of `value` over the infosets of each parent and ask."""
    return value.reshape(value.shape[0], grid.block, -1, grid.signals).sum(axis=-1)


def visit_blocks(
    grid: Grid, block: Block, rows: Any, inputs: Any = (), shared: Any = ()
) -> tuple[Any, Any]:
    """Return (outputs, new rows) of `block` over all blocks; leading axes are K.

    All at once, or in a looped level one after the other: what a block needs then stays in the
    cache, and the rows are changed in place. On a mesh every device does so with blocks of its own.
    A block may return () for new rows, to change none.
    """
    if not grid.looped or not isinstance(jax.tree.leaves((rows, inputs))[0], jax.Array):
        return block(rows, inputs, shared)
    if grid.mesh is None:
        return _loop(block, rows, inputs, shared)
    split = PartitionSpec(*grid.mesh.axis_names)  # type: ignore[no-untyped-call]
    whole = NamedSharding(grid.mesh, PartitionSpec())  # type: ignore[no-untyped-call]
    run = jax.shard_map(
        partial(_loop, block),
        mesh=grid.mesh,
        in_specs=(split, split, whole.spec),
        out_specs=split,
        check_vma=False,
    )
    # What the blocks read and return is on every device, so that all else is done by each of them,
    # in the order in which one device does it.
    everywhere = partial(jax.lax.with_sharding_constraint, shardings=whole)
    outputs, new = run(rows, everywhere(inputs), everywhere(shared))
    return everywhere(outputs), new


def _at(tree: Any, k: Any) -> Any:
    """Return block `k` of every array of `tree`, with a leading axis of 1."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, k, 1), tree)


def _put(tree: Any, part: Any, k: Any) -> Any:
    """Return `tree` with its block `k` replaced by `part`."""
    put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=k, axis=0)
    return jax.tree.map(put, tree, part)


def _loop(block: Block, rows: Any, inputs: Any, shared: Any) -> tuple[Any, Any]:
    count = jax.tree.leaves((rows, inputs))[0].shape[0]
    outputs, changed = jax.eval_shape(block, _at(rows, 0), _at(inputs, 0), shared)
    outputs = jax.tree.map(lambda x: jnp.zeros((count, *x.shape[1:]), x.dtype), outputs)
    if not jax.tree.leaves(changed):  # a block that only looks

        def look(k: Any, outputs: Any) -> Any:
            return _put(outputs, block(_at(rows, k), _at(inputs, k), shared)[0], k)

        return jax.lax.fori_loop(0, count, look, outputs), changed

    def body(k: Any, carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        # The block is handed from turn to turn: were it read here, XLA would read again after the
        # write, from a copy of the whole array, instead of changing the array in place.
        rows, outputs, here = carry
        out, new = block(here, _at(inputs, k), shared)
        rows, outputs = _put(rows, new, k), _put(outputs, out, k)
        return rows, outputs, _at(rows, jnp.minimum(k + 1, count - 1))

    rows, outputs, _ = jax.lax.fori_loop(0, count, body, (rows, outputs, _at(rows, 0)))
    return outputs, rows


def _filled(grid: Grid, blocks: Num[Array, "K ..."]) -> Num[Array, "K_filled ..."]:
    """Return `blocks` with idle ones of zeros behind, as many as the level has."""
    xp = namespace(blocks)
    idle = grid.rows[0] - blocks.shape[0]
    if not idle:
        return blocks
    return xp.concat([blocks, xp.zeros((idle, *blocks.shape[1:]), dtype=blocks.dtype)])


def largest_block(grid: Grid, entries: int) -> int:
    """Return the largest C for which a block has at most `entries` rows, or 1."""
    divisors = (len(grid.open) ** k for k in range(grid.turn + 1))
    width = grid.responses * grid.axes[2]
    return max((c for c in divisors if c * width <= entries), default=1)
