"""`csa_oneshot` by hand: where responses tie, computed from the game and from a division.

If one response gains N over another on users who mean well and M < 0 on malicious ones, they tie at
the belief in malice N / (N - M). A prior becomes a belief through the odds: those of Llama Guard 3
(recall .943, false positive rate .057) are .943/.057 after a flag and .057/.943 after a clear.
"""

import math
from functools import cache
from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import brentq
from tabled import values_of

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.evaluate import action_values, posterior
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER, Game
from csa_games.override import override, with_prior
from csa_games.scenario import Scenario, builtin_scenarios, read_scenario

RETENTION = {"comply": 1.0, "partial": 0.594, "explain": 0.265, "redirect": 0.245, "refuse": 0.0}
LEAK = {"comply": 1.0, "partial": 0.35, "explain": 0.0, "redirect": 0.0, "refuse": 0.0}
RECALL, FALSE_POSITIVES = 0.943, 0.057


@cache
def oneshot() -> Scenario:
    return read_scenario(builtin_scenarios()["csa_oneshot"])


@cache
def two_types() -> Scenario:
    """Return the scenario without sensitive users: benign and malicious ones only."""
    return with_prior(oneshot(), "sensitive", 0.0)


def malicious_retention_worth_nothing() -> Scenario:
    benign, sensitive = (
        part.model_dump(exclude_none=True, exclude={"low", "high"})
        for part in two_types().payoff.satisfaction
    )
    malicious = dict(benign, intents=["malicious"], values=dict.fromkeys(RETENTION, 0.0))
    groups = [dict(benign, intents=["benign"]), sensitive, malicious]
    return override(two_types(), {"payoff.satisfaction": groups})


def values_after(scenario: Scenario, signal: str) -> tuple[dict[str, float], float]:
    """Return what each response is worth after a signal, and the posterior belief in malice."""
    game = dialogue_game(scenario)
    play = (uniform(game.form.treeplex[USER]), uniform(game.form.treeplex[ASSISTANT]))
    at = game.names.infosets[ASSISTANT].index(f"plain:{signal}")
    worth = action_values(game, ASSISTANT, play)[at].tolist()
    belief = posterior(game, play)[at].tolist()
    names = [intent.name for intent in scenario.intents]
    responses = game.names.actions[ASSISTANT][at]
    return dict(zip(responses, worth, strict=True)), belief[names.index("malicious")]


def tie(scenario: Scenario, signal: str, one: str, other: str) -> float:
    """Return the prior of malice at which two responses to a signal are worth the same."""

    def lead(prior: float) -> float:
        worth, _ = values_after(with_prior(scenario, "malicious", prior), signal)
        return worth[one] - worth[other]

    return brentq(lead, 1e-6, 1 - 1e-6, xtol=1e-10)


@pytest.mark.parametrize(
    ("retention", "signal", "prior", "belief"),
    [
        # odds = b*/(1 - b*) · FPR/TPR after a flag, and · (1 - FPR)/(1 - TPR) after a clear
        ("type-blind", "flag", 0.0570, 1 / 2),
        ("type-blind", "clear", 0.9430, 1 / 2),
        ("malicious worth nothing", "flag", 0.0293, 1 / 3),
        ("malicious worth nothing", "clear", 0.8921, 1 / 3),
    ],
)
def test_comply_and_refuse_tie_where_the_formula_says(retention, signal, prior, belief):
    blind = retention == "type-blind"
    scenario = two_types() if blind else malicious_retention_worth_nothing()
    found = tie(scenario, signal, "comply", "refuse")
    assert found == pytest.approx(prior, abs=5e-5)
    worth, believed = values_after(with_prior(scenario, "malicious", found), signal)
    assert believed == pytest.approx(belief, abs=1e-9)
    assert worth["comply"] == pytest.approx(worth["refuse"], abs=1e-9)


@pytest.mark.parametrize(
    ("retention", "low", "high"),
    [("type-blind", 0.0570, 0.9430), ("malicious worth nothing", 0.0293, 0.8921)],
)
def test_between_comply_and_refuse_the_guard_is_worth_nothing_outside_the_ties(
    retention, low, high
):
    """What it is worth to choose after the signal rather than before."""
    blind = retention == "type-blind"
    scenario = two_types() if blind else malicious_retention_worth_nothing()

    def worth_of_the_guard(prior: float) -> float:
        flagged = prior * RECALL + (1 - prior) * FALSE_POSITIVES
        changed = with_prior(scenario, "malicious", prior)
        after = [
            (share, values_after(changed, signal)[0])
            for signal, share in (("flag", flagged), ("clear", 1 - flagged))
        ]
        informed = sum(share * max(w["comply"], w["refuse"]) for share, w in after)
        blindly = max(sum(share * w[r] for share, w in after) for r in ("comply", "refuse"))
        return informed - blindly

    for outside in (0.01, low - 1e-3, high + 1e-3, 0.99):
        assert worth_of_the_guard(outside) == pytest.approx(0, abs=1e-12)
    for inside in (low + 1e-3, 0.5, high - 1e-3):
        assert worth_of_the_guard(inside) > 1e-5


def crossing_pairs() -> list[tuple[str, str, float, float]]:
    """Return the pairs with N > 0 > M, from the numbers of the sources: N, and M at β = 2."""
    pairs = []
    for one, other in permutations(RETENTION, 2):
        gain = RETENTION[one] - RETENTION[other]
        loss = gain - 2 * (LEAK[one] - LEAK[other])
        if gain > 0 > loss:
            pairs.append((one, other, gain, loss))
    return pairs


def test_helping_crosses_with_all_that_helps_less():
    """Helping with anything gains on the benign and loses on the malicious; nothing else does."""
    assert [(one, other) for one, other, _, _ in crossing_pairs()] == [
        ("comply", "partial"),
        ("comply", "explain"),
        ("comply", "redirect"),
        ("comply", "refuse"),
        ("partial", "explain"),
        ("partial", "redirect"),
        ("partial", "refuse"),
    ]


@pytest.mark.parametrize("signal", ["clear", "flag"])
@pytest.mark.parametrize(("one", "other", "gain", "loss"), crossing_pairs())
def test_every_pair_that_crosses_ties_at_n_over_n_minus_m(one, other, gain, loss, signal):
    prior = tie(two_types(), signal, one, other)
    _, belief = values_after(with_prior(two_types(), "malicious", prior), signal)
    assert belief == pytest.approx(gain / (gain - loss), abs=1e-9)
    likelihood = {
        "flag": FALSE_POSITIVES / RECALL,
        "clear": (1 - FALSE_POSITIVES) / (1 - RECALL),
    }[signal]
    assert prior / (1 - prior) == pytest.approx(gain / -loss * likelihood, rel=1e-6)


@pytest.mark.parametrize("beta", [1.5, 8.0])
def test_partial_is_best_for_some_belief_iff_it_leaks_less_than_448(beta):
    """It leaks less than (.594 - .265)/(1 - .265) = .448 then, whatever β.

    As belief in malice grows partial gains on complying and loses on explaining, both linearly, so
    it is best for some belief iff it is best for the one at which those two tie.
    """

    def lead_of_partial(leak: float) -> float:
        scenario = override(
            two_types(), {"weights.beta": beta, "payoff.risk.1.values.partial": leak}
        )
        prior = tie(scenario, "flag", "comply", "explain")
        worth, _ = values_after(with_prior(scenario, "malicious", prior), "flag")
        assert max(worth, key=worth.__getitem__) in ("partial", "comply", "explain")
        return worth["partial"] - worth["explain"]

    assert lead_of_partial(0.3) > 0
    assert brentq(lead_of_partial, 0.4, 0.5, xtol=1e-6) == pytest.approx(0.448, abs=5e-4)


@pytest.mark.parametrize("signal", ["clear", "flag"])
def test_explaining_beats_refusing_whatever_the_belief(signal):
    for prior in np.linspace(0, 1, 11):
        worth, _ = values_after(with_prior(oneshot(), "malicious", float(prior)), signal)
        assert worth["explain"] > worth["refuse"]


def best_responses(game: Game) -> dict[str, str]:
    """Return the assistant's best response to users who have no choice, by information set."""
    user, assistant = map(uniform, game.form.treeplex)
    worth, _ = values_of(game.form, ASSISTANT, assistant, user)  # of one turn: as good as any
    return {
        infoset: actions[int(row.argmax())]
        for infoset, actions, row in zip(
            game.names.infosets[ASSISTANT], game.names.actions[ASSISTANT], worth, strict=True
        )
    }


@pytest.mark.parametrize(
    ("method", "options"), [("lp", {}), ("pcfr+", {"target": 1e-6, "max_steps": 20_000})]
)
def test_the_equilibrium_complies_after_a_clear_and_helps_partly_after_a_flag(method, options):
    game = dialogue_game(oneshot())
    solution = solvers.solve(game, method, **options)
    expected = {"plain:clear": "comply", "plain:flag": "partial"}
    assert best_responses(game) == expected
    for infoset, row in zip(
        game.names.infosets[ASSISTANT], np.asarray(solution.policy[ASSISTANT]), strict=True
    ):
        play = dict(zip(game.names.actions[ASSISTANT][0], row.tolist(), strict=True))
        assert play[expected[infoset]] == pytest.approx(1, abs=1e-3)
    assert solution.nash_conv <= 1e-6


def test_the_value_of_the_equilibrium_is_what_the_hand_says():
    """Comply on clear, partial on flag, summed over the three intents with the file's numbers."""
    clear, flag = 1 - FALSE_POSITIVES, FALSE_POSITIVES
    benign = clear * 1.0 + flag * 0.594
    sensitive = 0.245  # whichever is played
    malicious = (1 - RECALL) * (1.0 - 2 * 1.0) + RECALL * (0.594 - 2 * 0.35)
    game = dialogue_game(oneshot())
    solution = solvers.solve(game, "lp")
    by_hand = math.fsum([0.90 * benign, 0.06 * sensitive, 0.04 * malicious])
    assert solution.value[ASSISTANT] == pytest.approx(by_hand, abs=1e-9)
