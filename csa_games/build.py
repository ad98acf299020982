"""Rules to arrays: walk a tree once, check it, and lay out both treeplexes and the leaves."""

import math
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from csa_games.errors import InputError
from csa_games.fold import sequence_numbers
from csa_games.game import Game, GameClass, Leaves, Level, Names, SequenceForm, Treeplex
from csa_games.rules import Chance, Decision, History, Node, Terminal
from csa_games.segments import segments

if TYPE_CHECKING:
    from csa_games.scenario import Scenario

Trail = tuple[Any, str] | None
"""A history as a linked list, so that siblings share it: (what came before, last action)."""

Found = tuple[int, int]
"""An (infoset, action) of one player, numbered in the order of the walk; (-1, 0) is empty."""

EMPTY: Found = (-1, 0)
ROUNDING = 1e-9  # how far a chance node's probabilities may be off 1
LARGEST = 1e150  # payoff: sums of squares of smaller ones stay finite in float64


@dataclass
class _Seen:
    """What the walk learnt about one player: lists by infoset, in the order of first visits."""

    number: dict[str, int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    actions: list[tuple[str, ...]] = field(default_factory=list)
    parent: list[Found] = field(default_factory=list)
    first: list[Trail] = field(default_factory=list)


def build(
    root: Callable[[], Node],
    name: str,
    *,
    players: tuple[str, str] = ("player 0", "player 1"),
    game_class: GameClass | None = None,
    scenario: "Scenario | None" = None,
    most_nodes: int | None = None,
) -> Game:
    """Return the game that `root` unfolds to.

    Raises `InputError` when chance probabilities are negative, not finite or do not sum to 1 (to
    1e-9), when payoffs are not numbers up to 1e150 in size, when there are more than `most_nodes`
    nodes (None: no limit), when the nodes of an infoset offer different actions, or when a player
    forgets what it knew or did (imperfect recall); the last two name the infoset and the two
    histories that disagree.

    `game_class` defaults to "zero-sum" when the payoffs of every leaf sum to one constant (to
    1e-12 of the largest payoff), and to "general-sum" otherwise.
    """
    seen = (_Seen(), _Seen())
    # One machine number per leaf and column: Python objects would take several times the memory.
    ends = (array("q"), array("q"))
    chance, payoff = array("d"), (array("d"), array("d"))
    tags: dict[str, array[float]] = {}

    stack: list[tuple[Callable[[int], Node], int, Trail, Found, Found, float]] = [
        (lambda _: root(), 0, None, EMPTY, EMPTY, 1.0)
    ]
    nodes = 0
    while stack:
        nodes += 1
        if most_nodes is not None and nodes > most_nodes:
            raise InputError(f"the tree has more than {most_nodes} nodes, the most allowed here")
        child, k, trail, last_0, last_1, probability = stack.pop()
        node = child(k)
        if isinstance(node, Terminal):
            first, second = _payoffs(node, trail)
            ends[0].extend(last_0)
            ends[1].extend(last_1)
            chance.append(probability)
            payoff[0].append(first)
            payoff[1].append(second)
            _note(tags, node.tags, len(chance) - 1)
        elif isinstance(node, Chance):
            _check_chance(node, trail)
            for a in reversed(range(len(node.actions))):
                stack.append(
                    (
                        node.child,
                        a,
                        (trail, node.actions[a]),
                        last_0,
                        last_1,
                        probability * float(node.probabilities[a]),
                    )
                )
        else:
            last = (last_0, last_1)[node.player]
            infoset = _visit(seen[node.player], node, last, trail)
            for a in reversed(range(len(node.actions))):
                own = (infoset, a)
                after = (own, last_1) if node.player == 0 else (last_0, own)
                stack.append((node.child, a, (trail, node.actions[a]), *after, probability))

    plexes, labels, actions, numbers = [], [], [], []
    for player in (0, 1):
        plex, order = _treeplex(seen[player])
        plexes.append(plex)
        labels.append(tuple(seen[player].labels[i] for i in order))
        actions.append(tuple(seen[player].actions[i] for i in order))
        numbers.append(_sequences(ends[player], order, plex))

    leaves = Leaves(
        sequence=(numbers[0], numbers[1]),
        chance=np.frombuffer(chance),
        payoff=(np.frombuffer(payoff[0]), np.frombuffer(payoff[1])),
        gather=(
            segments(numbers[0], plexes[0].sequences),
            segments(numbers[1], plexes[1].sequences),
        ),
    )
    return Game(
        name=name,
        form=SequenceForm((plexes[0], plexes[1]), leaves),
        names=Names(players, (labels[0], labels[1]), (actions[0], actions[1])),
        root=root,
        game_class=game_class or _zero_sum_or_general(leaves),
        tags={name: _padded(column, len(chance)) for name, column in tags.items()},
        scenario=scenario,
    )


def spell(trail: Trail) -> str:
    """Return the history at the end of `trail`, readable: its actions, or "the root"."""
    return " / ".join(history(trail)) or "the root"


def history(trail: Trail) -> History:
    """Return the actions of `trail` from the root on."""
    labels = []
    while trail is not None:
        trail, label = trail
        labels.append(label)
    return tuple(reversed(labels))


def _payoffs(node: Terminal, trail: Trail) -> tuple[float, float]:
    try:
        first, second = float(node.payoffs[0]), float(node.payoffs[1])
    except OverflowError:  # a fraction beyond the range of float64
        first = second = math.inf
    if not (abs(first) <= LARGEST and abs(second) <= LARGEST):  # nan compares as false
        raise InputError(
            f"the payoffs after {spell(trail)} are {first} and {second}, "
            f"expected numbers from -{LARGEST:g} to {LARGEST:g}"
        )
    return first, second


def _check_chance(node: Chance, trail: Trail) -> None:
    numbers = [float(p) for p in node.probabilities]
    if len(numbers) != len(node.actions) or not numbers:
        raise InputError(
            f"the chance node after {spell(trail)} has {len(node.actions)} actions and "
            f"{len(numbers)} probabilities, expected one of each or more"
        )
    if not all(math.isfinite(p) and p >= 0 for p in numbers):
        raise InputError(
            f"the chance node after {spell(trail)} has the probabilities {numbers}, "
            "expected numbers from 0 to 1"
        )
    if abs(math.fsum(numbers) - 1) > ROUNDING:
        raise InputError(
            f"the chance probabilities after {spell(trail)} sum to {math.fsum(numbers):.12g}, "
            "expected 1"
        )


def _visit(seen: _Seen, node: Decision, last: Found, trail: Trail) -> int:
    """Return the number of `node`'s infoset, after checking it against its first visit."""
    number = seen.number.get(node.infoset)
    if number is None:
        number = len(seen.labels)
        if not node.actions or len(set(node.actions)) != len(node.actions):
            raise InputError(
                f"infoset {node.infoset!r} after {spell(trail)} offers {list(node.actions)}, "
                "expected at least one action, all different"
            )
        seen.number[node.infoset] = number
        seen.labels.append(node.infoset)
        seen.actions.append(node.actions)
        seen.parent.append(last)
        seen.first.append(trail)
    elif seen.actions[number] != node.actions:
        raise InputError(
            f"infoset {node.infoset!r} of player {node.player} offers "
            f"{list(seen.actions[number])} after {spell(seen.first[number])}, but "
            f"{list(node.actions)} after {spell(trail)}; nodes of one infoset must offer the same"
        )
    elif seen.parent[number] != last:
        raise InputError(
            f"player {node.player} has imperfect recall at infoset {node.infoset!r}: "
            f"{_spell_last(seen, seen.parent[number])} before {spell(seen.first[number])}, but "
            f"{_spell_last(seen, last)} before {spell(trail)}; "
            "only games with perfect recall can be solved"
        )
    return number


def _spell_last(seen: _Seen, last: Found) -> str:
    if last == EMPTY:
        return "it has not moved"
    infoset, action = last
    return f"its last move was {seen.actions[infoset][action]!r} at {seen.labels[infoset]!r}"


def _treeplex(seen: _Seen) -> tuple[Treeplex, list[int]]:
    """Return one player's treeplex and the walk's infoset numbers in treeplex order."""
    width = max((len(actions) for actions in seen.actions), default=1)
    depth: list[int] = []
    for infoset, _ in seen.parent:  # a parent is visited before its children
        depth.append(0 if infoset < 0 else depth[infoset] + 1)

    by_level: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for infoset, k in enumerate(depth):
        by_level[k].append(infoset)

    levels, order = [], []
    # Positions in the level above, how many sequences of it one action has, and how many it has.
    above, stride, slots = {-1: 0}, 0, 1
    for members in by_level:
        above_of = {i: above[seen.parent[i][0]] for i in members}
        # Stable: walk order inside.
        members = sorted(members, key=lambda i: (above_of[i], seen.parent[i][1]))
        parent = np.array([above_of[i] + stride * seen.parent[i][1] for i in members], np.int32)
        count = np.array([len(seen.actions[i]) for i in members])
        legal = np.arange(width) < count[:, None]
        levels.append(Level(legal.T[None], parent, segments(parent, slots)))
        above, stride = {i: k for k, i in enumerate(members)}, len(members)
        slots = stride * width
        order += members
    return Treeplex(tuple(levels), width), order


def _sequences(last: "array[int]", order: list[int], plex: Treeplex) -> np.ndarray:
    """Return the sequence number [L] of each leaf's last (infoset, action)."""
    position = np.zeros(len(order) + 1, dtype=np.int32)  # the final slot serves infoset -1
    position[order] = np.arange(len(order))
    infoset, action = np.frombuffer(last, dtype=np.int64).reshape(-1, 2).T
    number = np.concatenate([sequence_numbers(plex), np.zeros((1, plex.width), np.int32)])
    position[-1] = len(order)
    return number[position[infoset], action]


def _zero_sum_or_general(leaves: Leaves) -> GameClass:
    total = np.asarray(leaves.payoff[0]) + np.asarray(leaves.payoff[1])
    scale = max(float(np.abs(leaves.payoff).max()), 1.0)
    return "zero-sum" if np.ptp(total) <= 1e-12 * scale else "general-sum"


def _note(columns: "dict[str, array[float]]", tags: Mapping[str, float], leaf: int) -> None:
    """Append a leaf's tags to their columns; a column is zero on the leaves that it skips."""
    for name, number in tags.items():
        column = columns.get(name)
        if column is None:
            column = columns[name] = array("d")
        if len(column) < leaf:
            column.frombytes(bytes(8 * (leaf - len(column))))
        column.append(number)


def _padded(column: "array[float]", length: int) -> np.ndarray:
    column.frombytes(bytes(8 * (length - len(column))))
    return np.frombuffer(column)
