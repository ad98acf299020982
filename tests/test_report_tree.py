"""The likeliest paths against the whole tree, and their picture against itself."""

import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from itertools import pairwise
from math import sqrt

import numpy as np
import pyspiel
import pytest

from csa_games.build import build
from csa_games.dialogue import dialogue_game
from csa_games.fold import legal_mask
from csa_games.game import ASSISTANT, Game, Policy
from csa_games.interop.openspiel import unfold
from csa_games.override import override, with_prior
from csa_games.paths import likely_paths
from csa_games.rules import Chance, Terminal
from csa_games.scenario import builtin_scenarios, read_scenario
from csa_games.tree_picture import THICKEST, THINNEST, tree_picture
from csa_games.words import percent

SVG = "{http://www.w3.org/2000/svg}"


def game_of(name: str) -> Game:
    if name == "kuhn":
        spiel = pyspiel.load_game("kuhn_poker")
        return build(lambda: unfold(spiel.new_initial_state()), "kuhn_poker")
    scenario = read_scenario(builtin_scenarios()["crisis_guidance"])
    scenario = override(scenario, {"turns": 2})
    return dialogue_game(with_prior(scenario, "malicious", 0.0) if "no" in name else scenario)


GAMES = ["kuhn", "two turns", "no malice"]


def random_policy(game: Game, seed: int) -> Policy:
    """Return a policy of which a part is pure."""
    draw = np.random.default_rng(seed)
    parts = []
    for treeplex in game.form.treeplex:
        legal = np.asarray(legal_mask(treeplex))
        weight = legal * draw.exponential(size=legal.shape) * (draw.random(legal.shape) < 0.7)
        empty = weight.sum(axis=-1) == 0
        weight[empty] = legal[empty]
        parts.append(weight / weight.sum(axis=-1, keepdims=True))
    return parts[0], parts[1]


def every_history(game: Game, policy: Policy) -> dict[tuple[str, ...], tuple[float, float]]:
    """Return (probability, the assistant's payoff) of every history that is ever played."""
    rows = [
        {label: part[i] for i, label in enumerate(game.names.infosets[p])}
        for p, part in enumerate(policy)
    ]
    found = {}

    def go(node, history, probability):
        if isinstance(node, Terminal):
            found[history] = (probability, float(node.payoffs[1]))
            return
        chances = (
            node.probabilities if isinstance(node, Chance) else rows[node.player][node.infoset]
        )
        for k, label in enumerate(node.actions):
            if chances[k] > 0:
                go(node.child(k), (*history, label), probability * float(chances[k]))

    go(game.root(), (), 1.0)
    return found


@pytest.mark.parametrize("name", GAMES)
def test_the_likeliest_paths_are_those_of_the_whole_tree(name):
    game = game_of(name)
    policy = random_policy(game, 3)
    every = every_history(game, policy)
    assert sum(p for p, _ in every.values()) == pytest.approx(1)
    paths = likely_paths(game, policy, 24)
    assert paths.exact
    groups = defaultdict(list)
    for history, (p, _) in every.items():
        groups[history[0] if game.scenario else ""].append(p)
    assert len(groups) == len(paths.groups)
    each = 24 // len(groups)
    for likely, group in zip(groups.values(), paths.groups, strict=True):
        expected = sorted(likely, reverse=True)[:each]
        np.testing.assert_allclose([path.probability for path in group], expected, rtol=1e-12)
    for path in paths.every:
        p, payoff = every[tuple(step.action for step in path.steps)]
        assert path.probability == pytest.approx(p, rel=1e-12)
        assert np.prod([step.probability for step in path.steps]) == pytest.approx(p, rel=1e-12)
        assert path.payoffs[1] == payoff
    assert paths.covered == pytest.approx(sum(path.probability for path in paths.every))


def test_what_is_rare_may_be_left_out():
    game = game_of("two turns")
    policy = random_policy(game, 3)
    every, common = (likely_paths(game, policy, 24, least=least) for least in (0.0, 0.5))
    for whole, kept in zip(every.groups, common.groups, strict=True):
        first = whole[0].probability
        assert kept == tuple(path for path in whole if path.probability >= first / 2)
    assert 0 < len(common.every) < len(every.every)


def test_a_search_that_is_cut_short_says_so():
    game = game_of("two turns")
    policy = random_policy(game, 3)
    every = every_history(game, policy)
    paths = likely_paths(game, policy, 24, most_nodes=40)
    assert not paths.exact
    histories = [tuple(step.action for step in path.steps) for path in paths.every]
    assert len(set(histories)) == len(histories) == 24
    for history, path in zip(histories, paths.every, strict=True):
        assert path.probability == pytest.approx(every[history][0], rel=1e-12)


def test_a_small_game_is_shown_whole_under_uniform_play():
    game = game_of("kuhn")
    paths = likely_paths(game, None, 40)
    assert len(paths.every) == 30  # Kuhn 1950: 6 deals with 5 betting sequences each
    assert paths.covered == pytest.approx(1)


def parts(picture: str, tag: str) -> list[dict[str, str]]:
    return [part.attrib for part in ET.fromstring(picture).iter(SVG + tag)]


@pytest.mark.parametrize("name", GAMES)
def test_lines_are_as_wide_as_the_probability_to_get_there(name):
    game = game_of(name)
    paths = likely_paths(game, random_policy(game, 3), 24)
    picture = tree_picture(game, paths)
    drawn = Counter(
        part["stroke-width"] for part in parts(picture, "path") if "stroke-width" in part
    )
    reach = {}
    for path in paths.every:
        for t in range(len(path.steps)):
            if game.scenario and t % 3 == 1 and t + 1 < len(path.steps):
                continue  # an ask and its signal are one step
            history = tuple(step.action for step in path.steps[: t + 1])
            reach[history] = np.prod([step.probability for step in path.steps[: t + 1]])
    expected = Counter(
        f"{THINNEST + (THICKEST - THINNEST) * sqrt(p):.2f}" for p in map(float, reach.values())
    )
    assert drawn == expected


@pytest.mark.parametrize("name", GAMES)
def test_dashes_join_what_cannot_be_told_apart(name):
    game = game_of(name)
    paths = likely_paths(game, random_policy(game, 3), 24)
    nodes = defaultdict(set)
    for path in paths.every:
        for t, step in enumerate(path.steps):
            if step.player is not None and (step.player == ASSISTANT or not game.scenario):
                nodes[step.player, step.infoset].add(tuple(s.action for s in path.steps[:t]))
    several = [members for members in nodes.values() if len(members) > 1]
    assert several
    picture = ET.fromstring(tree_picture(game, paths))
    (dashed,) = (g for g in picture.iter(SVG + "g") if "stroke-dasharray" in g.attrib)
    assert len(dashed.findall(SVG + "path")) == len(several)
    assert len(dashed.findall(SVG + "circle")) == sum(map(len, several))
    # A line for each infoset has a stub at each of its nodes, and no two lines of one column meet.
    stubs = [part.attrib["d"].count("H") for part in dashed.findall(SVG + "path")]
    assert sorted(stubs) == sorted(map(len, several))
    spans = defaultdict(list)
    for part in dashed.findall(SVG + "path"):
        first = part.attrib["d"].partition("V")
        x, top = first[0][1:].split()
        spans[x].append((float(top), float(first[2].partition("M")[0])))
    for column in spans.values():
        column.sort()
        assert all(below[0] > above[1] for above, below in pairwise(column))


def test_a_picture_says_what_it_shows_and_stays_text():
    game = game_of("two turns")
    paths = likely_paths(game, random_policy(game, 3), 24)
    picture = tree_picture(game, paths)
    root = ET.fromstring(picture)
    assert root.attrib["role"] == "img"
    assert percent(paths.covered) in root.attrib["aria-label"]
    words = "".join(root.itertext())
    for path in paths.every:
        assert percent(path.probability) in words
        assert path.steps[0].action in words
    leaves = [float(part["cy"]) for part in parts(picture, "circle") if part["r"] == "2"]
    assert len(leaves) == len(paths.every)
    assert min(np.diff(sorted(leaves))) > 20
