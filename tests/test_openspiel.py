"""OpenSpiel in and out: the same values and NashConv there, in both directions, and its solvers."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pyspiel
import pytest
from hypothesis import given, settings
from known_games import BATTLESHIP_2, GOOFSPIEL_3, KUHN, LEDUC, LIARS_DICE_3
from open_spiel.python.algorithms import (
    cfr,
    expected_game_score,
    exploitability,
    external_sampling_mccfr,
    get_all_states,
)
from random_games import roots

from csa_games.build import build, walk_nodes
from csa_games.errors import InputError
from csa_games.fold import legal_mask, uniform
from csa_games.interop import openspiel
from csa_games.interop.efg_write import write_efg
from csa_games.interop.openspiel import (
    from_openspiel,
    to_openspiel,
    to_openspiel_policy,
    unfold,
    walk_states,
)
from csa_games.rules import Chance, Decision, Terminal, walk
from solvers.response import gap, value

DARK_HEX_2 = "dark_hex(board_size=2,gameversion=adh)"
SIMULTANEOUS = "goofspiel(num_cards=3,imp_info=True,points_order=descending)"
Utility = pyspiel.GameType.Utility


def spiel_game(load_string):
    game = pyspiel.load_game(load_string)
    simultaneous = game.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS
    return pyspiel.convert_to_turn_based(game) if simultaneous else game


def random_policy(ours, seed):
    numbers = np.random.default_rng(seed)
    rows = []
    for plex in ours.form.treeplex:
        weights = numbers.exponential(size=(plex.infosets, plex.width)) * legal_mask(plex)
        rows.append(weights / weights.sum(axis=-1, keepdims=True))
    return rows[0], rows[1]


def assert_agree(ours, spiel, policy):
    theirs = to_openspiel_policy(ours, policy, spiel)
    values = expected_game_score.policy_value(spiel.new_initial_state(), [theirs, theirs])
    assert values == pytest.approx(value(ours, policy), abs=1e-10)
    assert exploitability.nash_conv(spiel, theirs) == pytest.approx(
        gap(ours, policy).sum(), abs=1e-10
    )


# What OpenSpiel calls the payoffs of each, and NashConv of the uniform policy where it is known:
# 11/12 and 4.747222... are in OpenSpiel's exploitability_test.py, the others are twice the uniform
# exploitability in the published curves of Dynamic Discounted CFR (Xu et al., ICLR 2024).
AGREE = {
    KUHN: (Utility.ZERO_SUM, 11 / 12),
    LEDUC: (Utility.ZERO_SUM, 4.747222222222222),
    LIARS_DICE_3: (Utility.ZERO_SUM, 10 / 9),
    GOOFSPIEL_3: (Utility.ZERO_SUM, 4 / 3),
    SIMULTANEOUS: (Utility.ZERO_SUM, 4 / 3),
    BATTLESHIP_2: (Utility.ZERO_SUM, 1.0),
    DARK_HEX_2: (Utility.ZERO_SUM, None),
    "tiny_hanabi": (Utility.IDENTICAL, None),
    "matrix_pd": (Utility.GENERAL_SUM, None),
    "python_kuhn_poker": (Utility.ZERO_SUM, 11 / 12),
}


@pytest.mark.parametrize("load_string", AGREE)
def test_nash_conv_is_the_same_in_both_directions(load_string):
    utility, known = AGREE[load_string]
    ours = from_openspiel(load_string)
    if known is not None:
        everywhere = tuple(map(uniform, ours.form.treeplex))
        assert gap(ours, everywhere).sum() == pytest.approx(known, abs=1e-12)
    policy = random_policy(ours, seed=len(load_string))
    native = spiel_game(load_string)
    assert_agree(ours, native, policy)
    exported = to_openspiel(ours)
    assert exported.get_type().utility == utility == native.get_type().utility
    if load_string not in (LEDUC, BATTLESHIP_2):  # a Python game takes OpenSpiel seconds
        assert_agree(ours, exported, policy)


@settings(max_examples=25, deadline=None)
@given(roots())
def test_random_games_have_the_same_nash_conv_there(root):
    ours = build(root, "random")
    assert_agree(ours, to_openspiel(ours), random_policy(ours, 1))


def test_a_game_comes_back_as_it_went():
    ours = from_openspiel(LIARS_DICE_3)
    exported = to_openspiel(ours)
    back = build(lambda: unfold(exported.new_initial_state()), "back")
    for player in (0, 1):  # labels that both players use come back with the player behind them
        np.testing.assert_array_equal(
            back.form.leaves.sequence[player], ours.form.leaves.sequence[player]
        )
        np.testing.assert_array_equal(
            back.form.leaves.payoff[player], ours.form.leaves.payoff[player]
        )
    np.testing.assert_array_equal(back.form.leaves.chance, ours.form.leaves.chance)
    assert back.names == ours.names


def test_openspiel_solves_our_kuhn_poker():
    kuhn = to_openspiel(from_openspiel(KUHN))
    solver = cfr.CFRPlusSolver(kuhn)
    for _ in range(100):
        solver.evaluate_and_update_policy()
    average = solver.average_policy()
    values = expected_game_score.policy_value(kuhn.new_initial_state(), [average] * 2)
    assert values == pytest.approx([-1 / 18, 1 / 18], abs=5e-4)  # Kuhn 1950
    # 1.194e-3 after 100 steps of CFR+ in the published curves of Dynamic Discounted CFR.
    assert exploitability.exploitability(kuhn, average) == pytest.approx(1.194e-3, abs=1e-6)


def test_its_plain_cfr_takes_the_same_steps_on_ours_as_on_its_own():
    curves = []
    for game in (pyspiel.load_game(KUHN), to_openspiel(from_openspiel(KUHN))):
        solver = cfr.CFRSolver(game)
        curve = []
        for _ in range(20):
            solver.evaluate_and_update_policy()
            curve.append(exploitability.nash_conv(game, solver.average_policy()))
        curves.append(curve)
    assert curves[1] == pytest.approx(curves[0], abs=1e-13)


def test_its_cpp_and_sampling_solvers_run_on_ours():
    kuhn, native = to_openspiel(from_openspiel(KUHN)), pyspiel.load_game(KUHN)
    found = []
    for game in (kuhn, native):
        solver = pyspiel.CFRSolver(game)
        for _ in range(10):
            solver.evaluate_and_update_policy()
        found.append(pyspiel.nash_conv(game, solver.average_policy()))
    assert found[0] == pytest.approx(found[1], abs=1e-12)
    sampler = external_sampling_mccfr.ExternalSamplingSolver(kuhn)
    for _ in range(20):
        sampler.iteration()
    assert exploitability.nash_conv(kuhn, sampler.average_policy()) < 11 / 12


def test_infosets_that_share_a_label_stay_apart_in_its_solvers():
    # OpenSpiel keys regrets by information state alone. Matching pennies, 2 for a match on heads.
    def second(first):
        payoff = lambda k: (2.0 if first == k == 0 else 1.0) if first == k else -1.0
        return Decision(
            1, "choose", ("heads", "tails"), lambda k: Terminal((payoff(k), -payoff(k)))
        )

    ours = build(lambda: Decision(0, "choose", ("heads", "tails"), second), "pennies")
    spiel = to_openspiel(ours)
    state = spiel.new_initial_state()
    assert state.information_state_string() == "choose [player 0]"
    assert state.child(0).information_state_string() == "choose [player 1]"
    # The matcher's p solves 2p - (1 - p) = -p + (1 - p), so p = 2/5; the value is 1/5.
    solver = cfr.CFRPlusSolver(spiel)
    for _ in range(500):
        solver.evaluate_and_update_policy()
    average = solver.average_policy()
    assert average.action_probabilities(state)[0] == pytest.approx(2 / 5, abs=1e-2)
    values = expected_game_score.policy_value(state, [average] * 2)
    assert values == pytest.approx([1 / 5, -1 / 5], abs=1e-2)
    assert_agree(ours, spiel, random_policy(ours, 1))


def constant_sum(*payoffs):
    ends = [Terminal(u) for u in payoffs]
    labels = ("a", "b", "c")[: len(ends)]
    return build(lambda: Decision(0, "I", labels, lambda k: ends[k]), "ends")


@pytest.mark.parametrize(
    ("payoffs", "utility", "total"),
    [
        (((1.0, -1.0), (0.0, 0.0)), Utility.ZERO_SUM, 0.0),
        (((1.0, 2.0), (0.0, 3.0)), Utility.CONSTANT_SUM, 3.0),
        (((1.0, 1.0), (2.0, 2.0)), Utility.IDENTICAL, None),
        (((1.0, 1.0), (2.0, 0.5)), Utility.GENERAL_SUM, None),
    ],
)
def test_payoffs_are_declared_as_what_they_are(payoffs, utility, total):
    spiel = to_openspiel(constant_sum(*payoffs))
    assert spiel.get_type().utility == utility
    assert spiel.utility_sum() == total
    assert spiel.min_utility() == np.min(payoffs)
    assert spiel.max_utility() == np.max(payoffs)


def test_the_exported_game_keeps_openspiels_own_contract():
    native, spiel = pyspiel.load_game(KUHN), to_openspiel(from_openspiel(KUHN))
    assert spiel.num_players() == 2
    assert spiel.num_distinct_actions() == native.num_distinct_actions() == 2
    assert spiel.max_chance_outcomes() == native.max_chance_outcomes() == 3
    assert spiel.max_game_length() == native.max_game_length() == 3
    ours = get_all_states.get_all_states(spiel, include_chance_states=True)
    assert len(ours) == 58
    for state in ours.values():
        legal = state.legal_actions()
        assert legal == sorted(legal)
        assert bool(legal) != state.is_terminal()
        if state.is_chance_node():
            assert [a for a, _ in state.chance_outcomes()] == legal
            assert sum(p for _, p in state.chance_outcomes()) == pytest.approx(1)
        else:
            assert sum(state.returns()) == 0
        for player in (0, 1):
            assert isinstance(state.information_state_string(player), str)
        again = state.clone()
        assert str(again) == str(state)
        if legal:
            again.apply_action(legal[-1])
            assert str(again) != str(state)
            assert [state.action_to_string(a) for a in legal] == list(
                native_labels(native, state.history())
            )


def native_labels(native, history):
    state = native.new_initial_state()
    for action in history:
        legal = state.legal_actions()
        state.apply_action(legal[action])
    return [state.action_to_string(a) for a in state.legal_actions()]


def test_a_player_who_waits_knows_its_own_last_move_and_no_more():
    state = to_openspiel(from_openspiel(KUHN)).new_initial_state()
    for action in (0, 1):  # player 0 holds 0, player 1 holds 2
        state.apply_action(action)
    assert state.information_state_string(1) == ""
    state.apply_action(0)
    assert state.information_state_string(0) == "0 / Pass"
    copied = state.clone()
    assert copied.information_state_string(0) == "0 / Pass"
    assert copied.information_state_string(1) == state.information_state_string(1) == "2p"


def test_games_and_states_pickle_and_copy():
    ours = from_openspiel(KUHN)
    policy = random_policy(ours, 1)
    again = pickle.loads(pickle.dumps(to_openspiel(ours)))
    assert_agree(ours, again, policy)
    state = to_openspiel(ours).new_initial_state()
    state.apply_action(2)
    for other in (state.clone(), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert (str(other), other.history()) == (str(state), [2])
        other.apply_action(0)
        assert state.history() == [2]


def test_openspiel_loads_what_we_load_by_its_source(tmp_path):
    ours = from_openspiel(KUHN)
    write_efg(ours, tmp_path / "kuhn.efg")
    spiel = pyspiel.load_game(f"csa_games(source={tmp_path / 'kuhn.efg'})")
    assert_agree(ours, spiel, random_policy(ours, 1))


def test_a_deep_chain_is_exported_without_recursion():
    depth = 5_000

    def node(k):
        if k == depth:
            return Terminal((1.0, -1.0))
        ends = Terminal((0.0, 0.0))
        return Chance(("on", "off"), (0.5, 0.5), lambda a: ends if a else node(k + 1))

    state = to_openspiel(build(lambda: node(0), "chain")).new_initial_state()
    for _ in range(depth):
        state.apply_action(0)
    assert state.returns() == [1.0, -1.0]


REFUSED = {
    "kuhn_pokr": "OpenSpiel has no game 'kuhn_pokr'; the closest names are kuhn_poker",
    "": "OpenSpiel has no game ''",
    "kuhn_poker(": "Missing closing bracket",
    "kuhn_poker(cards=4)": "Unknown parameter 'cards'. Available parameters are: players",
    "kuhn_poker(players=3)": "the game has 3 players, expected 2",
    "nfg_game": "OpenSpiel cannot load it: map::at",
    "blackjack": "the game has 1 player, expected 2",
    "mfg_crowd_modelling_2d": "this is a mean-field game, expected a game of 2 players",
    "backgammon": "the game has no information_state_string",
    "markov_soccer": "the game has no information_state_string",
    "dark_hex_ir(board_size=2)": "player 1 has imperfect recall at infoset 'P1 xo\\n..'",
}


@pytest.mark.parametrize("load_string", REFUSED)
def test_other_games_are_refused_with_the_reason(load_string):
    with pytest.raises(InputError) as caught:
        from_openspiel(load_string)
    assert REFUSED[load_string] in str(caught.value)
    assert load_string in str(caught.value)


def test_a_tree_that_is_too_large_is_refused():
    with pytest.raises(InputError, match="chess: the tree has more than 500 nodes"):
        from_openspiel("chess", most_nodes=500)


def blind_guess(history=(), legal=lambda history: [2, 5, 9], payoffs=(1.0, -1.0), chance=0.5):
    """Return a stand-in for an OpenSpiel state: a coin that player 0 cannot see, then its guess.

    Two of its guesses are spelled alike, and the third one spells the coin.
    """

    def spell(player, action):
        if player == pyspiel.PlayerId.CHANCE:
            return "toss"
        return "guess" if action < 9 else f"peek at {history[0]}"

    player = (pyspiel.PlayerId.CHANCE, 0, pyspiel.PlayerId.TERMINAL)[len(history)]
    return SimpleNamespace(
        current_player=lambda: int(player),
        returns=lambda: payoffs,
        chance_outcomes=lambda: [(4, chance), (7, 0.5)],
        legal_actions=lambda: legal(history),
        child=lambda action: blind_guess((*history, action), legal, payoffs, chance),
        information_state_string=lambda player: "blind",
        action_to_string=spell,
    )


def test_actions_are_called_alike_within_an_infoset_and_differently_from_each_other():
    ours = build(lambda: unfold(blind_guess()), "fake")
    assert ours.names.actions[0] == (("guess [2]", "guess [5]", "peek at 4"),)
    assert ours.root().actions == ("toss [4]", "toss [7]")


REFUSED_STATES = {
    "other actions": (
        {"legal": lambda history: [2, 9] if history == (4,) else [2, 5, 9]},
        "infoset 'blind' of player 0 offers ['guess', 'peek at 4'] after toss [4], but "
        "['guess [2]', 'guess [5]', 'peek at 7'] after toss [7]",
    ),
    "no actions": ({"legal": lambda history: []}, "infoset 'blind' after toss [4] offers []"),
    "infinite payoffs": ({"payoffs": (np.inf, 0.0)}, "the payoffs after toss [4] / guess [2] are"),
    "half a coin": ({"chance": 0.4}, "the chance probabilities after the root sum to 0.9"),
}


@pytest.mark.parametrize("fault", REFUSED_STATES.values(), ids=REFUSED_STATES)
def test_states_that_break_a_rule_are_refused_as_their_nodes_are(monkeypatch, fault):
    kinds, sentence = fault
    assert walk_states(blind_guess(**kinds), 100) is None
    monkeypatch.setattr(
        openspiel,
        "_load",
        lambda name: SimpleNamespace(new_initial_state=lambda: blind_guess(**kinds)),
    )
    monkeypatch.setattr(openspiel, "_in_turns", lambda game: game)
    with pytest.raises(InputError) as caught:
        from_openspiel("fake")
    assert str(caught.value).startswith(f"fake: {sentence}")


def test_actions_that_differ_in_number_alone_are_one_infoset(monkeypatch):
    # OpenSpiel's action numbers are its own affair: what a player sees is how they are spelled.
    renumbered = lambda: blind_guess(legal=lambda history: [2] if history == (4,) else [5])
    monkeypatch.setattr(
        openspiel, "_load", lambda name: SimpleNamespace(new_initial_state=renumbered)
    )
    monkeypatch.setattr(openspiel, "_in_turns", lambda game: game)
    assert from_openspiel("fake").names.actions[0] == (("guess",),)


# Ragged actions, chance, moves that were simultaneous, general and common payoffs, Python's own.
BOTH_WAYS = [*AGREE, "sheriff(max_bribe=2,max_items=2,num_rounds=2)", "matrix_shapleys_game"]


@pytest.mark.parametrize("load_string", BOTH_WAYS)
def test_states_and_nodes_are_walked_alike(load_string):
    spiel = spiel_game(load_string)
    nodes = walk_nodes(lambda labels={}: unfold(spiel.new_initial_state(), labels))
    states, legal = walk_states(spiel.new_initial_state(), 100_000)
    assert states == nodes
    for player, visited in enumerate(states.players):
        for numbers, actions in zip(legal[player], visited.actions, strict=True):
            assert len(numbers) == len(actions)


def last_moves(state, last=("", "")):
    """Yield each end's last information state and action of both players, chance and payoffs."""
    if state.is_terminal():
        yield *last, *state.returns()
    elif state.is_chance_node():
        for action, _ in state.chance_outcomes():
            yield from last_moves(state.child(action), last)
    else:
        player = state.current_player()
        for action in state.legal_actions():
            move = f"{state.information_state_string()} : {action}"
            after = (move, last[1]) if player == 0 else (last[0], move)
            yield from last_moves(state.child(action), after)


@pytest.mark.parametrize("load_string", BOTH_WAYS)
def test_a_walk_over_states_finds_every_end_and_who_moved_last(load_string):
    spiel = spiel_game(load_string)
    found, legal = walk_states(spiel.new_initial_state(), 100_000)
    moves = []
    for visited, numbers in zip(found.players, legal, strict=True):
        named = [""]
        for infoset, actions in zip(visited.number, numbers, strict=True):
            named += [f"{infoset} : {action}" for action in actions]
        moves.append(named)
    ends = [
        (moves[0][first], moves[1][second], *payoffs)
        for first, second, *payoffs in zip(*found.last, *found.payoff, strict=True)
    ]
    assert ends == list(last_moves(spiel.new_initial_state()))


def test_imperfect_recall_is_told_as_from_nodes():
    load_string = "dark_hex_ir(board_size=2)"
    spiel = spiel_game(load_string)
    assert walk_states(spiel.new_initial_state(), 10_000) is None
    said = []
    for refuse in (
        lambda: build(lambda: unfold(spiel.new_initial_state()), "nodes"),
        lambda: from_openspiel(load_string),
    ):
        with pytest.raises(InputError) as caught:
            refuse()
        said.append(str(caught.value))
    assert said[1] == f"{load_string}: {said[0]}"
    assert "; only games with perfect recall can be solved" in said[0]


def test_the_limit_counts_every_node():
    assert len(from_openspiel(KUHN, most_nodes=58).form.leaves.chance) == 30
    with pytest.raises(InputError, match="the tree has more than 57 nodes, the most allowed here"):
        from_openspiel(KUHN, most_nodes=57)


def test_labels_do_not_depend_on_how_the_tree_is_unfolded():
    ours = from_openspiel("tiny_hanabi")
    seen = {
        (node.player, node.infoset): node.actions
        for _, _, node in walk(ours.root)
        if isinstance(node, Decision)
    }
    last = ours.root().child(1).child(1)  # without its siblings before it
    assert isinstance(last, Decision)
    assert seen[last.player, last.infoset] == last.actions
