"""The policy that a log shows: frequencies where there are many, coarser rows where few."""

from dataclasses import replace

import numpy as np
import pytest
from planted import COMPLIES, complies, drawn_log, planted
from scipy.stats import dirichlet_multinomial

from csa_games.calibration.policy import SAME, Answers, _strength
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT
from csa_games.guard.keys import turns_of


@pytest.fixture(scope="module")
def truth():
    return planted()


@pytest.fixture(scope="module")
def game(truth):
    return factored_game(truth)


def seen(truth, game, codes):
    answers = Answers(truth)
    answers.add(codes)
    return answers.observed(game)


def test_many_answers_tell_the_policy(truth, game):
    found = seen(truth, game, drawn_log(truth, 100_000, seed=0))
    assert found.policy.sum(axis=1) == pytest.approx(np.ones(len(found.policy)))
    often = found.levels[-1].seen.sum(axis=1) > 100
    assert often.sum() > 20
    assert np.abs(found.policy - complies(truth))[often].max() < 0.05
    # It depends on turn and signal alone, so that states lean on them, seen or not.
    rare = found.levels[-1].seen.sum(axis=1) == 0
    assert np.abs(found.policy - complies(truth))[rare].max(initial=0) < 0.1


def test_answers_are_counted_by_state(truth, game):
    codes = drawn_log(truth, 500, seed=1)
    found = seen(truth, game, codes)
    by_hand = np.zeros((len(game.names.infosets[ASSISTANT]), 2), int)
    place = {key: i for i, key in enumerate(game.names.infosets[ASSISTANT])}
    asks, signals = ([part.name for part in parts] for parts in (truth.asks, truth.signals))
    state = {}
    for k, c in enumerate(codes.conversation.tolist()):
        if codes.response[k] < 0:
            continue
        here = f"{asks[codes.ask[k]]}:{signals[codes.signal[k]]}"
        key = f"{state[c]}/{here}" if codes.turn[k] else here
        by_hand[place[key], codes.response[k]] += 1
        state[c] = f"{key}>{('comply', 'refuse')[codes.response[k]]}"
    level = found.levels[-1]
    own = level.strength < SAME  # the others have their parent's counts
    assert np.array_equal(level.seen[own], by_hand[own])
    assert found.answers == by_hand.sum()
    assert found.states == by_hand.any(axis=1).sum()
    first = np.array([len(turns_of(key)) == 1 for key in place])
    assert not own[first & by_hand.any(axis=1)].any()  # a state of the first turn is its cell


def test_answers_without_a_signal_still_count(truth, game):
    codes = drawn_log(truth, 20_000, seed=2)
    found = seen(truth, game, replace(codes, signal=np.full_like(codes.signal, -1)))
    assert found.states == 0
    # Whatever the signal, the frequency among answers to the ask in the turn.
    answered = (codes.turn == 0) & (codes.ask == 0) & (codes.response >= 0)
    share = (codes.response[answered] == 0).mean()
    place = list(game.names.infosets[ASSISTANT]).index
    for key in ("plain:clear", "plain:flag"):
        assert found.policy[place(key), 0] == pytest.approx(share, abs=1e-3)


def test_draws_are_about_the_mean_and_closer_with_more_answers(truth, game):
    draw = np.random.default_rng(0)
    spread = {}
    for count in (200, 20_000):
        found = seen(truth, game, drawn_log(truth, count, seed=3))
        drawn = np.stack([found.drawn(draw) for _ in range(400)])
        assert drawn.sum(axis=2) == pytest.approx(np.ones(drawn.shape[:2]))
        place = list(game.names.infosets[ASSISTANT]).index("plain:clear")
        assert drawn[:, place, 0].mean() == pytest.approx(found.policy[place, 0], abs=0.01)
        spread[count] = drawn[:, place, 0].std()
    n = found.levels[3].seen[0].sum()  # turn 1, plain, clear
    p = COMPLIES[0, 0]
    assert spread[20_000] == pytest.approx(np.sqrt(p * (1 - p) / n), rel=0.25)
    assert spread[20_000] < spread[200] / 3


def test_how_alike_rows_are_is_told_by_their_likelihood():
    draw = np.random.default_rng(0)
    above = np.tile([0.5, 0.3, 0.2], (60, 1))
    for truth in (1.5, 24.0, 384.0):
        rows = draw.dirichlet(truth * above[0], size=60)
        counts = np.stack([draw.multinomial(50, row) for row in rows])
        found = _strength(counts, above)
        assert truth / 4 <= found <= 4 * truth
        likelihood = [
            dirichlet_multinomial(k * above[0], 50).logpmf(counts).sum()
            for k in (found / 2, found, 2 * found)
        ]
        assert likelihood[1] >= max(likelihood[1:])
        assert found == 1.5 or likelihood[1] >= likelihood[0]
    assert _strength(np.tile([50, 30, 20], (60, 1)), above) > 1e5


def test_a_log_without_answers_has_no_policy(truth, game):
    codes = drawn_log(truth, 50, seed=0)
    with pytest.raises(InputError, match="no answer in the log"):
        seen(truth, game, replace(codes, response=np.full_like(codes.response, -1)))
