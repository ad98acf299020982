"""A plain reference: CFR+ on the sequence form with numpy and scipy, from a walk of its own.

It shares no code with the library, so that it can both check its answers and race it. The payoff
matrix is in compressed rows, once as it is and once transposed; a player's sequences stand in one
vector, the actions of an infoset side by side and the infosets from shallow to deep, so that each
step is one numpy call per level or one for all levels (von Stengel 1996; Tammelin 2014).

Letters: I infosets and S sequences of a player, the empty one first.
"""

from array import array
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

Vector = Any  # a numpy array; jaxtyping is not among the peers' packages


@dataclass(frozen=True)
class Decisions:
    """One player's infosets, shallow to deep; infoset i's actions start at sequence `start[i]`."""

    start: Vector  # [I]
    count: Vector  # [I] actions
    parent: Vector  # [I] the sequence that leads to it
    owner: Vector  # [S - 1] the infoset of each sequence but the empty one
    levels: tuple[tuple[slice, slice], ...]  # (infosets, sequences)

    @property
    def sequences(self) -> int:
        """S, the empty sequence included."""
        return 1 + len(self.owner)


@dataclass(frozen=True)
class ZeroSum:
    """A two-player zero-sum game: `payoff` [S_0, S_1] is what player 0 gets, chance included."""

    decisions: tuple[Decisions, Decisions]
    payoff: sparse.csr_array
    nodes: int


def walk(game: Any) -> ZeroSum:
    """Return the sequence form of an OpenSpiel game; a simultaneous one has to be in turns."""
    number: tuple[dict[str, int], dict[str, int]] = ({}, {})
    first, count, parent, depth = (_empty() for _ in range(4))  # by player, by infoset
    slots = [1, 1]
    last = (array("q"), array("q"))  # by player, by leaf
    weight = array("d")
    depth_of: tuple[list[int], list[int]] = ([0], [0])  # by sequence
    nodes = 0
    stack = [(game.new_initial_state(), 0, 0, 1.0)]
    while stack:
        state, own_0, own_1, chance = stack.pop()
        nodes += 1
        if state.is_terminal():
            last[0].append(own_0)
            last[1].append(own_1)
            weight.append(chance * state.player_return(0))
        elif state.is_chance_node():
            stack += [
                (state.child(a), own_0, own_1, chance * p) for a, p in state.chance_outcomes()
            ]
        else:
            player, actions = state.current_player(), state.legal_actions()
            label = state.information_state_string()
            i = number[player].setdefault(label, len(number[player]))
            own = own_1 if player else own_0
            if i == len(first[player]):
                first[player].append(slots[player])
                count[player].append(len(actions))
                parent[player].append(own)
                depth[player].append(depth_of[player][own])
                depth_of[player].extend([depth_of[player][own] + 1] * len(actions))
                slots[player] += len(actions)
            for a, action in enumerate(actions, first[player][i]):
                after = (own_0, a) if player else (a, own_1)
                stack.append((state.child(action), *after, chance))

    ordered = [_ordered(first[p], count[p], parent[p], depth[p], slots[p]) for p in (0, 1)]
    rows, columns = (ordered[p][1][np.frombuffer(last[p], np.int64)] for p in (0, 1))
    shape = (slots[0], slots[1])
    payoff = sparse.coo_array((np.frombuffer(weight), (rows, columns)), shape=shape).tocsr()
    payoff.eliminate_zeros()
    return ZeroSum((ordered[0][0], ordered[1][0]), payoff, nodes)


def _empty() -> tuple[list[int], list[int]]:
    return [], []


def _ordered(
    first: list[int], count: list[int], parent: list[int], depth: list[int], slots: int
) -> tuple[Decisions, Vector]:
    """Return a player's decisions from shallow to deep, and the new number of each sequence."""
    depths = np.array(depth)
    order = np.argsort(depths, kind="stable")
    counts = np.array(count)[order]
    start = 1 + np.concatenate([[0], np.cumsum(counts)[:-1]])
    owner = np.repeat(np.arange(len(order)), counts)
    within = np.arange(slots - 1) - (start - 1)[owner]
    renumbered = np.zeros(slots, np.int64)
    renumbered[np.array(first)[order][owner] + within] = np.arange(1, slots)
    edges = np.searchsorted(depths[order], np.arange(depths.max() + 2))
    ends = np.append(start, slots)
    levels = tuple(
        (slice(a, b), slice(int(ends[a]), int(ends[b]))) for a, b in pairwise(edges.tolist())
    )
    plan = renumbered[np.array(parent)[order]]
    return Decisions(start, counts, plan, owner, levels), renumbered


class CFRPlus:
    """CFR+ in float64: alternating, regret matching plus, linear averaging, no dead zone.

    In each half-iteration the plan that was used enters the average, with weight t.
    """

    def __init__(self, game: ZeroSum) -> None:
        self.game = game
        self.from_columns = game.payoff
        self.from_rows = game.payoff.T.tocsr()
        self.before = [plan.parent[plan.owner] for plan in game.decisions]  # by sequence
        self.uniform = [1 / plan.count[plan.owner] for plan in game.decisions]
        self.policy = [uniform.copy() for uniform in self.uniform]
        self.plan = [self._plan(player, self.policy[player]) for player in (0, 1)]
        self.regret = [np.zeros(plan.sequences - 1) for plan in game.decisions]
        self.plan_sum = [np.zeros(plan.sequences) for plan in game.decisions]
        self.t = 0

    def iterate(self, steps: int) -> None:
        """Do `steps` more iterations."""
        for _ in range(steps):
            self.t += 1
            self._improve(0, self.from_columns @ self.plan[1])
            self._improve(1, -(self.from_rows @ self.plan[0]))

    def nash_conv(self) -> float:
        """Return what both players together would gain by best responses to the averages."""
        average = [total / total[0] for total in self.plan_sum]
        first = self._best(0, self.from_columns @ average[1])
        second = self._best(1, -(self.from_rows @ average[0]))
        return first + second  # the values of the averages cancel

    def _improve(self, player: int, value: Vector) -> None:
        """Improve a player's policy given the payoff `value` [S] of its sequences alone."""
        decisions, policy, regret = (
            self.game.decisions[player],
            self.policy[player],
            self.regret[player],
        )
        mean = np.empty(len(decisions.count))
        for infosets, sequences in reversed(decisions.levels):
            weighted = policy[sequences.start - 1 : sequences.stop - 1] * value[sequences]
            mean[infosets] = np.add.reduceat(weighted, decisions.start[infosets] - sequences.start)
            self._lift(decisions, infosets, mean[infosets], value)
        regret += value[1:]
        regret -= mean[decisions.owner]
        np.maximum(regret, 0, out=regret)
        self.plan_sum[player] += self.t * self.plan[player]
        total = np.add.reduceat(regret, decisions.start - 1)[decisions.owner]
        np.copyto(policy, self.uniform[player])
        np.divide(regret, total, out=policy, where=total > 0)
        self.plan[player] = self._plan(player, policy)

    def _plan(self, player: int, policy: Vector) -> Vector:
        """Return the realisation plan [S] of a policy [S - 1]."""
        plan = np.empty(len(policy) + 1)
        plan[0] = 1
        for _, sequences in self.game.decisions[player].levels:
            own = slice(sequences.start - 1, sequences.stop - 1)
            plan[sequences] = policy[own] * plan[self.before[player][own]]
        return plan

    def _best(self, player: int, value: Vector) -> float:
        """Return the value of a best response given the payoff `value` [S] of its sequences."""
        decisions = self.game.decisions[player]
        for infosets, sequences in reversed(decisions.levels):
            best = np.maximum.reduceat(
                value[sequences], decisions.start[infosets] - sequences.start
            )
            self._lift(decisions, infosets, best, value)
        return float(value[0])

    def _lift(self, decisions: Decisions, infosets: slice, of: Vector, value: Vector) -> None:
        """Add what the infosets of a level are worth to the sequences that lead to them."""
        parent = decisions.parent[infosets]
        low = int(parent[0]) if len(parent) == 1 else int(parent.min())
        above = np.bincount(parent - low, weights=of)
        value[low : low + len(above)] += above
