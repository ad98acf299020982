"""Scenario files that are right: what is read, described, overridden."""

import json
import tomllib
from pathlib import Path

import pytest
from json_schema import violations

from csa_games.dialogue import MOST_HISTORIES, sizes
from csa_games.errors import InputError
from csa_games.override import override, with_prior
from csa_games.scenario import (
    Scenario,
    builtin_scenarios,
    citation_key,
    evidence,
    json_schema,
    parse_scenario,
    read_scenario,
    scenario_from,
)

BUILTIN = builtin_scenarios()


@pytest.fixture(params=sorted(BUILTIN))
def path(request) -> Path:
    return BUILTIN[request.param]


def oneshot() -> Scenario:
    return read_scenario(BUILTIN["csa_oneshot"])


def test_the_builtin_scenarios_are_named_as_their_files():
    assert sorted(BUILTIN) == [
        "crescendo",
        "crisis_guidance",
        "csa_oneshot",
        "customer_service",
        "guard_cascade",
        "nudge_kernel",
        "over_refusal",
        "pearl_frontier",
        "purple_zero_sum",
        "strata_escalation",
        "unseen_shift",
    ]
    for name, file in BUILTIN.items():
        assert read_scenario(file).name == name


def test_what_is_read_is_what_the_file_says(path):
    """Dumping a scenario gives the file's own content back, fields left out aside."""

    def same(dumped, written):
        if isinstance(written, dict):
            assert all(value in (None, "", [], {}, False) for key, value in dumped.items()
                       if key not in written)  # fmt: skip
            for key in written:
                same(dumped[key], written[key])
        elif isinstance(written, list):
            assert len(dumped) == len(written)
            for pair in zip(dumped, written, strict=True):
                same(*pair)
        else:
            assert dumped == written

    same(read_scenario(path).model_dump(), tomllib.loads(path.read_text()))


def test_a_scenario_survives_json(path):
    scenario = read_scenario(path)
    assert scenario_from(json.loads(scenario.model_dump_json()), "json") == scenario


def test_a_byte_order_mark_is_no_fault(path):
    text = path.read_bytes()
    assert parse_scenario(b"\xef\xbb\xbf" + text, "x") == parse_scenario(text, "x")


def test_builtin_scenarios_are_small_enough_to_build(path):
    assert sizes(read_scenario(path)).histories < MOST_HISTORIES / 10


# The schema.


def test_the_schema_file_is_current():
    """`csa schema > csa_games/scenarios/schema.json` brings it up to date."""
    file = BUILTIN["csa_oneshot"].parent / "schema.json"
    assert file.read_text() == json.dumps(json_schema(), indent=2) + "\n"


def test_the_schema_accepts_the_builtin_scenarios(path):
    schema = json_schema()
    assert list(violations(tomllib.loads(path.read_text()), schema, schema)) == []


def test_the_schema_refuses_what_the_types_refuse():
    schema = json_schema()
    content = tomllib.loads(BUILTIN["csa_oneshot"].read_text())
    content["turns"] = 0
    content["surplus"] = 1
    content["intents"][0]["prior"]["value"] = float("nan")
    content["intents"][1]["behaviour"] = "kind"
    content["payoff"]["risk"][0]["values"]["comply"] = [0.1, 1.5]
    content["asks"] = []
    del content["weights"]["beta"]
    # Where a reference leads, paths start anew.
    assert sorted(violations(content, schema, schema)) == [
        "$.asks has fewer than 1 entries",
        "$.behaviour is none of ['adversarial', 'rational', 'quantal', 'kernel']",
        "$.beta is missing",
        "$.surplus is not allowed",
        "$.turns breaks minimum 1",
        "$.value breaks maximum 1",
        "$.value breaks minimum 0",
        "$.values.comply fits no option",
    ]


def test_every_field_of_the_schema_is_described():
    schema = json_schema()
    for part in [schema, *schema["$defs"].values()]:
        assert part["description"].endswith(".")
        for name, field in part["properties"].items():
            assert field.get("description", "").endswith("."), (part["title"], name)


# Sources.


def test_every_number_names_its_source(path):
    """Read from the raw file: each table that holds a number has a source in or above it."""
    content = tomllib.loads(path.read_text())
    keys = set(content["sources"])

    def check(part, source, where):
        if isinstance(part, dict):
            source = part.get("source", source)
            for name, inside in part.items():
                check(inside, source, f"{where}.{name}")
        elif isinstance(part, list):
            for k, inside in enumerate(part):
                check(inside, source, f"{where}.{k}")
        elif isinstance(part, float):
            assert source is not None, where
            assert citation_key(source) in keys | {"assumption"}, where

    check(content, None, "")


def test_evidence_is_that_of_the_source():
    scenario = oneshot()
    assert evidence(scenario, "assumption: because") == "assumption"
    assert evidence(scenario, "guardrails: read off the figure") == "derived"
    assert evidence(scenario, "llama_guard_3") == "measured"


# Overriding.


def test_a_quantity_is_overridden_with_its_source_and_interval():
    prior = override(oneshot(), {"intents.malicious.prior": 0.04}).intents[2].prior
    assert (prior.value, prior.low, prior.high) == (0.04, None, None)
    assert prior.source == "assumption: overridden, was assumption: open demo"
    again = override(oneshot(), {"intents.malicious.prior.value": 0.04}).intents[2].prior
    assert again == prior


def test_only_what_was_named_changes():
    before, after = oneshot(), override(oneshot(), {"weights.beta": 5, "discount": 0.5})
    assert (after.weights.beta.value, after.discount.value) == (5, 0.5)
    same = {"weights": before.weights, "discount": before.discount}
    assert after.model_copy(update=same) == before


def test_a_cell_overridden_marks_the_source_it_shares():
    risk = override(oneshot(), {"payoff.risk.1.values.partial": 0.3}).payoff.risk[1]
    assert risk.values["partial"] == 0.3
    assert risk.source.startswith("assumption: overridden, was assumption: partial compliance")
    twice = override(oneshot(), {"payoff.risk.1.values.partial": 0.2,
                                 "payoff.risk.1.values.comply": 0.9})  # fmt: skip
    assert twice.payoff.risk[1].source == risk.source


def test_overriding_a_displacement_keeps_its_intents():
    scenario = read_scenario(BUILTIN["crisis_guidance"])
    away = override(scenario, {"payoff.displacement.1": 0.25}).payoff.displacement[1]
    assert (away.value, away.intents) == (0.25, scenario.payoff.displacement[1].intents)


def test_a_table_or_a_field_left_out_can_be_overridden():
    changes = {
        "intents.malicious.behaviour": "rational",
        "intents.malicious.weights": {"satisfaction": 0, "risk": 1, "source": "assumption"},
        "payoff.effort": [
            {"intents": ["malicious"], "values": {"plain": 0.1}, "source": "assumption"}
        ],
        "intents.malicious.prior": {"value": 0.04, "source": "assumption: a new one"},
    }
    malicious = override(oneshot(), changes).intents[2]
    assert malicious.weights is not None
    assert malicious.weights.risk == 1
    assert malicious.prior.source == "assumption: a new one"


@pytest.mark.parametrize(
    "path", ["nothing", "weights.delta", "intents.kind.prior", "channel.7.asks", "turns.x", ""]
)
def test_a_path_that_leads_nowhere_is_refused(path):
    with pytest.raises(InputError, match="a scenario has no"):
        override(oneshot(), {path: 1})


def test_an_override_is_checked():
    with pytest.raises(InputError) as error:
        override(oneshot(), {"intents.malicious.prior": 0.5})
    assert str(error.value) == (
        "csa_oneshot with intents.malicious.prior overridden: "
        "intents: found priors that sum to 1.46, expected 1"
    )


def test_with_prior_keeps_the_ratios_of_the_others():
    priors = [intent.prior.value for intent in with_prior(oneshot(), "malicious", 0.52).intents]
    assert priors == pytest.approx([0.45, 0.03, 0.52])
    priors = [intent.prior.value for intent in with_prior(oneshot(), "malicious", 1.0).intents]
    assert priors == [0, 0, 1]


@pytest.mark.parametrize(
    ("intent", "probability", "words"),
    [
        ("kind", 0.5, "found the intent 'kind', expected one of benign, sensitive, malicious"),
        ("malicious", 1.5, "found the prior 1.5 for malicious, expected one from 0 to 1"),
        ("malicious", float("nan"), "found the prior nan for malicious"),
    ],
)
def test_a_prior_that_is_none_is_refused(intent, probability, words):
    with pytest.raises(InputError, match=words):
        with_prior(oneshot(), intent, probability)


def test_a_prior_of_one_leaves_no_ratios_to_keep():
    certain = with_prior(oneshot(), "malicious", 1.0)
    assert with_prior(certain, "malicious", 1.0) == certain
    with pytest.raises(InputError, match="the other intents have none to share the rest by"):
        with_prior(certain, "malicious", 0.5)
