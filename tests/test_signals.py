"""What readers make of what classifiers emit, and what the guard does where they make nothing."""

import itertools
import json
import math
from functools import cache

import numpy as np
import pytest
from bundles import builtin, certified, edited_json, files_of, sealed, table, write
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario

from csa_games.dialogue import dialogue_game
from csa_games.fold import legal_mask
from csa_games.guard import BundleError, Guard, verify
from csa_games.guard.bundle import MANIFEST, SCENARIO, parse, repeated, spelled
from csa_games.guard.keys import Turn, turns_of
from csa_games.guard.signals import (
    CHOICE,
    LABEL,
    SCORE,
    Reader,
    Reading,
    answers_of,
    emitted_of,
    read,
    reader_faults,
    reader_from,
)
from csa_games.scenario import Scenario, builtin_scenarios, read_scenario, scenario_from
from csa_games.table import tabulate

SECRET = b"a secret of the tests"

HARM = Reader("harm", "signal", SCORE, edges=(0.3, 0.7), names=("clear", "unsure", "flag"))
WORDS = Reader("words", "signal", LABEL, labels={"Safe": "clear", "Unsafe": "flag"})
KINDS = Reader(
    "kinds",
    "signal",
    CHOICE,
    labels={"fine": "clear", "theft": "flag", "violence": "flag"},
    sure=0.5,
    otherwise="unsure",
    refusal="flag",
)


# Reading.


@pytest.mark.parametrize(
    ("score", "name"),
    [
        (0, "clear"),
        (0.0, "clear"),
        (-0.0, "clear"),
        (math.nextafter(0.3, 0), "clear"),
        (0.3, "unsure"),  # at an edge is above it
        (math.nextafter(0.7, 0), "unsure"),
        (0.7, "flag"),
        (1, "flag"),
        (1.0, "flag"),
    ],
)
def test_scores_are_cut_at_the_edges(score, name):
    assert read(HARM, {"score": score}) == Reading(name)


@pytest.mark.parametrize(
    ("score", "shown"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nextafter(1, 2), "1.0000000000000002"),
        (-1e-300, "-1e-300"),
        (10**400, "of type int"),
        ("0.5", "'0.5'"),
        (True, "True"),
        (None, "(nothing)"),
        ([0.5], "of type list"),
        ({}, "of type dict"),
    ],
)
def test_what_is_no_score_has_no_name(score, shown):
    why = f"the score {shown} was found, expected a number from 0 to 1"
    assert read(HARM, {"score": score}) == (None, why)


def test_scores_have_the_range_of_their_reader():
    levels = Reader(
        "l", "signal", SCORE, edges=(2.5,), names=("clear", "flag"), least=1.0, most=4.0
    )
    found = [read(levels, {"score": score}).name for score in (0, 1, 2, 2.5, 3, 4, 5)]
    assert found == [None, "clear", "clear", "flag", "flag", "flag", None]


def test_labels_are_looked_up():
    assert read(WORDS, {"label": "Unsafe"}) == Reading("flag")
    for label, shown in (("unsafe", "'unsafe'"), (["Safe"], "of type list"), (None, "(nothing)")):
        why = f"the label {shown} was found, expected one of Safe, Unsafe"
        assert read(WORDS, {"label": label}) == (None, why)


@pytest.mark.parametrize(
    ("probabilities", "name"),
    [
        ({"fine": 0.6, "theft": 0.4}, "clear"),
        ({"fine": 0.5, "theft": 0.4}, "clear"),  # the least that is sure
        ({"fine": 0.49, "theft": 0.4, "violence": 0.1}, "unsure"),
        ({"fine": 0.5, "theft": 0.5}, "unsure"),  # a tie is no choice
        ({"fine": 0, "theft": 0.5, "violence": 0.5}, "flag"),  # unless both read the same
        ({"fine": 0.6, "something else": 0.1}, "clear"),
        ({"violence": 1}, "flag"),
        ({"fine": 0.0}, "unsure"),
    ],
)
def test_of_a_distribution_the_likeliest_counts(probabilities, name):
    for order in itertools.permutations(probabilities.items()):
        assert read(KINDS, {"probabilities": dict(order)}) == Reading(name)


@pytest.mark.parametrize(
    ("probabilities", "why"),
    [
        ({}, "the probabilities of type dict were found, expected one for each label"),
        ([0.4, 0.6], "the probabilities of type list were found, expected one for each label"),
        (None, "the probabilities (nothing) were found, expected one for each label"),
        (
            {"fine": 0.4, "other": 0.6},
            "the likeliest label 'other' was found, expected one of fine, theft, violence",
        ),
        (
            {"fine": 0.4, "theft": math.nan},
            "the probability nan of 'theft' was found, expected a number from 0 to 1",
        ),
        (
            {"fine": 1.5},
            "the probability 1.5 of 'fine' was found, expected a number from 0 to 1",
        ),
    ],
)
def test_what_is_no_distribution_has_no_name(probabilities, why):
    assert read(KINDS, {"probabilities": probabilities}) == (None, why)


def test_a_refusal_is_a_name_or_missing():
    assert read(KINDS, {"refusal": True}) == Reading("flag")
    assert read(KINDS, {"refusal": True, "probabilities": {"fine": 1}}) == Reading("flag")
    assert read(HARM, {"refusal": True}) == (None, "the classifier refused")
    assert read(HARM, {"refusal": False, "score": 0.1}) == Reading("clear")
    why = "the refusal 'no' was found, expected true or false"
    assert read(HARM, {"refusal": "no", "score": 0.1}) == (None, why)
    assert read(HARM, None) == (None, "the classifier said nothing")
    assert read(HARM, "flag") == (None, "'flag' was found, expected what a classifier emits")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
labels = st.sampled_from(["fine", "theft", "violence", "Safe", "Unsafe"]) | st.text(max_size=3)
likely = st.fixed_dictionaries(
    {},
    optional={
        "score": st.floats(-1, 2) | anything,
        "label": labels | anything,
        "probabilities": st.dictionaries(labels, st.floats(0, 1) | anything) | anything,
        "refusal": st.booleans() | anything,
    },
)


@given(st.sampled_from([HARM, WORDS, KINDS]), likely | anything)
def test_reading_is_total(reader, emitted):
    name, why = read(reader, emitted)
    assert (name in ("clear", "unsure", "flag") and why == "") or (name is None and why)
    assert len(why) < 300


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6, unique=True).map(sorted), st.floats(0, 1))
def test_names_follow_scores(edges, score):
    names = tuple(f"n{k}" for k in range(len(edges) + 1))
    reader = Reader("r", "signal", SCORE, edges=tuple(edges), names=names)
    found = read(reader, {"score": score}).name
    assert names.index(found) == sum(edge <= score for edge in edges)  # counted one by one


# What decisions APIs answer.

ANSWERS = [
    {
        "type": "choice",
        "name": "kind",
        "choice": "theft",
        "confidence": 0.5,
        "probabilities": [
            {"value": "fine", "probability": 0.3},
            {"value": "theft", "probability": 0.7},
        ],
    },
    {"type": "predicate", "name": "harm", "probability": 0.75},
    {
        "type": "score",
        "name": "level",
        "score": 1.2,
        "confidence": 0.4,
        "probabilities": [
            {"value": 0, "label": "low", "probability": 0.1},
            {"value": 1, "label": "middle", "probability": 0.6},
            {"value": 2, "label": "high", "probability": 0.3},
        ],
    },
    {"type": "refusal", "name": "other"},
    {
        "type": "choice",
        "name": "yes",
        "choice": True,
        "probabilities": [
            {"value": True, "probability": 0.9},
            {"value": False, "probability": 0.1},
        ],
    },
]


def test_answers_of_a_decisions_api_become_what_readers_read():
    found = answers_of({"model": "m", "answers": ANSWERS})
    assert found == {
        "kind": {"label": "theft", "probabilities": {"fine": 0.3, "theft": 0.7}},
        "harm": {"score": 0.75},
        "level": {"score": 1.2, "probabilities": {"low": 0.1, "middle": 0.6, "high": 0.3}},
        "other": {"refusal": True},
        "yes": {"label": "true", "probabilities": {"true": 0.9, "false": 0.1}},
    }
    assert read(KINDS, found["kind"]) == Reading("flag")
    assert read(HARM, found["harm"]) == Reading("flag")
    assert read(HARM, found["other"]) == (None, "the classifier refused")


def test_the_other_dialect_has_maps():
    found = answers_of(
        {
            "answers": {
                "harm": {"type": "noul", "noul": 0.1},
                "kind": {"type": "choice", "choice": "fine", "probabilities": {"fine": 0.9}},
                "level": {"type": "score", "score": 1.6, "probabilities": {"0": 0.4, "2": 0.6}},
                "none": None,
            }
        }
    )
    assert read(HARM, found["harm"]) == Reading("clear")
    assert read(KINDS, found["kind"]) == Reading("clear")
    assert found["level"] == {"score": 1.6, "probabilities": {"0": 0.4, "2": 0.6}}
    assert read(HARM, found["none"]) == (None, "the classifier said nothing")


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["choice", "predicate", "noul", "score", "refusal"]) | anything},
        optional={
            "probabilities": st.lists(
                st.fixed_dictionaries({"value": anything, "probability": anything}) | anything
            )
            | anything,
            "choice": anything,
        },
    )
    | anything
)
def test_any_answer_is_read(answer):
    for reader in (HARM, WORDS, KINDS):
        name, why = read(reader, emitted_of(answer))
        assert (name is None) == bool(why)
    assert (
        answers_of({"answers": [answer]}).keys() <= {answer.get("name")}
        if isinstance(answer, dict)
        else answers_of({"answers": [answer]}) == {}
    )
    assert answers_of(answer) == {} or "answers" in answer


# Readers of scenarios.


@pytest.mark.parametrize("name", sorted(builtin_scenarios()))
def test_readers_of_the_builtin_scenarios_read_everything_they_name(name):
    scenario = builtin(name)
    known = {
        "signal": {signal.name for signal in scenario.signals},
        "ask": {ask.name for ask in scenario.asks if ask.ends is None},
    }
    for part in scenario.readers:
        reader = reader_from(spelled(part.model_dump(exclude_none=True)))
        assert reader == reader_from(part.model_dump())  # a manifest rounds nothing
        if reader.kind == SCORE:
            middles = [reader.least, *reader.edges]
            assert [read(reader, {"score": score}).name for score in middles] == list(reader.names)
        for label, named in (reader.labels or {}).items():
            sure = {"label": label, "probabilities": {label: 1.0}}
            assert read(reader, sure) == Reading(named)
            assert named in known[reader.gives]


def test_the_published_classifiers_have_readers():
    for name in ("crisis_guidance", "csa_oneshot", "guard_cascade", "unseen_shift"):
        scenario = read_scenario(builtin_scenarios()[name])
        heard = {signal.name for signal in scenario.signals}
        for reader in scenario.readers:
            if reader.gives == "signal":
                assert {*(reader.names or []), *(reader.labels or {}).values()} == heard


entries = st.fixed_dictionaries(
    {
        "name": st.text(max_size=3),
        "kind": st.sampled_from([SCORE, LABEL, CHOICE]) | st.text(max_size=3),
        "gives": st.sampled_from(["ask", "signal"]) | st.text(max_size=3),
    },
    optional=dict.fromkeys(
        ("edges", "names", "least", "most", "labels", "sure", "otherwise", "refusal"), anything
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(entries, max_size=2))
def test_what_is_no_reader_is_said_in_sentences(readers):
    found = list(reader_faults(readers, ["plain"], ["clear", "flag"]))
    assert all(": " in sentence for sentence in found)
    if not found:  # then they are readers, and total
        for reader in map(reader_from, readers):
            assert read(reader, {"score": 0.5, "label": "x", "probabilities": {"x": 1.0}})


# In bundles.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("bundles") / "crisis"
    table("crisis_guidance").save(place)
    return place


@pytest.fixture(scope="module")
def guard(folder):
    return Guard.load(folder, SECRET)


def test_the_manifest_repeats_the_readers(folder):
    manifest = parse((folder / MANIFEST).read_bytes())
    scenario = parse((folder / SCENARIO).read_bytes())
    assert manifest["readers"] == spelled(scenario["readers"])
    assert [reader["name"] for reader in manifest["readers"]] == ["qwen3guard", "harm", "framing"]
    assert manifest["readers"][1]["edges"] == ["0.3", "0.7"]
    assert repeated({**scenario, "readers": []})["readers"] == []


def test_a_reader_that_is_not_the_scenarios_is_found(folder, tmp_path):
    def blind(manifest):
        manifest["readers"][1]["edges"][0] = "0.6"

    forged = write(tmp_path / "b", sealed(files_of(folder), blind))
    assert Guard.load(forged).terms.readers["harm"].edges == (0.6, 0.7)
    (fault,) = verify(forged).faults
    assert fault.startswith("manifest.json: readers: found [")
    assert "'0.6'" in fault


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda m: m.pop("readers"), "manifest.json: readers: is missing"),
        (lambda m: m["readers"][1].pop("edges"), "readers.harm.edges: is missing"),
        (lambda m: m["readers"][1].update(edges=["x", "y"]), "readers.harm: cannot be read as a"),
        (lambda m: m["readers"][1].update(edges=["0.3", "nan"]), "readers.harm.edges: found"),
        (lambda m: m["readers"][0].update(labels=["Safe"]), "readers.qwen3guard: cannot be read"),
        (lambda m: m["readers"][0]["labels"].update(Safe="fine"), "found the signal 'fine'"),
        (lambda m: m["readers"][2]["labels"].update(plain="leave"), "found the ask 'leave'"),
    ],
)
def test_bundles_with_readers_that_cannot_read_are_refused(folder, tmp_path, edit, sentence):
    files = edited_json(files_of(folder), MANIFEST, edit)
    with pytest.raises(BundleError) as error:
        Guard.load(write(tmp_path / "b", files))
    assert sentence in str(error.value)


def emitted(draw, reader: dict, name: str) -> dict:
    """Return something that `reader`, as a scenario has it, reads as `name`: its inverse."""
    told: dict = {"reader": reader["name"]}
    if reader["kind"] == SCORE:
        bounds = [0.0, *reader["edges"], 1.0]
        k = reader["names"].index(name)
        return told | {"score": draw.uniform(bounds[k], math.nextafter(bounds[k + 1], 0))}
    label = draw.choice([label for label, named in reader["labels"].items() if named == name])
    if reader["kind"] == LABEL:
        return told | {"label": label}
    return told | {"probabilities": {label: draw.uniform(0.6, 1), "else": draw.uniform(0, 0.4)}}


def with_readers(scenario: Scenario, draw) -> Scenario:
    """Return `scenario` with a reader of each kind for signals and for asks."""
    content = scenario.model_dump(mode="json", exclude_none=True)
    known = {
        "signal": [signal.name for signal in scenario.signals],
        "ask": [ask.name for ask in scenario.asks if ask.ends is None],
    }
    readers = []
    for gives, names in known.items():
        common = {"gives": gives, "source": "assumption: random"}
        if len(names) > 1:
            edges = sorted({round(draw.uniform(0.05, 0.95), 3) for _ in names[1:]})
            assert len(edges) == len(names) - 1
            order = draw.sample(names, len(names))
            readers.append(
                {"name": f"{gives}_score", "kind": SCORE, "edges": edges, "names": order, **common}
            )
        words = {f"{name} {k}": name for name in names for k in range(draw.randint(1, 2))}
        readers.append({"name": f"{gives}_label", "kind": LABEL, "labels": words, **common})
        readers.append(
            {
                "name": f"{gives}_choice",
                "kind": CHOICE,
                "labels": words,
                "sure": 0.5,
                "otherwise": names[0],
                **common,
            }
        )
    return scenario_from({**content, "readers": readers}, "a random scenario with readers")


@cache
def random_guard(seed: int) -> tuple[Scenario, tuple[str, ...], Guard]:
    """Return a random scenario with readers, the keys that the exporter made, and the guard."""
    import random
    import tempfile

    scenario = with_readers(random_scenario(seed), random.Random(seed))
    game = dialogue_game(scenario)
    rows = tabulate(game, certified(game, random_policy(game, seed)))
    with tempfile.TemporaryDirectory() as place:
        rows.save(f"{place}/b")
        return scenario, rows.exact.keys, Guard.load(f"{place}/b", SECRET)


@settings(max_examples=16, deadline=None)
@given(st.integers(0, 7), st.randoms(use_true_random=False))
def test_the_guard_builds_the_keys_of_the_exporter_from_what_is_emitted(seed, draw):
    scenario, keys, guard = random_guard(seed)
    readers = [reader.model_dump(exclude_none=True) for reader in scenario.readers]
    for key in keys if len(keys) < 12 else draw.sample(keys, 12):
        history = [
            {
                "ask": emitted(draw, draw.choice([r for r in readers if r["gives"] == "ask"]), ask),
                "signal": emitted(
                    draw, draw.choice([r for r in readers if r["gives"] == "signal"]), signal
                ),
                "response": response,
            }
            for ask, signal, response in turns_of(key)
        ]
        decision = guard.decide(history, "c1")
        assert decision.key == key
        assert decision.action == guard.decide(turns_of(key), "c1").action
        assert guard.observed(history) == turns_of(key)


def test_every_key_of_the_exporter_is_one_of_the_guard():
    for seed in range(8):
        _, keys, guard = random_guard(seed)
        assert [guard.decide(turns_of(key), "c1").key for key in keys] == list(keys)


# Missing, malformed and refused signals.

MISSING = [
    (None, "The signal of turn 1 is missing."),
    (0.7, "The signal of turn 1 is of type float, expected a name."),
    ("loud", "The signal of turn 1 is 'loud', which is none of clear, unsure, flag."),
    (
        {"reader": "harm", "score": 7},
        "The signal of turn 1 is missing, by the reader harm: the score 7 was found, expected a "
        "number from 0 to 1.",
    ),
    (
        {"reader": "qwen3guard"},
        "The signal of turn 1 is missing, by the reader qwen3guard: the label (nothing) was found, "
        "expected one of Controversial, Safe, Unsafe.",
    ),
    (
        {"reader": "nose", "score": 0.5},
        "The signal of turn 1 names the reader 'nose', expected one that gives the signal: "
        "qwen3guard, harm.",
    ),
    (
        {"reader": "framing", "probabilities": {"plain": 1}},
        "The signal of turn 1 names the reader 'framing', expected one that gives the signal: "
        "qwen3guard, harm.",
    ),
    ({"reader": ["harm"]}, "The signal of turn 1 names the reader of type list, expected"),
    ({"score": 0.5}, "The signal of turn 1 names the reader (nothing), expected"),
    ([], "The signal of turn 1 is of type list, expected a name."),
]


def without_signals(name: str, rungs: list[list[str]]) -> Scenario:
    content = builtin(name, 2).model_dump(mode="json", exclude_none=True)
    content["fallback"]["rungs"] = rungs
    return scenario_from(content, "another ladder")


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    """Return a guard whose ladder has rungs without the signal, of a policy that plays anything."""
    place = tmp_path_factory.mktemp("bundles") / "ladder"
    rungs = [["turn", "ask", "signal"], ["turn", "ask"], ["signal"]]
    game = dialogue_game(without_signals("crisis_guidance", rungs))
    legal = [np.asarray(legal_mask(treeplex), float) for treeplex in game.form.treeplex]
    uniform = tuple(rows / rows.sum(axis=1, keepdims=True) for rows in legal)
    tabulate(game, certified(game, uniform)).save(place)
    return Guard.load(place, SECRET)


@pytest.mark.parametrize(("signal", "sentence"), MISSING)
def test_a_missing_signal_drops_to_the_rung_without_it(ladder, guard, signal, sentence):
    decision = ladder.decide([{"ask": "plain", "signal": signal}], "c1")
    assert (decision.reason, decision.rung) == ("BACKOFF", 2)
    assert (decision.key, decision.key_used) == (None, "~turn=1,ask=plain")
    assert decision.explanation.startswith(sentence)
    # A ladder without such a rung ends at the constant response.
    decision = guard.decide([("plain", signal)], "c1")
    assert (decision.reason, decision.action) == ("DEFAULT", guard.terms.default)
    assert decision.explanation.startswith(sentence)


def test_a_missing_ask_drops_to_the_rung_without_it(ladder):
    for ask in (None, 1, "hm", {"reader": "framing", "probabilities": {"hm": 1}}):
        decision = ladder.decide([(ask, "flag")], "c1")
        assert (decision.reason, decision.key_used) == ("BACKOFF", "~signal=flag")
        assert decision.explanation.startswith("The ask of turn 1 ")
        both = ladder.decide([(ask, None)], "c1")
        assert (both.reason, both.key_used) == ("DEFAULT", "~")
        assert both.explanation.startswith("The ask of turn 1 ")


def test_what_is_missing_in_an_earlier_turn_is_named(ladder):
    history = [("plain", {"reader": "harm", "refusal": 1}, "guide"), ("plain", "flag")]
    decision = ladder.decide(history, "c1")
    assert (decision.reason, decision.key) == ("BACKOFF", None)
    assert decision.key_used == "~turn=2,ask=plain,signal=flag"
    assert "The signal of turn 1 is missing, by the reader harm: the refusal" in (
        decision.explanation
    )


def test_a_refusal_that_has_a_name_is_a_state_like_any_other(guard):
    refused = guard.decide([("plain", {"reader": "harm", "refusal": True})], "c1")
    assert refused.key == "plain:unsure"
    assert refused.explanation == guard.decide([("plain", "unsure")], "c1").explanation


def test_broken_signals_do_not_draw_again(ladder):
    broken = [
        *(signal for signal, _ in MISSING),
        *({"reader": "harm", "score": 2 + n} for n in range(50)),
        *(f"signal {n}" for n in range(50)),
    ]
    decided = {
        (decision.u, decision.action, decision.key_used)
        for decision in (ladder.decide([("plain", signal)], "c1") for signal in broken)
    }
    assert len(decided) == 1
    # Nor do they in an earlier turn: the state then draws by its coarser row as well.
    later = {
        ladder.decide([("plain", signal, "guide"), ("plain", "flag")], "c1").u for signal in broken
    }
    assert len(later) == 1


def test_what_was_observed_holds_names_alone(guard):
    history = [
        {"ask": "my diary", "signal": {"reader": "harm", "score": 0.9}, "response": "tell all"},
        {"ask": "plain", "signal": "clear", "text": "private"},
    ]
    observed = guard.observed(history)
    assert observed == (Turn(None, "flag", "?"), Turn("plain", "clear"))
    first, again = guard.decide(history, "c1"), guard.decide(observed, "c1")
    assert first.as_dict() | {"explanation": ""} == again.as_dict() | {"explanation": ""}
    assert guard.observed(json.loads(json.dumps(observed))) == observed
    for nonsense in (None, "text", [], [1], [("plain", "clear", "guide")]):
        assert guard.observed(nonsense) == ()


# Following a conversation by its asks and signals.


def test_following_fills_in_what_the_guard_has_answered(ladder):
    seen = [("plain", "clear"), {"ask": "contextualised", "signal": "unsure"}]
    for n in range(20):
        first, second = ladder.follow(seen, f"c{n}")
        assert first == ladder.decide(seen[:1], f"c{n}")
        history = [("plain", "clear", first.action), ("contextualised", "unsure")]
        assert second == ladder.decide(history, f"c{n}")
        turns = (Turn(*history[0]), Turn(*history[1]))
        assert ladder.last_in(seen, first.scope) == (second, turns)
    assert len({ladder.follow(seen, f"c{n}")[1].key for n in range(20)}) > 1


def test_following_past_the_end_goes_down_the_ladder(guard):
    decisions = guard.follow([("plain", "clear")] * 5, "c1")
    assert [decision.rung for decision in decisions] == [0, 0, 2, 2, 2]
    assert "The history has 5 turns, but the scenario ends after turn 2." in (
        decisions[-1].explanation
    )
    gone = guard.follow([("leave", "clear"), ("plain", "clear")], "c1")
    assert all(decision.rung > 0 for decision in gone)
    assert "The ask leave of turn 1 ends the conversation." in gone[1].explanation


def test_following_past_a_response_that_ends(ladder):
    ended = next(
        decisions
        for decisions in (ladder.follow([("plain", "flag")] * 2, f"c{n}") for n in range(200))
        if decisions[0].action == "refer"
    )
    assert (ended[1].reason, ended[1].action) == ("DEFAULT", ladder.terms.default)
    assert "The response refer of turn 1 ended the conversation." in ended[1].explanation


@pytest.mark.parametrize(
    "later",
    [
        [("plain", "clear")],
        [("plain", None)],
        [("no such ask", "clear")],
        [("plain", "clear", "guide"), ("plain", "clear")],
    ],
)
def test_going_on_does_not_undo_that_the_policy_ended_it(ladder, later):
    decision = ladder.decide([("plain", "flag", "refer"), *later], "c1")
    assert (decision.reason, decision.action) == ("DEFAULT", ladder.terms.default)


def test_after_a_turn_of_the_ladder_what_it_played_counts(ladder):
    first, second = ladder.follow([("plain", None), ("plain", "flag")], "c1")
    assert (first.reason, second.reason) == ("BACKOFF", "BACKOFF")
    assert "The signal of turn 1 is missing." in second.explanation
    assert second == ladder.decide([("plain", None, first.action), ("plain", "flag")], "c1")


def test_following_is_linear(guard, monkeypatch):
    reads = []  # counted, not timed
    play = guard.store.play
    monkeypatch.setattr(guard.store, "play", lambda key: reads.append(key) or play(key))
    for n in (2, 200, 400):
        reads.clear()
        assert len(guard.follow([("plain", "flag")] * n, "c1")) == n
        # The exact rows of two turns, then the first rung and the second.
        assert len(reads) == 2 + 2 * (n - 2)
        assert max(map(len, reads)) < 40  # no key grows with the conversation


@pytest.mark.parametrize(
    ("observations", "sentence"),
    [
        (None, "The history is of type NoneType"),
        ([], "The history has no turns"),
        ([("plain", "flag", "guide")], "Turn 1 has a response, expected none: the guard fills in"),
        ([("plain", "flag"), 3], "Turn 2 is of type int"),
    ],
)
def test_what_cannot_be_followed(guard, observations, sentence):
    (decision,) = guard.follow(observations, "c1")
    assert decision.reason == "ERROR"
    assert sentence in decision.explanation
    assert guard.last_in(observations, decision.scope) == (decision, ())
    (decision,) = guard.follow([("plain", "flag")], 17)
    assert (decision.reason, decision.scope) == ("ERROR", None)
