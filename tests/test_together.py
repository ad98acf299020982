"""Many runs at once against the same runs one by one."""

import json

import numpy as np
import pytest
from known_games import KUHN, LEDUC, game

import solvers
from csa_games.cli import main
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.override import override, with_prior
from csa_games.scenario import builtin_scenarios, read_scenario
from solvers import together as tandem
from solvers.regret import VARIANTS
from solvers.together import race, solve_many

SCENARIO = override(read_scenario(builtin_scenarios()["crisis_guidance"]), {"turns": 2})
CHANGES = {
    "priors": [with_prior(SCENARIO, "malicious", p) for p in (0.0, 0.02, 0.3)],
    "weights": [override(SCENARIO, {"weights.beta": b}) for b in (0.5, 2.0, 8.0)],
    "turn's worth": [override(SCENARIO, {"discount": d}) for d in (0.5, 0.9, 1.0)],
}


@pytest.mark.parametrize("scenarios", CHANGES.values(), ids=CHANGES)
def test_a_stack_is_solved_as_its_games_are(scenarios):
    games = [factored_game(scenario) for scenario in scenarios]
    together = solve_many(games, "pcfr+", target=0.0, max_steps=64)
    values = [solution.value[1] for solution in together]
    assert len(set(values)) == len(values)  # the games differ
    for ours, one in zip(together, games, strict=True):
        alone = solvers.solve(one, "pcfr+", target=0.0, max_steps=64)
        at_64 = {check.step: check.nash_conv for check in alone.history}[64]
        assert ours.history[-1].nash_conv == pytest.approx(at_64, rel=1e-6, abs=1e-9)
        value = solvers.value(one, ours.policy)
        np.testing.assert_allclose(ours.value, value, rtol=1e-12)
        assert ours.status == "max_steps"


@pytest.mark.parametrize("most", [1, 20_000])
def test_batches_change_no_result(most, monkeypatch):
    games = [factored_game(scenario) for scenario in CHANGES["priors"]]
    monkeypatch.setattr(tandem, "BATCH_BYTES", 10**9)
    whole = solve_many(games, target=0.0, max_steps=32)
    monkeypatch.setattr(tandem, "BATCH_BYTES", most)
    found = solve_many(games, target=0.0, max_steps=32)
    again = solve_many(games, target=0.0, max_steps=32)
    for ours, twice, other in zip(found, again, whole, strict=True):
        assert ours.nash_conv == pytest.approx(other.nash_conv, rel=1e-6, abs=1e-9)
        assert ours.nash_conv == twice.nash_conv
        np.testing.assert_array_equal(ours.policy[1], twice.policy[1])


def test_a_stack_stops_when_all_are_there():
    games = [factored_game(scenario) for scenario in CHANGES["weights"]]
    solutions = solve_many(games, target=0.05, max_steps=10_000)
    assert {solution.status for solution in solutions} == {"target"}
    assert all(solution.nash_conv <= 0.05 for solution in solutions)
    assert len({len(solution.history) for solution in solutions}) == 1
    assert max(solution.steps for solution in solutions) < 10_000


def test_a_race_returns_the_best_of_all():
    ours = game(KUHN)
    best = race(ours, target=0.0, max_steps=128)
    alone = {name: solve_many([ours], name, target=0.0, max_steps=128)[0] for name in VARIANTS}
    winner = min(alone, key=lambda name: alone[name].nash_conv)
    assert best.nash_conv == pytest.approx(alone[winner].nash_conv, rel=1e-6, abs=1e-13)
    assert best.method in VARIANTS
    assert solvers.gap(ours, best.policy).sum() == pytest.approx(best.nash_conv, abs=1e-15)


def test_a_race_ends_with_the_first_to_reach_the_target():
    best = race(game(KUHN), ("cfr", "pcfr+"), target=1e-3, max_steps=10_000)
    assert (best.method, best.status) == ("pcfr+", "target")


def test_a_race_from_the_command_line(tmp_path, capsys):
    run = ["solve", "openspiel:kuhn_poker", "--method", "race", "--target", "1e-3"]
    assert main([*run, "--out", str(tmp_path / "run"), "--no-cache", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["method"] in VARIANTS
    assert told["status"] == "target"
    assert told["nash_conv"] <= 1e-3


def test_what_cannot_be_stacked_is_said():
    with pytest.raises(InputError, match=r"leduc_poker.* and kuhn_poker.* differ in more than num"):
        solve_many([game(KUHN), game(LEDUC)])
    with pytest.raises(InputError, match="found no games"):
        solve_many([])
    with pytest.raises(InputError, match=r"found 'lp' among the methods, expected some of cfr, "):
        race(game(KUHN), ("cfr", "lp"))
