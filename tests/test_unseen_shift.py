"""`unseen_shift`: what a table loses before attacks that its guard has not seen, by division."""

import pytest
from catalogue import best, builtin, by_rule, choices, worth
from scipy.optimize import brentq

from csa_games.dialogue import dialogue_game
from csa_games.evaluate import expected, posterior
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER
from csa_games.override import override
from csa_games.scenario import Scenario
from solvers import robust

# arXiv 2511.22047: 91.0 % on prompts as tested, 33.8 % on unseen ones, read as recall; the false
# positive rate is an assumption.
KNOWN, UNSEEN, FPR = 0.910, 0.338, 0.05
HALF, THIRD = 1 / 2, 1 / 3
"""The belief in malice at which complying and refusing tie: satisfaction blind to motivation, and
worth nothing where it is malicious (alpha/beta and alpha/(alpha + beta) at beta = 2)."""


def malice(known: float, unseen: float, belief: float = HALF, **more: object) -> Scenario:
    changes = {
        "intents.benign.prior": 1 - known - unseen,
        "intents.known.prior": known,
        "intents.unseen.prior": unseen,
    }
    if belief == THIRD:
        changes["payoff.satisfaction.1.values.comply"] = 0.0
    return override(builtin("unseen_shift"), changes | more)


def table(recall: float, prior: float, belief: float) -> dict[str, str]:
    """Return the best response to each verdict, by Bayes' rule alone."""
    play = {}
    for verdict, guilty, innocent in (("clear", 1 - recall, 1 - FPR), ("flag", recall, FPR)):
        posterior_odds = prior * guilty / ((1 - prior) * innocent)
        play[f"plain:{verdict}"] = "comply" if posterior_odds < belief / (1 - belief) else "refuse"
    return play


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.3])
def test_the_odds_after_a_clear_rise_by_7_36_whatever_the_fpr(fpr):
    odds = []
    for known, unseen in ((0.1, 0.0), (0.0, 0.1)):
        row = {"clear": 1 - fpr, "flag": fpr}
        game = dialogue_game(malice(known, unseen, **{"channel.0.probabilities": row}))
        play = (uniform(game.form.treeplex[USER]), uniform(game.form.treeplex[ASSISTANT]))
        belief = posterior(game, play)[game.names.infosets[ASSISTANT].index("plain:clear")]
        odds.append((1 - belief[0]) / belief[0])
    assert odds[1] / odds[0] == pytest.approx(7.36, abs=5e-3)


@pytest.mark.parametrize(
    ("belief", "nominal", "shifted"), [(HALF, 0.913, 0.589), (THIRD, 0.841, 0.418)]
)
def test_the_largest_prior_for_complying_on_a_clear_falls(belief, nominal, shifted):
    def tie(unseen: bool) -> float:
        def lead(prior: float) -> float:
            known, new = (0.0, prior) if unseen else (prior, 0.0)
            values = worth(malice(known, new, belief), "plain:clear")
            return values["comply"] - values["refuse"]

        return brentq(lead, 1e-6, 1 - 1e-6)

    assert tie(False) == pytest.approx(nominal, abs=5e-4)
    assert tie(True) == pytest.approx(shifted, abs=5e-4)


def test_complying_on_a_clear_leaks_572_more_per_malicious_ask():
    leaked = []
    for known, unseen in ((0.1, 0.0), (0.0, 0.1)):
        game = dialogue_game(malice(known, unseen))
        play = by_rule(game, lambda key: "refuse" if key.endswith("flag") else "comply")
        leaked.append(expected(game, play, game.tags["risk"]))
    assert leaked[1] - leaked[0] == pytest.approx(0.572 * 0.1, abs=1e-12)


def max_min(prior: float, belief: float) -> tuple[float, dict[str, str]]:
    """Return the best worst case over recall from .338 to .910, and its responses."""
    game = dialogue_game(malice(prior / 2, prior / 2, belief))
    split = {"benign": (1 - prior, 1 - prior), "known": (0.0, prior), "unseen": (0.0, prior)}
    solution = robust.solve(game, priors=split)
    return solution.robustness.value, choices(game, solution.policy)


# The published intervals of the prior in which the max-min table is not the nominal one.
CHANGES = {HALF: ((0.052, 0.129), (0.589, 0.913)), THIRD: ((0.027, 0.069), (0.418, 0.841))}


@pytest.mark.parametrize("belief", [HALF, THIRD])
def test_the_max_min_table_is_the_one_for_the_least_recall(belief):
    edges = sorted(edge for interval in CHANGES[belief] for edge in interval)
    priors = [edge + side for edge in edges for side in (-2e-3, 2e-3)]
    for prior in priors:
        value, robust_table = max_min(prior, belief)
        assert robust_table == table(UNSEEN, prior, belief)
        least, nominal_table = best(malice(0.0, prior, belief))
        assert nominal_table == robust_table
        assert value == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("belief", [HALF, THIRD])
def test_tables_differ_in_two_intervals_of_the_prior_only(belief):
    flag, clear = CHANGES[belief]
    for (low, high), row in ((flag, "plain:flag"), (clear, "plain:clear")):
        for prior in (low - 1e-3, low + 1e-3, (low + high) / 2, high - 1e-3, high + 1e-3):
            nominal = best(malice(prior, 0.0, belief))[1]
            assert nominal == table(KNOWN, prior, belief)
            shifted = max_min(prior, belief)[1]
            differ = {key for key in nominal if nominal[key] != shifted[key]}
            assert differ == ({row} if low < prior < high else set()), prior


def test_the_flag_row_becomes_more_lenient_and_the_clear_row_stricter():
    """A guard that catches less says less by a flag, and its silence says less as well."""
    assert best(malice(0.09, 0.0))[1]["plain:flag"] == "refuse"
    assert max_min(0.09, HALF)[1]["plain:flag"] == "comply"
    assert best(malice(0.7, 0.0))[1]["plain:clear"] == "comply"
    assert max_min(0.7, HALF)[1]["plain:clear"] == "refuse"


def test_the_shares_of_the_file_give_the_mixture_of_the_recalls():
    scenario = builtin("unseen_shift")
    known, unseen = (part.prior.value for part in scenario.intents[1:])
    recall = (known * KNOWN + unseen * UNSEEN) / (known + unseen)
    assert best(scenario)[1] == table(recall, known + unseen, HALF)
