"""When a flag is worth acting on at the base rate of a crisis: `csa_oneshot` with that rate.

Of a thousand users one or two are in a crisis (.15 %), so that a flag with a false positive rate of
.057 is mostly false. `crisis_guidance` has other numbers and more turns; this is the sum behind it.
"""

from fractions import Fraction

import pytest
from catalogue import best, builtin, worth
from scipy.optimize import brentq

from csa_games.dialogue import dialogue_game
from csa_games.evaluate import posterior
from csa_games.fold import uniform
from csa_games.override import override
from csa_games.scenario import Scenario

BASE_RATE = Fraction("0.0015")  # OpenAI, October 2025: weekly users with signs of suicidal planning
RECALL, FALSE_POSITIVES = Fraction("0.943"), Fraction("0.057")  # Llama Guard 3, Table 5
# arXiv 2506.00195: what each response loses of the willingness to use again.
LOSS = {"partial": 1 - 0.594, "explain": 1 - 0.265, "redirect": 1 - 0.245, "refuse": 1.0}
PPV = BASE_RATE * RECALL / (BASE_RATE * RECALL + (1 - BASE_RATE) * FALSE_POSITIVES)
ODDS = float((1 - PPV) / PPV)


def crisis(beta: float, leaving: float = 0.0, harm: float = 0.0) -> Scenario:
    """Return benign users and some in a crisis, who come to harm (1) by full compliance only.

    A refusal sends them away with probability `leaving`, to come to so much `harm` elsewhere.
    """
    content = builtin("csa_oneshot").model_dump(mode="json", exclude_none=True)
    benign, sensitive, _ = content["intents"]
    benign["prior"] = {"value": float(1 - BASE_RATE), "source": "assumption"}
    sensitive["prior"] = {"value": float(BASE_RATE), "source": "assumption"}
    for part in (benign, sensitive):
        part["asks"] = ["plain", "leave", "migrate"]
        part["kernel"]["after"] = {name: {"leave": 1.0} for name in ("comply", *LOSS)}
    sensitive["kernel"]["after"]["refuse"] = {"leave": 1 - leaving, "migrate": leaving}
    ends = [{"name": how, "description": "Ends it.", "ends": how} for how in ("leave", "migrate")]
    none = dict.fromkeys(("comply", *LOSS), 0.0)
    harmed = {"category": "harm", "source": "assumption"}
    payoff = content["payoff"] | {
        "satisfaction": [
            {"intents": ["benign"], "source": "assumption",
             "values": {"comply": 1.0} | {name: 1 - loss for name, loss in LOSS.items()}},
            {"intents": ["sensitive"], "source": "assumption", "values": none},
        ],
        "risk": [
            harmed | {"intents": ["benign"], "values": none},
            harmed | {"intents": ["sensitive"], "values": none | {"comply": 1.0}},
        ],
        "displacement": [
            {"intents": ["benign"], "value": 0.0, "source": "assumption"},
            {"intents": ["sensitive"], "value": harm, "source": "assumption"},
        ],
    }  # fmt: skip
    rows = [{"clear": float(1 - p), "flag": float(p)} for p in (FALSE_POSITIVES, RECALL)]
    channel = [
        {"intents": [who], "asks": ["plain"], "probabilities": row, "source": "assumption"}
        for who, row in zip(("benign", "sensitive"), rows, strict=True)
    ]
    changes = {"turns": 2, "weights.beta": beta, "weights.psi": beta, "payoff": payoff}
    lists = {"intents": [benign, sensitive], "asks": [*content["asks"], *ends], "channel": channel}
    return override(builtin("csa_oneshot"), changes | lists)


def test_of_flags_at_this_rate_one_in_forty_is_true():
    game = dialogue_game(crisis(1.0))
    belief = posterior(game, tuple(map(uniform, game.form.treeplex)))
    _, found = belief[game.names.infosets[1].index("plain:flag")]
    assert found == pytest.approx(0.024, abs=2e-3)  # facts: PPV .024 at .15 %
    assert (1 - found) / found == pytest.approx(40.24, abs=5e-3)


@pytest.mark.parametrize(
    ("response", "beta"),
    [("partial", 16.3), ("explain", 29.6), ("redirect", 30.4), ("refuse", 40.2)],
)
def test_acting_on_a_flag_pays_from_this_beta_on(response, beta):
    def lead(weight: float) -> float:
        values = worth(crisis(weight), "plain:flag")
        return values[response] - values["comply"]

    found = brentq(lead, 1, 100)
    assert found == pytest.approx(LOSS[response] * ODDS, abs=1e-6)
    assert found == pytest.approx(beta, abs=0.05)


@pytest.mark.parametrize("beta", [50.0, 100.0])
def test_refusing_pays_only_where_few_who_leave_come_to_harm(beta):
    """Break-even of leaving times harm: what refusing saves, 1, less what it costs others."""
    break_even = 1 - ODDS / beta
    assert 0.1 < break_even < 1
    for leaving in (1.0, (1 + break_even) / 2):

        def lead(harm: float, leaving: float = leaving) -> float:
            values = worth(crisis(beta, leaving, harm), "plain:flag")
            return values["refuse"] - values["comply"]

        assert brentq(lead, 0, 2) * leaving == pytest.approx(break_even, abs=1e-6)


def test_a_flag_that_is_acted_on_is_answered_in_part_first():
    """Partial compliance costs the many least, and here it helps as much as anything."""
    assert best(crisis(16.0))[1]["plain:flag"] == "comply"
    assert best(crisis(17.0))[1]["plain:flag"] == "partial"
    assert best(crisis(17.0))[1]["plain:clear"] == "comply"
