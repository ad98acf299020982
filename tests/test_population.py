"""The best policy against kernels, against belief-state value iteration and against brute force."""

import itertools
import tomllib
from functools import cache

import known_games
import numpy as np
import pytest
from brute_dialogue import Brute, Shape, all_kernels, random_content
from hypothesis import given, settings
from hypothesis import strategies as st

import solvers
from csa_games.build import build
from csa_games.devices import is_looped
from csa_games.dialogue import dialogue_game, sizes
from csa_games.errors import InputError
from csa_games.evaluate import infoset_reach
from csa_games.factored import factored_game
from csa_games.fold import legal_mask, uniform
from csa_games.game import ASSISTANT, USER
from csa_games.override import override
from csa_games.rules import Chance, Decision, Terminal
from csa_games.scenario import builtin_scenarios, scenario_from

GUIDANCE = tomllib.loads(builtin_scenarios()["crisis_guidance"].read_text(encoding="utf-8"))

populations = st.builds(
    Shape,
    turns=st.integers(1, 3),
    behaviours=st.lists(st.just("kernel"), min_size=1, max_size=3).map(tuple),
    talking=st.integers(1, 2),
    ways_out=st.integers(0, 2),
    signals=st.integers(1, 2),
    responses=st.integers(1, 3),
    seed=st.integers(0, 2**20),
)


class Beliefs(Brute):
    """Value iteration over (turn, belief over intents, last response): a scenario as a POMDP.

    The value is that of a belief that need not sum to 1, which it scales with.
    """

    def value(self, turn, belief, last):
        """Return the most that is to be had from the start of `turn` on, before the ask."""
        names = list(self.intents)
        weights = {k: part["value"] for k, part in self.content["weights"].items()}
        scale = self.content["discount"]["value"] ** turn
        total = 0.0
        for ask, ends in self.ask_ends.items():
            asked = {
                name: p * self.reaction(name, turn, last).get(ask, 0.0)
                for name, p in zip(names, belief, strict=True)
            }
            if ends:
                if ends == "migrate":
                    harm = [p * self._displacement(name, turn) for name, p in asked.items() if p]
                    total -= scale * weights["psi"] * sum(harm)
                continue
            for signal in self.signals:
                now = {n: p * self._sigma(n, ask, signal) for n, p in asked.items() if p}
                if any(now.values()):
                    total += max(self._after(turn, now, ask, r, scale) for r in self.response_ends)
        return total

    def _after(self, turn, now, ask, response, scale):
        here = scale * sum(p * self._worth(name, ask, response, turn) for name, p in now.items())
        if self.response_ends[response] or turn + 1 == self.turns:
            return here
        belief = [now.get(name, 0.0) for name in self.intents]
        return here + self.value(turn + 1, belief, response)

    @cache  # noqa: B019 (it dies with the test)
    def _worth(self, name, ask, response, turn):
        weights = {k: part["value"] for k, part in self.content["weights"].items()}
        return (
            weights["alpha"] * self._cell("satisfaction", name, ask, response, turn)
            - weights["beta"]
            * self._severity(name, ask, response)
            * self._cell("risk", name, ask, response, turn)
            - weights["gamma"] * self._cell("cost", name, ask, response, turn)
        )

    def optimum(self):
        """Return the value of the scenario."""
        prior = [part["prior"]["value"] for part in self.intents.values()]
        return self.value(0, prior, None)


def kernels(turns):
    return {**all_kernels(GUIDANCE), "turns": turns}


@settings(deadline=None, max_examples=60)
@given(populations, st.booleans())
def test_value_iteration_over_beliefs_finds_the_same_value(shape, explicit):
    content = random_content(shape)
    scenario = scenario_from(content, "random")
    game = (dialogue_game if explicit else factored_game)(scenario)
    solution = solvers.solve(game, "population")
    assert solution.value[ASSISTANT] == pytest.approx(Beliefs(content).optimum(), abs=1e-11)
    np.testing.assert_allclose(solution.gap, 0, atol=1e-12)
    assert (solution.method, solution.status, solution.steps) == ("population", "exact", 1)


def test_a_population_of_crisis_guidance():
    content = kernels(2)
    solution = solvers.solve(factored_game(scenario_from(content, "kernels")), "population")
    assert solution.value[ASSISTANT] == pytest.approx(Beliefs(content).optimum(), abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**20), st.booleans())
def test_no_pure_policy_is_better(seed, explicit):
    """All pure policies, each valued conversation by conversation."""
    content = random_content(Shape(2, ("kernel", "kernel"), 1, 1, 1, 3, seed))
    game = (dialogue_game if explicit else factored_game)(scenario_from(content, "random"))
    brute = Brute(content)
    talks = brute.conversations()
    states = sorted({infoset for talk in talks for _, infoset, _ in talk.choices})
    values = [
        sum(
            talk.chance * talk.payoffs[1]
            for talk in talks
            if all(play[infoset] == action for _, infoset, action in talk.choices)
        )
        for play in (
            dict(zip(states, actions, strict=True))
            for actions in itertools.product(brute.response_ends, repeat=len(states))
        )
    ]
    solution = solvers.solve(game, "population")
    assert solution.value[ASSISTANT] == pytest.approx(max(values), abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(populations)
def test_the_linear_program_agrees(shape):
    game = factored_game(scenario_from(random_content(shape), "random"))
    found, exact = solvers.solve(game, "population"), solvers.solve(game, "lp")
    assert found.value[ASSISTANT] == pytest.approx(exact.value[ASSISTANT], abs=1e-9)


def test_regret_minimisation_comes_to_the_same():
    game = factored_game(scenario_from(kernels(2), "kernels"))
    found = solvers.solve(game, "population")
    near = solvers.solve(game, "pcfr+", target=1e-5)
    assert near.status == "target"
    assert 0 <= found.value[ASSISTANT] - near.value[ASSISTANT] <= 1e-5


def test_millions_of_histories():
    content = random_content(Shape(5, ("kernel",) * 3, 2, 0, 2, 5, 1))
    scenario = scenario_from(content, "large")
    game = factored_game(scenario)
    assert sizes(scenario).histories > 1_000_000
    assert is_looped(game.form)
    solution = solvers.solve(game, "population")
    assert solution.value[ASSISTANT] == pytest.approx(Beliefs(content).optimum(), abs=1e-10)
    assert abs(solution.nash_conv) < 1e-12


def test_optimal_also_after_responses_that_it_avoids():
    """From the second turn on every state is answered as its own population would be."""
    content = kernels(2)
    game = dialogue_game(scenario_from(content, "kernels"))
    policy = solvers.solve(game, "population").policy[ASSISTANT]
    names = list(content["responses"])
    beliefs, states = Beliefs(content), list(game.names.infosets[ASSISTANT])
    checked = 0
    for state, row in zip(states, np.asarray(policy), strict=True):
        if "/" not in state:
            continue
        first, second = state.split("/")
        (ask, rest), (then, heard) = first.split(":"), second.split(":")
        signal, said = rest.split(">")
        now = {}
        for name, part in beliefs.intents.items():
            p = part["prior"]["value"] * part["kernel"]["opening"].get(ask, 0.0)
            p *= part["kernel"]["after"][said].get(then, 0.0)
            if p:
                now[name] = (
                    p * beliefs._sigma(name, ask, signal) * beliefs._sigma(name, then, heard)
                )
        worth = [beliefs._after(1, now, then, response["name"], 1.0) for response in names]
        assert max(worth) - worth[int(row.argmax())] < 1e-12
        checked += 1
    assert checked > 300


def test_uniform_where_no_user_leads():
    content = kernels(2)
    for part in content["intents"]:
        part["kernel"]["opening"] = {"plain": 1.0}
    game = factored_game(scenario_from(content, "kernels"))
    policy = np.asarray(solvers.solve(game, "population").policy[ASSISTANT])
    treeplex = game.form.treeplex
    nobody = (uniform(treeplex[USER]), uniform(treeplex[ASSISTANT]))
    reached = infoset_reach(game, ASSISTANT, nobody)[1] > 0
    assert 0 < reached.sum() < len(reached)
    opened = [not state.startswith("plain") for state in game.names.infosets[ASSISTANT]]
    np.testing.assert_array_equal(reached, ~np.array(opened))
    np.testing.assert_array_equal(policy[~reached], uniform(treeplex[ASSISTANT])[~reached])
    assert (policy[reached].max(axis=1) == 1).all()
    assert (policy[~legal_mask(treeplex[ASSISTANT])] == 0).all()


@pytest.mark.parametrize("layout", [dialogue_game, factored_game])
def test_users_of_prior_zero_may_choose(layout):
    """An intent that never comes changes nothing, whatever its behaviour."""
    content = kernels(2)
    malicious = content["intents"][-1]
    assert malicious["prior"]["value"] == 0
    before = solvers.solve(layout(scenario_from(content, "kernels")), "population")
    del malicious["kernel"]
    malicious["behaviour"] = "adversarial"
    after = solvers.solve(layout(scenario_from(content, "never adversarial")), "population")
    assert after.value[ASSISTANT] == pytest.approx(before.value[ASSISTANT], abs=1e-14)


def test_users_who_choose_are_refused_with_what_to_use():
    adversarial = factored_game(scenario_from(GUIDANCE, "guidance"))
    with pytest.raises(InputError, match=r"'malicious' is adversarial.*use the method lp or pcfr"):
        solvers.solve(adversarial, "population")
    mixed = random_content(Shape(1, ("rational", "quantal"), 1, 0, 1, 2, 3))
    for part in mixed["intents"]:
        part["prior"]["value"] = 0.5
    with pytest.raises(InputError, match="commitment") as caught:
        solvers.solve(factored_game(scenario_from(mixed, "mixed")), "population")
    assert [fault.split("'")[1] for fault in caught.value.faults] == ["intent0", "intent1"]


def test_games_without_intents():
    """A decision problem is a population too; a game of two is not."""

    def after(k):
        return Decision(1, "door", ("left", "right"), lambda a: Terminal((0.0, float(a == k))))

    alone = build(lambda: Chance(("l", "r"), (0.25, 0.75), after), "doors")
    solution = solvers.solve(alone, "population")
    assert solution.value[ASSISTANT] == 0.75
    np.testing.assert_array_equal(solution.policy[ASSISTANT], [[0.0, 1.0]])
    with pytest.raises(InputError, match="chooses at 6 infosets"):
        solvers.solve(known_games.game(known_games.KUHN), "population")


def test_the_unit_of_payoffs_does_not_matter():
    scenario = scenario_from(kernels(2), "kernels")
    weights = {f"weights.{name}": 1e5 for name in ("alpha", "gamma", "psi")}
    scaled = override(scenario, weights | {"weights.beta": 2e5})
    one, other = (solvers.solve(factored_game(s), "population") for s in (scenario, scaled))
    assert other.value[ASSISTANT] == pytest.approx(1e5 * one.value[ASSISTANT], rel=1e-12)
