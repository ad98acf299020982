"""Rules to arrays: walk a tree once, check it, and lay out both treeplexes and the leaves.

A walk keeps one number per leaf and column, and a few per infoset; of the nodes it keeps nothing.
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from csa_games.errors import InputError
from csa_games.fold import sequence_numbers
from csa_games.game import Game, GameClass, Leaves, Level, Names, SequenceForm, Treeplex
from csa_games.rules import Chance, Decision, Node, Terminal
from csa_games.segments import segments

if TYPE_CHECKING:
    from csa_games.scenario import Scenario

Trail = tuple[Any, Chance | Decision, int] | None
"""A history as a linked list, so that siblings share it: what came before, a node, its action."""

Found = tuple[int, int]
"""An (infoset, action) of one player, numbered in the order of the walk; (-1, 0) is empty."""

ROUNDING = 1e-9  # how far a chance node's probabilities may be off 1
LARGEST = 1e150  # payoff: sums of squares of smaller ones stay finite in float64


@dataclass
class Visited:
    """The infosets of one player, in the order in which a walk first comes to them.

    The player's moves are numbered as well: action k at infoset i is move `start[i] + k`, and 0
    stands for no move. `start` has one entry more than there are infosets, the next free number.
    """

    number: dict[str, int] = field(default_factory=dict)  # of every infoset, by label
    actions: list[tuple[str, ...]] = field(default_factory=list)
    start: "array[int]" = field(default_factory=lambda: array("i", [1]))
    before: "array[int]" = field(default_factory=lambda: array("i"))  # the last move before it
    shared: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)

    def enter(self, infoset: str, actions: tuple[str, ...], before: int) -> int:
        """Return the number of a new infoset; infosets with equal actions keep one tuple."""
        number = self.number[infoset] = len(self.actions)
        self.actions.append(self.shared.setdefault(actions, actions))
        self.start.append(self.start[-1] + len(actions))
        self.before.append(before)
        return number


@dataclass
class Walk:
    """What a walk through a tree finds: the infosets of both players, and columns [L] of leaves."""

    players: tuple[Visited, Visited] = field(default_factory=lambda: (Visited(), Visited()))
    last: "tuple[array[int], array[int]]" = field(  # each player's last move before the leaf
        default_factory=lambda: (array("i"), array("i"))
    )
    chance: "array[float]" = field(default_factory=lambda: array("d"))
    payoff: "tuple[array[float], array[float]]" = field(
        default_factory=lambda: (array("d"), array("d"))
    )
    # By the names of the tags: the leaves that carry these, and their numbers one after another.
    tags: "dict[tuple[str, ...], tuple[array[int], array[float]]]" = field(default_factory=dict)

    def end(
        self, last_0: int, last_1: int, chance: float, payoff_0: float, payoff_1: float
    ) -> None:
        """Add a leaf."""
        self.last[0].append(last_0)
        self.last[1].append(last_1)
        self.chance.append(chance)
        self.payoff[0].append(payoff_0)
        self.payoff[1].append(payoff_1)

    def tag(self, tags: Mapping[str, float]) -> None:
        """Note the tags of the leaf that was added last."""
        names = tuple(tags)
        columns = self.tags.get(names)
        if columns is None:
            columns = self.tags[names] = (array("q"), array("d"))
        columns[0].append(len(self.chance) - 1)
        columns[1].extend(tags.values())


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
    histories that disagree, for which `root` is unfolded once more.

    `game_class` defaults to "zero-sum" when the payoffs of every leaf sum to one constant (to
    1e-12 of the largest payoff), and to "general-sum" otherwise.
    """
    found = walk_nodes(root, most_nodes)
    return lay_out(found, root, name, players=players, game_class=game_class, scenario=scenario)


def walk_nodes(root: Callable[[], Node], most_nodes: int | None = None) -> Walk:
    """Return what a walk from `root` finds, in pre-order; raises what `build` raises."""
    found = Walk()
    # The number of the node that came first to an infoset stands for its history, which a second
    # walk can find again; histories themselves would keep alive every node on their way.
    first: tuple[array[int], array[int]] = (array("q"), array("q"))
    pending: list[tuple[Trail, Chance | Decision, int, int, int, float]] = []
    node, trail, last_0, last_1, probability = root(), None, 0, 0, 1.0
    nodes = 1
    while True:
        if most_nodes is not None and nodes > most_nodes:
            raise too_large(most_nodes)
        if isinstance(node, Terminal):
            found.end(last_0, last_1, probability, *_payoffs(node, trail))
            if node.tags:
                found.tag(node.tags)
        elif isinstance(node, Decision):
            player = node.player
            seen, before = found.players[player], last_1 if player else last_0
            infoset = seen.number.get(node.infoset)
            if infoset is None:
                _check_actions(node, trail)
                infoset = seen.enter(node.infoset, node.actions, before)
                first[player].append(nodes)
            elif seen.actions[infoset] != node.actions or seen.before[infoset] != before:
                raise _disagreement(
                    seen, node, before, _trail_to(root, first[player][infoset]), trail
                )
            move = seen.start[infoset]
            for k in range(len(node.actions) - 1, -1, -1):
                if player:
                    pending.append((trail, node, k, last_0, move + k, probability))
                else:
                    pending.append((trail, node, k, move + k, last_1, probability))
        else:
            chances = _probabilities(node, trail)
            for k in range(len(chances) - 1, -1, -1):
                pending.append((trail, node, k, last_0, last_1, probability * chances[k]))
        if not pending:
            return found
        before_it, parent, k, last_0, last_1, probability = pending.pop()
        trail = (before_it, parent, k)
        node = parent.child(k)
        nodes += 1


def lay_out(
    found: Walk,
    root: Callable[[], Node],
    name: str,
    *,
    players: tuple[str, str] = ("player 0", "player 1"),
    game_class: GameClass | None = None,
    scenario: "Scenario | None" = None,
) -> Game:
    """Return the game of a walk that found nothing wrong; `found` is used up."""
    tags = _columns(found)
    plexes, labels, actions, numbers = [], [], [], []
    for visited, last in zip(found.players, found.last, strict=True):
        moves = _moves(visited)
        seen = _Seen(
            visited.actions,
            [(i, a) for i, a in moves[np.frombuffer(visited.before, np.int32)].tolist()],
        )
        plex, order = _treeplex(seen)
        named = tuple(visited.number)
        visited.number.clear()
        plexes.append(plex)
        labels.append(tuple(named[i] for i in order))
        actions.append(tuple(visited.actions[i] for i in order))
        # In place: the walk's moves become sequences, in the same four bytes per leaf.
        sequence = np.frombuffer(last, np.int32)
        sequence[:] = _sequences(moves, order, plex)[sequence]
        numbers.append(sequence)

    leaves = Leaves(
        sequence=(numbers[0], numbers[1]),
        chance=np.frombuffer(found.chance),
        payoff=(np.frombuffer(found.payoff[0]), np.frombuffer(found.payoff[1])),
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
        tags=tags,
        scenario=scenario,
    )


def too_large(most_nodes: int) -> InputError:
    """Return the error of a tree with more than `most_nodes` nodes."""
    return InputError(f"the tree has more than {most_nodes} nodes, the most allowed here")


def is_distribution(numbers: Sequence[float]) -> bool:
    """Return whether `numbers` are probabilities that sum to 1, to `ROUNDING`."""
    return (
        len(numbers) > 0
        and min(numbers) >= 0
        and max(numbers) <= 2  # keeps the sum finite
        and abs(math.fsum(numbers) - 1) <= ROUNDING  # false when one of them is nan
    )


def are_payoffs(first: float, second: float) -> bool:
    """Return whether both are numbers that `LARGEST` allows."""
    return abs(first) <= LARGEST and abs(second) <= LARGEST  # nan compares as false


def _trail_to(root: Callable[[], Node], number: int) -> Trail:
    """Return the history of the node that a walk from `root` comes to as its `number`-th."""
    pending: list[tuple[Trail, Chance | Decision, int]] = []
    node = root()
    trail: Trail = None
    for _ in range(number - 1):
        if not isinstance(node, Terminal):
            pending.extend((trail, node, k) for k in reversed(range(len(node.actions))))
        trail = pending.pop()
        node = trail[1].child(trail[2])
    return trail


def _spell(trail: Trail) -> str:
    """Return the history at the end of `trail`, readable: its actions, or "the root"."""
    labels = []
    while trail is not None:
        before, node, k = trail
        labels.append(node.actions[k])
        trail = before
    return " / ".join(reversed(labels)) or "the root"


def _payoffs(node: Terminal, trail: Trail) -> tuple[float, float]:
    try:
        first, second = float(node.payoffs[0]), float(node.payoffs[1])
    except OverflowError:  # a fraction beyond the range of float64
        first = second = math.inf
    if not are_payoffs(first, second):
        raise InputError(
            f"the payoffs after {_spell(trail)} are {first} and {second}, "
            f"expected numbers from -{LARGEST:g} to {LARGEST:g}"
        )
    return first, second


def _probabilities(node: Chance, trail: Trail) -> list[float]:
    try:
        numbers = [float(p) for p in node.probabilities]
    except OverflowError:  # a fraction beyond the range of float64
        numbers = [math.inf] * len(node.probabilities)
    if len(numbers) != len(node.actions) or not numbers:
        raise InputError(
            f"the chance node after {_spell(trail)} has {len(node.actions)} actions and "
            f"{len(numbers)} probabilities, expected one of each or more"
        )
    if is_distribution(numbers):
        return numbers
    if not all(0 <= p <= 2 for p in numbers):
        raise InputError(
            f"the chance node after {_spell(trail)} has the probabilities {numbers}, "
            "expected numbers from 0 to 1"
        )
    raise InputError(
        f"the chance probabilities after {_spell(trail)} sum to {math.fsum(numbers):.12g}, "
        "expected 1"
    )


def _check_actions(node: Decision, trail: Trail) -> None:
    if not node.actions or len(set(node.actions)) != len(node.actions):
        raise InputError(
            f"infoset {node.infoset!r} after {_spell(trail)} offers {list(node.actions)}, "
            "expected at least one action, all different"
        )


def _disagreement(
    seen: Visited, node: Decision, before: int, first: Trail, trail: Trail
) -> InputError:
    """Return what is wrong with `node`, whose infoset was first met after `first`."""
    infoset = seen.number[node.infoset]
    if seen.actions[infoset] != node.actions:
        return InputError(
            f"infoset {node.infoset!r} of player {node.player} offers "
            f"{list(seen.actions[infoset])} after {_spell(first)}, but "
            f"{list(node.actions)} after {_spell(trail)}; nodes of one infoset must offer the same"
        )
    return InputError(
        f"player {node.player} has imperfect recall at infoset {node.infoset!r}: "
        f"{_spell_move(seen, seen.before[infoset])} before {_spell(first)}, but "
        f"{_spell_move(seen, before)} before {_spell(trail)}; "
        "only games with perfect recall can be solved"
    )


def _spell_move(seen: Visited, move: int) -> str:
    if move == 0:
        return "it has not moved"
    infoset = bisect_right(seen.start, move) - 1
    label = next(label for label, number in seen.number.items() if number == infoset)
    return f"its last move was {seen.actions[infoset][move - seen.start[infoset]]!r} at {label!r}"


def _moves(visited: Visited) -> Int[np.ndarray, "M 2"]:
    """Return the (infoset, action) of every move of a player; those of move 0 are (-1, 0)."""
    start = np.frombuffer(visited.start, np.int32)
    infoset = np.repeat(np.arange(-1, len(start) - 1), np.diff(start, prepend=0))
    first = np.concatenate([[0], start[:-1]])  # move of infosets -1, 0, 1, ...
    return np.stack([infoset, np.arange(len(infoset)) - first[infoset + 1]], axis=-1)


@dataclass
class _Seen:
    """What the order of a treeplex depends on, by infoset: its actions, and what comes before."""

    actions: list[tuple[str, ...]]
    parent: list[Found]


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
        legal = np.arange(count.max()) < count[:, None]
        levels.append(Level(legal.T[None], parent, segments(parent, slots)))
        above, stride, slots = {i: k for k, i in enumerate(members)}, len(members), legal.size
        order += members
    return Treeplex(tuple(levels), width), order


def _sequences(
    moves: Int[np.ndarray, "M 2"], order: list[int], plex: Treeplex
) -> Int[np.ndarray, " M"]:
    """Return the sequence number of each (infoset, action) of a walk; those of infoset -1 are 0."""
    position = np.zeros(len(order) + 1, dtype=np.int64)
    position[order] = np.arange(len(order))
    infoset, action = moves.T
    numbers = np.concatenate([sequence_numbers(plex), np.zeros((1, plex.width), np.int32)])
    position[-1] = len(order)
    return numbers[position[infoset], action]


def _zero_sum_or_general(leaves: Leaves) -> GameClass:
    first, second = (np.asarray(payoff) for payoff in leaves.payoff)
    scale = max(1.0, -first.min(), first.max(), -second.min(), second.max())
    return "zero-sum" if np.ptp(first + second) <= 1e-12 * scale else "general-sum"


def _columns(found: Walk) -> dict[str, Float[np.ndarray, " L"]]:
    """Return the tags of a walk, each zero on the leaves without it."""
    columns: dict[str, np.ndarray] = {}
    for names, (leaves, numbers) in found.tags.items():
        rows = np.frombuffer(numbers).reshape(-1, len(names))
        for k, name in enumerate(names):
            column = columns.setdefault(name, np.zeros(len(found.chance)))
            column[np.frombuffer(leaves, np.int64)] = rows[:, k]
    found.tags.clear()
    return columns
