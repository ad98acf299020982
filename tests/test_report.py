"""The report: its numbers against sums over the tree, its page against a parser and a browser."""

import hashlib
import html
import itertools
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from base64 import b64encode
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pyspiel
import pytest
from browser import browse, in_a_browser, with_script
from hypothesis import given, settings
from hypothesis import strategies as st

from csa_games import plots
from csa_games.build import build
from csa_games.conduct import (
    asks_by,
    posterior_path,
    responses_by,
    shares_by_intent,
    turns_of,
    typical_conversations,
)
from csa_games.dialogue import dialogue_game, sizes
from csa_games.evaluate import MEASURES, expected
from csa_games.evidence import sourced, totals
from csa_games.fold import legal_mask
from csa_games.game import ASSISTANT, USER, Game, Policy, Progress, Solution
from csa_games.guard.keys import Turn, state_key
from csa_games.interop.openspiel import unfold
from csa_games.override import override, with_prior
from csa_games.report import Compared, report
from csa_games.report.answer import sentences
from csa_games.report.certificate import bounds, guarantee, spoken
from csa_games.report.rows import for_everyone, most_reached
from csa_games.rules import Chance, Decision, Terminal
from csa_games.scenario import (
    Scenario,
    builtin_scenarios,
    parse_scenario,
    read_scenario,
    scenario_from,
)
from csa_games.words import counted, decimal, join, number, percent
from solvers.compare import compare
from solvers.response import gap, value

# Two turns, a rational and a kernel intent: a general-sum game. Its numbers by source: measured 4
# (two channels), derived 3 (satisfaction), assumed 26 (discount, 4 weights, 2 priors, 1 severity,
# the kernel's 1 + 2, the user's 2 weights, risk 1 + 2 + 2 by turn and 3, cost 3, effort 2).
BARGAIN = b"""
format = 1
name = "bargain"
title = "A bargain"
question = "What does a rational user get?"
turns = 2
discount = { value = 0.9, source = "assumption" }
sources.study = { cite = "A study", evidence = "measured" }
sources.figure = { cite = "A figure", evidence = "derived" }
fallback = { rungs = [["signal"]], response = "no" }
baselines = { comply = "yes", refuse = "no", threshold = { low = "yes", high = "no" } }

[weights]
alpha = { value = 1.0, source = "assumption" }
beta = { value = 2.0, source = "assumption" }
gamma = { value = 1.0, source = "assumption" }
psi = { value = 0.0, source = "assumption" }

[[intents]]
name = "plainly"
description = "Reacts."
prior = { value = 0.75, low = 0.5, high = 0.9, source = "assumption" }
behaviour = "kernel"
asks = ["ask"]
kernel.source = "assumption"
kernel.opening.ask = 1.0
kernel.after = { yes = { ask = 1.0 }, no = { ask = 1.0 } }

[[intents]]
name = "artful"
description = "Chooses."
prior = { value = 0.25, source = "assumption" }
behaviour = "rational"
asks = ["ask", "insist"]
weights = { satisfaction = 1.0, risk = 0.5, source = "assumption" }

[[asks]]
name = "ask"
description = "Asks."

[[asks]]
name = "insist"
description = "Insists."

[[signals]]
name = "low"
description = "Calm."

[[signals]]
name = "high"
description = "Alarm."

[[responses]]
name = "yes"
description = "Gives."
mechanism = "pass"

[[responses]]
name = "no"
description = "Does not."
mechanism = "text"
text = "No."

[[responses]]
name = "over"
description = "Ends it."
mechanism = "block"
ends = true

[[categories]]
name = "harm"
description = "Harm."
severity = { value = 1.0, source = "assumption" }

[[channel]]
intents = ["plainly"]
asks = ["ask"]
probabilities = { low = 0.9, high = 0.1 }
source = "study"

[[channel]]
intents = ["artful"]
asks = ["ask", "insist"]
probabilities = { low = 0.4, high = 0.6 }
source = "study: read twice"

[[payoff.satisfaction]]
values = { yes = 1.0, no = 0.25, over = 0.0 }
source = "figure"

[[payoff.risk]]
category = "harm"
values = { yes = 1.0, no = [0.0, 0.125], over = [0.0, 0.0] }
intents = ["artful"]
source = "assumption"

[[payoff.risk]]
category = "harm"
values = { yes = 0.0, no = 0.0, over = 0.0 }
intents = ["plainly"]
source = "assumption"

[[payoff.cost]]
values = { yes = 0.0, no = 0.0, over = 0.5 }
source = "assumption"

[[payoff.effort]]
intents = ["artful"]
values = { ask = 0.0, insist = 0.1 }
source = "assumption"
"""


def bargain() -> Scenario:
    return parse_scenario(BARGAIN, "bargain.toml")


def builtin(name: str) -> Scenario:
    return read_scenario(builtin_scenarios()[name])


def without_strategic(scenario: Scenario) -> Scenario:
    """Return `scenario` with its strategic intent reacting as the first one does."""
    content = scenario.model_dump(mode="json", exclude_none=True)
    kernel = content["intents"][0]["kernel"]
    for intent in content["intents"]:
        if intent["behaviour"] != "kernel":
            intent |= {"behaviour": "kernel", "kernel": kernel}
    return scenario_from(content, "without strategic intents")


def random_policy(game: Game, seed: int) -> Policy:
    """Return a policy with zeros in it: some rows are pure, some actions are never taken."""
    draw = np.random.default_rng(seed)
    parts = []
    for treeplex in game.form.treeplex:
        legal = np.asarray(legal_mask(treeplex))
        weight = legal * draw.exponential(size=legal.shape) * (draw.random(legal.shape) < 0.6)
        empty = weight.sum(axis=-1) == 0
        weight[empty] = legal[empty]
        parts.append(weight / weight.sum(axis=-1, keepdims=True))
    return parts[0], parts[1]


def solution_of(game: Game, policy: Policy) -> Solution:
    """Return a solution with a true certificate and a made-up run."""
    return Solution(
        game=game.name,
        method="made up",
        policy=policy,
        value=np.array(value(game, policy), dtype=np.float64),
        gap=np.array(gap(game, policy), dtype=np.float64),
        steps=40,
        seconds=1.25,
        status="max_steps",
        game_class=game.game_class,
        dead_zone=1e-8,
        history=(Progress(0, 0.0, 2.0), Progress(1, 0.1, 1.0), Progress(40, 1.25, 0.125)),
    )


def labelled_game(mark: str) -> Game:
    """Return a general-sum game that is no dialogue, with `mark` in every name."""

    def answer(first: int) -> Decision:
        return Decision(
            1,
            "hears" + mark,
            ("left" + mark, "right"),
            lambda second: Terminal((float(first == second), 2.0 * first - second)),
        )

    def root() -> Decision:
        return Decision(0, "starts" + mark, ("up" + mark, "down"), answer)

    return build(root, "game" + mark, players=("Ann" + mark, "Bob"))


@cache
def game_of(name: str) -> Game:
    """Return one of the games that pages are made of."""
    match name:
        case "two turns":
            return dialogue_game(override(builtin("crisis_guidance"), {"turns": 2}))
        case "one turn":
            return dialogue_game(builtin("csa_oneshot"))
        case "no malice":
            scenario = override(builtin("crisis_guidance"), {"turns": 2})
            return dialogue_game(with_prior(scenario, "malicious", 0.0))
        case "no strategic intent":
            return dialogue_game(without_strategic(builtin("csa_oneshot")))
        case "general-sum":
            return dialogue_game(bargain())
        case "kuhn":
            spiel = pyspiel.load_game("kuhn_poker")
            return build(lambda: unfold(spiel.new_initial_state()), "kuhn_poker")
        case _:
            return labelled_game("")


MOST = 5  # rows

DIALOGUES = ["two turns", "one turn", "no malice", "no strategic intent", "general-sum"]
GAMES = [*DIALOGUES, "kuhn", "general-sum game"]


@cache
def played(name: str) -> tuple[Game, Solution]:
    game = game_of(name)
    return game, solution_of(game, random_policy(game, 7))


@cache
def page(name: str) -> str:
    return report(*played(name), provenance={"git": {"commit": "abc", "dirty": None}, "cores": [1]})


# What play leads to, walked node by node: shares nothing with the fold.


@cache
def visits(name: str) -> tuple[list[tuple[int, str, str, float, np.ndarray]], dict[str, float]]:
    """Return (player, infoset, intent, probability, policy row) of every decision, and the prior.

    Probabilities are summed over the nodes of an infoset and intent.
    """
    game, solution = played(name)
    rows = [
        {label: np.asarray(solution.policy[p][i]) for i, label in enumerate(labels)}
        for p, labels in enumerate(game.names.infosets)
    ]
    found: dict[tuple[int, str, str], float] = defaultdict(float)
    intents: dict[str, float] = {}

    def walk(node, intent: str, probability: float) -> None:
        if isinstance(node, Chance):
            for k, (label, p) in enumerate(zip(node.actions, node.probabilities, strict=True)):
                if not intent:
                    intents[label] = p
                walk(node.child(k), intent or label, probability * p)
        elif isinstance(node, Decision):
            found[node.player, node.infoset, intent] += probability
            for k in range(len(node.actions)):
                p = rows[node.player][node.infoset][k]
                if p > 0:
                    walk(node.child(k), intent, probability * p)

    walk(game.root(), "", 1.0)
    return [(*key, p, rows[key[0]][key[1]]) for key, p in found.items()], intents


def check_choices(found, visited) -> None:
    """Check choices against (kind, probability, row) of every visit; none may be missing."""
    weight, total = defaultdict(float), defaultdict(float)
    visited = [(kind, p, row) for kind, p, row in visited if p > 0]
    for kind, p, row in visited:
        weight[kind] += p
        total[kind] = total[kind] + p * row
    assert found.keys() == weight.keys()
    for kind, choice in found.items():
        shares = total[kind] / weight[kind]
        apart = sum(p * np.abs(row - shares).sum() / 2 for k, p, row in visited if k == kind)
        np.testing.assert_allclose(choice.reach, weight[kind], rtol=1e-10)
        np.testing.assert_allclose(choice.shares, shares, atol=1e-12)
        np.testing.assert_allclose(choice.spread, apart / weight[kind], atol=1e-12)


def situation(infoset: str) -> dict[str, str]:
    turns = infoset.split("/")
    ask, signal = turns[-1].split(":")
    return {"turn": str(len(turns)), "ask": ask, "signal": signal}


@pytest.mark.parametrize("name", DIALOGUES)
def test_responses_by_situation_are_sums_over_the_tree(name):
    game, solution = played(name)
    seen = [visit for visit in visits(name)[0] if visit[0] == ASSISTANT]
    features = ("turn", "ask", "signal")
    for kept in itertools.chain(*(itertools.combinations(features, n) for n in range(4))):
        kinds = [(tuple(situation(label)[f] for f in kept), p, row) for _, label, _, p, row in seen]
        check_choices(responses_by(game, solution.policy, kept), kinds)


@pytest.mark.parametrize("name", DIALOGUES)
def test_what_an_intent_is_answered_is_a_sum_over_the_tree(name):
    game, solution = played(name)
    total = defaultdict(float)
    for who, _, intent, p, row in visits(name)[0]:
        if who == ASSISTANT and p > 0:
            total[intent] = total[intent] + p * row
    found = shares_by_intent(game, solution.policy)
    assert found.keys() == total.keys()
    for intent, shares in found.items():
        np.testing.assert_allclose(shares, total[intent] / total[intent].sum(), atol=1e-12)


@pytest.mark.parametrize("name", DIALOGUES)
def test_asks_are_sums_over_the_tree(name):
    game, solution = played(name)
    seen, prior = visits(name)
    names = [ask.name for ask in game.scenario.asks]
    legal = {i.name: [a for a in names if a in i.asks] for i in game.scenario.intents}
    kinds = []
    for who, label, intent, p, row in seen:
        if who == USER:
            public = [part for part in label.split("|")[1].split("/") if part]
            last = public[-1].split(">")[1] if public else ""
            full = np.zeros(len(names))
            for k, ask in enumerate(legal[intent]):
                full[names.index(ask)] = row[k]
            kinds.append(((intent, 1 + len(public), last), p / prior[intent], full))
    assert bool(kinds) == (name not in ("no malice", "no strategic intent"))
    check_choices(asks_by(game, solution.policy), kinds)


@pytest.mark.parametrize("name", DIALOGUES)
def test_the_posterior_along_a_conversation_is_bayes_rule(name):
    game, solution = played(name)
    seen, prior = visits(name)
    joint = {(label, i): p for who, label, i, p, _ in seen if who == ASSISTANT}
    intents = [intent.name for intent in game.scenario.intents]
    chosen = typical_conversations(game, solution.policy)
    assert len(chosen) == len(game.scenario.signals)
    for infoset in chosen:
        path = posterior_path(game, solution.policy, infoset)
        np.testing.assert_allclose(path[0], [prior.get(i, 0.0) for i in intents])
        turns = game.names.infosets[ASSISTANT][infoset].split("/")
        assert len(path) == 1 + len(turns)
        for t in range(len(turns)):
            key = re.sub(r">\w+$", "", "/".join(turns[: t + 1]))
            mass = np.array([joint.get((key, i), 0.0) for i in intents])
            np.testing.assert_allclose(path[1 + t], mass / mass.sum(), atol=1e-12)


@pytest.mark.parametrize("name", DIALOGUES)
def test_typical_conversations_take_the_likeliest_step_each_time(name):
    game, solution = played(name)
    mass = Counter()
    for who, label, _, p, _ in visits(name)[0]:
        if who == ASSISTANT:
            mass[label] += p
    firsts = []
    for infoset in typical_conversations(game, solution.policy):
        key = game.names.infosets[ASSISTANT][infoset]
        parts = key.split("/")
        firsts.append(parts[0].split(":")[1].split(">")[0])
        alike = [k for k in mass if "/" not in k and k.endswith(":" + firsts[-1])]
        first = parts[0].split(">")[0]
        assert mass[first] == pytest.approx(max(mass[k] for k in alike))
        for t in range(1, len(parts)):
            before = "/".join(parts[:t]).rpartition(">")[0]
            after = [k for k in mass if k.count("/") == t and k.startswith(before + ">")]
            here = "/".join(parts[: t + 1])
            here = here if t + 1 == len(parts) else here.rpartition(">")[0]
            assert mass[here] == pytest.approx(max(mass[k] for k in after))
        assert not [k for k in mass if k.startswith(key + ">") and mass[k] > 0]
    assert firsts == [signal.name for signal in game.scenario.signals]


@pytest.mark.parametrize("name", GAMES)
def test_rows_are_the_most_reached_ones(name):
    game, solution = played(name)
    for player in (0, 1):
        mass = Counter()
        for who, label, _, p, _ in visits(name)[0]:
            if who == player:
                mass[label] += p
        excerpt = most_reached(game, solution.policy, player, MOST)
        ranked = sorted((p for p in mass.values() if p > 0), reverse=True)
        np.testing.assert_allclose([row.reach for row in excerpt.rows], ranked[:MOST], rtol=1e-10)
        for row in excerpt.rows:
            assert row.reach == pytest.approx(mass[row.label], rel=1e-10)
            i = game.names.infosets[player].index(row.label)
            # An action's value is the payoff of always taking it there, given that one gets there.
            for a, (action, p, worth) in enumerate(row.actions):
                assert action == game.names.actions[player][i][a]
                assert p == solution.policy[player][i, a]
                assert worth == pytest.approx(value_of_taking(game, solution.policy, player, i, a))
            best, *others = sorted((worth for _, _, worth in row.actions), reverse=True)
            apart = best - others[0] if others else float("nan")
            assert row.margin == pytest.approx(apart, nan_ok=True)
        if sum(mass.values()) > 0:
            assert excerpt.covered == pytest.approx(sum(ranked[:MOST]) / sum(ranked))
            assert excerpt.total == game.form.treeplex[player].infosets


@pytest.mark.parametrize("name", DIALOGUES)
def test_rows_for_everyone_have_those_of_every_intent_and_situation(name):
    game, solution = played(name)
    seen, prior = visits(name)
    joint = {(label, i): p for who, label, i, p, _ in seen if who == ASSISTANT}
    mass = Counter()
    for (label, _), p in joint.items():
        mass[label] += p
    excerpt = for_everyone(game, solution.policy, 2, 2)
    shown = {row.label for row in excerpt.rows}
    reach = [row.reach for row in excerpt.rows]
    assert reach == sorted(reach, reverse=True)
    assert len(shown) == len(reach)
    best = sorted(mass.values())[-2:][0]
    assert {label for label, p in mass.items() if p > best * (1 + 1e-9)} <= shown
    intents = [intent.name for intent in game.scenario.intents]
    for turn in range(game.scenario.turns):
        here = [label for label, p in mass.items() if p > 0 and label.count("/") == turn]
        for intent in intents:
            ranked = sorted(joint.get((label, intent), 0.0) for label in here)
            least = max(ranked[-2:][0], 1e-300) if ranked else 0.0
            wanted = [k for k in here if joint.get((k, intent), 0.0) > least * (1 + 1e-9)]
            assert set(wanted) <= shown
        for kind in {tuple(situation(label).items()) for label in here}:
            alike = [label for label in here if tuple(situation(label).items()) == kind]
            top = max(mass[label] for label in alike)
            assert any(mass[label] > top * (1 - 1e-9) for label in alike if label in shown)
    for row in excerpt.rows:
        of_intent = np.array([joint.get((row.label, i), 0.0) for i in intents])
        np.testing.assert_allclose(row.posterior, of_intent / of_intent.sum(), atol=1e-12)
        whole = np.array([prior.get(i, np.nan) for i in intents])
        np.testing.assert_allclose(row.visits, of_intent / whole, atol=1e-12)


def value_of_taking(game: Game, policy: Policy, player: int, infoset: int, action: int) -> float:
    """Return the mean payoff over leaves behind (infoset, action) when the player goes there."""
    label = game.names.infosets[player][infoset]
    rows = [
        {name: np.asarray(policy[p][i]) for i, name in enumerate(names)}
        for p, names in enumerate(game.names.infosets)
    ]
    mass = payoff = 0.0

    def walk(node, probability: float, inside: bool) -> None:
        nonlocal mass, payoff
        if isinstance(node, Terminal):
            if inside:
                mass += probability
                payoff += probability * float(node.payoffs[player])
        elif isinstance(node, Chance):
            for k, p in enumerate(node.probabilities):
                walk(node.child(k), probability * float(p), inside)
        elif node.player == player and node.infoset == label:
            walk(node.child(action), probability, True)
        else:
            for k in range(len(node.actions)):
                p = rows[node.player][node.infoset][k]
                if p > 0:
                    walk(node.child(k), probability * p, inside)

    walk(game.root(), 1.0, False)
    return payoff / mass


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)


@given(st.lists(st.builds(Turn, NAMES, NAMES, NAMES), max_size=3), NAMES, NAMES)
@settings(max_examples=50, deadline=None)
def test_turns_are_read_back_from_keys(before, ask, signal):
    turns = (*before, Turn(ask, signal))
    assert turns_of(state_key(turns)) == turns


# The words.


def test_the_answer_is_said_in_sentences():
    game = game_of("one turn")
    names = list(game.names.actions[ASSISTANT][0])
    rows = np.zeros((2, len(names)))
    clear, flag = (game.names.infosets[ASSISTANT].index("plain:" + s) for s in ("clear", "flag"))
    rows[clear, names.index("comply")] = 1
    rows[flag, [names.index("explain"), names.index("refuse")]] = 0.75, 0.25
    policy = random_policy(game, 0)[0], rows
    first, second = sentences(game, policy, 1)
    # Bayes by hand: 4 % malicious, recall .943, false positive rate .057 (the scenario's numbers).
    assert first.reach == pytest.approx(0.96 * 0.943 + 0.04 * 0.057)
    assert (first.signal, first.asks, first.responses) == ("clear", ("plain",), (("comply", 1.0),))
    assert second.responses == (("explain", 0.75), ("refuse", 0.25))
    assert not second.depends
    text = " ".join(Page(report(game, solution_of(game, policy))).text.split())
    assert "After a plain ask and the signal clear it answers with comply (100 %)." in text
    assert "the signal flag it answers with explain (75 %) or refuse (25 %)." in text


def test_asks_that_are_answered_alike_share_a_sentence():
    game = game_of("two turns")
    names = list(game.names.actions[ASSISTANT][0])
    infosets = game.names.infosets[ASSISTANT]
    rows = np.zeros((len(infosets), len(names)))
    for i, key in enumerate(infosets):
        *before, last = key.split("/")
        told = any(turn.startswith("contextualised") for turn in before)
        answer = "guide" if last.startswith("disguised") else "refer" if told else "comply"
        rows[i, names.index(answer)] = 1
    policy = random_policy(game, 3)[0], rows
    first = sentences(game, policy, 1)
    assert [s.asks for s in first] == [("plain", "contextualised"), ("disguised",)] * 3
    assert [s.responses for s in first[:2]] == [(("comply", 1.0),), (("guide", 1.0),)]
    assert not any(s.depends or s.every for s in first)
    # In turn 2 the answer to a plain ask is refer or comply, by how it was asked in turn 1.
    second = [s for s in sentences(game, policy, 2) if "plain" in s.asks]
    assert all({name for name, _ in s.responses} <= {"refer", "comply"} for s in second)
    assert all(s.depends for s in second if len(s.responses) == 2 and s.responses[1][1] > 0.06)
    assert any(s.depends for s in second)


def test_a_certificate_bounds_the_value_and_rounds_outwards():
    game, solution = played("one turn")
    for left in (0.3, 4e-4, 5.55e-7):
        certified = replace(
            solution, value=np.array([-1.23456789, 1.23456789]), gap=np.array([left, left / 3])
        )
        low, high = bounds(certified, ASSISTANT)
        assert (low, high) == pytest.approx((1.23456789 - left, 1.23456789 + left / 3))
        said, at_least, at_most = (float(text) for text in spoken(certified, ASSISTANT))
        assert at_least <= low <= high <= at_most
        assert at_least < said < at_most
        assert high - low <= at_most - at_least <= 3 * (high - low)
        words = " ".join(guarantee(game, certified))
        assert all(text in words for text in spoken(certified, ASSISTANT))
        assert "malicious" in words


def test_what_is_guaranteed_depends_on_the_class():
    said = {name: " ".join(guarantee(*played(name))) for name in GAMES}
    assert "Only the measured gap is claimed" in said["general-sum"]
    assert "Only the measured gap is claimed" in said["general-sum game"]
    assert "at least" not in said["general-sum"] + said["general-sum game"]
    assert "Whatever malicious users do" in said["two turns"]
    assert "Nobody here acts strategically" in said["no strategic intent"]
    assert "against any opponent" in said["kuhn"]


def test_numbers_are_counted_by_their_source():
    groups = sourced(bargain())
    assert totals(groups) == {"measured": 4, "derived": 3, "assumption": 26}
    by_field = {group.field: group for group in groups}
    assert by_field["intents[plainly].prior"].numbers == 1  # its interval is not counted
    assert by_field["intents[plainly].kernel"].numbers == 3
    assert by_field["payoff.risk[artful]"].numbers == 5  # 1 + 2 + 2, by turn
    assert by_field["channel[artful; ask, insist]"].source == "study: read twice"


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "0 %"),
        (1e-9, "<0.1 %"),
        (0.032, "3.2 %"),
        (0.0999, "10 %"),
        (0.624, "62 %"),
        (0.9904, "99 %"),
        (0.997, "99.7 %"),
        (0.99999, ">99.9 %"),
        (1 - 1e-12, "100 %"),
        (1.0, "100 %"),
        (float("nan"), "–"),
    ],
)
def test_percentages(share, said):
    assert percent(share).replace("\u202f", " ") == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (18639.0, "18,639"),
        (-1.5286, "−1.529"),
        (0.00093, "0.00093"),
        (1.4e-5, "1.40×10⁻⁵"),
        (-2.5e7 - 0.5, "−2.50×10⁷"),
        (123.456, "123.5"),
        (float("inf"), "∞"),
        (float("nan"), "–"),
    ],
)
def test_numbers(value, said):
    assert number(value) == said


def test_small_words():
    assert decimal(-0.0004) == "0.000"
    assert decimal(-0.5456) == "−0.546"
    assert decimal(float("nan")) == "–"
    assert [join(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert counted(1, "row") == "1 row"
    assert counted(18639, "history", "histories") == "18,639 histories"


# The page.

VOID = {"meta", "link", "img", "br", "hr", "input", "base", "source", "col"}


class Page(HTMLParser):
    """The tags of a page, in order, with what could load something; fails on unbalanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):  # noqa: D102
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):  # noqa: D102
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):  # noqa: D102
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):  # noqa: D102
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every such tag."""
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.mark.parametrize("name", GAMES)
def test_the_page_is_well_formed_and_complete(name):
    text, (game, solution) = page(name), played(name)
    parsed = Page(text)
    assert text.startswith("<!doctype html>")
    assert parsed.of("html")[0]["lang"] == "en"
    assert len(parsed.of("h1")) == len(parsed.of("main")) == len(parsed.of("title")) == 1
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    inside = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert set(inside) <= set(ids)
    assert all(svg["role"] == "img" and svg["aria-label"].strip() for svg in parsed.of("svg"))
    assert all(th.get("scope") for th in parsed.of("th"))
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    for exact in (*solution.value, *solution.gap, solution.nash_conv):
        assert repr(float(exact)) in parsed.text
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", parsed.text)
    assert "not known" in parsed.text  # provenance that is None
    if game.scenario is not None:
        assert game.scenario.question in parsed.text
        for part in (*game.scenario.intents, *game.scenario.responses, *game.scenario.asks):
            assert part.description in parsed.text
        for measure in MEASURES:
            assert measure in parsed.text


@pytest.mark.parametrize("name", GAMES)
def test_the_page_loads_nothing(name):
    text = page(name)
    parsed = Page(text)
    loading = {"link", "img", "iframe", "object", "embed", "base"}
    assert not {tag for tag, _ in parsed.tags} & loading
    for _, attrs in parsed.tags:
        for attribute, content in attrs.items():
            if attribute in ("src", "srcset", "href", "xlink:href", "action", "poster", "data"):
                assert content.startswith("#"), (attribute, content)
            assert not attribute.startswith("on")
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    (policy,) = (m["content"] for m in parsed.of("meta") if m.get("http-equiv"))
    assert "default-src 'none'" in policy
    # A browser runs the scripts whose hash the policy names (CSP level 2, section 4.2.5).
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == len(parsed.of("script")) == (game_of(name).scenario is not None)
    hashes = [b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert re.findall(r"script-src 'sha256-([^']*)'", policy) == hashes
    assert "unsafe-inline" not in policy.partition("script-src")[2]


@pytest.mark.parametrize("name", DIALOGUES)
def test_outcomes_on_the_page_are_those_of_the_policy(name):
    game, solution = played(name)
    text = " ".join(Page(page(name)).text.split())
    satisfied = MEASURES["satisfaction"](game, solution.policy)
    assert " ".join(["satisfaction", *map(decimal, satisfied.values())]) in spaced(page(name))
    paid = MEASURES["payoff"](game, solution.policy)
    total = sum(
        intent.prior.value * paid[intent.name]
        for intent in game.scenario.intents
        if intent.prior.value > 0
    )
    payoff = np.asarray(game.form.leaves.payoff[ASSISTANT])
    assert total == pytest.approx(expected(game, solution.policy, payoff), rel=1e-12)
    assert spoken(solution, ASSISTANT)[0] in text


def spaced(text: str) -> str:
    """Return the text of a page with a blank for every tag."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def table_rows(text: str, table: str) -> list[dict[str, str | None]]:
    """Return the attributes of the rows in the body of a table, by the table's id."""
    (body,) = re.findall(rf'<table[^>]* id="{table}">.*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    return Page(body).of("tr")


PROGRAM = """
import sys
import numpy as np
from csa_games.dialogue import dialogue_game
from csa_games.fold import uniform
from csa_games.game import Solution
from csa_games.report import report
from csa_games.scenario import builtin_scenarios, read_scenario

game = dialogue_game(read_scenario(builtin_scenarios()[sys.argv[1]]))
policy = tuple(uniform(plex) for plex in game.form.treeplex)
solution = Solution("g", "m", policy, np.zeros(2), np.ones(2), 1, 1.0, "exact", "security")
sys.stdout.buffer.write(report(game, solution).encode())
"""


def page_of_another_process(folder: Path, scenario: str, seed: str) -> str:
    """Return the page of a scenario's uniform policy, made where annotations are not executed."""
    # A matplotlibrc in the working folder is read at import; it must not show.
    (folder / "matplotlibrc").write_text(f"font.size: 2{seed}\nsvg.hashsalt: {seed}\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, scenario],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        check=True,
    )
    return done.stdout.decode()


def test_the_page_is_the_same_in_any_process(tmp_path):
    first, second = (page_of_another_process(tmp_path, "csa_oneshot", seed) for seed in "12")
    assert first == second
    assert len(first) > 20_000


def test_the_page_of_the_largest_scenario_is_small(tmp_path):
    text = page_of_another_process(tmp_path, "crisis_guidance", "1")
    rows = sizes(builtin("crisis_guidance")).infosets[ASSISTANT]
    assert len(text.encode()) < 500_000
    shown = len(table_rows(text, "policy-rows"))
    assert 40 < shown < 150
    assert f"{rows - shown:,} rows are left out" in spaced(text)


EVIL = """</title></style><script>a()</script><img src=x onerror="a()">'"&{{ 7*7 }}{% if %}"""


def marked(scenario: Scenario, mark: str) -> Scenario:
    """Return `scenario` with `mark` at the end of every free text."""

    def step(part, name=""):
        if isinstance(part, dict):
            return {key: step(entry, key) for key, entry in part.items()}
        if isinstance(part, list):
            return [step(entry, name) for entry in part]
        if name in ("title", "question", "notes", "description", "cite", "text"):
            return part + mark
        if name == "source":
            return f"{part}: {mark}"
        return part

    return scenario_from(step(scenario.model_dump(mode="json", exclude_none=True)), "marked")


def marked_page(mark: str) -> str:
    game = dialogue_game(marked(bargain(), mark))
    solution = replace(solution_of(game, random_policy(game, 7)), method="m" + mark)
    rows = [
        replace(row, name=row.name + mark) for row in compare(game, {"ours": solution.policy[1]})
    ]
    return report(game, solution, provenance={"k" + mark: mark, "d": [mark]}, comparison=rows)


def marked_short_page(mark: str) -> str:
    game = labelled_game(mark)
    return report(game, solution_of(game, random_policy(game, 7)), provenance={mark: {mark: mark}})


@pytest.mark.parametrize("make", [marked_page, marked_short_page])
def test_text_from_elsewhere_stays_text(make):
    evil, plain = make(EVIL), make("plain")
    assert [tag for tag, _ in Page(evil).tags] == [tag for tag, _ in Page(plain).tags]
    assert [sorted(attrs) for _, attrs in Page(evil).tags] == [
        sorted(attrs) for _, attrs in Page(plain).tags
    ]
    assert EVIL in Page(evil).text
    assert evil.count("<script") == plain.count("<script")


def test_a_page_where_nobody_stays_says_so():
    game = dialogue_game(
        with_prior(override(builtin("crisis_guidance"), {"turns": 2}), "malicious", 1.0)
    )
    user, assistant = random_policy(game, 1)
    user[:] = [[name == "leave" for name in actions] for actions in game.names.actions[USER]]
    text = report(game, solution_of(game, (user, assistant)))
    Page(text)
    assert "Nobody stays to be answered" in text
    assert "No conversation gets this far" in text


def test_policies_are_compared_on_the_page():
    game, solution = played("two turns")
    comply = np.zeros_like(solution.policy[1])
    comply[:, 0] = 1
    rows = compare(game, {"the solved one": solution.policy[1], "always <comply>": comply})
    assert all(isinstance(row, Compared) for row in rows)
    text = spaced(report(game, solution, comparison=rows))
    payoffs = [decimal(v) for v in rows[1].outcomes["payoff"].values()]
    line = ["always <comply>", decimal(rows[1].value), decimal(rows[1].difference), *payoffs]
    assert " ".join(line) in text
    assert percent(rows[1].whole["unsafe compliance"]) == "100\u202f%"
    assert "Against plain policies" in text
    assert "Against plain policies" not in spaced(page("two turns"))


# The pictures.


def test_pictures_are_xml_that_says_what_it_shows():
    game, solution = played("two turns")
    pictures = {
        "policy": plots.policy_picture(game, solution),
        "turn": plots.response_stack(game, solution.policy, 2),
        "intents": plots.intent_stack(game, solution.policy),
        "asks": plots.ask_stack(game, solution.policy, "malicious"),
        "belief": plots.posterior_picture(game, solution.policy, 0),
        "convergence": plots.convergence(solution, target=0.1),
    }
    for picture in pictures.values():
        tree = ET.fromstring(picture)
        assert tree.attrib["role"] == "img"
    shown = set("".join(ET.fromstring(pictures["policy"]).itertext()).split())
    assert {response.name for response in game.scenario.responses} <= shown
    share = responses_by(game, solution.policy, ("turn", "signal"))["1", "flag"].shares
    best = int(share.argmax())
    name = game.scenario.responses[best].name
    assert (
        f"flag: {name} {percent(share[best])}"
        in ET.fromstring(pictures["policy"]).attrib["aria-label"]
    )
    assert "target" in "".join(ET.fromstring(pictures["convergence"]).itertext())


def test_bars_are_as_long_as_the_shares():
    """The rectangles of the picture itself, read off its paths."""
    game, solution = played("one turn")
    picture = plots.response_stack(game, solution.policy, 1)
    drawn = [
        (fill, float(right) - float(left))
        for left, right, fill in re.findall(
            r'd="M ([\d.]+) [\d.]+ \nL ([\d.]+) [^"]*" clip-path="[^"]*" style="fill: ([^;]+)',
            picture,
        )
    ]
    shares = [
        share
        for signal in ("clear", "flag")
        for share in responses_by(game, solution.policy)["1", "plain", signal].shares
        if share > 0
    ]
    lengths = np.array([length for _, length in drawn])
    full = lengths.sum() / 2
    np.testing.assert_allclose(lengths / full, shares, atol=1e-5)


def test_names_as_long_as_they_may_be_still_leave_room_to_draw():
    text = builtin("csa_oneshot").model_dump_json(exclude_none=True)
    text = text.replace('"clear"', f'"{"a" * 40}"').replace('"malicious"', f'"{"b" * 40}"')
    game = dialogue_game(scenario_from(json.loads(text), "long names"))
    solution = solution_of(game, random_policy(game, 1))
    for picture in (
        plots.policy_picture(game, solution),
        plots.posterior_picture(game, solution.policy, 0),
        plots.ask_stack(game, solution.policy, "b" * 40),
    ):
        _, _, width, _ = map(float, ET.fromstring(picture).attrib["viewBox"].split())
        # What is drawn is clipped to the frame of its axes: x and width.
        frame = r'<clipPath[^>]*>\s*<rect x="([\d.-]+)" y="[\d.-]+" width="([\d.-]+)"'
        frames = re.findall(frame, picture)
        assert frames
        assert all(float(x) >= 0 and float(w) >= 100 for x, w in frames)
        assert all(float(x) + float(w) <= width for x, w in frames)


def test_convergence_leaves_out_what_logarithms_cannot_show():
    history = tuple(Progress(n, 0.0, g) for n, g in [(0, 2.0), (1, 1.0), (2, 0.0), (4, 0.5)])
    np.testing.assert_array_equal(plots.convergence_points(history), [[1, 1.0], [4, 0.5]])
    _, solution = played("one turn")
    ET.fromstring(plots.convergence(replace(solution, history=())))
    ET.fromstring(plots.convergence(replace(solution, history=history[:2]), target=0.0))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
@settings(deadline=None)
def test_labels_are_moved_apart_but_not_reordered(heights):
    heights = np.array(heights)
    apart = plots._spread(heights, least=0.075)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(apart[order]) >= 0.075 - 1e-9).all()
    assert apart.min() >= -1e-9
    assert apart.max() <= 1 + 1e-9
    if len(heights) > 1 and np.diff(np.sort(heights)).min() >= 0.075:
        np.testing.assert_allclose(apart, heights)


def test_drawing_leaves_no_trace():
    before = dict(mpl.rcParams)
    game, solution = played("one turn")
    plots.policy_picture(game, solution)
    assert dict(mpl.rcParams) == before


# A real browser, where there is one.


@cache
def compared_page() -> str:
    """Return a page with everything on it that a page can have."""
    game, solution = played("two turns")
    rows = compare(game, {"solution": solution.policy[ASSISTANT]})
    return report(game, solution, comparison=rows)


@in_a_browser
@pytest.mark.parametrize("name", ["two turns", "kuhn"])
def test_a_browser_shows_the_page_without_complaint(name, tmp_path):
    text = page(name)
    _, messages = browse(tmp_path, text, 1280)
    assert messages == []
    # The page's own policy turns any attempt to load something into a message; see that it does.
    loading = text.replace("</body>", '<img src="https://example.invalid/x.png"></body>')
    _, messages = browse(tmp_path, loading, 1280)
    assert any("Content Security Policy" in message for message in messages)


@in_a_browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("make", [compared_page, lambda: page("kuhn")])
def test_nothing_overflows(make, width, tmp_path):
    measure = """
        for (const part of document.querySelectorAll("details")) part.open = true;
        document.title = innerWidth + " " + document.documentElement.scrollWidth;
    """
    shown, _ = browse(tmp_path, with_script(make(), measure), width)
    title = re.search(r"<title>(\d+) (\d+)</title>", shown)
    assert title is not None
    inner, needed = map(int, title.groups())
    assert needed <= inner <= max(width, 500)  # the narrowest window there is


def shown_rows(dom: str, table: str) -> list[dict[str, str | None]]:
    return [row for row in table_rows(dom, table) if "hidden" not in row]


@in_a_browser
def test_the_address_filters_rows(tmp_path):
    text = compared_page()
    every = table_rows(text, "policy-rows")
    assert not any("hidden" in row for row in every)  # without the script all rows are there
    assert all("hidden" in form for form in Page(text).of("form"))  # and no filters
    dom, messages = browse(tmp_path, text, 1280, "#policy-rows?turn=2&signal=flag&intent=malicious")
    assert messages == []
    wanted = [
        row
        for row in every
        if row["data-turn"] == "2"
        and row["data-signal"] == "flag"
        and "malicious" in row["data-intent"].split()
    ]
    assert 0 < len(wanted) < len(every)
    assert shown_rows(dom, "policy-rows") == wanted
    assert not any("hidden" in form for form in Page(dom).of("form"))
    assert f"{len(wanted)} of {len(every)} rows" in spaced(dom)
    # What nobody offers is no choice, and another table is not meant.
    dom, _ = browse(tmp_path, text, 1280, "#policy-rows?turn=9&ask=nonsense")
    assert shown_rows(dom, "policy-rows") == every
    dom, _ = browse(tmp_path, text, 1280, "#by-measure?measure=payoff")
    assert shown_rows(dom, "policy-rows") == every
    assert {row["data-measure"] for row in shown_rows(dom, "by-measure")} == {"payoff"}
    assert len(shown_rows(dom, "by-measure")) == 4  # intents


@in_a_browser
def test_choices_filter_rows_and_are_kept_in_the_address(tmp_path):
    text = compared_page()
    every = table_rows(text, "policy-rows")
    choose = """
        const form = document.querySelector("form[data-filter=policy-rows]");
        form.elements.response.value = "refuse";
        form.elements.response.dispatchEvent(new Event("change", {bubbles: true}));
        document.title = location.hash;
    """
    dom, messages = browse(tmp_path, with_script(text, choose), 1280)
    assert messages == []
    wanted = [row for row in every if "refuse" in row["data-response"].split()]
    assert 0 < len(wanted) < len(every)
    assert shown_rows(dom, "policy-rows") == wanted
    assert "<title>#policy-rows?response=refuse</title>" in dom
    clear = choose + 'form.querySelector("button").click();'
    dom, _ = browse(tmp_path, with_script(text, clear), 1280)
    assert shown_rows(dom, "policy-rows") == every


def test_rows_say_what_they_are_filtered_by():
    game, solution = played("two turns")
    joint = {(k, i): p for who, k, i, p, _ in visits("two turns")[0] if who == ASSISTANT}
    excerpt = for_everyone(game, solution.policy, 40, 6)
    rows = table_rows(compared_page(), "policy-rows")
    for row, attributes in zip(excerpt.rows, rows, strict=True):
        likely = [name for name, p, _ in row.actions if p >= 0.05]
        come = [
            intent.name
            for intent in game.scenario.intents
            if joint.get((row.label, intent.name), 0.0) >= 1e-3 * intent.prior.value
        ]
        assert attributes == {
            "data-intent": " ".join(come),
            "data-response": " ".join(likely),
            **{f"data-{key}": value for key, value in situation(row.label).items()},
        }
