"""Trees that are the same game in other words, for invariance tests."""

from collections.abc import Callable

from csa_games.rules import Chance, Decision, Node, Number, Terminal

Root = Callable[[], Node]
Payoffs = tuple[Number, Number]


def with_payoffs(root: Root, change: Callable[[Payoffs], Payoffs]) -> Root:
    """Return the tree with `change` applied to the payoffs of every leaf."""

    def walk(node: Node) -> Node:
        match node:
            case Terminal(payoffs, tags):
                return Terminal(change(payoffs), tags)
            case Chance(actions, probabilities, child):
                return Chance(actions, probabilities, lambda k: walk(child(k)))
            case Decision(player, infoset, actions, child):
                return Decision(player, infoset, actions, lambda k: walk(child(k)))

    return lambda: walk(root())


def with_actions_reversed(root: Root) -> Root:
    """Return the tree with the actions of every decision and chance node in reverse order."""

    def walk(node: Node) -> Node:
        match node:
            case Terminal():
                return node
            case Chance(actions, probabilities, child):
                last = len(actions) - 1
                return Chance(actions[::-1], probabilities[::-1], lambda k: walk(child(last - k)))
            case Decision(player, infoset, actions, child):
                last = len(actions) - 1
                return Decision(player, infoset, actions[::-1], lambda k: walk(child(last - k)))

    return lambda: walk(root())
