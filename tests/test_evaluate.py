"""Reach, posteriors, action values and outcomes against sums over all conversations."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from tabled import places

from csa_games.build import build
from csa_games.dialogue import COMPONENTS, ENDINGS, dialogue_game
from csa_games.errors import InputError
from csa_games.evaluate import (
    MEASURES,
    action_values,
    by_intent,
    expected,
    infoset_reach,
    intent_reach,
    leaf_probabilities,
    posterior,
    response_use,
)
from csa_games.fold import legal_mask
from csa_games.game import ASSISTANT, USER, Game, Policy
from csa_games.rules import Terminal
from csa_games.scenario import builtin_scenarios, scenario_from

GUIDANCE = tomllib.loads(builtin_scenarios()["crisis_guidance"].read_text(encoding="utf-8"))
VARIANTS = {
    "discounted, per turn": discounted_and_per_turn(GUIDANCE),
    "self-interested": self_interested(GUIDANCE),
    "all kernels": all_kernels(GUIDANCE),
}


def random_policy(game: Game, seed: int, zeros: bool) -> Policy:
    """Return random play; with `zeros`, a third of the actions are never taken."""
    draw = np.random.default_rng(seed)

    def part(player: int) -> np.ndarray:
        legal = legal_mask(game.form.treeplex[player])
        weights = draw.uniform(0.1, 1, legal.shape) * legal
        if zeros:
            kept = weights * (draw.uniform(size=legal.shape) > 1 / 3)
            weights = np.where(kept.any(axis=-1, keepdims=True), kept, weights)
        return weights / weights.sum(axis=-1, keepdims=True)

    return part(USER), part(ASSISTANT)


class Sums:
    """What a policy does in a dialogue, summed over all conversations."""

    def __init__(self, game: Game, listing: list[Conversation], policy: Policy) -> None:
        self.play = {
            (player, infoset): dict(zip(actions, policy[player][i].tolist(), strict=False))
            for player in (USER, ASSISTANT)
            for i, (infoset, actions) in enumerate(
                zip(game.names.infosets[player], game.names.actions[player], strict=True)
            )
        }
        self.listing = listing
        self.intents = [intent.name for intent in game.scenario.intents]
        self.probability = [
            talk.chance * np.prod([self.play[p, h][a] for p, h, a in talk.choices])
            for talk in listing
        ]

    def mean(self, number) -> dict[str, float]:
        """Return the mean of `number(conversation)` given each intent."""
        totals, masses = defaultdict(float), defaultdict(float)
        for talk, p in zip(self.listing, self.probability, strict=True):
            totals[talk.intent] += p * number(talk)
            masses[talk.intent] += p
        return {
            name: totals[name] / masses[name] if masses[name] else np.nan for name in self.intents
        }

    def through(self, player: int):
        """Yield (conversation, infoset, action, weight) for every choice of a player.

        The weight is the conversation's probability, the player's own choices up to this one taken
        for granted.
        """
        for talk in self.listing:
            for k, (p, infoset, action) in enumerate(talk.choices):
                if p == player:
                    open_ = [c for j, c in enumerate(talk.choices) if j > k or c[0] != player]
                    weight = talk.chance * np.prod([self.play[q, h][a] for q, h, a in open_])
                    yield talk, infoset, action, weight

    def masses(self, player: int) -> dict[str, dict[str, float]]:
        """Return the counterfactual reach of each infoset together with each intent.

        Whatever action is taken there, everything after sums to 1: any one action will do.
        """
        mass: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for talk, infoset, action, weight in self.through(player):
            mass[infoset, action][talk.intent] += weight
        return {infoset: found for (infoset, _), found in mass.items()}

    def values(self, player: int) -> dict[tuple[str, str], float]:
        """Return the payoff given each infoset and action, weighted by counterfactual reach."""
        total: dict[tuple[str, str], float] = defaultdict(float)
        for talk, infoset, action, weight in self.through(player):
            total[infoset, action] += weight * talk.payoffs[player]
        return total


@cache
def variant(name: str) -> tuple[Game, list[Conversation]]:
    content = VARIANTS[name]
    return dialogue_game(scenario_from(content, name)), Brute(content).conversations()


def check_infosets(game: Game, listing: list[Conversation], policy: Policy) -> None:
    """Check reach, posteriors and action values of every infoset."""
    sums = Sums(game, listing, policy)
    for player in (USER, ASSISTANT):
        masses, worth = sums.masses(player), sums.values(player)
        own, others = infoset_reach(game, player, policy)
        values = action_values(game, player, policy)
        labels, actions = game.names.infosets[player], game.names.actions[player]
        assert masses.keys() == set(labels)
        together = [[masses[label].get(name, 0.0) for name in sums.intents] for label in labels]
        expect = np.array(together).reshape(len(labels), len(sums.intents))
        np.testing.assert_allclose(others, expect.sum(axis=-1), rtol=1e-10, atol=1e-15)
        if player == ASSISTANT:
            np.testing.assert_allclose(intent_reach(game, policy), expect, rtol=1e-10, atol=1e-15)
            beliefs = posterior(game, policy)
            assert (np.isnan(beliefs).any(axis=-1) == (expect.sum(axis=-1) == 0)).all()
        for i, label in enumerate(labels):
            count = len(actions[i])
            assert np.isnan(values[i, count:]).all()
            if others[i] == 0:
                assert np.isnan(values[i]).all()
                continue
            mean = [worth[label, action] / expect[i].sum() for action in actions[i]]
            np.testing.assert_allclose(values[i, :count], mean, rtol=1e-9, atol=1e-12)
        reached = defaultdict(float)
        for talk, p in zip(listing, sums.probability, strict=True):
            for q, infoset, _ in talk.choices:
                if q == player:
                    reached[infoset] += p
        np.testing.assert_allclose(
            own * others, [reached[label] for label in labels], rtol=1e-10, atol=1e-15
        )


def check_outcomes(game: Game, listing: list[Conversation], policy: Policy) -> None:
    """Check everything that is reported by intent."""
    sums = Sums(game, listing, policy)
    wanted = {"payoff": lambda talk: talk.payoffs[ASSISTANT]} | {
        name: lambda talk, name=name: talk.tags.get(name, 0.0) for name in (*COMPONENTS, *ENDINGS)
    }
    assert MEASURES.keys() == wanted.keys()
    for name, number in wanted.items():
        found = MEASURES[name](game, policy)
        assert found == pytest.approx(sums.mean(number), rel=1e-9, abs=1e-12, nan_ok=True), name
    for response in (part.name for part in game.scenario.responses):
        found = {name: use[response] for name, use in response_use(game, policy).items()}
        used = sums.mean(lambda talk, r=response: sum(turn[2] == r for turn in talk.turns))
        assert found == pytest.approx(used, rel=1e-9, abs=1e-12, nan_ok=True)
    value = sum(p * talk.payoffs[USER] for talk, p in zip(listing, sums.probability, strict=True))
    assert expected(game, policy, game.form.leaves.payoff[USER]) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_under_random_play(name, zeros):
    game, listing = variant(name)
    policy = random_policy(game, 7, zeros)
    check_infosets(game, listing, policy)
    check_outcomes(game, listing, policy)


plays = st.tuples(st.integers(0, 2**20), st.booleans())


@settings(max_examples=25, deadline=None)
@given(shapes, plays)
def test_random_scenarios_under_random_play(shape, play):
    content = random_content(shape)
    game, listing = dialogue_game(scenario_from(content, "x")), Brute(content).conversations()
    policy = random_policy(game, *play)
    check_infosets(game, listing, policy)
    check_outcomes(game, listing, policy)


# Theorems.


def answers(game: Game) -> tuple[np.ndarray, np.ndarray]:
    """Return how many answers the assistant has given at each of its infosets, and each leaf."""
    before = np.array([label.count("/") for label in game.names.infosets[ASSISTANT]])
    place = places(game.form.treeplex[ASSISTANT])
    last = (place.get(s) for s in game.form.leaves.sequence[ASSISTANT].tolist())
    return before, np.array([0 if at is None else before[at[0]] + 1 for at in last])


@settings(max_examples=25, deadline=None)
@given(shapes, plays)
def test_the_posterior_is_a_martingale(shape, play):
    """Over all that can have happened by a turn, the mean posterior is the prior.

    Somebody who left before is as the leaf says: its share of each intent is known exactly.
    """
    game = dialogue_game(scenario_from(random_content(shape), "x"))
    policy = random_policy(game, *play)
    prior = [intent.prior.value for intent in game.scenario.intents]
    own, others = infoset_reach(game, ASSISTANT, policy)
    belief = np.nan_to_num(posterior(game, policy))
    tags = np.stack([game.tags.get(f"intent:{i.name}", 0 * game.form.leaves.chance)
                     for i in game.scenario.intents], axis=-1)  # fmt: skip
    before, at_leaf = answers(game)
    leaf = leaf_probabilities(game, policy)
    assert leaf.sum() == pytest.approx(1, abs=1e-12)
    for t in range(shape.turns):
        now, ended = before == t, at_leaf <= t
        mean = (own * others)[now] @ belief[now] + leaf[ended] @ tags[ended]
        np.testing.assert_allclose(mean, prior, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(shapes, plays)
def test_the_assistants_payoff_splits_into_its_components(shape, play):
    scenario = scenario_from(random_content(shape), "x")
    game = dialogue_game(scenario)
    policy = random_policy(game, *play)
    share = {name: MEASURES[name](game, policy) for name in MEASURES}
    weights = scenario.weights
    for intent in (part.name for part in scenario.intents if part.prior.value > 0):
        assert share["payoff"][intent] == pytest.approx(
            weights.alpha.value * share["satisfaction"][intent]
            - weights.beta.value * share["risk"][intent]
            - weights.gamma.value * share["cost"][intent]
            - weights.psi.value * share["displacement"][intent],
            abs=1e-12,
        )


def test_means_by_intent_make_up_the_mean():
    game, _ = variant("self-interested")
    policy = random_policy(game, 3, zeros=True)
    number = np.random.default_rng(0).normal(size=game.form.leaves.chance.shape)
    means = by_intent(game, policy, number)
    whole = sum(part.prior.value * means[part.name] for part in game.scenario.intents)
    assert whole == pytest.approx(expected(game, policy, number), abs=1e-12)


def test_an_intent_of_prior_zero_has_no_means():
    game, _ = variant("all kernels")
    policy = random_policy(game, 3, zeros=False)
    assert np.isnan(MEASURES["risk"](game, policy)["malicious"])
    assert np.isnan(list(response_use(game, policy)["malicious"].values())).all()
    assert (posterior(game, policy)[:, 3] == 0).all()


def test_a_game_that_is_no_dialogue_has_no_intents():
    game = build(lambda: Terminal((1.0, -1.0)), "a leaf")
    with pytest.raises(InputError, match="a leaf: found a game without intents"):
        by_intent(game, (np.zeros((0, 1)), np.zeros((0, 1))), np.ones(1))
