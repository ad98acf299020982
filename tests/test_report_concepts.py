"""What a report says of each concept: under which heading, with which numbers, rounded how."""

import re
from dataclasses import replace
from html import unescape
from typing import get_args

import numpy as np
import pytest

from csa_games.dialogue import dialogue_game
from csa_games.findings import (
    FINDINGS,
    Budget,
    Budgeted,
    Commitment,
    QuantalResponse,
    Refinement,
    Robustness,
)
from csa_games.fold import uniform
from csa_games.game import Solution, Status
from csa_games.override import override
from csa_games.report import report
from csa_games.report.certificate import STATUSES
from csa_games.report.concepts import SAID, concepts
from csa_games.scenario import builtin_scenarios, read_scenario

GAME = dialogue_game(override(read_scenario(builtin_scenarios()["crisis_guidance"]), {"turns": 2}))
INFOSETS = tuple(treeplex.infosets for treeplex in GAME.form.treeplex)

FOUND = {
    "commitment": Commitment(1, 1.23456, 1.23446, 1.23464, "an argument", 1.0, 0.01, 1.1, 1.15),
    "quantal": QuantalResponse(3.0, 2.5, 1e-9, (0.0, 2.5)),
    "budgeted": Budgeted(
        "satisfaction",
        1.5,
        (Budget("risk@malicious", "<=", 0.5, 0.25, 0.0), Budget("guided", ">=", 0.75, 0.75, -2.0)),
    ),
    "robustness": Robustness(
        value=0.65579,
        found=0.65579,
        worst_prior={"benign": 0.5, "malicious": 0.05},
        worst_weights={"beta": 4.0},
        worst_kernels={},
        worst_channels={},
        nominal=0.78,
        optimum=1.1,
    ),
}


def solution(**found) -> Solution:
    first, second = (uniform(treeplex) for treeplex in GAME.form.treeplex)
    return Solution(
        game=GAME.name,
        method="made up",
        policy=(first, second),
        value=np.array([-1.0, 1.0]),
        gap=np.array([0.25, 0.125]),
        steps=40,
        seconds=1.25,
        status="stationary",
        game_class=GAME.game_class,
        **found,
    )


def refinement() -> Refinement:
    """Return one in which 3 rows on the path of the uniform policy give something away."""
    loss = tuple(np.zeros(count) for count in INFOSETS)
    loss[1][:3] = 0.5, 0.25, 0.005
    stake = tuple(np.ones(count) for count in INFOSETS)
    return Refinement(0.01, np.array([0.125, 0.0625]), loss, stake)


def test_every_finding_and_every_status_has_words():
    assert set(SAID) == set(FINDINGS)
    assert set(STATUSES) == set(get_args(Status))
    assert concepts(GAME, solution()) == ()


def test_a_commitment_is_rounded_away_from_what_is_claimed():
    (said,) = concepts(GAME, solution(commitment=FOUND["commitment"]))
    promised = " ".join(said.guaranteed)
    # What it is worth rounds down, what nothing exceeds rounds up.
    assert re.findall(r"\d\.\d{4}\b", promised) == ["1.2344", "1.2345", "1.2347", "1.1500"]
    assert "an argument" in promised
    assert "equilibria may pay more or less" in " ".join(said.measured)


def test_a_quantal_response_guarantees_nothing():
    (said,) = concepts(GAME, solution(quantal=FOUND["quantal"]))
    assert said.guaranteed == ()
    assert "2.500 in 1/payoff, not the 3 that was asked for" in said.measured[0]


def test_budgets_have_their_levels_slack_and_prices():
    (said,) = concepts(GAME, solution(budgeted=FOUND["budgeted"]))
    assert said.table is not None
    assert said.table[2] == (
        ("risk@malicious ≤ 0.500", "0.250", "0.250", "0"),
        ("guided ≥ 0.750", "0.750", "0", "−2"),
    )
    assert "satisfaction is at least 1.500" in said.guaranteed[0]
    assert all("price" not in claim for claim in said.guaranteed)


def test_robustness_names_its_worst_case_and_its_price():
    (said,) = concepts(GAME, solution(robustness=FOUND["robustness"]))
    assert "at least 0.6557, " in said.guaranteed[0]
    assert "benign 50\u202f% and malicious 5.0\u202f%; beta 4." in said.guaranteed[0]
    assert "0.320" in said.guaranteed[1]  # 1.1 - 0.78
    assert said.measured == ()


def test_with_reactions_in_doubt_the_bound_and_the_worst_that_was_found_are_told_apart():
    other = {"benign": {"opening": {"plain": 1.0}}}
    found = replace(FOUND["robustness"], found=0.7, worst_kernels=other)
    (said,) = concepts(GAME, solution(robustness=found))
    assert "The worst case that was found is" in said.guaranteed[0]
    assert "other reactions or signals of benign" in said.guaranteed[0]
    (bound,) = said.measured
    assert "0.6557 is a lower bound; in the worst case that was found the policy gets 0.7" in bound


def test_a_guarantee_that_is_not_the_best_says_by_how_much_at_most():
    (said,) = concepts(GAME, solution(robustness=replace(FOUND["robustness"], gap=0.01)))
    assert "at least 0.6557, and no policy can raise that above 0.6658. " in said.guaranteed[0]


def test_what_rows_give_away_is_counted_by_whether_play_gets_there():
    given = solution(refinement=refinement())
    (said,) = concepts(GAME, given)
    assert said.guaranteed == ()
    assert said.table is not None
    # Uniform play gets everywhere. Of the rows 2 lose more than 1 % of a stake of 1.
    good = f"{100 * (1 - 2 / INFOSETS[1]):.1f}\u202f%"
    line = ("assistant, on the path", str(INFOSETS[1]), good, "0", "0.500")
    assert said.table[2] == (line,)
    # Never answering with the last response puts what follows it off the path.
    assistant = given.policy[1].copy()
    names = list(GAME.names.actions[1][0])
    assistant[:, names.index("guide")] = 0
    assistant /= assistant.sum(axis=1, keepdims=True)
    after = sum(">guide" in key for key in GAME.names.infosets[1])
    (said,) = concepts(GAME, replace(given, policy=(given.policy[0], assistant)))
    assert said.table is not None
    assert [line[:2] for line in said.table[2]] == [
        ("assistant, on the path", str(INFOSETS[1] - after)),
        ("assistant, off the path", str(after)),
    ]


@pytest.mark.parametrize("name", [*FOUND, "refinement"])
def test_the_page_has_the_words_in_the_section_on_trust(name):
    finding = refinement() if name == "refinement" else FOUND[name]
    given = solution(**{name: finding})
    text = report(GAME, given)
    trust = unescape(text[text.index('id="trust"') : text.index('id="setting"')])
    (said,) = concepts(GAME, given)
    assert said.title in trust
    assert trust.count("<dt>Guaranteed</dt>") == bool(said.guaranteed)
    assert trust.count("<dt>Only measured</dt>") == bool(said.measured)
    assert trust.count("<dd>") == len(said.guaranteed + said.measured)
