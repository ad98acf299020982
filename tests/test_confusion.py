"""Judges that err: shares of what is, from what was said of it."""

import numpy as np
import pytest

from csa_games.calibration.confusion import deconvolved, judged
from csa_games.calibration.log import read
from csa_games.errors import InputError

CONFUSION = np.array([[0.9, 0.1], [0.3, 0.7]])


def test_inside_the_simplex_it_is_the_inverse():
    confusion = (1000 * np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.05, 0.15, 0.8]])).round()
    said = np.array([450, 300, 250])
    found = deconvolved(said, confusion.astype(int), np.random.default_rng(0))
    rows = confusion / confusion.sum(axis=1, keepdims=True)
    assert found.value == pytest.approx(np.linalg.solve(rows.T, said / 1000), abs=1e-6)


def test_outside_it_stays_a_probability():
    found = deconvolved(np.array([99, 1]), np.array([[80, 20], [20, 80]]), np.random.default_rng(0))
    assert found.value == pytest.approx([1, 0], abs=1e-6)


def test_the_deconvolved_judge_beats_the_naive_one_and_covers():
    inside, errors, naive = 0, [], []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        truth = draw.uniform(0.1, 0.9)
        tried = np.stack([draw.multinomial(150, row) for row in CONFUSION])
        said = draw.multinomial(400, np.array([truth, 1 - truth]) @ CONFUSION)
        found = deconvolved(said, tried, draw, draws=200)
        inside += found.low[0] <= truth <= found.high[0]
        errors.append(abs(found.value[0] - truth))
        naive.append(abs(found.naive[0] - truth))
    assert 0.85 <= inside / 200 <= 0.95
    assert np.mean(errors) < 0.6 * np.mean(naive)


def test_a_judge_who_says_the_same_of_all_tells_nothing():
    draw = np.random.default_rng(0)
    found = deconvolved(np.array([50, 50]), np.array([[100, 100], [100, 100]]), draw)
    assert found.high[0] - found.low[0] > 0.9


def test_what_cannot_be_told_is_said():
    draw = np.random.default_rng(0)
    with pytest.raises(InputError, match="true label 1"):
        deconvolved(np.array([5, 5]), np.array([[9, 1], [0, 0]]), draw)
    with pytest.raises(InputError, match="no verdict, expected"):
        deconvolved(np.array([0, 0]), np.array([[9, 1], [1, 9]]), draw)


def test_verdicts_are_counted():
    found = judged(np.array([0, 0, 1, -1, 1]), np.array([1, 0, 1, 1, -1]), 2, 2)
    assert found.tolist() == [[1, 1], [0, 1]]


HUMAN = {"comply": 0, "refuse": 1, "safe-complete": 2}
JUDGE = {"1_full_compliance": 0, "2_full_refusal": 1, "3_partial_refusal": 2}


@pytest.fixture
def answers(shared_data):
    """Return model, human label and the judge's (other ones -1) of every answer in XSTest."""
    found = [
        (one.group, HUMAN[one.events[0].strategy], JUDGE.get(one.events[0].fine, -1))
        for one in read(shared_data / "logs" / "xstest.jsonl.gz")
    ]
    group, human, judge = zip(*found, strict=True)
    return np.array(group), np.array(human), np.array(judge)


def test_the_judge_of_xstest(answers):
    group, human, judge = answers
    # README of the logs: 1,037 comply, 41 refuse, 2 partial (11 other); 233, 742, 8; 115, 42, 19.
    assert judged(human, judge, 3, 3).tolist() == [[1037, 41, 2], [233, 742, 8], [115, 42, 19]]
    accuracy = {
        name: (human == judge)[group == name].mean()
        for name in ("gpt4", "llama2new", "llama2orig", "mistralguard", "mistralinstruct")
    }
    assert list(accuracy.values()) == pytest.approx([0.936, 0.782, 0.771, 0.767, 0.740], abs=1e-3)


def test_the_deconvolved_judge_of_xstest_beats_the_naive_one(answers):
    """Half of the prompts teach what the judge says, of each model; the other half are asked."""
    group, human, judge = answers
    errors, naive = [], []
    for name in np.unique(group):
        at = np.flatnonzero((group == name) & (judge >= 0))
        refused = (human[at] > 0).astype(int), (judge[at] > 0).astype(int)
        taught = np.arange(len(at)) % 2 == 0
        confusion = judged(refused[0][taught], refused[1][taught], 2, 2)
        said = np.bincount(refused[1][~taught], minlength=2)
        found = deconvolved(said, confusion, np.random.default_rng(0), draws=200)
        truth = refused[0][~taught].mean()
        assert found.low[1] - 0.01 <= truth <= found.high[1] + 0.01
        if found.high[1] - found.low[1] < 0.5:  # of one model the judge misses nearly all refusals
            errors.append(abs(found.value[1] - truth))
            naive.append(abs(found.naive[1] - truth))
    assert len(errors) == 4
    assert np.mean(errors) < 0.5 * np.mean(naive)
