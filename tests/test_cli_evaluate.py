"""`csa evaluate`: fit on one part of a log, evaluate on the other; what it says of wrong input."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from csa_games.calibration.log import Conversation, read, write_jsonl
from csa_games.calibration.mapping import mapping_from
from csa_games.calibration.simulate import conversations, simulate
from csa_games.calibration.split import place, split
from csa_games.cli import main
from csa_games.errors import InputError
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario
from csa_games.toml_text import toml_text

MAP = {
    "format": 1,
    "name": "simulated",
    "cite": "Conversations drawn from a scenario.",
    "design": "designed",
}
WORDS = ("--map", "map.toml", "--scenario", "short.toml")


@pytest.fixture(scope="module")
def short():
    return override(read_scenario(builtin_scenarios()["crisis_guidance"]), {"turns": 2})


@pytest.fixture
def folder(tmp_path, monkeypatch, short):
    """Return a folder with a log of two models, its mapping, and the scenario it is drawn from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    drawn = simulate(short, 3000, np.random.default_rng(0))
    drawn = replace(drawn, group=np.arange(3000) % 2)
    told = [
        one.model_copy(
            update={
                "outcome": {"answers": len(one.events), "long": len(one.events) > 1},
                "events": tuple(
                    event.model_copy(update={"propensity": 1 / len(short.responses)})
                    if event.strategy
                    else event
                    for event in one.events
                ),
            }
        )
        for one in conversations(drawn, short)
    ]
    write_jsonl("log.jsonl.gz", told)
    (tmp_path / "map.toml").write_text(toml_text(MAP))
    (tmp_path / "short.toml").write_text(
        toml_text(short.model_dump(mode="json", exclude_none=True))
    )
    return tmp_path


@pytest.fixture
def solved(folder, capsys):
    """Return the folder of a run: a policy that is soon found, and near even ones."""
    words = ["solve", "short.toml", "--method", "cfr+", "--max-steps", "1", "--out", "run"]
    main([*words, "--json"])
    capsys.readouterr()
    return "run"


def csa(capsys, *words, code=0, json_too=True):
    found = main([*words, *(["--json"] if json_too else [])])
    told = capsys.readouterr()
    assert found == code, told.err
    return json.loads(told.out) if json_too else told.out + told.err


def test_what_is_fitted_to_is_not_evaluated_on(folder, capsys):
    part = ("--train", "0.6", "--seed", "4")
    fit = csa(
        capsys,
        *("fit", "log.jsonl.gz", "--map", "map.toml", "--base", "short.toml"),
        *("-o", "fitted.toml", *part),
    )
    words = ("--map", "map.toml", "--scenario", "fitted.toml", "--base", "short.toml")
    found = csa(capsys, "evaluate", "log.jsonl.gz", *words, *part)
    assert fit["conversations"] + found["conversations"] == 3000
    assert fit["conversations"] == pytest.approx(1800, abs=4.5 * np.sqrt(3000 * 0.24))
    accounts = {one["account"]: one for one in found["likelihoods"]}
    assert accounts["marginal frequencies"]["less"]["low"] > 0
    assert accounts["short.toml"]["less"]["value"] == pytest.approx(0, abs=0.01)
    assert "Evaluated on the" in found["remarks"][0]
    assert {one["name"] for one in found["seen"]} == {"all conversations", "g0", "g1"}
    assert found["off_policy"] is None
    whole = csa(capsys, "evaluate", "log.jsonl.gz", *words)
    assert "nothing here tells whether" in whole["remarks"][0]


def test_a_policy_is_valued_on_the_log(folder, capsys, solved):
    found = csa(capsys, "evaluate", "log.jsonl.gz", *WORDS, "--policy", solved)
    value = found["off_policy"]
    assert value["propensities"] == "recorded"
    assert value["refused"] == []
    robust = value["values"]["doubly robust"]
    assert robust["low"] < robust["value"] < robust["high"]
    for one in found["seen"]:
        assert 0 <= one["distance"] <= 1
    shown = csa(capsys, "evaluate", "log.jsonl.gz", *WORDS, "--policy", solved, json_too=False)
    for words in ("doubly robust", "effective number", "never seen in the log", "value on the log"):
        assert words in shown


def test_a_bundle_is_the_policy_of_its_guard(folder, capsys, solved):
    """A run of one step has no rows that are not served, so both are the same."""
    csa(capsys, "export", solved, "bundle")
    run, bundle = (
        csa(capsys, "evaluate", "log.jsonl.gz", *WORDS, "--policy", policy)["off_policy"]
        for policy in (solved, "bundle")
    )
    assert run["values"]["doubly robust"]["value"] == pytest.approx(
        bundle["values"]["doubly robust"]["value"], abs=1e-9
    )


def test_a_value_that_nothing_tells_is_refused(folder, capsys, solved):
    words = ("evaluate", "log.jsonl.gz", *WORDS, "--policy", solved, "--least-effective", "1e6")
    found = csa(capsys, *words, code=1)
    assert found["off_policy"]["values"] == {}
    assert "fewer than 1e+06" in found["off_policy"]["refused"][0]
    shown = csa(capsys, *words, code=1, json_too=False)
    assert "No value is given:" in shown


def test_recorded_outcomes_are_valued(folder, capsys, solved):
    words = ("evaluate", "log.jsonl.gz", *WORDS, "--policy", solved, "--recorded")
    answers, long = (csa(capsys, *words, name)["off_policy"] for name in ("answers", "long"))
    assert set(answers["values"]) == {"importance sampling", "self-normalised"}
    told = [value["values"]["self-normalised"]["value"] for value in (answers, long)]
    assert told[0] == pytest.approx(1 + told[1])
    assert 0 < told[1] < 1
    assert "outcome: found no number in" in csa(capsys, *words, code=2, json_too=False)


def test_diagrams_are_drawn_with_their_numbers(folder, capsys):
    words = ("evaluate", "log.jsonl.gz", *WORDS, "--plots", "plots")
    found = csa(capsys, *words)
    names = sorted(path.name for path in (folder / "plots").iterdir())
    kinds = ("intents", "leaving", "openings", "reactions", "signals")
    assert names == [f"reliability-{kind}.{end}" for kind in kinds for end in ("csv", "png", "svg")]
    with open(folder / "plots" / "reliability-signals.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    bins = [
        (one["event"], part)
        for one in found["reliabilities"]
        if one["kind"] == "signals"
        for part in one["bins"]
    ]
    assert len(rows) == len(bins)
    for row, (event, part) in zip(rows, bins, strict=True):
        assert row["event"] == event
        assert float(row["observed"]) == pytest.approx(part["observed"])
    svg = (folder / "plots" / "reliability-leaving.svg").read_bytes()
    assert b"bins hold" in svg


def test_types_may_be_left_aside(folder, capsys):
    typed, untyped = (
        csa(capsys, "evaluate", "log.jsonl.gz", *WORDS, *more)["likelihoods"][0]["per_event"]
        for more in ((), ("--untyped",))
    )
    assert untyped["value"] < typed["value"]


def test_conversations_without_types_are_summed_over_intents(folder, capsys, short, solved):
    drawn = simulate(short, 3000, np.random.default_rng(1))
    write_jsonl("bare.jsonl", conversations(drawn, short, typed=False))
    found = csa(capsys, "evaluate", "bare.jsonl", *WORDS, "--policy", solved)
    assert any("have no type" in remark for remark in found["remarks"])
    assert not any(one["kind"] == "intents" for one in found["reliabilities"])
    assert found["off_policy"]["propensities"].startswith("estimated")
    assert found["off_policy"]["by_intent"] == {}


def test_the_mixture_of_a_log_without_types_is_evaluated(folder, capsys, short):
    """The truth, summed over intents as common as they are in the log, beats frequencies."""
    drawn = simulate(short, 4000, np.random.default_rng(1))
    write_jsonl("bare.jsonl", conversations(drawn, short, typed=False))
    found = csa(capsys, "evaluate", "bare.jsonl", *WORDS, "--train", "0.5")
    accounts = {one["account"]: one for one in found["likelihoods"]}
    assert accounts["marginal frequencies"]["less"]["low"] > 0
    assert any("how common they are" in remark for remark in found["remarks"])


def test_policies_are_left_out_of_a_game_that_is_too_large(folder, capsys, short):
    large = override(short, {"turns": 7})
    text = toml_text(large.model_dump(mode="json", exclude_none=True))
    (folder / "large.toml").write_text(text)
    words = ("evaluate", "log.jsonl.gz", "--map", "map.toml", "--scenario", "large.toml")
    found = csa(capsys, *words)
    assert found["seen"] == []
    assert any("policies are not valued in it" in remark for remark in found["remarks"])
    told = csa(capsys, *words, "--policy", "run", "--force", code=2, json_too=False)
    assert "states of a conversation, expected at most" in told


def test_a_split_is_by_cluster_and_seed_alone():
    mapping = mapping_from(MAP, "map.toml")
    by_group = mapping_from(MAP | {"cluster": "group"}, "map.toml")
    many = [Conversation(id=f"c{k}", group=f"g{k % 40}", events=()) for k in range(4000)]
    mine = split(0.3, 7, mapping)
    share = np.mean([mine.trains(one) for one in many])
    assert share == pytest.approx(0.3, abs=4.5 * np.sqrt(0.21 / 4000))
    other = [split(0.3, 8, mapping).trains(one) for one in many]
    assert other != [mine.trains(one) for one in many]
    # A larger share takes what a smaller one took.
    assert all(split(0.5, 7, mapping).trains(one) for one in many if mine.trains(one))
    groups = split(0.3, 7, by_group)
    for g in range(40):
        assert len({groups.trains(one) for one in many if one.group == f"g{g}"}) == 1
    assert 0 <= place("", 0) < 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no.jsonl", *WORDS], "no.jsonl: cannot be read"),
        (["empty", *WORDS], "found no conversation"),
        (["bad", *WORDS], "bad, line 1: not JSON"),
        (["who", *WORDS], "who, line 1: type: found 'who'"),
        (["chance", *WORDS], "events[0].propensity: found 1.5"),
        (["log.jsonl.gz", *WORDS, "--train", "1"], "--train: found 1.0"),
        (["one", *WORDS, "--train", "0.5"], "expected some in both parts"),
        (["log.jsonl.gz", *WORDS, "--level", "90"], "--level: found 90.0"),
        (["log.jsonl.gz", *WORDS, "--policy", "nowhere"], "nowhere is no run"),
        (["log.jsonl.gz", *WORDS, "--recorded"], "expected --policy as well"),
        (
            ["log.jsonl.gz", *WORDS, "--base", "purple_zero_sum"],
            "turns: found 3, expected those of crisis_guidance: 2",
        ),
        (
            ["log.jsonl.gz", *WORDS, "--base", "over_refusal"],
            "over_refusal: ",
        ),
        (["log.jsonl.gz", "--scenario", "short.toml"], "--map"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(folder, capsys, words, said):
    line = {"id": "c1", "type": "benign", "events": [{"ask": "plain", "strategy": "comply"}]}
    files = {
        "empty": "",
        "bad": "{\n",
        "who": json.dumps(line | {"type": "who"}),
        "chance": json.dumps(line | {"events": [{"ask": "plain", "propensity": 1.5}]}),
        "one": json.dumps(line),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    assert said in csa(capsys, "evaluate", *words, code=2, json_too=False)


def test_the_policy_of_another_game_is_refused(folder, capsys):
    words = ["solve", "short.toml", "--set", "turns=1", "--max-steps", "1", "--out", "other"]
    main([*words, "--json"])
    capsys.readouterr()
    words = ("evaluate", "log.jsonl.gz", *WORDS, "--policy", "other")
    assert "turns: found 1" in csa(capsys, *words, code=2, json_too=False)


def test_propensities_are_read_and_written(tmp_path):
    event = {"ask": "plain", "strategy": "comply", "propensity": 0.25}
    (tmp_path / "log").write_text(json.dumps({"id": "c", "events": [event]}))
    (one,) = read(tmp_path / "log")
    assert one.events[0].propensity == 0.25
    write_jsonl(tmp_path / "again", [one])
    assert list(read(tmp_path / "again")) == [one]
    (tmp_path / "log").write_text(json.dumps({"id": "c", "events": [event | {"propensity": 0}]}))
    with pytest.raises(InputError, match="propensity"):
        list(read(tmp_path / "log"))


def test_a_mixture_of_latent_intents_predicts_better_than_frequencies(
    tmp_path, monkeypatch, capsys
):
    # Where intents are hardly told apart, rows of a mixture are worth little; their values must
    # still be those that the likelihood prefers, or others predict better.
    monkeypatch.chdir(tmp_path)
    truth = read_scenario(builtin_scenarios()["crisis_guidance"])
    drawn = conversations(simulate(truth, 3000, np.random.default_rng(0)), truth)
    write_jsonl("log.jsonl", (one.model_copy(update={"type": None}) for one in drawn))
    mapping = MAP | {"latent": ["benign", "distressed"]}
    (tmp_path / "map.toml").write_text(toml_text(mapping))
    log = ("log.jsonl", "--map", "map.toml", "--train", "0.5")
    assert main(["fit", *log, "--base", "crisis_guidance", "-o", "fitted.toml"]) == 0
    capsys.readouterr()
    assert main(["evaluate", *log, "--scenario", "fitted.toml", "--json"]) == 0
    told = {
        one["account"]: one["less"] for one in json.loads(capsys.readouterr().out)["likelihoods"]
    }
    assert told["marginal frequencies"]["low"] > 0
    assert told["uniform"]["low"] > 0
