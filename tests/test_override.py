"""Scenarios with other responses or behaviours are what somebody would have written by hand."""

import pytest
from bundles import builtin

import solvers
from csa_games.dialogue import dialogue_game, sizes
from csa_games.errors import InputError
from csa_games.game import ASSISTANT
from csa_games.override import override, with_behaviour, with_responses


def crisis():
    return builtin("crisis_guidance", 2)


def test_a_scenario_with_all_its_responses_is_the_same():
    scenario = crisis()
    assert with_responses(scenario, [part.name for part in scenario.responses]) == scenario


def test_responses_that_are_gone_leave_nothing_behind():
    fewer = with_responses(crisis(), ["comply", "refuse"])
    assert [part.name for part in fewer.responses] == ["comply", "refuse"]
    for part in fewer.payoff.satisfaction + fewer.payoff.risk + fewer.payoff.cost:
        assert set(part.values) <= {"comply", "refuse"}
    assert all(set(part.kernel.after) <= {"comply", "refuse"} for part in fewer.intents[:3])
    assert fewer.fallback.response == "refuse"  # it was guide
    assert fewer.baselines.threshold == {"clear": "comply", "unsure": "refuse", "flag": "refuse"}
    # By hand: 4 kinds, first turn then second, 2 responses in place of 6 that may go on 5 ways.
    assert sizes(fewer).histories < sizes(crisis()).histories / 5


def test_with_fewer_responses_the_value_is_that_of_a_policy_that_never_gives_them():
    # The same restriction by another road: what is forbidden costs so much that nobody does it.
    scenario = builtin("crisis_guidance", 1)
    fewer = with_responses(scenario, ["comply", "partial", "refuse"])
    costs = {f"payoff.cost.0.values.{name}": 1e4 for name in ("clarify", "guide", "refer")}
    dear = override(scenario, costs)
    values = [solvers.solve(dialogue_game(one), "lp").value[ASSISTANT] for one in (fewer, dear)]
    assert values[0] == pytest.approx(values[1], abs=1e-7)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["comply", "refuse", "sing"], "found the response 'sing', expected some of comply"),
        (["comply", "guide"], "expected refuse among them"),
    ],
)
def test_responses_that_cannot_be_kept_are_refused(names, message):
    with pytest.raises(InputError, match=message):
        with_responses(crisis(), names)


def test_other_behaviours_have_what_they_need():
    effort = {"disguised": 0.3}
    rational = with_behaviour(crisis(), "malicious", "rational", effort=effort)
    (who,) = [part for part in rational.intents if part.name == "malicious"]
    assert (who.weights.satisfaction, who.weights.risk, who.rationality) == (0.0, 1.0, None)
    (trying,) = rational.payoff.effort
    assert trying.values == dict.fromkeys(who.asks, 0.0) | effort
    quantal = with_behaviour(rational, "malicious", "quantal", rationality=3.0)
    (who,) = [part for part in quantal.intents if part.name == "malicious"]
    assert who.rationality.value == 3.0
    assert len(quantal.payoff.effort) == 1
    assert with_behaviour(quantal, "malicious", "adversarial") == crisis()


@pytest.mark.parametrize("intent", ["benign", "nobody"])
def test_only_intents_that_choose_behave_otherwise(intent):
    with pytest.raises(InputError, match="expected one that chooses: malicious"):
        with_behaviour(crisis(), intent, "rational")
