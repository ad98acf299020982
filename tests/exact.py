"""Values and best responses in exact rationals, by walking the tree: slow, and shares no code.

The yardstick for everything that goes through arrays. A policy here maps (player, infoset) to a
tuple of fractions, one per action.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache

from csa_games.rules import Chance, Decision, Node, Terminal

ExactPolicy = Mapping[tuple[int, str], tuple[Fraction, ...]]
Root = Callable[[], Node]


def infosets(root: Root) -> dict[tuple[int, str], int]:
    """Return the number of actions at every (player, infoset) of the tree."""
    found: dict[tuple[int, str], int] = {}
    stack = [root()]
    while stack:
        node = stack.pop()
        if isinstance(node, Decision):
            found[node.player, node.infoset] = len(node.actions)
        if not isinstance(node, Terminal):
            stack += [node.child(k) for k in range(len(node.actions))]
    return found


def random_policy(root: Root, seed: int) -> ExactPolicy:
    """Return a policy with small rational probabilities, some of them zero."""
    numbers = random.Random(seed)
    policy = {}
    for where, count in sorted(infosets(root).items()):
        weights = [numbers.randint(0, 4) for _ in range(count)]
        weights[numbers.randrange(count)] += 1
        policy[where] = tuple(Fraction(w, sum(weights)) for w in weights)
    return policy


def value(root: Root, policy: ExactPolicy) -> tuple[Fraction, Fraction]:
    """Return both players' expected payoffs."""

    def walk(node: Node) -> tuple[Fraction, Fraction]:
        match node:
            case Terminal(payoffs):
                return Fraction(payoffs[0]), Fraction(payoffs[1])
            case Chance(_, probabilities, child):
                weights = tuple(map(Fraction, probabilities))
            case Decision(player, infoset, _, child):
                weights = policy[player, infoset]
        parts = [(w, walk(child(k))) for k, w in enumerate(weights)]
        return sum(w * u[0] for w, u in parts), sum(w * u[1] for w, u in parts)

    return walk(root())


def best_response_value(root: Root, player: int, policy: ExactPolicy) -> Fraction:
    """Return what `player` gets by a best response to the other's part of `policy`."""
    tree = root()
    members: dict[str, list[tuple[Fraction, Decision]]] = defaultdict(list)

    def collect(node: Node, weight: Fraction) -> None:
        match node:
            case Terminal():
                return
            case Chance(_, probabilities, child):
                weights = tuple(map(Fraction, probabilities))
            case Decision(mover, infoset, actions, child) if mover == player:
                members[infoset].append((weight, node))
                weights = (Fraction(1),) * len(actions)
            case Decision(mover, infoset, _, child):
                weights = policy[mover, infoset]
        for k, w in enumerate(weights):
            collect(child(k), weight * w)

    @cache
    def choice(infoset: str) -> int:
        nodes = members[infoset]
        count = len(nodes[0][1].actions)
        return max(
            range(count), key=lambda k: sum(weight * worth(node.child(k)) for weight, node in nodes)
        )

    def worth(node: Node) -> Fraction:
        match node:
            case Terminal(payoffs):
                return Fraction(payoffs[player])
            case Chance(_, probabilities, child):
                return sum(Fraction(p) * worth(child(k)) for k, p in enumerate(probabilities))
            case Decision(mover, infoset, _, child) if mover == player:
                return worth(child(choice(infoset)))
            case Decision(mover, infoset, _, child):
                return sum(p * worth(child(k)) for k, p in enumerate(policy[mover, infoset]))

    collect(tree, Fraction(1))
    return worth(tree)
