"""Drift: false alarms are as rare as asked for, what shifts is found, and nothing counts twice."""

import json
import math
import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from brute_dialogue import Brute
from bundles import table
from scipy.stats import binom, chisquare, multinomial

from csa_games.cli import main as csa
from csa_games.drift import (
    AS_PREDICTED,
    DRIFT,
    TOO_FEW,
    Prediction,
    _corrected,
    _share,
    drift,
    enough,
    observe,
)
from csa_games.errors import InputError
from csa_games.guard import Guard
from csa_games.guard.audit import AuditLog
from csa_games.guard.bundle import parse
from csa_games.guard.certificate import dialogue_from
from csa_games.guard.deployment import Deployment

SECRET = b"a secret of the tests"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    for name in ("csa_oneshot", "unseen_shift", "crisis_guidance"):
        table(name).save(root / name)
    return root


class World:
    """Users as a bundle's scenario has them, a classifier, and the guard that answers."""

    def __init__(self, folder):
        self.folder = folder
        self.guard = Guard.load(folder, SECRET)
        content = parse((folder / "scenario.json").read_bytes())
        self.brute = Brute(content)
        self.users = self.guard.store.user()
        self.prediction = Prediction(dialogue_from(content), self.users)
        self.sigma = cache(self.brute._sigma)

    def conversation(self, choose, answer):
        """Have a conversation; `answer` gets the history and returns the response."""
        intents = self.brute.intents
        intent = pick(choose, {name: part["prior"]["value"] for name, part in intents.items()})
        turns = []
        while len(turns) < self.brute.turns:
            if intents[intent]["behaviour"] == "kernel":
                last = turns[-1][2] if turns else None
                row = self.brute.reaction(intent, len(turns), last)
            else:
                public = "/".join(f"{turn[0]}>{turn[2]}" for turn in turns)
                row = dict(
                    zip(self.guard.terms.asks, self.users[f"{intent}|{public}"], strict=True)
                )
            ask = pick(choose, row)
            if self.brute.ask_ends[ask]:
                return
            signal = pick(choose, {y: self.sigma(intent, ask, y) for y in self.brute.signals})
            turns.append((ask, signal, answer([*turns, (ask, signal)])))
            if self.brute.response_ends[turns[-1][2]]:
                return

    def entries(self, count, seed):
        """Return lines of a log of `count` conversations, but for what drift has no use for."""
        choose, lines = random.Random(seed), []
        for k in range(count):

            def answer(history, scope=f"{seed}-{k}"):
                decision = self.guard.decide(history, scope)
                lines.append(
                    {
                        "scope": scope,
                        "revision": self.guard.revision,
                        "time": "2026-11-22T21:40:53.123456Z",
                        "turn": len(history),
                        "history": list(map(list, history)),
                        "reason": decision.reason,
                        "verdict": decision.action,
                        "enforced": decision.action,
                    }
                )
                return decision.action

            self.conversation(choose, answer)
        return lines

    def observed(self, count, seed):
        """Return what such a log shows."""
        return observe(self.entries(count, seed), self.guard.terms, self.guard.revision)

    def drift(self, count, seed, **settings):
        """Return what its tests find."""
        return drift(self.observed(count, seed), self.prediction, self.guard.revision, **settings)


def pick(choose, row):
    return choose.choices(list(row), list(row.values()))[0]


@pytest.fixture(scope="module")
def oneshot(bundles):
    return World(bundles / "csa_oneshot")


@pytest.fixture(scope="module")
def crisis(bundles):
    return World(bundles / "crisis_guidance")


# The prediction.


def test_predictions_are_those_of_every_conversation_listed(crisis):
    """Past, ask and signal by brute force, the guard playing uniformly."""
    asks, responses = crisis.guard.terms.asks, crisis.guard.terms.responses
    mass, expected = {}, {}
    for one in crisis.brute.conversations():
        p = one.chance
        for player, where, action in one.choices:
            p *= 1 / len(responses) if player == 1 else crisis.users[where][asks.index(action)]
        for t, (ask, signal, _) in enumerate(one.turns):
            if signal is not None:
                past = one.turns[:t]
                mass[past] = mass.get(past, 0.0) + p
                cells = expected.setdefault(past, {})
                cells[ask, signal] = cells.get((ask, signal), 0.0) + p
    assert len(expected) == 1 + 3 * 3 * 5  # asks, signals and responses that go on
    for past, cells in expected.items():
        if mass[past] == 0:
            continue
        by_ask = crisis.prediction.next_asks(past)
        for b, ask in enumerate(crisis.prediction.asks):
            by_signal = crisis.prediction.next_signals(past, ask)
            for y, signal in enumerate(crisis.brute.signals):
                right = cells.get((ask, signal), 0.0) / mass[past]
                assert by_ask[b] * by_signal[y] == pytest.approx(right, abs=1e-12)


def test_the_first_turn_is_pearsons_test(crisis):
    observed = crisis.observed(1500, seed=1)
    found = {
        (test.what, test.ask): test
        for test in drift(observed, crisis.prediction, "r").tests
        if test.turn == 1
    }
    came = observed.came[()]
    asked = [sum(n for c, n in came.items() if c[0] == ask) for ask in crisis.prediction.asks]
    right = chisquare(asked, 1500 * sum_of_asks(crisis))
    test = found["asks", None]
    assert (test.statistic, test.p) == pytest.approx((right.statistic, right.pvalue))
    assert [cell.observed for cell in test.cells] == asked
    assert test.effect == pytest.approx(math.sqrt(right.statistic / 1500))
    for ask, n in zip(crisis.prediction.asks, asked, strict=True):
        heard = np.array([came.get((ask, signal), 0) for signal in crisis.brute.signals])
        expected = n * crisis.prediction.next_signals((), ask)
        if n and expected.min() >= 5:
            right = chisquare(heard, expected)
            test = found["signals", ask]
            assert (test.method, test.statistic, test.p) == pytest.approx(
                ("chi-square", right.statistic, right.pvalue)
            )


def sum_of_asks(world):
    """Return the first asks by hand: prior times opening, of strategic intents the row."""
    total = dict.fromkeys(world.prediction.asks, 0.0)
    for name, part in world.brute.intents.items():
        if part["behaviour"] == "kernel":
            row = part["kernel"]["opening"]
        else:
            row = dict(zip(world.guard.terms.asks, world.users[f"{name}|"], strict=True))
        for ask in total:
            total[ask] += part["prior"]["value"] * row.get(ask, 0.0)
    shares = np.array(list(total.values()))
    return shares / shares.sum()


def test_where_few_are_expected_the_p_value_is_that_of_every_outcome(oneshot):
    n, flagged = 12, 4
    observed = observe(
        lines_of(oneshot, [("clear",)] * (n - flagged) + [("flag",)] * flagged), *of(oneshot)
    )
    (test,) = [t for t in drift(observed, oneshot.prediction, "r").tests if t.what == "signals"]
    assert test.method == "simulated"
    p = oneshot.prediction.next_signals((), "plain")
    distance = {k: (k - n * p[1]) ** 2 for k in range(n + 1)}
    exact = sum(
        multinomial.pmf([n - k, k], n, p)
        for k in distance
        if distance[k] >= distance[flagged] - 1e-9
    )
    # 3,000 draws: 3 tests at a level of 0.01
    assert abs(test.p - exact) < 4 * math.sqrt(exact * (1 - exact) / 3000) + 1 / 3000


def of(world):
    return world.guard.terms, world.guard.revision


def lines_of(world, signals, **changes):
    """Lines of conversations of one turn with these signals."""
    return [
        {
            "scope": f"scope {k}",
            "revision": world.guard.revision,
            "time": f"2026-11-{k % 30 + 1:02d}T12:00:00.000000Z",
            "turn": 1,
            "history": [["plain", signal]],
            "reason": "MATCH",
            "verdict": "comply",
            "enforced": "comply",
        }
        | changes
        for k, (signal,) in enumerate(signals)
    ]


# False alarms and true ones.


@pytest.mark.parametrize(("name", "logs", "count"), [("oneshot", 60, 150), ("crisis", 20, 250)])
def test_false_alarms_are_no_more_frequent_than_the_level(request, name, logs, count):
    world = request.getfixturevalue(name)
    level = 0.05
    found = [world.drift(count, seed, level=level) for seed in range(logs)]
    alarms = sum(drift.finding == DRIFT for drift in found)
    assert alarms <= binom.ppf(0.999, logs, level)
    # And the tests are not blind: p-values of the first test spread as they should.
    first = np.array([drift.tests[0].p for drift in found])
    low, high = binom.ppf([0.001, 0.999], logs, 0.5)
    assert low <= (first < 0.5).sum() <= high


def test_a_classifier_that_misses_more_is_found_with_enough_conversations(bundles):
    """Recall falls from 0.910 to 0.338, as on attacks not seen before; all else is as it was."""
    world = World(bundles / "unseen_shift")
    world.sigma = lambda intent, ask, signal: world.brute._sigma(
        "unseen" if intent == "known" else intent, ask, signal
    )
    before, after = 0.92 * 0.05 + 0.07 * 0.910 + 0.01 * 0.338, 0.92 * 0.05 + 0.08 * 0.338
    effect = (before - after) / math.sqrt(before * (1 - before))
    n = enough(1, 0.01 / 3, effect)  # three tests: of signals, and of two shares
    assert n == 893  # this is what it takes, at 8 % malicious users
    found = [world.drift(n, seed) for seed in range(12)]
    assert sum(drift.finding == DRIFT for drift in found) >= binom.ppf(0.001, 12, 0.8)
    sizes = [test.effect for drift in found for test in drift.tests if test.what == "signals"]
    assert np.mean(sizes) == pytest.approx(effect, rel=0.2)
    # A tenth of them says nothing, and does not say that all is well.
    few = world.drift(n // 10, seed=99)
    assert few.finding == TOO_FEW
    assert {test.finding for test in few.tests} == {TOO_FEW}


def test_later_turns_are_tested_given_the_past(crisis):
    """Users who no longer react to responses: first turns are as predicted, second ones are not."""
    world = World(crisis.folder)
    opening = {
        name: part["kernel"]["opening"]
        for name, part in crisis.brute.intents.items()
        if "kernel" in part
    }
    world.brute.reaction = lambda intent, t, last: opening[intent]
    found = world.drift(1500, seed=5)
    by_turn = {turn: {t.finding for t in found.tests if t.turn == turn} for turn in (1, 2)}
    assert DRIFT not in by_turn[1]
    assert DRIFT in by_turn[2]


def test_the_size_that_is_enough_gives_the_power(oneshot):
    n, level = enough(2, 0.004, 0.2), 0.004
    choose = np.random.default_rng(0)
    p = np.array([0.2, 0.3, 0.5])
    shift = np.array([1.0, -1.0, 0.0])
    shift *= 0.2 / math.sqrt((shift**2 / p).sum())
    came = choose.multinomial(n, p + shift, size=2000)
    power = (chisquare(came, n * p, axis=1).pvalue < level).mean()
    assert power == pytest.approx(0.8, abs=0.04)


def test_holm_by_hand():
    tests = [_share("fallbacks", 0, 100, 0.01, 0.1)] * 4
    given = [0.03, 0.001, 0.04, 0.9]
    tests = [type(t)(**{**vars(t), "p": p}) for t, p in zip(tests, given, strict=True)]
    found = _corrected(tests, 0.05)
    assert [test.adjusted for test in found] == pytest.approx([0.09, 0.004, 0.09, 0.9])
    assert [test.finding for test in found] == [TOO_FEW, DRIFT, TOO_FEW, TOO_FEW]


def test_shares_are_tested_against_what_is_tolerated(oneshot):
    lines = lines_of(oneshot, [("clear",)] * 2000)
    for line in lines[:40]:
        line["reason"] = "BACKOFF"
    observed = observe(lines, *of(oneshot))
    found = drift(observed, oneshot.prediction, "r")
    (test,) = [test for test in found.tests if test.what == "fallbacks"]
    assert (observed.fallen, found.fallbacks) == (40, 0.02)
    assert test.p == pytest.approx(1 - binom.cdf(39, 2000, 0.01))
    assert test.finding == DRIFT
    with pytest.raises(InputError, match=r"level: found 2\.0"):
        drift(observed, oneshot.prediction, "r", level=2.0)
    with pytest.raises(InputError, match=r"effect: found 0\.0"):
        drift(observed, oneshot.prediction, "r", effect=0.0)


def test_what_the_scenario_holds_impossible_is_tolerated_of_a_few(oneshot):
    content = parse((oneshot.folder / "scenario.json").read_bytes())
    never = [[[1.0, 0.0]]] * 3  # no intent is ever flagged
    prediction = Prediction(replace(dialogue_from(content), sigma=never), oneshot.users)
    for count, finding in ((1, AS_PREDICTED), (15, DRIFT)):
        lines = lines_of(oneshot, [("clear",)] * 3000 + [("flag",)] * count)
        found = drift(observe(lines, *of(oneshot)), prediction, "r")
        assert [test.what for test in found.tests] == ["impossible", "fallbacks"]
        assert (found.tests[0].cells[0].observed, found.tests[0].finding) == (count, finding)


# What counts.


def test_nothing_counts_twice_and_nothing_that_follows_from_something_else(crisis):
    def line(history, scope="a", **changes):
        return {
            "scope": scope,
            "revision": crisis.guard.revision,
            "time": "2026-11-22T21:40:53.123456Z",
            "turn": len(history or []),
            "history": history,
            "reason": "SPLIT",
            "verdict": "comply",
            "enforced": "comply",
        } | changes

    first, second = ["plain", "clear"], ["plain", "flag"]
    after = ("plain", "clear", "comply")

    def came(*lines, **settings):
        found = observe(lines, *of(crisis), **settings)
        return {past: dict(count) for past, count in found.came.items()}, found.left_out

    both = {(): {("plain", "clear"): 1}, (after,): {("plain", "flag"): 1}}
    one = {(): {("plain", "clear"): 1}}
    start, go_on = line([first]), line([list(after), second])
    assert came(start, go_on) == (both, {})
    assert came(start, start, go_on, go_on, start) == (both, {"asked again": 3})
    assert came(line([first], mode="shadow", enforced="pass"), go_on) == (
        one,
        {"another answer was carried out": 1},
    )
    assert came(start, line([["plain", "clear", "refuse"], second])) == (
        one,
        {"another answer was carried out": 1},
    )
    assert came(start, line([["plain", "flag", "comply"], second])) == (one, {"asked again": 1})
    assert came(go_on) == ({}, {"begun before the log": 1})
    assert came(start, line([list(after), second], revision="r")) == (one, {"another revision": 1})
    assert observe([start, line([first], "b", revision="r")], *of(crisis)).conversations == 1
    assert came(start, line([list(after), second], revision="r"), go_on) == (
        one,
        {"another revision": 1, "after its end": 1},
    )
    assert came(line([["plain", None]]), go_on) == (
        {(): {("plain", None): 1}},
        {"no signal": 1, "after its end": 1},
    )
    assert came(line([[None, "flag"]])) == ({}, {"no ask of the scenario": 1})
    assert came(line(None, turn=0, reason="ERROR")) == ({}, {"no history": 1})
    assert came(line([first], scope=None)) == ({}, {"no conversation": 1})
    assert came(start, line([list(after), list(after), second]))[1] == {"after the last turn": 1}
    assert came(start, since="2026-11-22T21:40", until="2026-11-22T21:41") == (one, {})
    assert came(start, since="2026-11-23") == came(start, until="2026-11-22") == ({}, {})


def test_without_conversations_nothing_is_concluded(oneshot):
    found = drift(observe([], *of(oneshot)), oneshot.prediction, "r")
    assert found.finding == TOO_FEW
    assert math.isnan(found.fallbacks)


# The command line.


def test_drift_from_the_command_line(bundles, oneshot, tmp_path, capsys):
    with AuditLog(tmp_path / "log", secret=SECRET, most_bytes=100_000) as log:
        deployment = Deployment(oneshot.folder, secret=SECRET, audit=log)
        choose = random.Random(1)
        for k in range(200):
            oneshot.conversation(choose, lambda h, k=k: deployment.decide(h, f"{k}").enforced)
    files = [str(path) for path in tmp_path.glob("log*")]
    assert len(files) > 1
    arguments = ["guard", "drift", *files, "--policy", str(oneshot.folder)]
    assert (
        csa([*arguments, "--json", "--effect", "0.4", "--plot", str(tmp_path / "p" / "drift")]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert (found["finding"], found["conversations"]) == (AS_PREDICTED, 200)
    assert sum(found["decisions"]["verdict"].values()) == 200
    assert sorted(path.suffix for path in (tmp_path / "p").iterdir()) == [".csv", ".png", ".svg"]
    assert csa(arguments) == 0
    assert "200 conversations, 0.0% of the decisions fell back: too few" in capsys.readouterr().out
    with AuditLog(tmp_path / "log", secret=SECRET) as log:
        deployment = Deployment(oneshot.folder, secret=SECRET, audit=log)
        for k in range(60):
            deployment.decide([("plain", "flag")], f"more {k}")
    files = [str(path) for path in tmp_path.glob("log*")]
    assert csa(["guard", "drift", *files, "--policy", str(oneshot.folder)]) == 1
    assert "fell back: drift: what came is not what" in capsys.readouterr().out
