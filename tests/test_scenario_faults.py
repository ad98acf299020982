"""Scenario files that are wrong: every fault is said in a sentence, none is a traceback."""

import copy
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_schema import violations

from csa_games.dialogue import dialogue_game, sizes
from csa_games.errors import InputError
from csa_games.scenario import (
    MOST_FAULTS,
    Scenario,
    builtin_scenarios,
    json_schema,
    parse_scenario,
    read_scenario,
    scenario_from,
)

TEXT = {name: path.read_bytes() for name, path in builtin_scenarios().items()}
SCHEMA = json_schema()
CONTENT = {name: tomllib.loads(text.decode()) for name, text in TEXT.items()}


def faults_of(content: Any) -> list[str]:
    """Return what is wrong with `content`, the name of the file taken off."""
    with pytest.raises(InputError) as error:
        scenario_from(content, "x.toml")
    assert "\n".join(error.value.faults) == str(error.value)
    assert all(fault.startswith("x.toml: ") for fault in error.value.faults)
    return [fault.removeprefix("x.toml: ") for fault in error.value.faults]


def changed(path: str, value: Any, name: str = "csa_oneshot") -> dict:
    """Return a scenario's content, the value at a dotted path replaced, or left out if `...`."""
    content = copy.deepcopy(CONTENT[name])
    *above, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    part: Any = content
    for step in above:
        part = part[step]
    if value is ...:
        del part[last]
    elif isinstance(part, list) and last == len(part):
        part.append(value)
    else:
        part[last] = value
    return content


ONESHOT = [
    # Types and ranges.
    ("turns", 0, "turns: found 0, expected a whole number from 1 to 50"),
    ("turns", 51, "turns: found 51, expected a whole number from 1 to 50"),
    ("turns", 2.0, "turns: found 2.0, expected a whole number from 1 to 50"),
    ("turns", True, "turns: found True, expected a whole number from 1 to 50"),
    (
        "turns",
        1 << 20_000,
        "turns: found a whole number of 20001 bits, expected a whole number from 1 to 50",
    ),
    ("format", 2, "format: found 2, expected 1"),
    ("format", True, "format: found True, expected 1"),
    ("title", 3, "title: found 3, expected text"),
    ("title", "", "title: found '', expected at least 1 characters"),
    (
        "title",
        "x" * 5000,
        f"title: found '{'x' * 27}...{'x' * 28}', expected at most 4000 characters",
    ),
    (
        "name",
        "Two Words",
        "name: found 'Two Words', "
        "expected a name: a-z, 0-9 and _, a letter first, at most 40 characters",
    ),
    (
        "name",
        "newline\n",
        "name: found 'newline\\n', "
        "expected a name: a-z, 0-9 and _, a letter first, at most 40 characters",
    ),
    ("discount.value", -0.1, "discount.value: found -0.1, expected a number from 0 to 1"),
    ("discount.value", 1.1, "discount.value: found 1.1, expected a number from 0 to 1"),
    ("discount.value", float("nan"), "discount.value: found nan, expected a number from 0 to 1"),
    ("discount.value", "1", "discount.value: found '1', expected a number from 0 to 1"),
    ("discount", 1.0, "discount: found 1.0, expected a table"),
    ("weights.beta.value", -1, "weights.beta.value: found -1, expected a number from 0 to 1000000"),
    (
        "weights.beta.value",
        float("inf"),
        "weights.beta.value: found inf, expected a number from 0 to 1000000",
    ),
    (
        "weights.beta.value",
        10**400,
        "weights.beta.value: found a whole number of 1329 bits, "
        "expected a number from 0 to 1000000",
    ),
    (
        "intents.2.prior.value",
        None,
        "intents.malicious.prior.value: found None, expected a number from 0 to 1",
    ),
    (
        "intents.2.behaviour",
        "evil",
        "intents.malicious.behaviour: found 'evil', "
        "expected 'adversarial', 'rational', 'quantal' or 'kernel'",
    ),
    ("intents.0.asks", [], "intents.benign.asks: found [], expected at least 1 entries"),
    ("intents", 1, "intents: found 1, expected a list"),
    (
        "signals",
        [{"name": "clear", "description": "x"}, {"name": "clear", "description": ""}],
        "signals[1].description: found '', expected at least 1 characters",
    ),
    ("intents.1", "x", "intents[1]: found 'x', expected a table"),
    ("asks.0.ends", "stay", "asks.plain.ends: found 'stay', expected 'leave' or 'migrate'"),
    ("responses.0.ends", 1, "responses.comply.ends: found 1, expected true or false"),
    (
        "responses.0.name",
        "Comply",
        "responses[0].name: found 'Comply', "
        "expected a name: a-z, 0-9 and _, a letter first, at most 40 characters",
    ),
    (
        "signals",
        [{"name": f"s{k}", "description": "x"} for k in range(33)],
        "signals: found "
        + "[{...}, {...}, {...}, {...}, {...}, {...}, ...], expected at most 32 entries",
    ),
    (
        "channel.0.probabilities.clear",
        -0.5,
        "channel[0].probabilities.clear: found -0.5, expected a number from 0 to 1",
    ),
    (
        "channel.0.probabilities.Clear",
        0.0,
        "channel[0].probabilities: found the name 'Clear', "
        "expected a name: a-z, 0-9 and _, a letter first, at most 40 characters",
    ),
    (
        "payoff.risk.1.values.comply",
        1.5,
        "payoff.risk[1].values.comply: found 1.5, "
        "expected a number from 0 to 1, or a list of them, one for each turn",
    ),
    (
        "payoff.cost.0.values.comply",
        [0.5, float("nan")],
        "payoff.cost[0].values.comply: "
        "found [0.5, nan], expected a number from -1000000 to 1000000, or a list of them, "
        "one for each turn",
    ),
    (
        "fallback.rungs",
        [["mood"]],
        "fallback.rungs[0][0]: found 'mood', expected 'turn', 'ask' or 'signal'",
    ),
    ("payoff.cost.0.asks", [], "payoff.cost[0].asks: found [], expected at least 1 entries"),
    # Fields.
    ("weights.beta", ..., "weights.beta: is missing, expected: β, what risk weighs."),
    (
        "intents.2.prior.source",
        ...,
        "intents.malicious.prior.source: is missing, expected: "
        'Where the number comes from: a key of sources or "assumption"; a remark after a colon.',
    ),
    (
        "weights.bta",
        1,
        "weights.bta: is not a field of a scenario, expected one of alpha, beta, gamma, psi",
    ),
    (
        "sources.guardrails.url",
        "x",
        "sources.guardrails.url: is not a field of a scenario, expected one of cite, evidence",
    ),
    (
        "two\nlines",
        1,
        "'two\\nlines': is not a field of a scenario, expected one of format, "
        "name, title, question, notes, turns, discount, sources, weights, intents, asks, signals, "
        "responses, categories, channel, payoff, readers, fallback, baselines",
    ),
    # Names.
    (
        "categories",
        2 * CONTENT["csa_oneshot"]["categories"],
        "categories: found the name 'harm' 2 times, expected it once",
    ),
    (
        "intents.0.asks",
        ["plain", "plain"],
        "intents.benign.asks: found the ask 'plain' 2 times, expected it once",
    ),
    (
        "intents.2.asks",
        ["rude"],
        "intents.malicious.asks: found the ask 'rude', expected one of plain",
    ),
    (
        "channel.1.intents",
        ["kind"],
        "channel[1].intents: found the intent 'kind', expected one of benign, sensitive, malicious",
    ),
    (
        "channel.0.probabilities",
        {"clear": 0.9, "alarm": 0.1},
        "channel[0].probabilities: found the signal 'alarm', expected one of clear, flag",
    ),
    (
        "payoff.risk.0.category",
        "fire",
        "payoff.risk[0].category: found the category 'fire', expected one of harm",
    ),
    (
        "fallback.response",
        "hum",
        "fallback.response: found the response 'hum', "
        "expected one of comply, partial, explain, redirect, refuse",
    ),
    (
        "baselines.comply",
        "hum",
        "baselines.comply: found the response 'hum', "
        "expected one of comply, partial, explain, redirect, refuse",
    ),
    (
        "baselines.threshold",
        {"clear": "comply"},
        "baselines.threshold: found nothing for flag, expected a response to each",
    ),
    # Sources and intervals.
    (
        "weights.beta.source",
        "hearsay: I think",
        "weights.beta.source: found 'hearsay', "
        'expected "assumption" or one of the sources guardrails, llama_guard_3, '
        "and remarks after a colon",
    ),
    (
        "sources.assumption",
        {"cite": "x", "evidence": "measured"},
        "sources.assumption: is given, expected another name: this one means no source",
    ),
    (
        "intents.2.prior.low",
        0.05,
        "intents.malicious.prior.value: found 0.04, expected it from 0.05 to 0.075",
    ),
    (
        "intents.2.prior.low",
        0.5,
        "intents.malicious.prior: found low = 0.5 and high = 0.075, expected low <= high",
    ),
    (
        "channel.0.low",
        {"clear": 0.95},
        "channel[0].probabilities.clear: found 0.943, expected at least 0.95, its low",
    ),
    (
        "channel.0.high",
        {"clear": 0.9, "flag": 0.1},
        "channel[0].probabilities.clear: found 0.943, expected at most 0.9, its high",
    ),
    (
        "channel.0.low",
        {"maybe": 0.0},
        "channel[0].low: found the signal 'maybe', expected one of clear, flag",
    ),
    (
        "channel.0.low",
        {"flag": -0.1},
        "channel[0].low.flag: found -0.1, expected a number from 0 to 1",
    ),
    # What must fit together.
    ("intents.0.prior.value", 0.8, "intents: found priors that sum to 0.9, expected 1"),
    (
        "intents.0.kernel",
        ...,
        "intents.benign.kernel: is missing, expected one for the behaviour 'kernel'",
    ),
    (
        "intents.0.behaviour",
        "adversarial",
        "intents.benign.kernel: is given, expected none for the behaviour 'adversarial'",
    ),
    (
        "intents.2.behaviour",
        "rational",
        "intents.malicious.weights: is missing, expected one for the behaviour 'rational'",
    ),
    (
        "intents.0.kernel.opening.plain",
        0.5,
        "intents.benign.kernel.opening: found probabilities that sum to 0.5, expected 1",
    ),
    (
        "channel.0.probabilities.flag",
        0.1,
        "channel[0].probabilities: found probabilities that sum to 1.043, expected 1",
    ),
    (
        "channel.1.intents",
        ["benign"],
        [
            "channel: found nothing for malicious / plain, expected a value",
            "channel: found 2 values for benign / plain, expected one",
        ],
    ),
    (
        "payoff.satisfaction.0.values.comply",
        ...,
        [
            "payoff.satisfaction: found nothing for benign / plain / comply, expected a value",
            "payoff.satisfaction: found nothing for malicious / plain / comply, expected a value",
        ],
    ),
    (
        "payoff.cost",
        [],
        [
            f"payoff.cost: found nothing for {intent} / plain / "
            "comply, partial, explain, redirect, refuse, expected a value"
            for intent in ("benign", "sensitive", "malicious")
        ],
    ),
    (
        "payoff.effort",
        [{"intents": ["benign"], "values": {"plain": 1}, "source": "assumption"}],
        "payoff.effort[0].intents: found 'benign', "
        "expected intents with a payoff of their own (rational or quantal)",
    ),
    (
        "responses.1.text",
        " ",
        "responses.partial.text: found nothing, expected what the mechanism 'steer' is to say",
    ),
    (
        "fallback.rungs",
        [["turn", "turn"]],
        "fallback.rungs[0]: found the feature 'turn' 2 times, expected it once",
    ),
    (
        "fallback.rungs",
        [["turn", "ask"], ["ask", "turn"]],
        "fallback.rungs: found the rung 'ask, turn' 2 times, expected it once",
    ),
]
"""(path, value put there into csa_oneshot, the sentence or sentences that must come back)."""

GUIDANCE = [
    (
        "intents.3.asks",
        ["leave", "migrate"],
        "intents.malicious.asks: found leave, migrate, "
        "expected at least one ask that does not end the conversation",
    ),
    (
        "intents.0.kernel.opening",
        {"leave": 0.5, "migrate": 0.5},
        "intents.benign.kernel.opening: "
        "found only asks that end the conversation, "
        "expected one of plain, contextualised, disguised to have a probability above 0",
    ),
    (
        "intents.1.kernel.opening",
        {"plain": 0.5, "disguised": 0.5},
        "intents.distressed.kernel.opening.disguised: found probability 0.5, expected 0: "
        "the intent's asks are plain, contextualised, leave, migrate",
    ),
    (
        "intents.0.kernel.after.guide",
        ...,
        "intents.benign.kernel.after: found nothing for guide, expected the asks after each",
    ),
    (
        "intents.0.kernel.after.refer",
        {"leave": 1},
        "intents.benign.kernel.after.refer: is given, expected none: it ends the conversation",
    ),
    (
        "intents.0.kernel.after.guide",
        [{"plain": 1.0}],
        "intents.benign.kernel.after.guide: found 1 tables of probabilities, "
        "expected one, or at least 2 (one for each turn but the last)",
    ),
    (
        "intents.0.kernel.after.guide",
        [{"plain": 1.0}, {"plain": 0.5, "veiled": 0.5}],
        "intents.benign.kernel.after.guide[1]: found the ask 'veiled', "
        "expected one of plain, contextualised, disguised, leave, migrate",
    ),
    (
        "intents.0.kernel.after.guide",
        [{"plain": 1.0}, {"plain": 0.5}],
        "intents.benign.kernel.after.guide[1]: found probabilities that sum to 0.5, expected 1",
    ),
    (
        "intents.0.kernel.after.guide",
        [{"plain": 1.0}, {"plain": 1.5}],
        "intents.benign.kernel.after.guide: found [{...}, {...}], "
        "expected probabilities by name, or a list of such tables, one for each turn",
    ),
    # Intervals of rows.
    (
        "intents.0.kernel.low",
        {"opening": {"plain": 0.8}, "after": {"guide": {"leave": 0.41, "plain": 0.1}}},
        [
            "intents.benign.kernel.opening.plain: found 0.75, expected at least 0.8, its low",
            "intents.benign.kernel.after.guide.leave: found 0.4, expected at least 0.41, its low",
        ],
    ),
    (
        "intents.0.kernel.high",
        {"opening": {"plain": 0.7, "leave": 0.5}},
        "intents.benign.kernel.opening.plain: found 0.75, expected at most 0.7, its high",
    ),
    (
        "intents.0.kernel.low",
        {"opening": {"leave": 0.01}},
        "intents.benign.kernel.opening.leave: found 0.0, expected at least 0.01, its low",
    ),
    (
        "intents.1.kernel.high",
        {"opening": {"disguised": 0.2}},
        "intents.distressed.kernel.high.opening.disguised: found 0.2, expected 0: "
        "the intent's asks are plain, contextualised, leave, migrate",
    ),
    (
        "intents.0.kernel.low",
        {"opening": {"veiled": 0.0}, "after": {"guide": {"veiled": 0.0}}},
        [
            "intents.benign.kernel.low.opening: found the ask 'veiled', "
            "expected one of plain, contextualised, disguised, leave, migrate",
            "intents.benign.kernel.low.after.guide: found the ask 'veiled', "
            "expected one of plain, contextualised, disguised, leave, migrate",
        ],
    ),
    (
        "intents.0.kernel.low",
        {"after": {"refer": {"plain": 0.0}}},
        "intents.benign.kernel.low.after.refer: is given, "
        "expected one of comply, partial, clarify, guide, refuse",
    ),
    (
        "intents.0.kernel.low",
        {"after": {"guide": [{"plain": 0.0}]}},
        "intents.benign.kernel.low.after.guide: found 1 table in a list, "
        "expected one table, as in after",
    ),
    (
        "intents.0.kernel.low",
        {"after": {"guide": [{"plain": 1.5}]}},
        "intents.benign.kernel.low.after.guide: found [{...}], expected ends of intervals by name, "
        "or a list of such tables, one for each turn",
    ),
    (
        "intents.0.kernel.low",
        {"opening": {"plain": 1.5}},
        "intents.benign.kernel.low.opening.plain: found 1.5, expected a number from 0 to 1",
    ),
    (
        "intents.0.kernel.low",
        {"first": {}},
        "intents.benign.kernel.low.first: is not a field of a scenario, "
        "expected one of opening, after",
    ),
    ("intents.0.kernel.low", 0.1, "intents.benign.kernel.low: found 0.1, expected a table"),
    (
        "payoff.risk.1.values.clarify",
        [0.5, 0.5],
        "payoff.risk[1].values.clarify: found 2 numbers, "
        "expected one number, or at least 3 (one for each turn)",
    ),
    (
        "intents.0.kernel.after.hum",
        {"leave": 1},
        "intents.benign.kernel.after: "
        "found the response 'hum', expected one of comply, partial, clarify, guide, refuse, refer",
    ),
    (
        "channel.0.asks",
        ["plain", "leave"],
        "channel[0].asks: found 'leave', expected no ask that ends the conversation",
    ),
    (
        "payoff.cost.0.asks",
        ["plain", "contextualised", "disguised", "migrate"],
        "payoff.cost[0].asks: found 'migrate', expected no ask that ends the conversation",
    ),
    (
        "payoff.displacement.3.intents",
        ["benign"],
        [
            "payoff.displacement: found nothing for malicious, expected a value",
            "payoff.displacement: found 2 values for benign, expected one",
        ],
    ),
    (
        "payoff.displacement.0.value",
        [1, 2],
        "payoff.displacement[0].value: found 2 numbers, "
        "expected one number, or at least 3 (one for each turn)",
    ),
    # Readers: 0 qwen3guard (label), 1 harm (score), 2 framing (choice, gives asks).
    (
        "readers.1.edges",
        [0.7, 0.3],
        "readers.harm.edges: found [0.7, 0.3], expected numbers that ascend from above 0 to at "
        "most 1",
    ),
    (
        "readers.1.edges",
        [0.0, 0.3],
        "readers.harm.edges: found [0.0, 0.3], expected numbers that ascend from above 0 to at "
        "most 1",
    ),
    (
        "readers.1.edges",
        [0.3],
        "readers.harm.names: found 3 names and 1 edges, expected an edge or more, and one name "
        "more than edges",
    ),
    (
        "readers.1.edges.0",
        float("nan"),
        "readers.harm.edges[0]: found nan, expected a number from -1000000 to 1000000",
    ),
    ("readers.1.edges", ..., "readers.harm.edges: is missing, expected some for the kind 'score'"),
    (
        "readers.1.most",
        -1,
        [
            "readers.harm: found least = 0 and most = -1, expected least < most",
            "readers.harm.edges: found [0.3, 0.7], expected numbers that ascend from above 0 to at "
            "most -1",
        ],
    ),
    (
        "readers.1.labels",
        {"x": "flag"},
        "readers.harm.labels: is given, expected none for the kind 'score'",
    ),
    (
        "readers.1.names.1",
        "doubtful",
        "readers.harm.names[1]: found the signal 'doubtful', expected one of clear, unsure, flag",
    ),
    (
        "readers.0.labels.Safe",
        "plain",
        "readers.qwen3guard.labels.Safe: found the signal 'plain', expected one of clear, unsure, "
        "flag",
    ),
    (
        "readers.0.refusal",
        "plain",
        "readers.qwen3guard.refusal: found the signal 'plain', expected one of clear, unsure, flag",
    ),
    (
        "readers.2.otherwise",
        "leave",
        "readers.framing.otherwise: found the ask 'leave', expected one of plain, contextualised, "
        "disguised",
    ),
    (
        "readers.2.otherwise",
        ...,
        "readers.framing.otherwise: is missing, expected some for the kind 'choice'",
    ),
    ("readers.2.sure", 1.5, "readers.framing.sure: found 1.5, expected a number from 0 to 1"),
    (
        "readers.2.gives",
        "intent",
        "readers.framing.gives: found 'intent', expected 'signal' or 'ask'",
    ),
    (
        "readers.2.kind",
        "guess",
        "readers.framing.kind: found 'guess', expected 'score', 'label' or 'choice'",
    ),
    (
        "readers.2.name",
        "harm",
        "readers: found the reader 'harm' 2 times, expected it once",
    ),
    (
        "readers.0.labels",
        {},
        "readers.qwen3guard.labels: found {}, expected at least 1 entries",
    ),
    (
        "readers.0.labels",
        {"": "flag"},
        "readers.qwen3guard.labels: found the name '', expected a label of 1 to 100 characters",
    ),
    (
        "readers.0.source",
        "hearsay",
        "readers.qwen3guard.source: found 'hearsay', expected \"assumption\" or one of the sources "
        "guardrails, llama_guard_3, case_bench, unseen_attacks, do_not_answer, clarifying, and "
        "remarks after a colon",
    ),
]
"""The same for crisis_guidance."""


CASES = [
    pytest.param(name, path, value, sentences, id=path)
    for name, table in (("csa_oneshot", ONESHOT), ("crisis_guidance", GUIDANCE))
    for path, value, sentences in table
]


@pytest.mark.parametrize(("name", "path", "value", "sentences"), CASES)
def test_a_fault_is_a_sentence(name, path, value, sentences):
    found = faults_of(changed(path, value, name))
    assert found == ([sentences] if isinstance(sentences, str) else sentences)


def test_a_user_with_a_payoff_of_its_own_needs_what_it_is_made_of():
    content = changed("intents.2.behaviour", "quantal")
    assert faults_of(content) == [
        f"intents.malicious.{field}: is missing, expected one for the behaviour 'quantal'"
        for field in ("weights", "rationality")
    ]
    malicious = content["intents"][2]
    malicious["weights"] = {"satisfaction": 0, "risk": 1, "source": "assumption"}
    malicious["rationality"] = {"value": 0, "source": "assumption"}
    assert faults_of(content) == [
        "intents.malicious.rationality.value: found 0.0, expected a number above 0",
        "payoff.effort: found nothing for malicious / plain, expected a value",
    ]


def test_several_faults_are_listed_together():
    content = changed("turns", 0)
    content["discount"]["value"] = 2
    del content["question"]
    assert faults_of(content) == [
        "question: is missing, expected: What solving the scenario answers.",
        "turns: found 0, expected a whole number from 1 to 50",
        "discount.value: found 2, expected a number from 0 to 1",
    ]
    content = changed("intents.0.prior.value", 0.8)
    content["channel"][0]["probabilities"]["flag"] = 0.1
    content["baselines"]["comply"] = "hum"
    assert [fault.split(":")[0] for fault in faults_of(content)] == [
        "baselines.comply",
        "intents",
    ]  # the channel is looked at once all names are known


def test_of_very_many_faults_the_first_are_listed_and_the_rest_counted():
    content = changed("sources", {f"s{k}": {} for k in range(1000)})
    listed = faults_of(content)
    assert len(listed) == MOST_FAULTS + 1
    assert listed[-1] == f"and {2000 - MOST_FAULTS} further faults"


@pytest.mark.parametrize("content", [[], 3, None, "scenario", {"a": {"b": [[{}]]}}])
def test_content_that_is_no_scenario_at_all(content):
    with pytest.raises(InputError, match=r"^x\.json: "):
        parse_scenario(b"", "x.json") if content is None else scenario_from(content, "x.json")


# Files.


def refusal(path: Path | str) -> str:
    with pytest.raises(InputError) as error:
        read_scenario(path)
    return str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "none.toml"
    assert refusal(path) == (
        f"{path}: cannot be read (No such file or directory), expected a scenario file"
    )


def test_a_directory(tmp_path):
    assert refusal(tmp_path) == (
        f"{tmp_path}: cannot be read (Is a directory), expected a scenario file"
    )


def test_a_name_that_no_file_can_have():
    assert refusal("a\0b") == "'a\\x00b': is not the name of a file"


def test_a_link_that_leads_to_itself(tmp_path):
    path = tmp_path / "loop.toml"
    path.symlink_to(path)
    assert "cannot be read (Too many levels of symbolic links)" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path):
    path = tmp_path / "secret.toml"
    path.write_bytes(TEXT["csa_oneshot"])
    path.chmod(0)
    assert "cannot be read (Permission denied)" in refusal(path)


def test_a_file_of_10_mb_is_not_parsed(tmp_path):
    path = tmp_path / "large.toml"
    path.write_bytes(TEXT["csa_oneshot"] + b"#" * 10_000_000)
    assert refusal(path) == (
        f"{path}: found more than 1,000,000 bytes, expected a scenario of at most that"
    )


def test_an_endless_file():
    assert "found more than 1,000,000 bytes" in refusal("/dev/zero")


TEXTS = {
    b"": "found nothing in it, expected a scenario",
    b"# just a remark\n": "found nothing in it, expected a scenario",
    b"title = 'caf\xe9'": "found byte 12 that is not UTF-8 text, expected a TOML file",
    b"\x89PNG\r\n": "found byte 0 that is not UTF-8 text, expected a TOML file",
    b"a = 1\nintents: []": "not a TOML file: Expected '=' after a key in a key/value pair "
    "(at line 2, column 8)",
    b"a = 1\na = 2": "not a TOML file: Cannot overwrite a value (at end of document)",
    b"a = " + b"[" * 100_000: "not a TOML file that can be read: nested too deeply",
    b"a." * 100_000 + b"a = 1": "not a TOML file: Key of more than 40 parts (at line 1)",
    b"b = 1\n[" + b'"a" . ' * 41 + b"a]": "not a TOML file: Key of more than 40 parts (at line 2)",
    b"turns = " + b"9" * 10_000: "not a TOML file: Exceeds the limit (4300 digits)",
}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(text[:12]))
def test_text_that_is_no_scenario(text):
    with pytest.raises(InputError) as error:
        parse_scenario(text, "x.toml")
    assert str(error.value).startswith(f"x.toml: {TEXTS[text]}")


def test_text_with_many_dots_is_no_deep_key():
    dots = 'question = "' + "and ... so . on " * 60 + "1.2.3.4.5.6.7.8.9" + '"'
    text = TEXT["csa_oneshot"].decode().replace('question = "', dots + '\nnotes = "', 1)
    text = text.replace('\nnotes = """', '\ntitle = """', 1)
    with pytest.raises(InputError, match="Cannot overwrite a value"):  # and nothing before that
        parse_scenario(text.encode(), "x.toml")


# Mutations: 1,000 in all.

SNIPPETS = [
    b"=", b"[", b"]", b"{", b"}", b'"', b"'", b'"""', b".", b",", b"\n", b"#", b"-", b"1", b"9e999",
    b"nan", b"-inf", b"true", b"[[intents]]\n", b"[payoff]\n", b"x = 1\n", b"\xff", b"\x00",
    "\u03b2".encode(), b"1979-05-27", b"0x" + b"F" * 300,
]  # fmt: skip


def mutate_text(text: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, at, length, snippet in edits:
        at %= len(text) + 1
        line = text.rfind(b"\n", 0, at) + 1
        end = text.find(b"\n", at) + 1 or len(text)
        text = {
            "insert": text[:at] + snippet + text[at:],
            "replace": text[:at] + snippet + text[at + len(snippet) :],
            "cut": text[:at] + text[at + length :],
            "cut line": text[:line] + text[end:],
            "double line": text[:end] + text[line:],
            "end": text[:at],
        }[kind]
    return text


text_edits = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "cut", "cut line", "double line", "end"]),
        st.integers(0, 2**20),
        st.integers(1, 40),
        st.sampled_from(SNIPPETS),
    ),
    min_size=1,
    max_size=3,
)

VALUES = [
    0, 1, 0.5, 3, -1, 1e300, float("nan"), float("-inf"), True, None, "", "plain", "x\ny", [], {},
    [0.5], {"plain": 1.0}, [{}], 1 << 4000, [[[[[]]]]], {"value": 0.5, "source": "assumption"},
]  # fmt: skip


def places(part: Any) -> list[tuple[Any, Any]]:
    """Return every (table or list, key or position) inside `part`."""
    if not isinstance(part, dict | list):
        return []
    keys = list(part) if isinstance(part, dict) else list(range(len(part)))
    return [place for key in keys for place in [(part, key), *places(part[key])]]


def mutate_content(content: Any, edits: list[tuple[str, int, int, Any]]) -> Any:
    content = copy.deepcopy(content)
    for kind, at, other, value in edits:
        found = places(content)
        if not found:
            return content
        part, key = found[at % len(found)]
        elsewhere, away = found[other % len(found)]
        if kind == "value":
            part[key] = copy.deepcopy(value)
        elif kind == "scale" and isinstance(part[key], float):
            part[key] *= other / 2**19
        elif kind == "cut":
            del part[key]
        elif kind == "copy":
            part[key] = copy.deepcopy(elsewhere[away])
        elif kind == "double" and isinstance(part, list):
            part.insert(key, copy.deepcopy(part[key]))
        elif kind == "rename" and isinstance(part, dict):
            part[str(away)] = part.pop(key)
    return content


content_edits = st.lists(
    st.tuples(
        st.sampled_from(["value", "value", "scale", "cut", "copy", "double", "rename"]),
        st.integers(0, 2**20),
        st.integers(0, 2**20),
        st.sampled_from(VALUES),
    ),
    min_size=1,
    max_size=3,
)


def attempt(load: Callable[[], Scenario]) -> Scenario | None:
    """Return what `load` loads, or None if it is refused in sentences."""
    try:
        return load()
    except InputError as error:
        refused = error
    assert refused.faults
    assert all(fault.startswith("x.toml: ") for fault in refused.faults)
    assert len(str(refused)) < 20_000
    return None


def check(scenario: Scenario) -> None:
    """Check that what loads can be built, as large as it was said to be."""
    size = sizes(scenario)
    if size.histories < 5000:
        chance = dialogue_game(scenario).form.leaves.chance
        assert chance.size == size.histories > 0


@settings(max_examples=500, deadline=10_000)
@given(st.sampled_from(sorted(TEXT)), text_edits)
def test_mutated_text_loads_or_is_refused(name, edits):
    scenario = attempt(lambda: parse_scenario(mutate_text(TEXT[name], edits), "x.toml"))
    if scenario is not None:
        check(scenario)


@settings(max_examples=500, deadline=10_000)
@given(st.sampled_from(sorted(CONTENT)), content_edits)
def test_mutated_content_loads_or_is_refused(name, edits):
    content = mutate_content(CONTENT[name], edits)
    scenario = attempt(lambda: scenario_from(content, "x.toml"))
    if scenario is not None:
        assert not any(violations(content, SCHEMA, SCHEMA))
        check(scenario)
