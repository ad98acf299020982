"""Baselines and comparisons, against enumeration by code that shares nothing with them."""

import math
import tomllib
from collections import defaultdict

import numpy as np
import pytest

import csa_games
import solvers
from csa_games.baselines import BASELINES
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.game import ASSISTANT, Game
from csa_games.outcomes import OUTCOMES
from csa_games.override import override
from csa_games.rules import Chance, Decision, Node, Terminal
from csa_games.scenario import builtin_scenarios, read_scenario
from solvers.compare import compare


def variant(name: str, **changes: object) -> Game:
    """Return the game of a built-in scenario; `a__b=c` overrides a.b."""
    scenario = read_scenario(builtin_scenarios()[name])
    return dialogue_game(override(scenario, {k.replace("__", "."): v for k, v in changes.items()}))


ONESHOT = variant("csa_oneshot")
GAMES = {
    "oneshot": ONESHOT,
    "one turn": variant("crisis_guidance", turns=1),
    "two turns": variant("crisis_guidance", turns=2),
    "two turns, discounted": variant(
        "crisis_guidance", turns=2, discount=0.5, weights__beta=5.0, weights__psi=0.2
    ),
}


@pytest.fixture(params=GAMES)
def game(request: pytest.FixtureRequest) -> Game:
    return GAMES[request.param]


def played(game: Game, policy: np.ndarray) -> dict[str, str]:
    """Return the response at each infoset of a pure policy, after checking that it is pure."""
    assert set(np.unique(policy)) <= {0.0, 1.0}
    assert (policy.sum(axis=1) == 1).all()
    return {
        label: names[int(row.argmax())]
        for label, names, row in zip(
            game.names.infosets[ASSISTANT], game.names.actions[ASSISTANT], policy, strict=True
        )
    }


def test_constant_and_threshold_policies(game):
    assert game.scenario is not None
    plain = game.scenario.baselines
    assert set(played(game, BASELINES["always comply"](game)).values()) == {plain.comply}
    assert set(played(game, BASELINES["always refuse"](game)).values()) == {plain.refuse}
    for label, response in played(game, BASELINES["refuse on flag"](game)).items():
        through = plain.threshold[label.rpartition(":")[2]] == plain.comply
        assert response == (plain.comply if through else plain.refuse)
    for label, response in played(game, BASELINES["threshold"](game)).items():
        assert response == plain.threshold[label.rsplit(":", 1)[1]]


def weights_by_infoset(game: Game) -> dict[str, dict[str, float]]:
    """Return the mass of each intent at each of the assistant's infosets, by walking the tree.

    Users pick uniformly among asks that do not end; the assistant's own choices weigh 1.
    """
    assert game.scenario is not None
    ending = {"leave", "migrate"}
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def visit(node: Node, intent: str | None, mass: float) -> None:
        if isinstance(node, Terminal):
            return
        if isinstance(node, Chance):
            for k, p in enumerate(node.probabilities):
                visit(node.child(k), intent or node.actions[k], mass * float(p))
        elif node.player == ASSISTANT:
            assert isinstance(node, Decision)
            found[node.infoset][intent or ""] += mass
            for k in range(len(node.actions)):
                visit(node.child(k), intent, mass)
        else:
            talk = [k for k, ask in enumerate(node.actions) if ask not in ending]
            for k in talk:
                visit(node.child(k), intent, mass / len(talk))

    visit(game.root(), None, 1.0)
    return found


def immediate(game: Game, intent: str, ask: str, response: str) -> float:
    """Return the assistant's payoff of one turn, looked up cell by cell."""
    scenario = game.scenario
    assert scenario is not None
    severity = {c.name: c.severity.value for c in scenario.categories}

    def cell(component: str) -> float:
        values = [
            float(part.values[response]) * severity.get(getattr(part, "category", ""), 1.0)
            for part in getattr(scenario.payoff, component)
            if response in part.values
            and (part.intents is None or intent in part.intents)
            and (part.asks is None or ask in part.asks)
        ]
        (value,) = values
        return value

    w = scenario.weights
    return (
        w.alpha.value * cell("satisfaction")
        - w.beta.value * cell("risk")
        - w.gamma.value * cell("cost")
    )


def test_myopic_bayes_is_the_best_reply_to_the_enumerated_posterior(game):
    assert game.scenario is not None
    choice = played(game, BASELINES["myopic Bayes"](game))
    masses = weights_by_infoset(game)
    assert set(choice) == set(masses)
    for label, mass in masses.items():
        ask = label.rsplit("/", 1)[-1].split(":")[0]
        worth = {
            response.name: math.fsum(
                m * immediate(game, intent, ask, response.name) for intent, m in mass.items()
            )
            for response in game.scenario.responses
        }
        # Equal up to rounding is equal: the walk adds in another order.
        assert worth[choice[label]] >= max(worth.values()) - 1e-12 * sum(mass.values()), label


@pytest.mark.parametrize("malicious", [0.001, 0.01, 0.04, 0.2, 0.5, 0.9])
def test_myopic_bayes_flips_at_the_belief_computed_by_hand(malicious):
    """One turn: partial beats comply above the belief N / (N - M), for users with flagged asks."""
    game = variant(
        "csa_oneshot",
        intents__benign__prior=0.94 * (1 - malicious) / 0.96,
        intents__sensitive__prior=1 - malicious - 0.94 * (1 - malicious) / 0.96,
        intents__malicious__prior=malicious,
    )
    numbers = tomllib.loads(builtin_scenarios()["csa_oneshot"].read_text())
    clear = numbers["channel"][0]["probabilities"], numbers["channel"][1]["probabilities"]
    leak = numbers["payoff"]["risk"][1]["values"]["partial"]
    choice = played(game, BASELINES["myopic Bayes"](game))
    for signal in ("clear", "flag"):
        bad = malicious * clear[1][signal]
        belief = bad / (bad + (1 - malicious) * clear[0][signal])
        benign = 0.94 / 0.96  # of those who mean well
        # Against comply: partial loses .406 of satisfaction on the benign and the malicious, and
        # averts 1 - leak of the risk, which weighs 2; explain loses .735 and averts all of it. All
        # tie on the sensitive.
        gain = {
            "comply": 0.0,
            "partial": (1 - belief) * benign * (0.594 - 1) + belief * (2 * (1 - leak) - 0.406),
            "explain": (1 - belief) * benign * (0.265 - 1) + belief * (2 - 0.735),
        }
        assert choice[f"plain:{signal}"] == max(gain, key=gain.__getitem__)


def test_baselines_need_a_dialogue():
    kuhn = csa_games.load("openspiel:kuhn_poker")
    for baseline in BASELINES.values():
        with pytest.raises(InputError, match="kuhn_poker is no dialogue"):
            baseline(kuhn)


def test_oneshot_by_hand():
    """Nobody chooses an ask in csa_oneshot, so values are sums over intents and signals."""
    rows = {
        row.name: row for row in compare(ONESHOT, {n: b(ONESHOT) for n, b in BASELINES.items()})
    }
    assert rows["always comply"].value == pytest.approx(0.9 * 1 + 0.06 * 0.245 + 0.04 * (1 - 2))
    assert rows["always refuse"].value == 0
    assert rows["threshold"].value == pytest.approx(
        0.9 * (0.943 * 1 + 0.057 * 0.265) + 0.06 * 0.245 + 0.04 * (0.057 * (1 - 2) + 0.943 * 0.265)
    )
    comply = rows["always comply"].outcomes
    assert comply["risk"] == {"benign": 0, "sensitive": 0, "malicious": pytest.approx(1)}
    assert rows["threshold"].difference == pytest.approx(
        rows["threshold"].value - rows["always comply"].value
    )
    assert rows["always comply"].difference == 0


def test_the_user_picks_the_worst_ask():
    """One turn of crisis_guidance: the malicious user's asks are tried one after the other."""
    game = GAMES["one turn"]
    assert game.scenario is not None
    mass = weights_by_infoset(game)  # the malicious intent's is spread evenly over three asks
    for name, baseline in BASELINES.items():
        policy = baseline(game)
        choice = played(game, policy)
        fixed, by_ask = 0.0, defaultdict(float, {"leave": 0.0, "migrate": 0.0})
        for label, response in choice.items():
            ask = label.split(":")[0]
            for intent, m in mass[label].items():
                worth = m * immediate(game, intent, ask, response)
                if intent == "malicious":
                    by_ask[ask] += 3 * worth
                else:
                    fixed += worth
        (row,) = compare(game, {name: policy})
        # Migrating displaces a malicious user at no harm here, and leaving costs nothing.
        assert row.value == pytest.approx(fixed + min(by_ask.values()), abs=1e-12)


def test_values_are_the_prior_mean_of_payoffs_by_intent(game):
    assert game.scenario is not None
    prior = {intent.name: intent.prior.value for intent in game.scenario.intents}
    for row in compare(game, {name: baseline(game) for name, baseline in BASELINES.items()}):
        assert set(row.outcomes) == set(OUTCOMES)
        payoff = row.outcomes["payoff"]
        assert row.value == pytest.approx(sum(prior[i] * payoff[i] for i in prior), abs=1e-9)


def test_no_baseline_guarantees_more_than_the_solution(game):
    """Minimax (von Neumann 1928): up to its gap, a solution's guaranteed value is the highest."""
    solution = solvers.solve(game, target=1e-3)
    baselines = {name: baseline(game) for name, baseline in BASELINES.items()}
    first, *rest = compare(game, {"solution": solution.policy[ASSISTANT], **baselines})
    assert first.value == pytest.approx(solution.value[1] - solution.gap[0], abs=1e-12)
    for row in rest:
        assert first.value >= row.value - solution.nash_conv
        assert row.difference == row.value - first.value


def test_quantal_intents_are_compared_by_their_logit_response():
    scenario = read_scenario(builtin_scenarios()["csa_oneshot"])
    content = scenario.model_dump(mode="json", exclude_none=True)
    assumed = "assumption: a test"
    content["intents"][2] |= {
        "behaviour": "quantal",
        "rationality": {"value": 1.0, "source": assumed},
        "weights": {"satisfaction": 1.0, "risk": 1.0, "source": assumed},
    }
    content["payoff"]["effort"] = [
        {"intents": ["malicious"], "values": {"plain": 0.0}, "source": assumed}
    ]
    from csa_games.scenario import scenario_from

    game = dialogue_game(scenario_from(content, "quantal.toml"))
    # It has one ask, so that how it chooses makes no difference to the assistant.
    policies = {name: baseline(game) for name, baseline in BASELINES.items()}
    hostile = compare(dialogue_game(scenario), policies)
    for row, same in zip(compare(game, policies), hostile, strict=True):
        assert row.value == pytest.approx(same.value, rel=1e-12)
        assert row.outcomes["risk"] == pytest.approx(same.outcomes["risk"], rel=1e-12)
