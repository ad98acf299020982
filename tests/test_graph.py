"""Games as networkx graphs: what stands on nodes and edges, and where they are drawn."""

from fractions import Fraction

import networkx as nx
import pytest
from hypothesis import given, settings
from known_games import KUHN, LEDUC, LIARS_DICE_3, game
from random_games import roots

from csa_games.build import build
from csa_games.errors import InputError
from csa_games.interop.graph import layout, to_networkx
from csa_games.rules import Chance, Decision, Terminal


def entry_game():
    """Chance (1/4, 3/4), then player 1 stops or goes on: six nodes, pre-order."""
    ends = (Terminal((0.0, 1.0)), Terminal((Fraction(1, 2), -2.0)))
    move = Decision(1, "I", ("stop", "go"), lambda k: ends[k])
    after = (move, Terminal((5.0, 5.0)))
    chances = (Fraction(1, 4), Fraction(3, 4))
    return build(lambda: Chance(("in", "out"), chances, lambda k: after[k]), "entry")


def test_every_attribute_of_a_small_game():
    graph = to_networkx(entry_game())
    assert dict(graph.nodes(data=True)) == {
        0: {"kind": "chance", "layer": 0},
        1: {"kind": "decision", "layer": 1, "player": 1, "infoset": "I"},
        2: {"kind": "terminal", "layer": 2, "payoffs": (0.0, 1.0)},
        3: {"kind": "terminal", "layer": 2, "payoffs": (Fraction(1, 2), -2.0)},
        4: {"kind": "terminal", "layer": 1, "payoffs": (5.0, 5.0)},
    }
    assert {(a, b): data for a, b, data in graph.edges(data=True)} == {
        (0, 1): {"action": "in", "probability": Fraction(1, 4)},
        (0, 4): {"action": "out", "probability": Fraction(3, 4)},
        (1, 2): {"action": "stop"},
        (1, 3): {"action": "go"},
    }
    assert graph.graph == {"name": "entry", "players": ("player 0", "player 1")}


def test_the_layout_of_a_small_game():
    assert layout(to_networkx(entry_game())) == {
        0: (1.25, 0),  # the mean of 0.5 and 2
        1: (0.5, -1),
        2: (0, -2),
        3: (1, -2),
        4: (2, -1),
    }


# Nodes and depth as counted by OpenSpiel 2.0.2.
@pytest.mark.parametrize(
    ("load_string", "nodes", "depth"), [(KUHN, 58, 5), (LIARS_DICE_3, 1_147, 9), (LEDUC, 9_457, 11)]
)
def test_known_games_become_arborescences(load_string, nodes, depth):
    graph = to_networkx(game(load_string))
    assert len(graph) == nodes
    assert nx.is_arborescence(graph)
    lengths = nx.single_source_shortest_path_length(graph, 0)
    assert max(lengths.values()) == depth
    assert lengths == {number: data["layer"] for number, data in graph.nodes(data=True)}


@settings(max_examples=60, deadline=None)
@given(roots())
def test_a_graph_holds_the_whole_game(root):
    graph = to_networkx(build(root, "random"))
    # A walk by actions in the graph meets what the rules say, node by node.
    stack = [(0, root())]
    met = 0
    while stack:
        number, node = stack.pop()
        met += 1
        data = graph.nodes[number]
        if isinstance(node, Terminal):
            assert data["payoffs"] == node.payoffs
            continue
        children = list(graph.successors(number))
        assert [graph.edges[number, c]["action"] for c in children] == list(node.actions)
        if isinstance(node, Chance):
            found = tuple(graph.edges[number, c]["probability"] for c in children)
            assert found == node.probabilities
        else:
            assert (data["player"], data["infoset"]) == (node.player, node.infoset)
        stack += [(c, node.child(k)) for k, c in enumerate(children)]
    assert met == len(graph)


@settings(max_examples=60, deadline=None)
@given(roots())
def test_no_two_edges_of_a_layout_cross(root):
    graph = to_networkx(build(root, "random"))
    place = layout(graph)
    assert len(set(place.values())) == len(graph)
    layers = {}
    for number in nx.dfs_preorder_nodes(graph, 0):
        layers.setdefault(graph.nodes[number]["layer"], []).append(number)
    for members in layers.values():
        across = [place[number][0] for number in members]
        assert across == sorted(across)
        parents = [next(graph.predecessors(number), -1) for number in members]
        assert parents == sorted(parents)
    for number in graph:
        below = [place[c][0] for c in graph.successors(number)]
        if below:
            assert place[number][0] == pytest.approx(sum(below) / len(below))
            assert min(below) <= place[number][0] <= max(below)


def test_a_deep_tree_needs_no_recursion():
    depth = 5_000

    def node(k):
        if k == depth:
            return Terminal((1.0, -1.0))
        return Decision(
            0, str(k), ("on", "off"), lambda a: Terminal((0.0, 0.0)) if a else node(k + 1)
        )

    graph = to_networkx(build(lambda: node(0), "deep"))
    assert layout(graph)[0][1] == 0
    assert min(y for _, y in layout(graph).values()) == -depth


def test_a_graph_that_is_too_large_is_refused():
    ours = game(KUHN)
    assert len(to_networkx(ours, most_nodes=58)) == 58
    with pytest.raises(InputError, match="the tree of kuhn_poker has more than 57 nodes"):
        to_networkx(ours, most_nodes=57)
