"""The builder: sizes of known games, the order of a treeplex, and what it refuses."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from known_games import BATTLESHIP_2, GOOFSPIEL_3, KUHN, LEDUC, LIARS_DICE_3, game
from random_games import roots

from csa_games.build import build, walk_nodes
from csa_games.errors import InputError
from csa_games.fold import legal_mask
from csa_games.rules import Chance, Decision, Terminal, from_function, no_child, walk

END = Terminal((0.0, 0.0))


def fixed(*nodes):
    """Return the `child` that leads to these nodes."""
    return lambda k: nodes[k]


def coin(*nodes, probabilities=None):
    count = len(nodes)
    labels = ("heads", "tails", "edge")[:count]
    return Chance(labels, probabilities or (Fraction(1, count),) * count, fixed(*nodes))


def refusal(root):
    with pytest.raises(InputError) as caught:
        build(lambda: root, "a game")
    return str(caught.value)


# Nodes, terminals, infosets, actual sequences (legal actions + 1) and own levels, all computed with
# OpenSpiel 2.0.2; the infosets and sequences of Kuhn and Leduc are those of the literature as well.
SIZES = {
    KUHN: (58, 30, (6, 6), (13, 13), (2, 1)),
    GOOFSPIEL_3: (67, 36, (8, 8), (18, 18), (2, 2)),
    LIARS_DICE_3: (1_147, 567, (96, 96), (190, 190), (4, 3)),
    LEDUC: (9_457, 5_520, (468, 468), (1_093, 1_093), (4, 4)),
    BATTLESHIP_2: (10_069, 5_568, (1_413, 1_873), (2_965, 4_101), (4, 4)),
}


@pytest.mark.parametrize("load_string", SIZES)
def test_known_games_have_their_known_sizes(load_string):
    nodes, terminals, infosets, sequences, levels = SIZES[load_string]
    ours = game(load_string)
    plexes = ours.form.treeplex
    assert sum(1 for _ in walk(ours.root)) == nodes
    assert len(ours.form.leaves.chance) == terminals
    assert tuple(plex.infosets for plex in plexes) == infosets
    assert tuple(int(legal_mask(plex).sum()) + 1 for plex in plexes) == sequences
    assert tuple(len(plex.levels) for plex in plexes) == levels
    assert ours.game_class == "zero-sum"


def own_last_moves(root, player):
    """Return {infoset: the player's (infoset, action) before it} by a walk that keeps no arrays."""
    found = {}

    def visit(node, last):
        if isinstance(node, Terminal):
            return
        mine = isinstance(node, Decision) and node.player == player
        if mine:
            found[node.infoset] = last
        for k, label in enumerate(node.actions):
            visit(node.child(k), (node.infoset, label) if mine else last)

    visit(root(), None)
    return found


@settings(max_examples=60, deadline=None)
@given(roots())
def test_a_treeplex_is_ordered_shallow_to_deep_and_knows_its_parents(root):
    ours = build(root, "random")
    for player, plex in enumerate(ours.form.treeplex):
        labels, actions = ours.names.infosets[player], ours.names.actions[player]
        expected = own_last_moves(root, player)
        assert set(labels) == set(expected)
        assert len(labels) == len(expected)
        start, above = 0, None
        for level in plex.levels:
            stop = start + level.infosets
            for i in range(start, stop):
                parent = int(level.parent[i - start])
                if above is None:
                    assert expected[labels[i]] is None
                else:
                    action, infoset = divmod(parent, above[1] - above[0])
                    before = above[0] + infoset
                    assert expected[labels[i]] == (labels[before], actions[before][action])
                assert level.legal[0, :, i - start].sum() == len(actions[i])
            start, above = stop, (start, stop)
        assert start == plex.infosets


def moves_of(visited):
    """Return {move: (infoset, action)} of a player, by its labels; move 0 is None."""
    found = {0: None}
    for (infoset, number), actions in zip(visited.number.items(), visited.actions, strict=True):
        for k, label in enumerate(actions):
            found[visited.start[number] + k] = (infoset, label)
    return found


def leaves_of(node, last=(None, None), probability=Fraction(1)):
    """Yield each leaf's last moves, chance probability and payoffs, by recursion, in fractions."""
    if isinstance(node, Terminal):
        yield last, probability, node.payoffs
        return
    for k, label in enumerate(node.actions):
        after, p = list(last), probability
        if isinstance(node, Decision):
            after[node.player] = (node.infoset, label)
        else:
            p *= node.probabilities[k]
        yield from leaves_of(node.child(k), tuple(after), p)


@settings(max_examples=60, deadline=None)
@given(roots())
def test_a_walk_finds_every_leaf_with_its_last_moves(root):
    found = walk_nodes(root)
    moves = [moves_of(visited) for visited in found.players]
    expected = list(leaves_of(root()))
    assert [
        (moves[0][first], moves[1][second]) for first, second in zip(*found.last, strict=True)
    ] == [last for last, _, _ in expected]
    assert list(found.chance) == pytest.approx([float(p) for _, p, _ in expected], rel=1e-15)
    for player in (0, 1):
        assert list(found.payoff[player]) == [float(u[player]) for _, _, u in expected]
        visited = found.players[player]
        before = [moves[player][move] for move in visited.before]
        assert dict(zip(visited.number, before, strict=True)) == own_last_moves(root, player)


def test_infosets_with_equal_actions_keep_one_tuple_of_labels():
    labels = lambda: tuple(word[:1] for word in ("left", "right"))  # a new tuple every time
    told = [Decision(0, name, labels(), fixed(END, END)) for name in ("A", "B")]
    actions = build(lambda: coin(*told), "shared").names.actions[0]
    assert actions[0] is actions[1]


def test_a_player_without_decisions_has_an_empty_treeplex():
    ours = build(lambda: Decision(1, "choose", ("a", "b"), fixed(END, END)), "one player")
    assert [plex.infosets for plex in ours.form.treeplex] == [0, 1]
    assert ours.form.treeplex[0].levels == ()
    assert legal_mask(ours.form.treeplex[0]).shape == (0, 1)
    np.testing.assert_array_equal(ours.form.leaves.sequence[0], [0, 0])
    np.testing.assert_array_equal(ours.form.leaves.sequence[1], [1, 2])


def test_a_game_that_is_over_at_once_is_a_game():
    ours = build(lambda: Terminal((Fraction(1, 4), Fraction(3, 4))), "over")
    assert [plex.infosets for plex in ours.form.treeplex] == [0, 0]
    assert ours.game_class == "zero-sum"  # constant-sum


def test_tags_become_columns_with_zero_where_a_leaf_lacks_one():
    leaves = (
        Terminal((0.0, 0.0), {"cost": 2.0}),
        Terminal((0.0, 0.0)),
        Terminal((0.0, 0.0), {"late": 3.0, "cost": 1.0}),
    )
    tags = build(lambda: coin(*leaves), "tags").tags
    assert {name: column.tolist() for name, column in tags.items()} == {
        "cost": [2.0, 0.0, 1.0],
        "late": [0.0, 0.0, 3.0],
    }


@pytest.mark.parametrize("movers", [(None,), (0, 1), (0,)], ids=["chance", "both", "one player"])
def test_a_deep_narrow_tree_of_50_000_nodes_is_built(movers):
    depth = 25_000  # of two children each, one of which ends it

    def node(k):
        if k == depth:
            return Terminal((1.0, -1.0))
        mover = movers[k % len(movers)]
        child = lambda a: END if a else node(k + 1)
        if mover is None:
            return Chance(("on", "off"), (1.0, 0.0), child)
        return Decision(mover, str(k), ("on", "off"), child)

    ours = build(lambda: node(0), "deep")
    assert len(ours.form.leaves.chance) == depth + 1
    expected = [movers.count(p) * depth // len(movers) for p in (0, 1)]
    assert [len(plex.levels) for plex in ours.form.treeplex] == expected


def test_a_forgotten_move_is_imperfect_recall_and_both_histories_are_named():
    forgot = Decision(0, "later", ("l", "r"), fixed(END, END))
    said = refusal(Decision(0, "first", ("left", "right"), fixed(forgot, forgot)))
    assert "player 0 has imperfect recall at infoset 'later'" in said
    assert "its last move was 'left' at 'first' before left" in said
    assert "its last move was 'right' at 'first' before right" in said


def test_forgotten_knowledge_is_imperfect_recall():
    later = Decision(1, "later", ("l", "r"), fixed(END, END))
    told = lambda coin_side: Decision(1, f"saw {coin_side}", ("go",), fixed(later))
    said = refusal(coin(told("heads"), told("tails")))
    assert "imperfect recall at infoset 'later'" in said
    assert "'saw heads' before heads / go" in said
    assert "'saw tails' before tails / go" in said


def test_the_first_history_is_found_again_behind_a_large_subtree():
    # Whole binary trees before and between the two nodes that disagree, for the count to get wrong.
    def bush(name, depth):
        if depth == 0:
            return END
        return Chance((f"{name}l", f"{name}r"), (0.5, 0.5), lambda k: bush(name, depth - 1))

    later = Decision(1, "later", ("l", "r"), fixed(END, bush("x", 3)))
    told = lambda side: Decision(1, f"saw {side}", ("stop", "go"), fixed(bush("y", 4), later))
    said = refusal(coin(bush("z", 5), told("tails"), told("edge")))
    assert "'saw tails' before tails / go" in said
    assert "'saw edge' before edge / go" in said


def test_absent_mindedness_is_imperfect_recall():
    # The absent-minded driver of Piccione and Rubinstein (1997): one infoset twice on a path.
    second = Decision(0, "exit?", ("exit", "on"), fixed(END, END))
    said = refusal(Decision(0, "exit?", ("exit", "on"), fixed(END, second)))
    assert "imperfect recall at infoset 'exit?'" in said
    assert "it has not moved before the root" in said
    assert "its last move was 'on' at 'exit?' before on" in said


@pytest.mark.parametrize(
    ("first", "second"),
    [(("a", "b"), ("a", "c")), (("a", "b"), ("b", "a")), (("a", "b"), ("a",))],
    ids=["names", "order", "number"],
)
def test_nodes_of_an_infoset_must_offer_the_same_actions(first, second):
    nodes = [Decision(1, "I", actions, fixed(END, END)) for actions in (first, second)]
    said = refusal(coin(*nodes))
    assert f"infoset 'I' of player 1 offers {list(first)} after heads" in said
    assert f"but {list(second)} after tails" in said


def test_the_same_label_may_be_used_by_both_players():
    second = Decision(1, "move", ("a", "b", "c"), fixed(END, END, END))
    ours = build(lambda: Decision(0, "move", ("a", "b"), fixed(second, second)), "labels")
    assert ours.names.infosets == (("move",), ("move",))
    assert ours.names.actions == ((("a", "b"),), (("a", "b", "c"),))


@pytest.mark.parametrize(
    ("probabilities", "found"),
    [
        ((0.5, 0.49), "sum to 0.99"),
        ((Fraction(1, 2), Fraction(1, 3)), "sum to 0.833333333333"),
        ((0.5, 0.5 + 2e-9), "sum to 1.000000002"),
        ((1.5, -0.5), "[1.5, -0.5]"),
        ((math.nan, 1.0), "[nan, 1.0]"),
        ((1.0,), "2 actions and 1 probabilities"),
        ((1e308, 1e308), "[1e+308, 1e+308]"),
        ((math.inf, -math.inf), "[inf, -inf]"),
        ((Fraction(10) ** 400, 0.0), "[inf, inf]"),
    ],
)
def test_chance_must_be_a_distribution(probabilities, found):
    said = refusal(Decision(0, "I", ("go",), fixed(coin(END, END, probabilities=probabilities))))
    assert found in said
    assert "after go" in said


def test_probabilities_may_be_off_by_rounding():
    third = 0.333333333333
    ours = build(lambda: coin(END, END, END, probabilities=(third, third, third)), "thirds")
    assert len(ours.form.leaves.chance) == 3


@pytest.mark.parametrize(
    ("payoffs", "found"),
    [
        ((math.nan, 0.0), "nan and 0.0"),
        ((0.0, -math.inf), "0.0 and -inf"),
        ((2e150, 0.0), "2e+150 and 0.0"),
        ((0.0, Fraction(10) ** 400), "inf and inf"),
    ],
)
def test_payoffs_must_be_numbers_of_a_sane_size(payoffs, found):
    said = refusal(Decision(0, "I", ("stop", "go"), fixed(END, Terminal(payoffs))))
    assert f"the payoffs after go are {found}, expected numbers from -1e+150 to 1e+150" in said


@pytest.mark.parametrize("actions", [(), ("a", "a")])
def test_an_infoset_needs_actions_that_differ(actions):
    assert f"infoset 'I' after the root offers {list(actions)}" in refusal(
        Decision(0, "I", actions, fixed(END, END))
    )


def test_a_tree_without_end_stops_at_the_limit():
    def root():
        return Decision(0, "again", ("on",), lambda k: root())

    with pytest.raises(InputError, match="imperfect recall"):
        build(root, "circle", most_nodes=1_000)

    def deeper(k):
        return Decision(0, str(k), ("on",), lambda a: deeper(k + 1))

    with pytest.raises(InputError, match="more than 1000 nodes"):
        build(lambda: deeper(0), "endless", most_nodes=1_000)
    assert len(build(lambda: coin(END, END), "three", most_nodes=3).form.leaves.chance) == 2


def test_a_game_may_be_given_as_a_function_of_histories():
    def node_at(history):
        match history:
            case ():
                return Chance(("high", "low"), (Fraction(1, 2),) * 2, no_child)
            case (_,):
                return Decision(0, history[0], ("bid", "pass"), no_child)
            case ("high", "bid"):
                return Terminal((3.0, -3.0))
            case ("low", "bid"):
                return Terminal((-5.0, 5.0))
        return END

    ours = build(lambda: from_function(node_at), "bidding")
    assert ours.names.infosets == (("high", "low"), ())
    np.testing.assert_array_equal(ours.form.leaves.payoff[0], [3.0, 0.0, -5.0, 0.0])


def test_the_class_is_zero_sum_when_payoffs_sum_to_a_constant():
    split = lambda a, b: build(lambda: coin(Terminal((3.0, 7.0)), Terminal((a, b))), "split")
    assert split(4.0, 6.0).game_class == "zero-sum"
    assert split(4.0, 6.1).game_class == "general-sum"
