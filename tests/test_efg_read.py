"""The `.efg` reader: every row of the format, and a sentence with a place for every fault.

The files are written by hand. What each construct means was checked with pygambit 17.0.0b2, an
independent reader; `test_efg_write.py` compares with OpenSpiel's.
"""

import random
import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csa_games.errors import InputError
from csa_games.game import Game
from csa_games.interop import efg_read
from csa_games.interop.efg_read import read_efg
from csa_games.rules import Chance, Decision, Terminal, walk

HEAD = 'EFG 2 R "title" { "Ann" "Bob" }\n'

# Stripped-down poker (Reiley, Urbancic and Walker 2008), typed in as a person would.
POKER = """EFG 2 R "Stripped-down poker" { "Ann" "Bob" }
"One card, one bet."

c "" 1 "deal" { "King" 1/2 "Queen" 1/2 } 0
  p "" 1 1 "Ann has a King" { "Bet" "Fold" } 0
    p "" 2 1 "Ann bets" { "Call" "Fold" } 0
      t "" 1 "wins big" { 2, -2 }
      t "" 2 "wins" { 1, -1 }
    t "" 3 "loses" { -1, 1 }
  p "" 1 2 "Ann has a Queen" { "Bet" "Fold" } 0
    p "" 2 1
      0
      t "" 4 "loses big" { -2 2 }
      t "" 2
    t "" 3
"""


@pytest.fixture
def read(tmp_path):
    """Return a function from the text of a file to the game in it."""
    path = tmp_path / "game.efg"

    def of(text: str | bytes) -> Game:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_efg(path)

    return of


def nodes(game):
    return [node for _, _, node in walk(game.root)]


def payoffs(game):
    return [node.payoffs for node in nodes(game) if isinstance(node, Terminal)]


def test_poker_is_read_as_it_is_written(read):
    game = read(POKER)
    assert game.name == "Stripped-down poker"
    assert game.names.players == ("Ann", "Bob")
    assert game.names.infosets == (("Ann has a King", "Ann has a Queen"), ("Ann bets",))
    assert game.names.actions == ((("Bet", "Fold"),) * 2, (("Call", "Fold"),))
    assert payoffs(game) == [(2, -2), (1, -1), (-1, 1), (-2, 2), (1, -1), (-1, 1)]
    root = game.root()
    assert isinstance(root, Chance)
    assert root.probabilities == (Fraction(1, 2), Fraction(1, 2))
    assert isinstance(root.child(1), Decision)
    assert root.child(1).child(0).infoset == "Ann bets"
    assert game.game_class == "zero-sum"


TERMINALS = {
    "integers with commas": ('t "" 1 "" { 3, -4 }', (3, -4)),
    "integers without": ('t "" 1 "" { 3 -4 }', (3, -4)),
    "a comma after the last": ('t "" 1 "" { 3, -4, }', (3, -4)),
    "fractions": ('t "" 1 "" { 2/3, -10/4 }', (Fraction(2, 3), Fraction(-5, 2))),
    "decimals": ('t "" 1 "" { .1, 12.50 }', (Fraction(1, 10), Fraction(25, 2))),
    "a bare point": ('t "" 1 "" { 1., -.5 }', (1, Fraction(-1, 2))),
    "exponents": ('t "" 1 "" { 1e-3, 2E+2 }', (Fraction(1, 1000), 200)),
    "an exact tenth": ('t "" 1 "" { 0.1, 1/10 }', (Fraction(1, 10), Fraction(1, 10))),
    "the null outcome": ('t "" 0', (0, 0)),
    "any outcome number": ('t "" -7 "" { 1, 2 }', (1, 2)),
    "tight": ('t ""1""{1,2}', (1, 2)),
    "names with quotes": (r't "a \"b\" {" 1 "o\"" { 1, 2 }', (1, 2)),
    "line breaks anywhere": ('t\n\n""\t1\r\n""\n{\n1\n,\n2\n}\n', (1, 2)),
}


@pytest.mark.parametrize("text", TERMINALS.values(), ids=TERMINALS)
def test_outcomes(read, text):
    line, expected = text
    found = payoffs(read(HEAD + line))
    assert found == [expected]
    assert all(isinstance(number, Fraction) for number in found[0])


HEADERS = {
    "rational": 'EFG 2 R "g" { "a" "b" }',
    "decimal": 'EFG 2 D "g" { "a" "b" }',
    "with a comment": 'EFG 2 R "g" { "a" "b" } "a \\"comment\\"\non two lines"',
    "with a byte order mark": '\ufeffEFG 2 R "g" { "a" "b" }',
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
def test_headers(read, text):
    game = read(f'{text}\nt "" 0')
    assert (game.name, game.names.players) == ("g", ("a", "b"))


def test_titles_and_players_without_names_get_one(read):
    game = read('EFG 2 R "" { "" "" } t "" 0')
    assert game.name == "game"  # the file is game.efg
    assert game.names.players == ("player 0", "player 1")
    assert read('EFG 2 R "Ü 漢字" { "x" "x" } t "" 0').names.players == ("x_1", "x_2")


def test_payoffs_on_inner_nodes_add_up_along_the_path(read):
    game = read(
        HEAD
        + """c "" 1 "" { "l" 1/2 "r" 1/2 } 5 "entry" { -1/2, 0 }
        p "" 1 1 "" { "x" "y" } 6 "" { 10, 1 }
          t "" 7 "" { 100, 1000 }
          t "" 0
        p "" 2 1 "" { "x" } 0
          t "" 5
        """
    )
    half = Fraction(1, 2)
    assert payoffs(game) == [(110 - half, 1001), (10 - half, 1), (-1, 0)]


def test_repeats_may_leave_out_or_repeat_their_description(read):
    game = read(
        HEAD
        + """c "" 9 "deal" { "l" 1/3 "r" 2/3 } 0
        c "" 9 0
          p "" 1 4 "A" { "x" "y" } 0  t "" 1 "o" { 1/2, 1 }  t "" 1
          p "" 1 4 0                  t "" 1 "o" { 1/2, 1 }  t "" 0
        c "" 9 "deal" { "l" 1/3 "r" 2/3 } 0
          p "" 1 4 "A" { "x" "y" } 0  t "" 0  t "" 0
          p "" 1 4 0                  t "" 0  t "" 0
        """
    )
    assert game.names.infosets == (("A",), ())
    assert payoffs(game)[:4] == [(Fraction(1, 2), 1)] * 3 + [(0, 0)]
    assert [n.probabilities for n in nodes(game) if isinstance(n, Chance)] == [
        (Fraction(1, 3), Fraction(2, 3))
    ] * 3


def test_infoset_numbers_are_per_player_and_any(read):
    game = read(
        HEAD
        + """p "" 1 1 "" { "x" } 0
             p "" 2 1 "same" { "x" } 0
               p "" 1 -5 "same" { "x" } 0
                 p "" 1 0 "same" { "x" } 0
                   t "" 0"""
    )
    assert game.names.infosets == (("#1", "same", "same #0"), ("same",))


def test_actions_without_a_name_of_their_own_are_counted(read):
    game = read(HEAD + 'p "" 1 1 "" { "" "a" "_1" "a" "b" "" } 0' + ' t "" 0' * 6)
    assert game.names.actions[0] == (("_2", "a_1", "_1", "a_2", "b", "_3"),)


def test_labels_keep_quotes_backslashes_and_any_alphabet(read):
    game = read(HEAD + r'p "" 1 1 "say \"hi\"" { "a\b" "naïve" "选择" } 0' + ' t "" 0' * 3)
    assert game.names.infosets[0] == ('say "hi"',)
    assert game.names.actions[0] == (("a\\b", "naïve", "选择"),)


CHANCES = {
    "zero probability": ('"l" 0 "r" 1', (0, 1)),
    "decimals that sum to 1": ('"l" 0.1 "r" 0.9', (Fraction(1, 10), Fraction(9, 10))),
    "fractions": ('"a" 1/3 "b" 1/3 "c" 1/3', (Fraction(1, 3),) * 3),
    "one": ('"a" 1', (1,)),
    "an exponent": ('"l" 1e-3 "r" 0.999', (Fraction(1, 1000), Fraction(999, 1000))),
}


@pytest.mark.parametrize("text", CHANCES.values(), ids=CHANCES)
def test_chance(read, text):
    moves, expected = text
    game = read(f'{HEAD}c "" 1 "" {{ {moves} }} 0' + ' t "" 0' * len(expected))
    assert game.root().probabilities == expected


def test_floats_written_in_full_may_miss_one_by_rounding(read):
    # As OpenSpiel's own exporter writes Kuhn poker; Gambit refuses it.
    thirds = '"a" 0.3333333333333333 "b" 0.3333333333333333 "c" 0.3333333333333333'
    game = read(f'{HEAD}c "" 1 "" {{ {thirds} }} 0' + ' t "" 0' * 3)
    assert float(sum(game.root().probabilities)) == pytest.approx(1, abs=1e-15)


TWO = 'p "" 1 1 "A" { "x" "y" } 0\n'
COIN = 'c "" 1 "" { "l" 1/2 "r" 1/2 } 0\n'
END = 't "" 0\n'
OUT = 't "" 1 "" { 1, 2 }\n'

# Text, (line, column) of the fault, and what the sentence must say.
FAULTS = {
    "empty": ("", (1, 1), "found the end of the file, expected the word EFG"),
    "not efg": ("NFG 1 R", (1, 1), "found NFG, expected the word EFG"),
    "a picture": ("\x89PNG\r\n", (1, 1), r"found '\x89PNG"),
    "version": ('EFG 1 R "t"', (1, 5), "found 1, expected 2, the version"),
    "number kind": ('EFG 2 Q "t"', (1, 7), "found Q, expected R or D"),
    "title": ("EFG 2 R title", (1, 9), "found title, expected the title of the game in quotes"),
    "open quote": ('EFG 2 R "title', (1, 9), "found '\"title', expected the title"),
    "one player": ('EFG 2 R "t" { "a" }\n' + END, (1, 13), "found 1, expected 2 players"),
    "three players": ('EFG 2 R "t" { "a" "b" "c" }', (1, 13), "found 3, expected 2 players"),
    "no nodes": (HEAD, (2, 1), "found the end of the file, expected a node (c, p or t)"),
    "truncated tree": (HEAD + TWO + END, (4, 1), "expected a node (c, p or t); branches are open"),
    "truncated node": (HEAD + TWO + 't ""', (3, 5), "found the end of the file, expected the numb"),
    "truncated list": (HEAD + 'p "" 1 1 "" { "x"', (2, 18), "expected an action in quotes, or }"),
    "more after the end": (HEAD + END + END, (3, 1), "found t, expected the end of the file"),
    "unknown node": (HEAD + 'x "" 0', (2, 1), "found x, expected a node"),
    "no name": (HEAD + "t 0", (2, 3), "found 0, expected the name in quotes of this t node"),
    "player 0": (HEAD + 'p "" 0 1 "" { "x" } 0', (2, 6), "found 0, expected player 1 or 2"),
    "player 3": (HEAD + 'p "" 3 1 "" { "x" } 0', (2, 6), "found 3, expected player 1 or 2"),
    "half an infoset": (HEAD + 'p "" 1 1/2 "" { "x" } 0', (2, 8), "found 1/2, expected the number"),
    "infoset not described": (HEAD + 'p "" 1 1 0', (2, 10), "the actions of infoset 1 of player 1"),
    "event not described": (HEAD + 'c "" 1 0', (2, 8), "the actions of chance event 1, new here"),
    "outcome not described": (HEAD + 't "" 4', (2, 7), "the payoffs of outcome 4, new here"),
    "payoffs for null": (HEAD + 't "" 0 "" { 1, 2 }', (2, 6), "outcome 0 is the one without"),
    "no actions": (HEAD + 'p "" 1 1 "" { } 0', (2, 10), "found none, expected at least one action"),
    "comma in actions": (HEAD + 'p "" 1 1 "" { "x", "y" } 0', (2, 18), "found ,, expected an act"),
    "missing payoff": (
        HEAD + 't "" 1 "" { 1 }',
        (2, 15),
        "found }, expected the payoff of player 2",
    ),
    "third payoff": (
        HEAD + 't "" 1 "" { 1 2 3 }',
        (2, 17),
        "found 3, expected } after two payoffs",
    ),
    "payoff in words": (HEAD + 't "" 1 "" { one 2 }', (2, 13), "found one, expected the payoff"),
    "not a number": (HEAD + 't "" 1 "" { nan 2 }', (2, 13), "found nan, expected the payoff"),
    "infinite": (HEAD + 't "" 1 "" { 1 -inf }', (2, 15), "found '-inf }', expected the"),
    "half a fraction": (
        HEAD + 't "" 1 "" { 1/ 2 }',
        (2, 13),
        "found '1/ 2 }', expected the payoff",
    ),
    "decimal fraction": (HEAD + 't "" 1 "" { 1.5/2 2 }', (2, 13), "found '1.5/2 2 }', expected"),
    "zero denominator": (HEAD + 't "" 1 "" { 1/0 2 }', (2, 13), "another denominator than 0"),
    "beyond float64": (HEAD + 't "" 1 "" { 1e999 2 }', (2, 13), "a number that a float64 can hold"),
    "absurd exponent": (HEAD + 't "" 1 "" { 1e999999999 2 }', (2, 13), "expected the payoff"),
    "absurd digits": (HEAD + 't "" 1 "" { ' + "9" * 5000 + " 2 }", (2, 13), "at most 1000 digits"),
    "no probability": (HEAD + 'c "" 1 "" { "l" "r" }', (2, 17), 'found "r", expected the probab'),
    "negative": (HEAD + 'c "" 1 "" { "l" -1/2 "r" 3/2 } 0', (2, 17), "found -1/2, expected a prob"),
    "off by a sixth": (
        HEAD + 'c "" 7 "" { "l" 1/2 "r" 1/3 } 0',
        (2, 8),
        "found 1/2 + 1/3 = 5/6 at chance event 7, expected probabilities that sum to exactly 1",
    ),
    "rationals must be exact": (
        HEAD + 'c "" 1 "" { "l" 1/3 "r" 666666666666/1000000000000 } 0',
        (2, 8),
        "expected probabilities that sum to exactly 1",
    ),
    "decimals within rounding": (
        HEAD + 'c "" 1 "" { "l" 0.333333 "r" 0.666666 } 0',
        (2, 8),
        "expected probabilities that sum to exactly 1",
    ),
    "other actions": (
        HEAD + COIN + TWO + END * 2 + 'p "" 1 1 "A" { "x" "z" } 0',
        (6, 10),
        "found 'A' with ['x', 'z'], expected what infoset 1 of player 1 was before: "
        "'A' with ['x', 'y']",
    ),
    "other order": (
        HEAD + COIN + TWO + END * 2 + 'p "" 1 1 "A" { "y" "x" } 0',
        (6, 10),
        "found 'A' with ['y', 'x']",
    ),
    "other label": (
        HEAD + COIN + TWO + END * 2 + 'p "" 1 1 "B" { "x" "y" } 0',
        (6, 10),
        "found 'B' with ['x', 'y'], expected what infoset 1 of player 1 was before: 'A'",
    ),
    "other payoffs": (
        HEAD + TWO + OUT + 't "" 1 "" { 1, 3 }',
        (4, 6),
        "found '' worth 1, 3, expected what outcome 1 was before: '' worth 1, 2",
    ),
    "other probabilities": (
        HEAD + COIN + 'c "" 1 "" { "l" 1/4 "r" 3/4 } 0',
        (3, 8),
        "found '' 'l' 1/4, 'r' 3/4, expected what chance event 1 was before: '' 'l' 1/2, 'r' 1/2",
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_its_place(read, tmp_path, fault):
    text, (line, column), sentence = fault
    with pytest.raises(InputError) as caught:
        read(text)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'game.efg'}, line {line}, column {column}: found ")
    assert sentence in said
    assert len(said) < 1_000


def test_what_the_builder_refuses_names_the_file(read, tmp_path):
    forgot = 'p "" 1 2 "B" { "l" "r" } 0\n' + END * 2
    with pytest.raises(InputError) as caught:
        read(HEAD + TWO + forgot * 2)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'game.efg'}: player 0 has imperfect recall at infoset 'B'")
    driver = HEAD + 'p "" 1 1 "A" { "exit" "on" } 0\n' + END + 'p "" 1 1 0\n' + END * 2
    with pytest.raises(InputError, match="imperfect recall at infoset 'A'"):
        read(driver)


def test_files_that_cannot_be_read_are_refused(read, tmp_path):
    with pytest.raises(InputError, match=r"missing\.efg cannot be read: No such file"):
        read_efg(tmp_path / "missing.efg")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_efg(tmp_path)
    with pytest.raises(InputError, match="byte 9 is not UTF-8 text"):
        read(b'EFG 2 R "\xff" { "a" "b" }')


BIG = 10_000_000
GARBAGE = {
    "noise": random.Random(0).randbytes(BIG),
    "one letter": b"a" * BIG,
    "one digit": b"1" * BIG,
    "blanks": b" " * BIG,
    "quotes": b'EFG 2 R "t" { ' + b'"' * 200_000,
    "an open quote": b'EFG 2 R "' + b"a\\" * (BIG // 2),
    "escaped quotes": b'EFG 2 R "' + b'\\"' * (BIG // 2),
    "one long number": HEAD.encode() + b't "" 1 "" { ' + b"7" * BIG,
    "one long decimal": HEAD.encode() + b't "" 1 "" { 0.' + b"7" * BIG,
    "blanks in a list": HEAD.encode() + b'p "" 1 1 "" { ' + b" " * BIG,
    "a long name": HEAD.encode() + b't "' + b"n" * BIG + b'"',
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_ten_megabytes_of_garbage_end_in_a_short_sentence(read, data):
    # Quadratic reading of 10 MB would take hours; each of these takes well under a second.
    with pytest.raises(InputError) as caught:
        read(data)
    assert len(str(caught.value)) < 1_000


def test_a_deep_tree_is_read_without_recursion(read):
    depth = 3_000
    text = HEAD + "".join(f'p "" 1 {k} "" {{ "on" "off" }} 0\n' for k in range(depth))
    game = read(text + 't "" 1 "" { 1, 2 }\n' + END * depth)
    assert len(game.form.treeplex[0].levels) == depth
    assert payoffs(game)[0] == (1, 2)


def damaged(data):
    """Draw a file in which something was cut, doubled or replaced."""
    start = data.draw(st.integers(0, len(POKER)))
    stop = data.draw(st.integers(start, min(len(POKER), start + 12)))
    patch = data.draw(
        st.one_of(
            st.sampled_from(
                ["", '"', "{", "}", ",", "0", "-1", "1/2", "t", 'p "" 1 1', "\\", "1e9"]
            ),
            st.text(max_size=6),
            st.just(POKER[start:stop] * 2),
        )
    )
    return POKER[:start] + patch + POKER[stop:]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_file_is_a_game_or_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.efg"
    path.write_text(damaged(data), encoding="utf-8", errors="replace", newline="")
    try:
        game = read_efg(path)
    except InputError as error:
        said = str(error)
    else:
        said = f"{path}: {game.name}"
        assert len(game.form.leaves.chance) == len(payoffs(game))
    assert said.startswith(str(path))


def told(path, text):
    """Return all that is read from `text`, or the sentence that refuses it."""
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    try:
        game = read_efg(path)
    except InputError as error:
        return str(error)
    moves = [
        (type(node), getattr(node, "infoset", ""), node.actions, getattr(node, "probabilities", ()))
        for node in nodes(game)
        if not isinstance(node, Terminal)
    ]
    return game.name, game.names, moves, payoffs(game)


def as_tokens(path, text):
    """Return `told`, with no node read in one piece."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efg_read, "LEAF", re.compile("(?!)"))
        patch.setattr(efg_read, "LINE", re.compile("(?!)"))
        return told(path, text)


@pytest.mark.parametrize(
    "text", [POKER, *(fault[0] for fault in FAULTS.values())], ids=["poker", *FAULTS]
)
def test_whole_nodes_are_read_as_their_tokens_are(tmp_path, text):
    path = tmp_path / "game.efg"
    assert told(path, text) == as_tokens(path, text)
    followed = text + "\n" + END * 2  # nodes are read in one piece only where others follow
    assert told(path, followed) == as_tokens(path, followed)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_nodes_are_read_as_their_tokens_are(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.efg"
    text = damaged(data)
    assert told(path, text) == as_tokens(path, text)


def test_repeated_lines_are_the_same_node_whatever_follows(read):
    # Infoset 1 again on the same line, but with its outcome described on the next one.
    again = 'p "" 1 1 "A" { "x" "y" } 1\n'
    outcome = '  "bonus" { 10, 20 }\n'
    coin = 'c "" 1 "" { "l" 1/4 "m" 1/4 "r" 1/2 } 0\n'
    leaf = 't "" 2 "" { 1, 2 }\n'
    game = read(
        HEAD + coin + again + outcome + leaf * 2 + again + leaf * 2 + again + outcome + leaf * 2
    )
    assert payoffs(game) == [(11, 22)] * 6
