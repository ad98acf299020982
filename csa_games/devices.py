"""Laying a game over several devices: blocks of public histories, a shard for each.

The looped level of a dialogue holds nearly all of its rows, and its blocks have nothing to do with
one another: given the plans that lead to them, each is updated on its own. So its rows are split
along the axis of blocks, and everything else, small, is on every device. What crosses between
devices in an iteration is the values of the level's parents and what leaves see of the plan, both
by the collectives that XLA inserts; the sums are those of one device, in the same order.
"""

from dataclasses import replace

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from csa_games.fold import Rows
from csa_games.game import Grid, Level, SequenceForm, Treeplex


def is_looped(level: Level | Grid) -> bool:
    """Return whether the blocks of `level` are visited one after the other."""
    return isinstance(level, Grid) and level.looped


def sharded(form: SequenceForm, mesh: Mesh) -> SequenceForm:
    """Return `form` with the blocks of its looped levels laid over `mesh`, idle ones among them.

    Other levels and forms without a looped level are left as they are.
    """
    first, second = (
        replace(treeplex, levels=tuple(_on(level, mesh) for level in treeplex.levels))
        for treeplex in form.treeplex
    )
    return replace(form, treeplex=(first, second))


def _on(level: Level | Grid, mesh: Mesh) -> Level | Grid:
    if isinstance(level, Grid) and level.looped:
        return replace(level, mesh=mesh)
    return level


def mesh_of(devices: int) -> Mesh:
    """Return the mesh of the first `devices` devices, with the axis "histories"."""
    return Mesh(np.array(jax.devices()[:devices]), ("histories",))


def rows_sharding(treeplex: Treeplex, mesh: Mesh) -> tuple[NamedSharding, ...]:
    """Return where the rows of each level go."""
    whole, split = PartitionSpec(), PartitionSpec("histories")
    return tuple(
        NamedSharding(mesh, split if is_looped(level) else whole) for level in treeplex.levels
    )


def place_rows(treeplex: Treeplex, rows: Rows, mesh: Mesh) -> Rows:
    """Return `rows` on the devices of `mesh`."""
    return tuple(map(jax.device_put, rows, rows_sharding(treeplex, mesh)))
