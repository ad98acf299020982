"""The `.efg` writer: what it writes reads back as the same game, here, in OpenSpiel, in Gambit."""

import string
from dataclasses import replace
from fractions import Fraction

import exact
import numpy as np
import pyspiel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_games import BATTLESHIP_2, GOOFSPIEL_3, KUHN, LEDUC, LIARS_DICE_3, game
from open_spiel.python import policy as spiel_policy
from open_spiel.python.algorithms import expected_game_score, exploitability
from random_games import roots

from csa_games.build import build
from csa_games.errors import InputError
from csa_games.fold import legal_mask, uniform
from csa_games.game import Game
from csa_games.interop.efg_read import read_efg
from csa_games.interop.efg_write import Renamed, write_efg
from csa_games.rules import Chance, Decision, Terminal
from solvers.response import gap, value

TINY_HANABI = "tiny_hanabi"  # common-payoff
DARK_HEX_2 = "dark_hex(board_size=2,gameversion=adh)"

# Stripped-down poker, Reiley, Urbancic and Walker (2008), with its published payoffs.
POKER = """EFG 2 R "poker" { "player 0" "player 1" }

c "" 1 "" { "King" 1/2 "Queen" 1/2 } 0
p "" 1 1 "King" { "Bet" "Fold" } 0
p "" 2 1 "Bet" { "Call" "Fold" } 0
t "" 1 "" { 2.0, -2.0 }
t "" 2 "" { 1.0, -1.0 }
t "" 3 "" { -1.0, 1.0 }
p "" 1 2 "Queen" { "Bet" "Fold" } 0
p "" 2 1 "Bet" { "Call" "Fold" } 0
t "" 4 "" { -2.0, 2.0 }
t "" 5 "" { 1.0, -1.0 }
t "" 6 "" { -1.0, 1.0 }
"""


def poker() -> Game:
    def after_bet(won):
        ends = (Terminal((won, -won)), Terminal((1.0, -1.0)))
        return Decision(1, "Bet", ("Call", "Fold"), lambda k: ends[k])

    def dealt(card):
        then = (after_bet(2.0 if card == "King" else -2.0), Terminal((-1.0, 1.0)))
        return Decision(0, card, ("Bet", "Fold"), lambda k: then[k])

    cards = ("King", "Queen")
    return build(lambda: Chance(cards, (0.5, 0.5), lambda k: dealt(cards[k])), "poker")


def outline(node, *, exactly=lambda number: number):
    """Return the whole tree below `node` as nested tuples."""
    below = lambda: tuple(outline(node.child(k), exactly=exactly) for k in range(len(node.actions)))
    match node:
        case Terminal(payoffs):
            return tuple(map(exactly, payoffs))
        case Chance(actions, probabilities, _):
            return "chance", actions, tuple(map(exactly, probabilities)), below()
        case Decision(player, infoset, actions, _):
            return player, infoset, actions, below()


def one_node(terminal):
    """Return a game of one decision that ends in `terminal`, and its file's last line."""
    return build(lambda: Decision(0, "I", ("go",), lambda k: terminal), "one")


def test_the_file_is_the_portable_subset_line_by_line(tmp_path):
    assert not write_efg(poker(), tmp_path / "poker.efg")
    assert (tmp_path / "poker.efg").read_text() == POKER


@settings(max_examples=150, deadline=None)
@given(roots())
def test_what_is_written_reads_back_as_the_same_game(tmp_path_factory, root):
    path = tmp_path_factory.getbasetemp() / "round.efg"
    ours = build(root, "a random game", players=("Ann", "Bob"))
    assert not write_efg(ours, path)
    back = read_efg(path)
    assert outline(back.root()) == outline(root())
    assert back.names == ours.names
    assert (back.name, back.game_class) == (ours.name, ours.game_class)
    for player in (0, 1):
        np.testing.assert_array_equal(
            back.form.leaves.sequence[player], ours.form.leaves.sequence[player]
        )


@settings(max_examples=200, deadline=None)
@given(st.tuples(*(st.floats(-1e150, 1e150),) * 2))
def test_float_payoffs_read_back_as_the_same_floats(tmp_path_factory, payoffs):
    path = tmp_path_factory.getbasetemp() / "floats.efg"
    write_efg(one_node(Terminal(payoffs)), path)
    back = read_efg(path).root().child(0).payoffs
    assert tuple(float(u) for u in back) == payoffs


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=7))
def test_float_probabilities_become_fractions_that_sum_to_one(tmp_path_factory, weights):
    path = tmp_path_factory.getbasetemp() / "chance.efg"
    floats = tuple(w / sum(weights) for w in weights)
    labels = tuple(string.ascii_letters[: len(floats)])
    write_efg(build(lambda: Chance(labels, floats, lambda k: Terminal((0.0, 0.0))), "c"), path)
    back = read_efg(path).root().probabilities
    assert sum(back) == 1
    assert all(isinstance(p, Fraction) and p >= 0 for p in back)
    assert [float(p) for p in back] == pytest.approx(floats, abs=len(floats) * 1e-9)


def test_common_floats_become_the_fractions_they_stand_for(tmp_path):
    for floats, expected in (
        ((1 / 3, 2 / 3), "1/3 2/3"),
        ((0.1, 0.9), "1/10 9/10"),
        ((1 / 6,) * 6, " ".join(["1/6"] * 6)),
        ((0.25, 0.0, 0.75), "1/4 0 3/4"),
        ((Fraction(0.1), 1 - Fraction(0.1)), f"{Fraction(0.1)} {1 - Fraction(0.1)}"),
    ):
        labels = tuple(string.ascii_letters[: len(floats)])
        root = Chance(labels, floats, lambda k: Terminal((0.0, 0.0)))
        write_efg(build(lambda root=root: root, "c"), tmp_path / "c.efg")
        line = (tmp_path / "c.efg").read_text().splitlines()[2]
        assert " ".join(part for part in line.split()[5:-2] if '"' not in part) == expected


NASTY = (
    'say "hi"',
    "say 'hi'",  # what the first would become
    "back\\slash",
    " around ",
    "two  blanks\nand lines",
    "Zoë",
    "选择",
    "拒绝",  # as many characters, none of them ASCII
    "",
    "_",
    "\x07bell",
)


def test_labels_that_do_not_travel_are_respelled_and_the_originals_returned(tmp_path):
    path = tmp_path / "nasty.efg"
    end = Terminal((0.0, 0.0))

    def root():
        answer = lambda label: Decision(1, label, ("ok",), lambda k: end)
        return Decision(0, "naïve", NASTY, lambda k: answer(NASTY[k]))

    ours = replace(build(root, 'the "game"', players=("Zoë", "Bob")), name='the "game"')
    renamed = write_efg(ours, path)
    text = path.read_bytes()
    assert all(byte == 10 or 32 <= byte < 127 for byte in text)
    assert b"\\" not in text

    back = read_efg(path)
    assert renamed.title == {"the 'game'": 'the "game"'}
    assert renamed.players == {"Zo?": "Zoë"}
    assert renamed.infosets[0] == {"na?ve": "naïve"}
    assert len(set(back.names.actions[0][0])) == len(NASTY)
    restored = tuple(renamed.actions.get(a, a) for a in back.names.actions[0][0])
    assert restored == NASTY
    restored = tuple(renamed.infosets[1].get(i, i) for i in back.names.infosets[1])
    assert restored == NASTY

    spiel = pyspiel.load_game(f"efg_game(filename={path})")
    assert spiel.num_distinct_actions() == len(NASTY) + 1


def test_nothing_changed_is_false():
    assert not Renamed({}, {}, ({}, {}), {})
    assert Renamed({}, {}, ({}, {"a": "ä"}), {})


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path):
    path = tmp_path / "old.efg"
    path.write_text("old")
    ours = game(KUHN)  # 58 nodes
    with pytest.raises(InputError, match="tree of kuhn_poker has more than 57 nodes"):
        write_efg(ours, path, most_nodes=57)

    def breaks():
        raise RuntimeError("the tree broke")

    with pytest.raises(RuntimeError, match="the tree broke"):
        write_efg(replace(ours, root=breaks), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match=r"nowhere/x\.efg cannot be written: No such file"):
        write_efg(ours, tmp_path / "nowhere" / "x.efg")


def test_the_limit_counts_every_node_and_can_be_lifted(tmp_path):
    ours = game(KUHN)
    for most in (58, None):
        write_efg(ours, tmp_path / "kuhn.efg", most_nodes=most)
        assert len((tmp_path / "kuhn.efg").read_text().splitlines()) == 2 + 58


class Followed(spiel_policy.Policy):
    """A policy of ours in the OpenSpiel game that came from our file.

    The two trees are walked side by side, so nothing depends on how OpenSpiel names infosets.
    """

    def __init__(self, spiel, ours, policy):
        super().__init__(spiel, [0, 1])
        self.rows = {}
        rows = {
            (player, label): np.asarray(policy[player])[i]
            for player in (0, 1)
            for i, label in enumerate(ours.names.infosets[player])
        }
        stack = [(spiel.new_initial_state(), ours.root())]
        while stack:
            state, node = stack.pop()
            if isinstance(node, Terminal):
                assert state.returns() == pytest.approx([float(u) for u in node.payoffs])
                continue
            by_label = {state.action_to_string(a): a for a in state.legal_actions()}
            assert len(by_label) == len(node.actions)
            if isinstance(node, Decision):
                assert state.current_player() == node.player
                row = rows[node.player, node.infoset]
                here = {by_label[label]: row[k] for k, label in enumerate(node.actions)}
                where = state.information_state_string(node.player)
                assert self.rows.setdefault((node.player, where), here) == here
            for k, label in enumerate(node.actions):
                stack.append((state.child(by_label[label]), node.child(k)))

    def action_probabilities(self, state, player_id=None):
        """Return {action: probability}, as OpenSpiel asks for it."""
        player = state.current_player() if player_id is None else player_id
        return self.rows[player, state.information_state_string(player)]


def random_policy(ours, seed):
    numbers = np.random.default_rng(seed)
    rows = []
    for plex in ours.form.treeplex:
        weights = numbers.exponential(size=(plex.infosets, plex.width)) * legal_mask(plex)
        rows.append(weights / weights.sum(axis=-1, keepdims=True))
    return rows[0], rows[1]


@pytest.mark.parametrize(
    "load_string", [KUHN, LEDUC, LIARS_DICE_3, GOOFSPIEL_3, BATTLESHIP_2, TINY_HANABI, DARK_HEX_2]
)
def test_openspiel_finds_the_same_values_and_nash_conv_in_the_file(tmp_path, load_string):
    original = game(load_string)
    renamed = write_efg(original, tmp_path / "game.efg")
    # Walk the file's game, whose labels are the ones that OpenSpiel sees as well.
    ours = read_efg(tmp_path / "game.efg") if renamed else original
    spiel = pyspiel.load_game(f"efg_game(filename={tmp_path / 'game.efg'})")
    assert [plex.infosets for plex in ours.form.treeplex] == [
        plex.infosets for plex in original.form.treeplex
    ]
    policies = {"uniform": tuple(map(uniform, original.form.treeplex))}
    if load_string not in (LEDUC, BATTLESHIP_2):  # seconds each in OpenSpiel
        policies["random"] = random_policy(original, 1)
    for policy in policies.values():
        theirs = Followed(spiel, ours, policy)
        assert expected_game_score.policy_value(
            spiel.new_initial_state(), [theirs, theirs]
        ) == pytest.approx(value(original, policy), abs=1e-10)
        assert exploitability.nash_conv(spiel, theirs) == pytest.approx(
            gap(original, policy).sum(), abs=1e-10
        )


def test_gambit_reads_the_file_and_finds_the_exact_values(tmp_path):
    # Never a dependency (GPL-2+): run where it happens to be installed. Its Python interface of
    # version 17 is another one than that of 16.
    gambit = pytest.importorskip("pygambit", minversion="17.0.0b2")
    for load_string in (KUHN, LIARS_DICE_3, GOOFSPIEL_3, TINY_HANABI, DARK_HEX_2, None):
        ours = game(load_string) if load_string else poker()
        write_efg(ours, tmp_path / "game.efg")
        theirs = gambit.read_efg(str(tmp_path / "game.efg"))
        root = read_efg(tmp_path / "game.efg").root
        uniformly = {
            where: (Fraction(1, count),) * count for where, count in exact.infosets(root).items()
        }
        found = theirs.mixed_behavior_profile(rational=True).payoffs
        assert tuple(found[p] for p in theirs.players) == exact.value(root, uniformly)
