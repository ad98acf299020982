"""The three functions everything is made of: gradient, reach and backup; and all at once, sweep.

A policy's plan runs down a treeplex (`reach`), leaf payoffs come back as one number per sequence
(`gradient`, the only function that knows how payoffs are stored), and values run up (`backup`)
under whatever rule collapses an infoset's actions into one number: the policy's mean gives
counterfactual values, a maximum a best response. `sweep` does all three for one player and changes
a state on the way; a large level is then visited block by block, and its payoffs, plans and values
never exist as whole arrays.

Policies and plans are rows here, see `csa_games.game`; the empty sequence, whose weight is 1, is
left out of them. Everything runs on numpy arrays (certificates) and on JAX arrays (solvers) alike.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from csa_games.arrays import Array, namespace
from csa_games.game import ASSISTANT, CoupledForm, Grid, Level, SequenceForm, Treeplex
from csa_games.grid import (
    ascend,
    asked,
    by_block,
    descend,
    fan,
    from_blocks,
    heard,
    likelihood,
    public_sequences,
    sum_intents,
    sum_signals,
    unfan,
    visit_blocks,
)
from csa_games.segments import segment_sum

Rows = tuple[Num[Array, "_ _ _"], ...]
"""Numbers per infoset and action of one player: [K, A, N] for each level of the treeplex."""

Scalar = Array | np.floating
"""One number: numpy makes no array of it."""

Payoff = tuple[Scalar, Rows]
"""Numbers per sequence: that of the empty one, and rows of the others."""

Collapse = Callable[[Float[Array, "K A N"], int], Float[Array, "K N"]]
"""(action values of a level, which level) -> values of its infosets."""

Visit = Callable[[Array, Array, Array, Any], tuple[Array, Any]]
"""(action values [K, A, N], legal actions [1 or K, A, 1 or N], own reach [K, N], state of the
level) -> (values [K, N], new state). Every infoset must be treated on its own: the blocks of a
level may come one by one or together."""


def gradient(form: SequenceForm, player: int, plan: Rows) -> Payoff:
    """Return `player`'s payoff per own sequence against the opponent's `plan`, chance included.

    The expected payoff of a plan x is the inner product of x and this vector (von Stengel 1996).
    """
    return expectation(form, player, form.leaves.payoff[player], plan)


def expectation(form: SequenceForm, player: int, number: Float[Array, " L"], plan: Rows) -> Payoff:
    """Return `gradient` with any `number` per leaf in place of the payoff: a component, a tag."""
    leaves = form.leaves
    other = seen(form, 1 - player, plan)[leaves.sequence[1 - player]]
    sums = segment_sum(leaves.gather[player], leaves.chance * number * other)
    root, parts = _parts(form, player, sums)
    if (channel := _channel(form, player)) is None:
        return root, parts
    pairs = zip(channel.grids, parts, strict=True)
    return root, tuple(sum_intents(part, heard(grid, channel.signal)) for grid, part in pairs)


def coupled(form: SequenceForm | CoupledForm) -> CoupledForm:
    """Return `form` ready for `sweep`; one that is ready already is returned as it is.

    Half of the work of summing leaves is the same in every iteration, and is done here.
    """
    if isinstance(form, CoupledForm):
        return form
    leaves = form.leaves
    xp = namespace(leaves.chance)
    other: list[tuple[Array, ...]] = []
    weight: list[tuple[Array, ...]] = []
    for player in (0, 1):
        worth = leaves.chance * leaves.payoff[player]
        worth = xp.concat([worth, xp.zeros(1, dtype=worth.dtype)])  # for what pads a bin
        at = leaves.sequence[1 - player]
        at = xp.concat([at, xp.zeros(1, dtype=at.dtype)])
        bins = leaves.gather[player].bins
        other.append(tuple(at[rows] for rows in bins))
        weight.append(tuple(worth[rows] for rows in bins))
    first, second = (gather.place for gather in leaves.gather)
    return CoupledForm(
        treeplex=form.treeplex,
        other=(other[0], other[1]),
        weight=(weight[0], weight[1]),
        place=(first, second),
        signal=form.signal,
    )


def seen(form: SequenceForm, player: int, plan: Rows) -> Float[Array, " S_seen"]:
    """Return what leaves see of `player`'s plan: the number that `leaves.sequence` points to.

    That is the plan itself, or of the assistant in the factored layout the probability of each
    public sequence.
    """
    if (channel := _channel(form, player)) is None:
        return _joined(form, plan)
    masses = (
        from_blocks(grid, sum_signals(rows, heard(grid, channel.signal)))
        for grid, rows in zip(channel.grids, plan, strict=True)
    )
    return _joined(form, tuple(masses))


def reach(treeplex: Treeplex, policy: Rows) -> Rows:
    """Return the realisation plan of `policy`: the product of its choices up to each sequence."""
    arrivals = _arrivals(treeplex, policy)
    levels = zip(treeplex.levels, policy, arrivals, strict=True)
    return tuple(rows * _each(level, arrival)[:, None] for level, rows, arrival in levels)


def backup(treeplex: Treeplex, payoff: Payoff, collapse: Collapse) -> tuple[Rows, Scalar]:
    """Return the value of every action and of the whole treeplex, from the bottom up.

    An action's value is its own payoff plus the values, collapsed by `collapse`, of the infosets
    that follow it. With the policy's mean these are counterfactual values (Zinkevich et al. 2007):
    weighted by the reach of chance and the opponent, not by the player's own.
    """
    root, rows = payoff
    values: list[Array] = []
    below = None
    for k in reversed(range(len(rows))):
        q = rows[k] if below is None else rows[k] + below
        level, value = treeplex.levels[k], collapse(q, k)
        below = _parents(treeplex, k, unfan(level, value) if isinstance(level, Grid) else value)
        values.append(q)
    return tuple(reversed(values)), root if below is None else root + below


def sweep(
    form: CoupledForm,
    player: int,
    policy: Rows,
    opponent: Rows,
    states: tuple[Any, ...],
    visit: Visit,
) -> tuple[Scalar, tuple[Any, ...]]:
    """Return (value of the whole treeplex, new states) of one way down and up `player`'s levels.

    `form` is what `coupled` returned.

    `policy` is the player's, which own reach is counted by, `opponent` the other's policy, and
    `states` has one entry per level, any pytree of arrays with the leading axis K. Each level's
    state is replaced by what `visit` makes of it and of the level's counterfactual values.
    """
    treeplex, channel = form.treeplex[player], _channel(form, player)
    root, parts = _parts(form, player, _sums(form, player, _seen(form, 1 - player, opponent)))
    arrivals = _arrivals(treeplex, policy)
    new: list[Any] = []
    below = None
    for k in reversed(range(len(policy))):
        level, part, arrival = treeplex.levels[k], parts[k], arrivals[k]
        if isinstance(level, Level):
            q = part if below is None else part + below
            value, state = visit(q, level.legal, arrival, states[k])
        else:
            assert channel is not None  # only the factored layout has grids
            likely = likelihood(channel.signal, level.turn + 1)
            value, state = _visit_grid(level, likely, (part, below, arrival), states[k], visit)
        below = _parents(treeplex, k, value)
        new.append(state)
    return root if below is None else root + below, tuple(reversed(new))


def mean_of(policy: Rows) -> Collapse:
    """Return the rule that collapses action values to their mean under `policy`."""
    return lambda q, k: (policy[k] * q).sum(axis=-2)


def legal_rows(treeplex: Treeplex) -> tuple[Bool[Array, "_ A _"], ...]:
    """Return the mask of the actions that exist, per level; axes that make no difference are 1."""
    return tuple(
        level.legal if isinstance(level, Level) else np.ones((1, level.responses, 1), bool)
        for level in treeplex.levels
    )


def rows_of(treeplex: Treeplex, table: Num[Array, "I A"]) -> Rows:
    """Return the rows of numbers per infoset and action; idle blocks hold zeros."""
    xp = namespace(table)
    rows, start = [], 0
    for level in treeplex.levels:
        blocks, width, size = level.rows
        part = table[start : start + level.infosets, :width].reshape(-1, size, width)
        start += level.infosets
        if idle := blocks - part.shape[0]:
            part = xp.concat([part, xp.zeros((idle, size, width), dtype=part.dtype)])
        rows.append(xp.permute_dims(part, (0, 2, 1)))
    return tuple(rows)


def table_of(treeplex: Treeplex, rows: Rows) -> Num[Array, "I A"]:
    """Undo `rows_of`; slots that a level's rows do not have are 0."""
    if not rows:
        return np.zeros((0, treeplex.width))
    if not all(isinstance(part, np.ndarray) for part in rows):
        xp = namespace(rows[0])
        parts = (
            xp.permute_dims(part, (0, 2, 1)).reshape(-1, part.shape[1])[: level.infosets]
            for level, part in zip(treeplex.levels, rows, strict=True)
        )
        return xp.concat(
            [xp.pad(part, ((0, 0), (0, treeplex.width - part.shape[1]))) for part in parts]
        )
    table, start = np.zeros((treeplex.infosets, treeplex.width), rows[0].dtype), 0
    for level, part in zip(treeplex.levels, rows, strict=True):
        _, width, size = part.shape
        here = table[start : start + level.infosets].reshape(-1, size, treeplex.width)
        here[..., :width] = part[: len(here)].transpose(0, 2, 1)
        start += level.infosets
    return table


def sequence_numbers(treeplex: Treeplex) -> Int[np.ndarray, "I A"]:
    """Return the number of each infoset's sequences, by action; 0 where there is no such slot."""
    rows, start = [], 1
    for level in treeplex.levels:
        size = math.prod(level.rows)
        rows.append(np.arange(start, start + size, dtype=np.int32).reshape(level.rows))
        start += size
    return np.asarray(table_of(treeplex, tuple(rows)), np.int32)


def parent_sequences(treeplex: Treeplex) -> Int[np.ndarray, " I"]:
    """Return the number of the sequence that leads to each infoset."""
    numbers = rows_of(treeplex, sequence_numbers(treeplex))
    parents = [np.zeros(0, np.int32)]
    for k, level in enumerate(treeplex.levels):
        arrival = _arrival(treeplex, k, numbers[k], numbers[k - 1] if k else None)
        first = np.zeros_like if k == 0 else np.asarray  # the empty sequence leads to the top
        parents.append(first(_each(level, arrival)).reshape(-1)[: level.infosets])
    return np.concatenate(parents)


def legal_mask(treeplex: Treeplex) -> Bool[np.ndarray, "I A"]:
    """Return the mask [I, A] of the actions that exist."""
    masks = [np.zeros((0, treeplex.width), dtype=bool)]
    for level, legal in zip(treeplex.levels, legal_rows(treeplex), strict=True):
        mask = np.zeros((level.infosets, treeplex.width), dtype=bool)
        mask[:, : legal.shape[1]] = np.asarray(legal)[0].T
        masks.append(mask)
    return np.concatenate(masks)


def uniform(treeplex: Treeplex) -> Float[np.ndarray, "I A"]:
    """Return the policy [I, A] that plays every legal action with the same probability."""
    legal = legal_mask(treeplex)
    return legal / legal.sum(axis=-1, keepdims=True)


class _Channel(NamedTuple):
    """What couples the assistant's treeplex to the leaves of the factored layout."""

    grids: tuple[Grid, ...]
    signal: Float[Array, "T B Y"]


def _channel(form: SequenceForm | CoupledForm, player: int) -> _Channel | None:
    """Return the channel between leaves and `player`'s sequences, None where they are the same."""
    if form.signal is None or player != ASSISTANT:
        return None
    grids = tuple(level for level in form.treeplex[player].levels if isinstance(level, Grid))
    return _Channel(grids, form.signal)


def _joined(form: SequenceForm | CoupledForm, rows: tuple[Array, ...]) -> Array:
    """Return `rows` as one vector, the 1 of the empty sequence in front."""
    if rows:
        xp, dtype = namespace(rows[0]), rows[0].dtype
    else:
        numbers = form.weight[0][0] if isinstance(form, CoupledForm) else form.leaves.chance
        xp, dtype = namespace(numbers), numbers.dtype
    return xp.concat([xp.ones(1, dtype=dtype), *(part.reshape(-1) for part in rows)])


def _sums(form: CoupledForm, player: int, seen: Float[Array, " S_seen"]) -> Array:
    """Return what each of `player`'s sequences, the public ones of a grid, gets of its payoff."""
    xp = namespace(seen)
    pairs = zip(form.other[player], form.weight[player], strict=True)
    sums = [(weight * seen[other]).sum(axis=-1) for other, weight in pairs]
    return xp.concat([*sums, xp.zeros(1, dtype=seen.dtype)])[form.place[player]]


def _parts(
    form: SequenceForm | CoupledForm, player: int, sums: Float[Array, " S_seen"]
) -> tuple[Scalar, tuple[Array, ...]]:
    """Return numbers of `player`'s sequences, or public ones, level by level.

    That of the empty sequence comes first, then each level's: rows, or [K, A, C, T].
    """
    levels = form.treeplex[player].levels
    channel = _channel(form, player)
    parts, start = [], 1
    for level in levels:
        if channel is None or isinstance(level, Level):
            stop = start + math.prod(level.rows)
            parts.append(sums[start:stop].reshape(level.rows))
        else:
            (p, q, _), intents = level.axes, channel.signal.shape[0]
            stop = start + public_sequences(level, intents)
            public = sums[start:stop].reshape(p, level.responses, q, intents)
            parts.append(by_block(level, public))
        start = stop
    return sums[0], tuple(parts)


def _seen(form: CoupledForm, player: int, policy: Rows) -> Float[Array, " S_seen"]:
    """Return `seen` of the plan of `policy`, without making whole arrays of a looped level."""
    treeplex = form.treeplex[player]
    if (channel := _channel(form, player)) is None:
        return _joined(form, reach(treeplex, policy))
    masses: list[Array] = []
    arrivals = _arrivals(treeplex, policy)
    for grid, rows, arrival in zip(channel.grids, policy, arrivals, strict=True):

        def block(rows: Any, inputs: Any, likely: Array, grid: Grid = grid) -> tuple[Array, Any]:
            arrival, whose = inputs
            return sum_signals(rows * fan(grid, arrival)[:, None], likely[whose]), ()

        likely = likelihood(channel.signal, grid.turn + 1)
        inputs = (arrival, namespace(arrival).asarray(asked(grid)))
        masses.append(from_blocks(grid, visit_blocks(grid, block, rows, inputs, likely)[0]))
    return _joined(form, tuple(masses))


def _visit_grid(
    grid: Grid, likely: Float[Array, "P T Z"], inputs: Any, state: Any, visit: Visit
) -> tuple[Array, Any]:
    """Return (values [K, C, E], summed per parent and ask, new state) of a level.

    `likely` is the likelihood of its signals. `inputs` are the weights on its public sequences,
    what the level below adds to its rows (None for the last), and the plan that leads to it.
    """

    def block(state: Any, inputs: Any, likely: Array) -> tuple[Array, Any]:
        (weight, below, arrival), whose = inputs
        own = sum_intents(weight, likely[whose])
        q = own if below is None else own + below
        legal = namespace(q).ones((1, grid.responses, 1), dtype=bool)
        value, new = visit(q, legal, fan(grid, arrival), state)
        return unfan(grid, value), new

    # Not the likelihood itself, which is the same in many blocks and would be a large array.
    whose = namespace(likely).asarray(asked(grid))
    return visit_blocks(grid, block, state, (inputs, whose), likely)


def _arrivals(treeplex: Treeplex, policy: Rows) -> list[Array]:
    """Return `_arrival` at every level; the last level's own plan, a large array, is not made."""
    arrivals: list[Array] = []
    above = None
    for k, rows in enumerate(policy):
        if k > 0:
            above = policy[k - 1] * _each(treeplex.levels[k - 1], arrivals[k - 1])[:, None]
        arrivals.append(_arrival(treeplex, k, rows, above))
    return arrivals


def _arrival(treeplex: Treeplex, k: int, rows: Array, above: Array | None) -> Array:
    """Return the plan at the sequences that lead to level `k`: [K, N], or [K, C, E] for a grid.

    `above` is the plan of the level above, None for the first; `rows` are any of the level.
    """
    level, xp = treeplex.levels[k], namespace(rows)
    if above is None:
        top = (1, level.infosets) if isinstance(level, Level) else (level.asks, 1, 1)
        return xp.ones(top, dtype=rows.dtype)
    if isinstance(level, Level):
        return above.reshape(-1)[level.parent][None]
    return descend(level, _above(treeplex, k), above)


def _above(treeplex: Treeplex, k: int) -> Grid:
    above = treeplex.levels[k - 1]
    assert isinstance(above, Grid)  # a treeplex is of one kind
    return above


def _each(level: Level | Grid, arrival: Array) -> Num[Array, "K N"]:
    return fan(level, arrival) if isinstance(level, Grid) else arrival


def _parents(treeplex: Treeplex, k: int, value: Array) -> Array | Scalar:
    """Return what level `k`'s values add to the rows above it, at the top to the empty sequence.

    The values are [K, N], or [K, C, E] for a grid.
    """
    level = treeplex.levels[k]
    if isinstance(level, Grid):
        return value.sum() if k == 0 else ascend(level, _above(treeplex, k), value)
    sums = segment_sum(level.children, value[0])
    return sums[0] if k == 0 else sums.reshape(treeplex.levels[k - 1].rows)
