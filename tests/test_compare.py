"""Comparisons: published systems in a scenario, worst priors, and the command that shows them.

Filters are checked against every conversation listed by code that shares nothing with them, worst
priors against a linear program and the robust solver's own worst case.
"""

import json
import math
import tomllib
from collections import defaultdict

import numpy as np
import pytest
from brute_dialogue import Brute, discounted_and_per_turn
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario
from scipy.optimize import linprog

import csa_games
import solvers
from csa_games.baselines import BASELINES
from csa_games.build import build
from csa_games.cli import main
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT
from csa_games.operating_points import OPERATING_POINTS, SOURCES, wilson
from csa_games.outcomes import OUTCOMES, WHOLE, harmless
from csa_games.override import override
from csa_games.plots import RatePoint, pareto, pareto_png, undominated
from csa_games.rules import Terminal
from csa_games.scenario import builtin_scenarios, read_scenario, scenario_from
from solvers.compare import as_filter, compare, worst_prior

seeds = st.integers(0, 2**20)
GUIDANCE = tomllib.loads(builtin_scenarios()["crisis_guidance"].read_text(encoding="utf-8"))


def best_ask(brute: Brute, rate: dict[str, float], talks: list) -> float:
    """Return the least payoff that an adversarial user can force, given answers by a fixed coin.

    Backward over public histories: answers do not depend on signals, so that those say nothing.
    """
    tree: dict = defaultdict(float)
    for talk in talks:
        chance, public = talk.chance, []
        for ask, signal, response in talk.turns:
            public.append(ask)
            if signal is not None:
                chance *= rate.get(response, 0.0)
                public.append(response)
        if chance > 0:
            tree[tuple(public)] += chance * talk.payoffs[ASSISTANT]

    def least(prefix: tuple) -> float:
        if prefix in tree:
            return tree[prefix]
        below = {key[len(prefix)] for key in tree if key[: len(prefix)] == prefix}
        values = [least((*prefix, step)) for step in below]
        return min(values) if len(prefix) % 2 == 0 else sum(values)

    return least(())


@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.084, 0.005), (0.3, 0.9), (1.0, 1.0)])
def test_a_filter_is_worth_what_its_conversations_are(rates):
    content = discounted_and_per_turn(GUIDANCE)
    brute = Brute(content)
    game = factored_game(scenario_from(content, "x"))
    row = as_filter(game, "x", *rates, reference=0.25)
    listing = brute.conversations()
    total = 0.0
    for part in content["intents"]:
        name = part["name"]
        refusing = rates[0] if name == "benign" else 1 - rates[1]  # the one who does no harm
        rate = {"comply": 1 - refusing, "refuse": refusing}
        talks = [talk for talk in listing if talk.intent == name]
        if part["behaviour"] == "adversarial":
            worth = best_ask(brute, rate, talks)
        else:
            worth = math.fsum(
                talk.payoffs[ASSISTANT]
                * talk.chance
                * math.prod(rate.get(turn[2], 0.0) for turn in talk.turns if turn[1] is not None)
                for talk in talks
            )
        total += worth
        assert row.outcomes["payoff"][name] == pytest.approx(
            worth / part["prior"]["value"], abs=1e-9
        )
    assert row.value == pytest.approx(total, abs=1e-9)
    assert row.difference == pytest.approx(total - 0.25, abs=1e-9)
    assert (row.whole["over-refusal"], row.whole["unsafe compliance"]) == rates
    assert set(row.outcomes) == set(OUTCOMES)
    assert set(row.whole) == set(WHOLE)
    assert np.isnan(list(row.outcomes["bits"].values())).all()


def test_filters_at_the_ends_are_the_constant_policies():
    scenario = read_scenario(builtin_scenarios()["crisis_guidance"])
    game = factored_game(override(scenario, {"turns": 2}))
    comply, refuse = compare(
        game, {name: BASELINES[name](game) for name in ("always comply", "always refuse")}
    )
    assert as_filter(game, "x", 0.0, 1.0, 0.0).value == pytest.approx(comply.value, abs=1e-10)
    assert as_filter(game, "x", 1.0, 0.0, 0.0).value == pytest.approx(refuse.value, abs=1e-10)
    assert harmless(game.scenario) == {"benign"}


@settings(max_examples=10, deadline=None)
@given(seeds, seeds)
def test_the_worst_prior_is_that_of_a_linear_program(seed, play):
    draw = np.random.default_rng(play)
    scenario = random_scenario(seed)
    ends = {}
    for part in scenario.intents:
        if draw.random() < 0.7:
            p = part.prior.value
            ends[part.name] = (p * draw.random(), p + (1 - p) * draw.random() if p else 0.0)
    content = scenario.model_dump(mode="json", exclude_none=True)
    for part in content["intents"]:
        if part["name"] in ends:
            part["prior"]["low"], part["prior"]["high"] = ends[part["name"]]
    game = factored_game(scenario_from(content, "x"))
    (row,) = compare(game, {"x": random_policy(game, play)[ASSISTANT]})
    prior = {part.name: part.prior.value for part in scenario.intents if part.prior.value > 0}
    if not set(prior) & set(ends):
        assert math.isnan(row.worst)
        return
    # Variables: the priors, and how much those without an interval are scaled by.
    names = list(prior)
    fixed = [
        [float(i == k) for k in range(len(names))] + [-prior[name]]
        for i, name in enumerate(names)
        if name not in ends
    ]
    ended = linprog(
        [row.outcomes["payoff"][name] for name in names] + [0.0],
        A_eq=np.array([[1.0] * len(names) + [0.0], *fixed]),
        b_eq=[1.0] + [0.0] * len(fixed),
        bounds=[ends.get(name, (0, 1)) for name in names] + [(0, None)],
    )
    assert row.worst == pytest.approx(ended.fun, abs=1e-8)
    assert row.worst <= row.value + 1e-9


def test_the_worst_prior_is_the_robust_solvers():
    scenario = read_scenario(builtin_scenarios()["crisis_guidance"])
    game = factored_game(override(scenario, {"turns": 2}))
    solution = solvers.solve(game, "robust")
    nominal = solvers.solve(game, "lp")
    robust, usual = compare(
        game, {"robust": solution.policy[ASSISTANT], "usual": nominal.policy[ASSISTANT]}
    )
    assert robust.worst == pytest.approx(solution.robustness.value, abs=1e-7)
    assert robust.value == pytest.approx(solution.robustness.nominal, abs=1e-7)
    assert usual.worst < robust.worst - 0.01
    assert usual.value > robust.value + 0.01


def test_rates_and_games_that_are_none():
    game = csa_games.load("csa_oneshot")
    with pytest.raises(InputError, match=r"guard: found the rate 1\.5, expected a number from 0"):
        as_filter(game, "guard", 0.1, 1.5, 0.0)
    with pytest.raises(InputError, match="a leaf: found a game without intents"):
        as_filter(build(lambda: Terminal((1.0, -1.0)), "a leaf"), "guard", 0.1, 0.1, 0.0)
    assert math.isnan(worst_prior(factored_game(random_scenario(0)), {"one": 1.0, "two": 0.0}))


# XSTest v2, arXiv 2308.01263, and WildGuard, arXiv 2406.18495, Table 6: rates as printed, with the
# 95 % intervals that follow from the counts.
PRINTED = {
    "XSTest gpt4": ((0.056, 0.084, 0.125), (0.001, 0.005, 0.028)),
    "XSTest llama2new": ((0.243, 0.296, 0.355), (0.0, 0.0, 0.019)),
    "XSTest llama2orig": ((0.534, 0.596, 0.655), (0.0, 0.0, 0.019)),
    "XSTest mistralguard": ((0.144, 0.188, 0.241), (0.017, 0.035, 0.071)),
    "XSTest mistralinstruct": ((0.006, 0.016, 0.040), (0.571, 0.640, 0.703)),
}
PERCENT = {
    "WildGuard no filter": (0.0, 79.8),
    "WildGuard WildGuard": (0.4, 2.4),
    "WildGuard Aegis-D": (16.0, 12.4),
    "WildGuard MD-Judge": (4.4, 25.7),
    "WildGuard Aegis-P": (3.6, 32.7),
    "WildGuard Llama-Guard2": (0.8, 53.1),
}


def test_operating_points_are_those_printed():
    points = {point.name: point for point in OPERATING_POINTS}
    assert set(points) == set(PRINTED) | set(PERCENT)
    assert {point.benchmark for point in OPERATING_POINTS} == set(SOURCES)
    for name, (refusal, compliance) in PRINTED.items():
        assert points[name].over_refusal == pytest.approx(refusal, abs=6e-4)
        assert points[name].unsafe_compliance == pytest.approx(compliance, abs=6e-4)
    for name, (refusal, compliance) in PERCENT.items():
        assert 100 * points[name].over_refusal[1] == pytest.approx(refusal, abs=1e-9)
        assert 100 * points[name].unsafe_compliance[1] == pytest.approx(compliance, abs=1e-9)


@given(st.integers(1, 3000), st.integers(0, 3000))
def test_wilsons_interval_solves_its_equation(of, count):
    """|share - p| = z sqrt(p (1 - p) / n) at both ends, where they are no bound of [0, 1]."""
    count = min(count, of)
    low, share, high = wilson(count, of)
    assert 0 <= low <= share <= high <= 1
    for p in {low, high} - {0.0, 1.0}:
        z = abs(share - p) / math.sqrt(p * (1 - p) / of)
        assert z == pytest.approx(1.959964, abs=1e-5) or p == pytest.approx(share, abs=1e-12)


def point(label: str, x: float, y: float, published: bool = False) -> RatePoint:
    return RatePoint(label, (x, x, x), (y, y, y), published)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_undominated_points(pairs):
    points = [point(str(k), x / 5, y / 5) for k, (x, y) in enumerate(pairs)]
    found = {(round(5 * p.over_refusal[1]), round(5 * p.unsafe_compliance[1]))
             for p in undominated(points)}  # fmt: skip
    expected = {
        (x, y)
        for x, y in pairs
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in pairs)
    }
    assert found == expected
    assert len(undominated(points)) == len(expected)


def test_the_picture_says_what_it_shows_and_is_the_same_every_time():
    points = [
        point("mine <b>", 0.01, 0.3),
        point("other", 0.0104, 0.3),
        RatePoint("printed", (0.05, 0.1, 0.2), (0.0, 0.0, 0.1), published=True),
    ]
    svg = pareto(points)
    assert svg == pareto(points)
    assert "mine &lt;b&gt;: over-refusal 1.0" in svg
    assert ">1, 2</text>" in svg  # one label for two points in one place
    assert ">printed</text>" in svg
    assert pareto_png(points)[:8] == b"\x89PNG\r\n\x1a\n"
    assert pareto_png(points) == pareto_png(points)
    assert "<svg" in pareto(points[2:])
    assert "<svg" in pareto(points[:1])


def printed(capsys, *words: str) -> tuple[int, dict]:
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_compare_sets_everything_side_by_side(tmp_path, capsys):
    picture = tmp_path / "pictures" / "rates.svg"
    code, found = printed(capsys, "compare", "csa_oneshot", "--plot", str(picture))
    assert code == 0
    assert [row["policy"] for row in found["rows"]] == ["solution", "robust", *BASELINES]
    assert [row["policy"] for row in found["published"]] == [p.name for p in OPERATING_POINTS]
    solution, robust, *_ = found["rows"]
    finding = found["others"]["robust"]["robustness"]
    assert robust["worst"] == pytest.approx(finding["value"], abs=1e-7)
    assert robust["value"] == pytest.approx(finding["nominal"], abs=1e-7)
    assert robust["worst"] >= max(row["worst"] for row in found["rows"]) - 1e-7
    assert solution["difference"] == 0
    assert "the row would repeat the solution's" in found["remarks"][0]
    for row in found["published"]:
        assert row["difference"] == pytest.approx(row["value"] - solution["value"])
        assert row["outcomes"]["bits"] == {"benign": None, "sensitive": None, "malicious": None}
        assert row["over_refusal"][1] == row["whole"]["over-refusal"]
    text = picture.read_text(encoding="utf-8")
    for row in (*found["rows"], *found["published"]):
        assert f">{row['policy']}</text>" in text


def test_compare_takes_parts_and_says_what_it_leaves_out(tmp_path, capsys):
    code, found = printed(capsys, "compare", "csa_oneshot", "--only", "baselines")
    assert code == 0
    assert [row["policy"] for row in found["rows"]] == ["solution", *BASELINES]
    assert found["published"] == found["remarks"] == []
    assert main(["compare", "csa_oneshot", "--only", "published"]) == 0
    out = capsys.readouterr().out
    assert "8.4 (5.6–12.5)" in out
    assert "XSTest v2, arXiv 2308.01263" in " ".join(out.split())
    words = ["compare", "csa_oneshot", "--method", "robust", "--only", "robust,commitment"]
    assert [row["policy"] for row in printed(capsys, *words)[1]["rows"]] == ["solution"]


def test_compare_in_a_general_sum_scenario(tmp_path, capsys):
    """Everybody harmful, some rational: a commitment, no robust policy, and no picture."""
    content = tomllib.loads(builtin_scenarios()["csa_oneshot"].read_text(encoding="utf-8"))
    text = builtin_scenarios()["csa_oneshot"].read_text(encoding="utf-8")
    assert content["intents"][2]["behaviour"] == "adversarial"
    changed = text.replace(
        'behaviour = "adversarial"',
        'behaviour = "rational"\n'
        'weights = { satisfaction = 1.0, risk = 1.0, source = "assumption: a test" }',
    )
    changed += (
        '\n[[payoff.effort]]\nintents = ["malicious"]\nvalues = { plain = 0.1 }\n'
        'source = "assumption: a test"\n'
    )
    file = tmp_path / "rational.toml"
    file.write_text(changed, encoding="utf-8")
    code, found = printed(capsys, "compare", str(file), "--only", "commitment,robust")
    assert code == 0
    assert [row["policy"] for row in found["rows"]] == ["solution", "commitment"]
    committed = found["others"]["commitment"]["commitment"]
    assert found["rows"][1]["value"] == pytest.approx(committed["weak"], abs=1e-9)
    assert found["remarks"][0].startswith("Robust is left out: ")


def test_compare_has_no_picture_without_both_errors(tmp_path, capsys):
    file = tmp_path / "rates.png"
    words = ["compare", "csa_oneshot", "--only", "", "--plot", str(file)]
    nobody = [
        "--set",
        "payoff.risk.0.values.comply=0.5",
        "--set",
        "payoff.risk.0.values.partial=0.5",
    ]
    code, found = printed(capsys, *words, *nobody)
    assert code == 0
    assert not file.exists()
    assert found["remarks"] == [
        "There is no picture: it takes intents that do no harm, intents that may, and answers."
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "baselines,everything"], "--only: found 'everything', expected some of"),
        (["--plot", "rates.pdf"], "--plot: found 'rates.pdf', expected a file that ends in .svg"),
    ],
)
def test_arguments_that_are_refused_before_anything_is_solved(words, said, capsys):
    assert main(["compare", "csa_oneshot", *words]) == 2
    assert said in capsys.readouterr().err
