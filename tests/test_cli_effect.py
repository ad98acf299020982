"""`csa effect`: from a log to the effect of a response, and what it says of wrong input."""

import csv
import json
import random

import numpy as np
import pytest
from json_schema import violations

from csa_games.calibration.codes import coder
from csa_games.calibration.decisions import KNOWN, decisions, matrix
from csa_games.calibration.log import json_schema, read, write_jsonl
from csa_games.calibration.mapping import mapping_from
from csa_games.calibration.simulate import conversations, simulate
from csa_games.cli import main
from csa_games.dialogue import tables
from csa_games.errors import InputError
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario

MAPPING = {"format": 1, "name": "a_log", "cite": "A log.", "design": "designed"}
MAP = "".join(f"{key} = {json.dumps(value)}\n" for key, value in MAPPING.items())
GUIDE, REFUSE = 3, 4
LEAVING = slice(3, 5)  # leave and migrate


@pytest.fixture(scope="module")
def crisis():
    scenario = read_scenario(builtin_scenarios()["crisis_guidance"])
    priors = {"benign": 0.5, "distressed": 0.0, "misinformed": 0.0, "malicious": 0.5}
    return override(scenario, {f"intents.{name}.prior": p for name, p in priors.items()})


@pytest.fixture(scope="module")
def policy():
    """Refusing the more, the worse the signal: so whoever is refused is rather malicious."""
    found = np.zeros((3, 5, 3, 6))
    found[..., GUIDE], found[..., REFUSE] = [0.85, 0.5, 0.15], [0.15, 0.5, 0.85]
    return found


@pytest.fixture(scope="module")
def drawn(crisis, policy):
    plain = np.zeros((3, 5))
    plain[:, 0] = 1.0  # who is malicious says so, and stays
    return simulate(
        crisis, 3000, np.random.default_rng(0), responses=policy, asks={"malicious": plain}
    )


@pytest.fixture(scope="module")
def truth(crisis, drawn):
    """Return the effect of refusing on leaving, over the turns of the log."""
    leaving = tables(crisis).after[..., LEAVING].sum(axis=-1)
    who = drawn.intent[drawn.conversation]
    effects = leaving[drawn.turn, REFUSE, who] - leaving[drawn.turn, GUIDE, who]
    return effects[drawn.reaction >= 0].mean()


@pytest.fixture
def place(tmp_path, monkeypatch, crisis, drawn):
    """Return a folder with a log and its mapping."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    write_jsonl("log.jsonl.gz", conversations(drawn, crisis))
    (tmp_path / "map.toml").write_text(MAP)
    return tmp_path


def csa_effect(capsys, *words, log="log.jsonl.gz", code=0, json_too=False):
    base = ("--map", "map.toml", "--base", "crisis_guidance")
    found = main(["effect", *log.split(), *base, *words, *(["--json"] if json_too else [])])
    told = capsys.readouterr()
    assert found == code, told.err
    return json.loads(told.out) if json_too else told.out + told.err


# --- the command


@pytest.mark.parametrize("given", [(), ("--given", "type"), ("--given", "ask,signal")])
def test_an_effect_is_found_where_the_difference_misleads(place, capsys, truth, given):
    """What the policy looked at is enough, and so is the intent, which decides what follows."""
    words = ("--of", "refuse", "--against", "guide", *given)
    told = csa_effect(capsys, *words, json_too=True)
    assert truth > 0.03
    assert told["naive"]["high"] < 0  # as if refusing kept people
    assert told["difference"]["low"] <= truth <= told["difference"]["high"]
    assert told["difference"]["high"] - told["difference"]["low"] < 0.15
    assert told["e_value"] >= told["e_value_limit"] >= 1
    assert told["covariates"] == (given[1].split(",") if given else list(KNOWN))


def test_what_was_found_is_said(place, capsys):
    told = " ".join(csa_effect(capsys, "--of", "refuse", "--against", "guide").split())
    for words in (
        "How often users leave or migrate, by response",
        "Giving refuse instead of guide changes how often users leave or migrate by +0.",
        "without adjustment it seems -0.",
        "(E-value)",
        "0.0% clipped",
        "(no log can tell",
    ):
        assert words in told, words
    nothing = " ".join(csa_effect(capsys, "--of", "refuse", "--then", "refuse").split())
    assert "changes how often refuse follows" in nothing
    assert "The interval has no effect in it." in nothing


def test_the_order_of_conversations_is_no_matter(place, capsys):
    log = list(read("log.jsonl.gz"))
    random.Random(0).shuffle(log)
    write_jsonl("shuffled.jsonl", log)
    one = csa_effect(capsys, "--of", "refuse", json_too=True)
    assert csa_effect(capsys, "--of", "refuse", log="shuffled.jsonl", json_too=True) == one


def test_a_log_given_twice_tells_no_more(place, capsys):
    one = csa_effect(capsys, "--of", "refuse", json_too=True)
    two = csa_effect(capsys, "--of", "refuse", log="log.jsonl.gz log.jsonl.gz", json_too=True)
    assert two["turns"] == 2 * one["turns"]
    assert two["clusters"] == one["clusters"]
    for end in ("value", "low", "high"):
        # Penalties weigh less against more turns, which is the only difference.
        assert two["difference"][end] == pytest.approx(one["difference"][end], abs=2e-3)


def test_outcomes_of_conversations_and_covariates_of_the_log(place, capsys):
    """A covariate moves response and outcome; without it the effect is not 2."""
    draw = np.random.default_rng(0)
    log = []
    for k in range(600):
        mood, hour = int(draw.integers(0, 2)), float(draw.normal())
        a = draw.random() < (0.25, 0.75)[mood]
        score = 2.0 * a + 3.0 * mood + hour + draw.normal()
        event = {"strategy": "refuse" if a else "guide", "covariates": {"hour": hour}}
        own = {"mood": "good" if mood else "bad"}
        log.append(
            {"id": f"c{k}", "events": [event], "covariates": own, "outcome": {"score": score}}
        )
    assert not list(violations(log[0], (schema := json_schema()), schema))
    (place / "scores.jsonl").write_text("\n".join(map(json.dumps, log)))
    words = ("--of", "refuse", "--outcome", "score")
    told = csa_effect(capsys, *words, log="scores.jsonl", json_too=True)
    assert told["covariates"] == [*KNOWN, "hour", "mood"]
    assert told["difference"]["low"] < 2 < told["difference"]["high"]
    assert told["naive"]["low"] > 3
    assert told["ratio"]["how"] == "exp(0.91 d)"
    without = csa_effect(capsys, *words, "--given", "hour", log="scores.jsonl", json_too=True)
    assert without["difference"]["low"] > 3
    assert "the mean score" in csa_effect(capsys, *words, log="scores.jsonl")


def test_groups_are_a_covariate_unless_they_are_the_clusters(place, capsys):
    log = [one.model_copy(update={"group": f"g{one.id[-2:]}"}) for one in read("log.jsonl.gz")]
    write_jsonl("grouped.jsonl", log)
    (place / "map.toml").write_text(MAP + 'cluster = "group"\n')
    told = csa_effect(capsys, "--of", "refuse", log="grouped.jsonl", json_too=True)
    assert told["cluster"] == "group"
    told_of = {one.group for one in log if any(event.reaction for event in one.events)}
    assert told["clusters"] == len(told_of)
    assert "group" not in told["covariates"]


def test_propensities_are_drawn(place, capsys):
    told = csa_effect(capsys, "--of", "refuse", "--plot", "pictures/overlap", json_too=True)
    with open(place / "pictures" / "overlap.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shares = [float(row["share of turns"]) for row in rows if row["series"] == "refuse given"]
    given = np.array(told["overlap"]["given"])
    assert shares == pytest.approx(given / given.sum())
    assert (place / "pictures" / "overlap.svg").read_text().startswith("<svg")
    assert (place / "pictures" / "overlap.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--of", "nope"], "--of: found 'nope', expected one or more of crisis_guidance's comply"),
        (["--of", ","], "--of: found ','"),
        (["--of", "refuse", "--against", "guide,refuse"], "--against: found refuse, which --of"),
        (["--of", "refuse", "--against", "refer"], "hardly seen: found 0 turns"),
        (["--of", "refuse", "--on", "comply"], "--on: found 'comply', expected one or more of"),
        (["--of", "refuse", "--on", "leave", "--then", "refuse"], "not allowed with"),
        (["--of", "refuse", "--outcome", "score"], "no turn of the log tells the mean score"),
        (["--of", "refuse", "--given", "mood"], "found no covariate 'mood' in the log, expected"),
        (["--of", "refuse", "--level", "90"], "found the level 90"),
        (["--of", "refuse", "--model", "magic"], "--model"),
        ([], "--of"),
    ],
)
def test_wrong_words_are_said_in_sentences(place, capsys, words, said):
    assert said in csa_effect(capsys, *words, code=2)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "found no conversation in bad.jsonl"),
        (["{"], "bad.jsonl, line 1: not JSON"),
        (
            [{"id": "a", "events": [{"strategy": "no"}]}] * 2 + ["["],
            "bad.jsonl, line 1: strategy: found 'no', expected one of comply",
        ),
        (
            [{"id": "a", "events": [], "covariates": {"mood": "x" * 201}}],
            "line 1: covariates.mood: found 'x",
        ),
        (
            [{"id": "a", "events": [{"covariates": {"mood": [1]}}]}],
            "events[0].covariates.mood: found [1], expected a number, true or false, or a label",
        ),
        (
            [{"id": "a", "events": [{"strategy": "refuse", "covariates": {"turn": 1}}]}],
            "covariates: found 'turn', expected other names: every log has turn, ask",
        ),
    ],
)
def test_wrong_logs_are_said_in_sentences(place, capsys, lines, said):
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    (place / "bad.jsonl").write_text(text)
    assert said in csa_effect(capsys, "--of", "refuse", log="bad.jsonl", code=2)


# --- the turns of a log


def taken(path, scenario, **more):
    mapping = mapping_from(MAPPING | more, "map.toml")
    return decisions([path], coder(mapping, scenario), scenario, outcome="score")


def test_turns_are_those_of_the_log(place, crisis):
    found = taken("log.jsonl.gz", crisis)
    turns = [
        (one, k, event)
        for one in read("log.jsonl.gz")
        for k, event in enumerate(one.events)
        if event.strategy is not None
    ]
    names = [part.name for part in crisis.responses] + [None]
    asks = [part.name for part in crisis.asks] + [None]
    assert len(turns) == len(found.response)
    for row, (one, k, event) in enumerate(turns):
        before = one.events[k - 1].strategy if k else None
        after = one.events[k + 1].strategy if k + 1 < len(one.events) else None
        assert names[found.response[row]] == event.strategy
        assert asks[found.reaction[row]] == event.reaction
        assert names[found.following[row]] == after
        assert found.cluster[row] == one.id
        known = {name: found.covariates[name][row] for name in KNOWN}
        told = (str(k), event.ask, event.signal, before, one.type, None)
        assert known == {name: value or "" for name, value in zip(KNOWN, told, strict=True)}


def test_nothing_is_taken_across_a_gap(tmp_path, crisis):
    line = {
        "id": "a",
        "outcome": {"score": True},
        "events": [
            {"t": 0, "strategy": "guide"},
            {"t": 1, "strategy": "refuse"},
            {"t": 5, "strategy": "comply"},
        ],
    }
    other = {"id": "b", "outcome": {"score": "high"}, "events": [{"strategy": "refer"}]}
    (tmp_path / "log").write_text(f"{json.dumps(line)}\n{json.dumps(other)}\n")
    found = taken(tmp_path / "log", crisis)
    assert found.following.tolist() == [4, -1, -1, -1]
    assert found.covariates["before"].tolist() == ["", "guide", "", ""]
    assert np.array_equal(found.outcome, [1, 1, 1, np.nan], equal_nan=True)


def test_covariates_of_an_event_go_before_those_of_its_conversation(tmp_path, crisis):
    line = {
        "id": "a",
        "covariates": {"mood": 1, "place": "here", "mixed": 3},
        "events": [
            {"strategy": "guide"},
            {"strategy": "guide", "covariates": {"mood": 2.5, "mixed": "three"}},
        ],
    }
    other = {"id": "b", "events": [{"strategy": "guide"}]}
    (tmp_path / "log").write_text(f"{json.dumps(line)}\n{json.dumps(other)}\n")
    found = taken(tmp_path / "log", crisis).covariates
    assert np.array_equal(found["mood"], [1, 2.5, np.nan], equal_nan=True)
    assert found["place"].tolist() == ["here", "here", ""]
    assert found["mixed"].tolist() == ["3", "three", ""]


def test_columns_of_covariates():
    covariates = {
        "mood": np.array([1.0, 3.0, np.nan, 2.0]),
        "place": np.array(["here", "", "there", "here"], object),
        "same": np.array(["x"] * 4, object),
    }
    x, names = matrix(covariates, ["mood", "place", "same"])
    assert names == (
        *("mood", "mood not recorded"),
        *("place not recorded", "place here", "place there"),
    )
    assert x[:, 0] == pytest.approx([-(1.5**0.5), 1.5**0.5, 0, 0])
    assert x[:, 1:].astype(int).tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]]
    assert matrix(covariates, [])[0].shape == (4, 0)
    many = {"who": np.array([f"w{k}" for k in range(201)], object)}
    with pytest.raises(InputError, match="who: found 201 labels, expected at most 200"):
        matrix(many, ["who"])
