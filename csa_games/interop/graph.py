"""Games as `networkx` graphs, for drawing and for whatever else reads graphs."""

import networkx as nx

from csa_games.errors import InputError
from csa_games.game import Game
from csa_games.rules import Chance, Decision, Terminal, walk


def to_networkx(game: Game, *, most_nodes: int = 100_000) -> nx.DiGraph:
    """Return the tree of `game` as an arborescence with the nodes 0 (the root), 1, 2, ...

    Node attributes: `kind` ("chance", "decision" or "terminal"), `layer` (actions since the root),
    `player` and `infoset` at decisions, `payoffs` at terminals. Edge attributes: `action`, and
    `probability` below chance. Nodes are in pre-order, children in the order of the actions.

    Raises `InputError` when there are more than `most_nodes` nodes.
    """
    graph = nx.DiGraph(name=game.name, players=game.names.players)
    moves: list[Chance | Decision | None] = []
    for number, (parent, k, node) in enumerate(walk(game.root)):
        if number >= most_nodes:
            raise InputError(
                f"the tree of {game.name} has more than {most_nodes} nodes, "
                "the most that become a graph unless asked for more"
            )
        layer = 0 if parent < 0 else graph.nodes[parent]["layer"] + 1
        if isinstance(node, Terminal):
            moves.append(None)
            graph.add_node(number, kind="terminal", layer=layer, payoffs=node.payoffs)
        elif isinstance(node, Chance):
            moves.append(node)
            graph.add_node(number, kind="chance", layer=layer)
        else:
            moves.append(node)
            graph.add_node(
                number, kind="decision", layer=layer, player=node.player, infoset=node.infoset
            )
        above = moves[parent] if parent >= 0 else None
        if above is not None:
            graph.add_edge(parent, number, action=above.actions[k])
            if isinstance(above, Chance):
                graph.edges[parent, number]["probability"] = above.probabilities[k]
    return graph


def layout(graph: nx.DiGraph) -> dict[int, tuple[float, float]]:
    """Return the place (x, y) of every node of a graph that `to_networkx` made.

    Leaves stand at x = 0, 1, 2, ... from left to right, a parent at the mean of its children, and
    every layer one below the other, the root at y = 0. No two edges cross.
    """
    across: dict[int, float] = {}
    leaves = 0
    for number in graph:
        if graph.nodes[number]["kind"] == "terminal":
            across[number] = float(leaves)
            leaves += 1
    for number in reversed(range(len(graph))):  # children have larger numbers than their parent
        if number not in across:
            below = [across[child] for child in graph.successors(number)]
            across[number] = sum(below) / len(below)
    return {number: (across[number], -float(graph.nodes[number]["layer"])) for number in graph}
