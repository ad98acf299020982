"""`crescendo`: success over T turns by closed forms, and what an attack's survival says of it."""

from collections.abc import Sequence
from itertools import accumulate, product
from math import prod

import pytest
from catalogue import best, builtin, by_rule

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.evaluate import MEASURES, posterior
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER, Game
from csa_games.override import override
from csa_games.scenario import Scenario

# Multi-Turn Jailbreaks Are Simpler Than They Seem, round-by-round log: hazard of first success in
# rounds 1 to 8; and two cells fitted to it, with their weights, first and later hazards.
HAZARDS = (0.350, 0.389, 0.293, 0.200, 0.159, 0.119, 0.087, 0.072)
CELLS = {"steady": (0.604, 0.305, 0.560), "sudden": (0.396, 0.418, 0.069)}


def hazards(name: str) -> tuple[float, ...]:
    _, first, later = CELLS[name]
    return (first, *[later] * 7)


def without_refusals(turns: int) -> Scenario:
    """Return the scenario with refusals that end, so that eight turns are a small tree."""
    content = builtin("crescendo").model_dump(mode="json", exclude_none=True)
    for part in content["intents"]:
        del part["kernel"]["after"]["refuse"]
    changes = {"intents": content["intents"], "responses.refuse.ends": True, "turns": turns}
    return override(builtin("crescendo"), changes)


def with_hazards(scenario: Scenario, name: str, series: Sequence[float]) -> Scenario:
    """Return the scenario with an attack's hazard of first success by round."""
    after = [{"escalate": 1 - h, "stop": h} for h in series]
    cell = {"steady": 1, "sudden": 2}[name]
    changes = {
        f"intents.{name}.kernel.after.answer": after,
        f"payoff.risk.{cell}.values.answer": list(series),
    }
    return override(scenario, changes)


def detected(scenario: Scenario, first: float, later: float) -> Scenario:
    """Return the scenario with other detection rates, at the opening and afterwards."""
    rows = {"channel.1.probabilities": first, "channel.2.probabilities": later}
    return override(scenario, {path: {"clear": 1 - d, "flag": d} for path, d in rows.items()})


def closing(game: Game):
    """Return the policy that answers what is clear and closes what is flagged."""
    return by_rule(game, lambda key: "close" if key.endswith("flag") else "answer")


def succeeds(scenario: Scenario) -> dict[str, float]:
    """Return P(success) of each kind of attack where conversations are closed on a flag."""
    game = dialogue_game(scenario)
    severity = scenario.categories[0].severity.value
    risks = MEASURES["risk"](game, closing(game))
    return {name: risks[name] / severity for name in CELLS}


def by_hand(series: Sequence[float], detection: Sequence[float]) -> float:
    """Return P(success): undetected so far, not yet successful, and successful now."""
    total, alive = 0.0, 1.0
    for h, d in zip(series, detection, strict=True):
        total += alive * (1 - d) * h
        alive *= (1 - d) * (1 - h)
    return total


def test_the_file_has_the_two_cells():
    scenario = builtin("crescendo")
    attacks = scenario.intents[1:]
    total = sum(part.prior.value for part in attacks)
    for part, risk in zip(attacks, scenario.payoff.risk[1:3], strict=True):
        assert part.prior.value / total == pytest.approx(CELLS[part.name][0])
        assert tuple(risk.values["answer"]) == hazards(part.name)
        rows = part.kernel.after["answer"]
        assert tuple(row["stop"] for row in rows) == hazards(part.name)[:7]


@pytest.mark.parametrize("turns", [1, 2, 4, 6, 8])
@pytest.mark.parametrize(("h", "d"), [(0.35, 0.0), (0.35, 0.3), (0.07, 0.1), (0.56, 0.05)])
def test_constant_hazard_and_detection_have_a_closed_form(turns, h, d):
    scenario = detected(without_refusals(turns), d, d)
    for name in CELLS:
        scenario = with_hazards(scenario, name, [h] * 8)
    q = (1 - h) * (1 - d)
    expected = h * (1 - d) * (1 - q**turns) / (1 - q)
    assert succeeds(scenario) == pytest.approx(dict.fromkeys(CELLS, expected), abs=1e-12)


@pytest.mark.parametrize("turns", range(1, 7))
def test_cells_mix_linearly(turns):
    """With the refusals of the file, which this rule does not use, and its rates of detection."""
    scenario = override(builtin("crescendo"), {"turns": turns})
    detection = [0.133, *[0.40] * 7][:turns]
    each = {name: by_hand(hazards(name)[:turns], detection) for name in CELLS}
    assert succeeds(scenario) == pytest.approx(each, abs=1e-12)
    game = dialogue_game(scenario)
    risk = MEASURES["risk"](game, closing(game))
    prior = {part.name: part.prior.value for part in scenario.intents}
    attacked = sum(prior[name] * risk[name] for name in CELLS) / 5.0 / 0.10
    mixture = sum(CELLS[name][0] * each[name] for name in CELLS)
    assert attacked == pytest.approx(mixture, abs=1e-12)


def mixed(turns: int) -> float:
    found = succeeds(detected(without_refusals(turns), 0.0, 0.0))
    return sum(CELLS[name][0] * found[name] for name in CELLS)


def test_eight_undetected_rounds_succeed_with_859():
    assert mixed(8) == pytest.approx(0.859, abs=1e-3)
    # The same from the hazards of all attacks together.
    assert 1 - prod(1 - h for h in HAZARDS) == pytest.approx(0.859, abs=5e-4)
    one = with_hazards(detected(without_refusals(8), 0.0, 0.0), "steady", HAZARDS)
    assert succeeds(one)["steady"] == pytest.approx(0.859, abs=5e-4)


def test_three_undetected_rounds_pass_the_level_of_human_attacks():
    """MHJ, arXiv 2408.15221: above .70 against defences that look at single turns."""
    assert mixed(2) < 0.70 < mixed(3)


def test_survival_tells_the_cells_apart_as_published():
    """P(steady | attack, k answers without success), k = 0 to 7; hazards good to three digits."""
    published = [0.604, 0.646, 0.463, 0.289, 0.161, 0.083, 0.041, 0.020]
    game = dialogue_game(without_refusals(8))
    belief = posterior(
        game, (uniform(game.form.treeplex[USER]), uniform(game.form.treeplex[ASSISTANT]))
    )
    for answers, share in enumerate(published):
        key = ">answer/".join(["open:clear", *["escalate:clear"] * answers])
        _, steady, sudden = belief[game.names.infosets[ASSISTANT].index(key)]
        assert steady / (steady + sudden) == pytest.approx(share, abs=2e-3)


def test_most_attacks_that_are_detected_are_so_after_the_opening():
    """THRD, arXiv 2606.01738: over .70; here of attacks that are answered until detected."""
    first, later = (part.probabilities["flag"] for part in builtin("crescendo").channel[1:])
    for name in CELLS:
        alive = accumulate(
            [(1 - h) * (1 - d) for h, d in zip(hazards(name), [first] + [later] * 7, strict=True)],
            lambda a, b: a * b,
        )
        here = [first, *[left * later for left in list(alive)[:7]]]
        assert here[0] / sum(here) < 0.30


def test_memory_pays_over_four_turns_and_not_over_two():
    """Against the best rule of 729 that looks at the last ask and its signal alone."""
    for turns, pays in ((2, False), (4, True)):
        scenario = override(builtin("crescendo"), {"turns": turns})
        game = dialogue_game(scenario)
        asks, signals = ("open", "escalate", "rephrase"), ("clear", "flag")
        states = [f"{ask}:{signal}" for ask, signal in product(asks, signals)]
        most = max(
            float(solvers.value(game, by_rule(game, lambda key, rule=rule: rule[_last(key)]))[1])
            for rule in (
                dict(zip(states, choice, strict=True))
                for choice in product(("answer", "refuse", "close"), repeat=len(states))
            )
        )
        value, _ = best(scenario)
        assert value >= most - 1e-12
        assert (value > most + 0.01) == pays


def _last(key: str) -> str:
    return key[key.rfind("/") + 1 :]


def test_longer_attacks_do_more_harm_under_the_same_rule():
    found = [succeeds(override(builtin("crescendo"), {"turns": turns})) for turns in (2, 4, 6)]
    for name in CELLS:
        assert found[0][name] < found[1][name] < found[2][name]
