"""A whole tree kept in flat arrays, for what must point into it: a parsed file, another library."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from csa_games.rules import Chance, Decision, Node, Terminal, no_child


@dataclass(frozen=True)
class Tree:
    """The N nodes of a tree, numbered as `csa_games.rules.walk` numbers them.

    Nodes that differ in their children alone share one entry, whose own `child` is not used.
    """

    nodes: list[Node]  # [N]
    first: Sequence[int]  # [N], where a node's children begin in `child`
    child: Sequence[int]  # [N - 1], numbers of the children, in the order of the actions

    def root(self) -> Node:
        """Return the root, to be unfolded like any other."""
        return self._node(0)

    def after(self, number: int, k: int) -> int:
        """Return the number of child `k` of node `number`."""
        return self.child[self.first[number] + k]

    def _node(self, number: int) -> Node:
        node = self.nodes[number]
        if isinstance(node, Terminal):
            return node
        child: Callable[[int], Node] = partial(self._child, number)
        if isinstance(node, Chance):
            return Chance(node.actions, node.probabilities, child)
        return Decision(node.player, node.infoset, node.actions, child)

    def _child(self, number: int, k: int) -> Node:
        return self._node(self.after(number, k))


def collect(visits: Iterable[tuple[int, int, Node]]) -> Tree:
    """Return the tree of `visits` (parent, k, node), in the order of `walk`; tags are dropped."""
    nodes: list[Node] = []
    first, child = array("q"), array("q")
    shared: dict[tuple[object, ...], Node] = {}
    for parent, k, node in visits:
        if parent >= 0:
            child[first[parent] + k] = len(nodes)
        first.append(len(child))
        if not isinstance(node, Terminal):
            child.extend([-1] * len(node.actions))
        key = _looks(node)
        if key not in shared:
            shared[key] = _alone(node)
        nodes.append(shared[key])
    return Tree(nodes, first, child)


def _looks(node: Node) -> tuple[object, ...]:
    """Return what tells `node` from others, its children aside."""
    if isinstance(node, Terminal):
        return node.payoffs
    if isinstance(node, Chance):
        return node.actions, node.probabilities
    return node.player, node.infoset, node.actions


def _alone(node: Node) -> Node:
    """Return `node` without what hangs on it: children, tags."""
    return Terminal(node.payoffs) if isinstance(node, Terminal) else replace(node, child=no_child)
