"""What notebooks show: well-formed, escaped, short, and with the numbers of the nouns."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pyspiel
import pytest

from csa_games.build import build
from csa_games.dialogue import dialogue_game
from csa_games.fold import uniform
from csa_games.game import Game, Solution
from csa_games.interop.openspiel import unfold
from csa_games.rules import Decision, Terminal
from csa_games.scenario import builtin_scenarios, read_scenario
from csa_games.table import tabulate

EVIL = """<script>a()</script>"&'{{ 7*7 }}"""


def dialogue() -> Game:
    return dialogue_game(read_scenario(builtin_scenarios()["csa_oneshot"]))


def kuhn() -> Game:
    spiel = pyspiel.load_game("kuhn_poker")
    return build(lambda: unfold(spiel.new_initial_state()), "kuhn_poker")


def solution_of(game: Game) -> Solution:
    first, second = (uniform(treeplex) for treeplex in game.form.treeplex)
    return Solution(
        game=game.name,
        method="uniform",
        policy=(first, second),
        value=np.array([-0.5, 0.5]),
        gap=np.array([0.25, 0.125]),
        steps=1,
        seconds=0.5,
        status="max_steps",
        game_class=game.game_class,
    )


def parsed(fragment: str) -> ET.Element:
    return ET.fromstring(f"<div>{fragment}</div>")


def cells(fragment: str) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in parsed(fragment).iter("tr")]


@pytest.mark.parametrize("make", [dialogue, kuhn])
def test_a_game_shows_its_sizes_and_its_tree(make):
    game = make()
    shown = game._repr_html_()
    rows = dict(row for row in cells(shown) if len(row) == 2)
    for name, treeplex in zip(game.names.players, game.form.treeplex, strict=True):
        assert rows[f"information sets of {name}"] == str(treeplex.infosets)
    assert rows["complete histories"] == str(len(game.form.leaves.chance))
    assert game._repr_svg_() in shown
    assert ET.fromstring(game._repr_svg_()).attrib["aria-label"]
    assert len(shown) < 60_000


def test_a_solution_shows_its_certificate():
    solution = solution_of(kuhn())
    shown = solution._repr_html_()
    assert cells(shown)[1:] == [["value", "−0.500", "0.500"], ["gap", "0.250", "0.125"]]
    assert "NashConv 0.375" in shown


def test_a_table_shows_its_most_reached_rows():
    game = dialogue()
    table = tabulate(game, solution_of(game))
    shown = table._repr_html_()
    (head, *rows) = cells(shown)
    assert head[3:] == [response.name for response in game.scenario.responses]
    assert [row[0] for row in rows] == ["plain:clear", "plain:flag"]  # 9 of 10 are not flagged
    assert all(row[3:] == ["20\u202f%"] * 5 for row in rows)


def test_text_stays_text():
    def root():
        actions = ("up" + EVIL, "down")
        return Decision(0, EVIL, actions, lambda k: Terminal((float(k), -float(k))))

    game = build(root, "game" + EVIL, players=("Ann" + EVIL, "Bob"))
    for shown in (
        game._repr_html_(),
        game._repr_svg_(),
        replace(solution_of(game), method=EVIL)._repr_html_(),
    ):
        tree = parsed(shown)
        assert EVIL[:12] in "".join(tree.itertext()) + str([part.attrib for part in tree.iter()])
        assert "script" not in {part.tag.rpartition("}")[2] for part in tree.iter()}


def test_the_nouns_stay_light():
    """What draws is imported when something is drawn, not with the nouns."""
    program = (
        "import sys, csa_games.game, csa_games.table; "
        "print({'matplotlib', 'jinja2', 'csa_games.notebook'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
