"""Scenarios with other responses or behaviours are what somebody would have written by hand."""

import pytest
from bundles import builtin

import solvers
from csa_games.dialogue import dialogue_game, sizes
from csa_games.errors import InputError
from csa_games.game import ASSISTANT
from csa_games.override import override, with_behaviour, with_responses
from csa_games.scenario import parse_scenario, scenario_from
from csa_games.toml_text import toml_text


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


def in_doubt():
    """Return a scenario some of whose rows have intervals, a list of rows by turn among them."""
    scenario = builtin("crisis_guidance", 3)
    content = scenario.model_dump(mode="json", exclude_none=True)
    kernel = content["intents"][0]["kernel"]
    kernel["after"]["guide"] = [kernel["after"]["guide"]] * 2
    kernel["low"] = {
        "opening": {"plain": 0.7},
        "after": {"comply": {"plain": 0.5}, "guide": [{"leave": 0.3}, {}]},
    }
    kernel["high"] = {"after": {"comply": {"leave": 0.3}}}
    content["channel"][0] |= {"low": {"clear": 0.9}, "high": {"clear": 0.95}}
    return scenario_from(content, "in doubt")


def test_a_scenario_with_intervals_of_rows_is_written_and_read_again():
    text = toml_text(in_doubt().model_dump(mode="json", exclude_none=True))
    assert parse_scenario(text.encode(), "again") == in_doubt()


ROWS = {
    "opening": {"plain": 1.0},
    "after.comply": {"plain": 1.0},
    "after.guide": {"plain": 1.0},
    "after.guide.0": {"plain": 1.0},
    "after": {name: {"plain": 1.0} for name in ("comply", "partial", "clarify", "guide", "refuse")},
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_is_replaced_loses_its_intervals_and_no_other(row):
    before = in_doubt().intents[0].kernel
    kernel = override(in_doubt(), {f"intents.benign.kernel.{row}": ROWS[row]}).intents[0].kernel
    first, *below = row.split(".")
    assert kernel.low.opening == ({} if first == "opening" else before.low.opening)
    gone = set(before.after) if row == "after" else set(below[:1])
    for end in ("low", "high"):
        expected = {k: v for k, v in getattr(before, end).after.items() if k not in gone}
        assert getattr(kernel, end).after == expected


def test_a_channel_that_is_replaced_loses_its_intervals():
    channel = in_doubt().channel[0]
    assert channel.low == {"clear": 0.9}
    other = override(in_doubt(), {"channel.0.probabilities": {"clear": 1.0}}).channel[0]
    assert (other.low, other.high) == (None, None)
    assert override(in_doubt(), {"channel.0.low.clear": 0.5}).channel[0].low == {"clear": 0.5}


def test_responses_that_are_gone_have_no_intervals():
    kernel = with_responses(in_doubt(), ["comply", "refuse"]).intents[0].kernel
    assert set(kernel.low.after) == set(kernel.high.after) == {"comply"}


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
