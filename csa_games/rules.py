"""A game as a tree that unfolds on demand: chance, decision and terminal nodes.

Nothing else describes a game: dialogue scenarios, `.efg` files and OpenSpiel games all become a
root node, and `build` turns a root node into arrays.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

Number = float | Fraction


@dataclass(frozen=True, slots=True)
class Chance:
    """Nature moves: `probabilities[k]` for `actions[k]`, leading to `child(k)`."""

    actions: tuple[str, ...]
    probabilities: tuple[Number, ...]
    child: Callable[[int], "Node"] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Decision:
    """A player moves; nodes with the same `infoset` look alike to it and offer the same actions."""

    player: int
    infoset: str
    actions: tuple[str, ...]
    child: Callable[[int], "Node"] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Terminal:
    """The end, with each player's payoff and any numbers worth reporting about it."""

    payoffs: tuple[Number, Number]
    tags: Mapping[str, float] = field(default_factory=dict)


Node = Chance | Decision | Terminal

History = tuple[str, ...]
"""The labels of the actions taken from the root."""


def from_function(node_at: Callable[[History], Node]) -> Node:
    """Return the root of the game given by a function from histories to nodes.

    `node_at` may leave `child` as `no_child`; it is called again with the longer history.
    """

    def unfold(history: History) -> Node:
        match node_at(history):
            case Chance(actions, probabilities, _):
                return Chance(actions, probabilities, lambda k: unfold((*history, actions[k])))
            case Decision(player, infoset, actions, _):
                return Decision(player, infoset, actions, lambda k: unfold((*history, actions[k])))
            case terminal:
                return terminal

    return unfold(())


def no_child(k: int) -> Node:
    """Stand in for `child` in nodes that `from_function` completes."""
    raise NotImplementedError("wrap the function in csa_games.rules.from_function")


def walk(root: Callable[[], Node]) -> Iterator[tuple[int, int, Node]]:
    """Yield (parent, k, node) for every node: a parent before its children, left to right.

    Nodes are numbered 0, 1, 2, ... in this order; `node` is child `k` of node `parent`, and the
    root has the parent -1. No node is kept longer than its own children need it.
    """
    stack: list[tuple[int, int, Callable[[int], Node]]] = [(-1, 0, lambda _: root())]
    number = 0
    while stack:
        parent, k, child = stack.pop()
        node = child(k)
        yield parent, k, node
        if not isinstance(node, Terminal):
            child = node.child
            stack += [(number, a, child) for a in reversed(range(len(node.actions)))]
        number += 1
