"""Outcomes by intent, against every conversation listed and against OpenSpiel's own walk.

Neither shares code with the library: `brute_dialogue` reads the scenario file alone, and OpenSpiel
walks its own copy of the tree.
"""

import math
import tomllib
from collections import defaultdict
from functools import cache

import numpy as np
import pytest
from brute_dialogue import (
    Brute,
    Conversation,
    all_kernels,
    discounted_and_per_turn,
    random_content,
    self_interested,
    shapes,
)
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario

import csa_games
from csa_games import evaluate, outcomes
from csa_games.build import build
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, USER, Game, Policy
from csa_games.interop.openspiel import to_openspiel, to_openspiel_policy
from csa_games.rules import Terminal
from csa_games.scenario import builtin_scenarios, scenario_from

GUIDANCE = tomllib.loads(builtin_scenarios()["crisis_guidance"].read_text(encoding="utf-8"))
VARIANTS = {
    "discounted, per turn": discounted_and_per_turn(GUIDANCE),
    "self-interested": self_interested(GUIDANCE),
    "all kernels": all_kernels(GUIDANCE),
}
seeds = st.integers(0, 2**20)


class Listed:
    """What a policy does in a scenario file's content, conversation by conversation."""

    def __init__(self, game: Game, content: dict, listing: list[Conversation], policy: Policy):
        play = {
            (player, label): dict(zip(names, policy[player][i].tolist(), strict=False))
            for player in (USER, ASSISTANT)
            for i, (label, names) in enumerate(
                zip(game.names.infosets[player], game.names.actions[player], strict=True)
            )
        }
        self.content = content
        self.intents = [part["name"] for part in content["intents"]]
        self.ends = {part["name"]: part.get("ends") for part in content["asks"]}
        self.talks = [
            (talk, talk.chance * math.prod(play[p, h][a] for p, h, a in talk.choices))
            for talk in listing
        ]

    def mean(self, number) -> dict[str, float]:
        """Return the mean of `number(conversation)` given each intent."""
        total, mass = defaultdict(float), defaultdict(float)
        for talk, p in self.talks:
            total[talk.intent] += p * number(talk)
            mass[talk.intent] += p
        return {name: total[name] / mass[name] if mass[name] else math.nan for name in self.intents}

    def share_given(self, responses: set[str]) -> dict[str, float]:
        """Return the share of each intent's conversations with one of `responses`."""
        return self.mean(lambda talk: any(turn[2] in responses for turn in talk.turns))

    def seen(self, talk: Conversation, turn: int) -> tuple:
        """Return what the assistant has seen of a conversation when turn `turn`'s signal is in."""
        history: list = []
        for t, (ask, signal, response) in enumerate(talk.turns):
            if t >= turn:
                break
            if self.ends[ask]:
                return (*history, self.ends[ask])
            history += [ask, signal]
            if t + 1 < turn:
                history.append(response)
        if turn > len(talk.turns):
            history.append("over")
        return tuple(history)

    def information(self, turn: int) -> float:
        """Return I(intent; what was seen up to `turn`) in bits, from the joint distribution."""
        joint, seen, intent = defaultdict(float), defaultdict(float), defaultdict(float)
        for talk, p in self.talks:
            what = self.seen(talk, turn)
            joint[what, talk.intent] += p
            seen[what] += p
            intent[talk.intent] += p
        return math.fsum(
            p * math.log2(p / (seen[what] * intent[who]))
            for (what, who), p in joint.items()
            if p > 0
        )

    def relative_entropy(self, turn: int) -> dict[str, float]:
        """Return KL(what was seen given the intent, what was seen) in bits, by intent."""
        joint, seen, intent = defaultdict(float), defaultdict(float), defaultdict(float)
        for talk, p in self.talks:
            what = self.seen(talk, turn)
            joint[what, talk.intent] += p
            seen[what] += p
            intent[talk.intent] += p
        found = {}
        for who in self.intents:
            given = {what: p / intent[who] for (what, i), p in joint.items() if i == who and p > 0}
            terms = [p * math.log2(p / seen[what]) for what, p in given.items()]
            found[who] = math.fsum(terms) if intent[who] > 0 else math.nan
        return found

    def rate(self, response: str, intents: set[str]) -> float:
        """Return the share of `response` among all answers to `intents`."""
        answers = sum(
            p * sum(turn[2] is not None for turn in talk.turns)
            for talk, p in self.talks
            if talk.intent in intents
        )
        times = sum(
            p * sum(turn[2] == response for turn in talk.turns)
            for talk, p in self.talks
            if talk.intent in intents
        )
        return times / answers if answers else math.nan


def close(found: object, expected: object) -> None:
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-10, nan_ok=True)


def check(game: Game, listed: Listed, policy: Policy) -> None:
    """Check every measure that this module adds."""
    content, plain = listed.content, listed.content["baselines"]
    steering = {p["name"] for p in content["responses"] if p["mechanism"] == "steer"}
    found = {name: measure(game, policy) for name, measure in outcomes.OUTCOMES.items()}
    expected = {
        "refused": listed.share_given({plain["refuse"]}),
        "complied": listed.share_given({plain["comply"]}),
        "guided": listed.share_given(steering),
        "harmed": listed.mean(lambda talk: talk.tags.get("risk", 0.0) > 0),
        "turns": listed.mean(lambda talk: sum(turn[2] is not None for turn in talk.turns)),
        "bits": listed.relative_entropy(turns_of(game)),
    }
    assert found.keys() - evaluate.MEASURES.keys() == expected.keys()
    for name, numbers in expected.items():
        close(found[name], numbers)
    by_turn = [listed.information(t) for t in range(1, turns_of(game) + 1)]
    gained = outcomes.information(game, policy)
    assert gained == pytest.approx(np.diff([0.0, *by_turn]), abs=1e-10)
    assert (gained >= -1e-12).all()
    close(outcomes.learned(game, policy), by_turn[-1])
    harmful = {
        part["name"]
        for part in content["intents"]
        for group in content["payoff"]["risk"]
        if part["name"] in group.get("intents", listed.intents)
        and any(np.ravel(value).any() for value in group["values"].values())
    }
    close(
        outcomes.over_refusal(game, policy),
        listed.rate(plain["refuse"], set(listed.intents) - harmful),
    )
    close(outcomes.unsafe_compliance(game, policy), listed.rate(plain["comply"], harmful))


def turns_of(game: Game) -> int:
    return len(game.form.treeplex[ASSISTANT].levels)


@cache
def variant(name: str) -> tuple[Game, list[Conversation]]:
    content = VARIANTS[name]
    return factored_game(scenario_from(content, name)), Brute(content).conversations()


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_under_random_play(name):
    game, listing = variant(name)
    policy = random_policy(game, 7)
    check(game, Listed(game, VARIANTS[name], listing, policy), policy)


@settings(max_examples=30, deadline=None)
@drawn(shapes, seeds, st.booleans())
def test_random_scenarios_under_random_play(shape, seed, factored):
    content = random_content(shape)
    for group in content["payoff"]["risk"][:1]:  # somebody harmless
        group["values"] = dict.fromkeys(group["values"], 0.0)
    content["responses"][0]["mechanism"] = "steer"
    content["responses"][0]["text"] = "Be kind."
    game = (factored_game if factored else dialogue_game)(scenario_from(content, "x"))
    policy = random_policy(game, seed)
    check(game, Listed(game, content, Brute(content).conversations(), policy), policy)


@settings(max_examples=25, deadline=None)
@drawn(seeds, seeds)
def test_the_mean_of_bits_is_the_information(seed, play):
    """Mutual information is the mean relative entropy (Cover & Thomas 2006, equation 2.33)."""
    game = factored_game(random_scenario(seed))
    policy = random_policy(game, play)
    by_intent = outcomes.bits(game, policy)
    mean = sum(
        part.prior.value * by_intent[part.name]
        for part in game.scenario.intents
        if part.prior.value > 0
    )
    assert mean == pytest.approx(outcomes.learned(game, policy), abs=1e-11)
    prior = np.array([part.prior.value for part in game.scenario.intents])
    entropy = -sum(p * math.log2(p) for p in prior[prior > 0])
    assert outcomes.learned(game, policy) <= entropy + 1e-11
    for joint in outcomes.observed(game, policy):
        np.testing.assert_allclose(joint.sum(axis=0), prior, atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_openspiel_finds_the_same(seed):
    """OpenSpiel walks the tree it was given, and says what was answered and what was seen."""
    game = factored_game(random_scenario(seed))
    policy = random_policy(game, seed)
    there = to_openspiel(game)
    played = to_openspiel_policy(game, policy, there)
    scenario = game.scenario
    refuse, comply = scenario.baselines.refuse, scenario.baselines.comply
    mass, counts = defaultdict(float), defaultdict(lambda: np.zeros(3))
    joint: dict[tuple[str, str], float] = defaultdict(float)

    def walk(state, p: float, intent: str, answers: tuple[str, ...]) -> None:
        if state.is_terminal():
            mass[intent] += p
            counts[intent] += p * np.array([refuse in answers, comply in answers, len(answers)])
            return
        player = state.current_player()
        moves = (
            state.chance_outcomes()
            if state.is_chance_node()
            else played.action_probabilities(state).items()
        )
        if player == ASSISTANT and not answers:
            joint[state.information_state_string(player), intent] += p
        for action, q in moves:
            name = state.action_to_string(player, action)
            who = intent or name
            walk(state.child(action), p * q, who, (*answers, name) if player == 1 else answers)

    walk(there.new_initial_state(), 1.0, "", ())
    for k, name in enumerate(("refused", "complied", "turns")):
        for intent, number in outcomes.OUTCOMES[name](game, policy).items():
            if mass[intent] > 0:
                assert number == pytest.approx(counts[intent][k] / mass[intent], abs=1e-9)
    if all(ask.ends is None for ask in scenario.asks):  # else ends are seen in the first turn too
        seen = defaultdict(float)
        for (what, _), p in joint.items():
            seen[what] += p
        first = sum(
            p * math.log2(p / (seen[what] * mass[who])) for (what, who), p in joint.items() if p > 0
        )
        assert outcomes.information(game, policy)[0] == pytest.approx(first, abs=1e-9)


def test_monte_carlo_agrees_on_crisis_guidance():
    """A sampler that reads nothing but rows of the policy and the scenario's tables."""
    game = csa_games.load("crisis_guidance")
    policy = random_policy(game, 5)
    rows = dict(zip(game.names.infosets[ASSISTANT], policy[ASSISTANT].tolist(), strict=True))
    asking = dict(zip(game.names.infosets[USER], policy[USER].tolist(), strict=True))
    brute, draw = Brute(GUIDANCE), np.random.default_rng(11)
    responses = list(brute.response_ends)
    runs, refused, turns = 4_000, 0, 0
    for _ in range(runs):
        past: tuple = ()
        while len(past) < brute.turns:
            public = "/".join(f"{ask}>{answer}" for ask, _, answer in past)
            asks = brute.intents["malicious"]["asks"]
            ask = asks[draw.choice(len(asks), p=asking[f"malicious|{public}"])]
            if brute.ask_ends[ask]:
                break
            chances = [brute._sigma("malicious", ask, signal) for signal in brute.signals]
            signal = brute.signals[draw.choice(len(chances), p=chances)]
            key = "/".join([*(f"{a}:{s}>{r}" for a, s, r in past), f"{ask}:{signal}"])
            answer = responses[draw.choice(len(responses), p=rows[key])]
            past = (*past, (ask, signal, answer))
            if brute.response_ends[answer]:
                break
        refused += any(answer == "refuse" for *_, answer in past)
        turns += len(past)
    share = outcomes.refused(game, policy)["malicious"]
    # Five standard errors: a chance of one in a million, and the seed is fixed.
    assert refused / runs == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / runs))
    mean = outcomes.turns(game, policy)["malicious"]
    assert turns / runs == pytest.approx(mean, abs=5 * 1.5 / math.sqrt(runs))


def test_a_perfect_classifier_tells_everything_in_the_first_turn():
    content = tomllib.loads(builtin_scenarios()["csa_oneshot"].read_text(encoding="utf-8"))
    intents = [part["name"] for part in content["intents"]]
    content["signals"] = [{"name": name, "description": "x"} for name in intents]
    content["channel"] = [
        {"intents": [n], "asks": ["plain"], "probabilities": {n: 1.0}, "source": "assumption"}
        for n in intents
    ]
    content["readers"] = []  # they give the signals that were
    content["baselines"]["threshold"] = dict.fromkeys(intents, "comply")
    game = factored_game(scenario_from(content, "x"))
    prior = [part["prior"]["value"] for part in content["intents"]]
    entropy = -sum(p * math.log2(p) for p in prior)
    policy = random_policy(game, 0)
    assert outcomes.information(game, policy) == pytest.approx([entropy], abs=1e-12)
    assert outcomes.bits(game, policy)["malicious"] == pytest.approx(-math.log2(prior[2]))


def test_shares_are_of_measures():
    assert set(outcomes.SHARES) < set(outcomes.OUTCOMES)


def test_what_is_no_dialogue_and_no_response():
    game = build(lambda: Terminal((1.0, -1.0)), "a leaf")
    nothing = (np.zeros((0, 1)), np.zeros((0, 1)))
    for measure in (*outcomes.OUTCOMES.values(), *outcomes.WHOLE.values()):
        with pytest.raises(InputError, match="a leaf: found a game without intents"):
            measure(game, nothing)
    oneshot = csa_games.load("csa_oneshot")
    with pytest.raises(InputError, match="found the response 'shout', expected one of comply"):
        outcomes.given(oneshot, random_policy(oneshot, 0), {"shout"})
