"""`csa fit` for users who choose: λ and weights come back, or it says why they do not."""

import gzip
import json
import tomllib

import numpy as np
import pytest
from planted import RATIONALITY, RISK, complies, drawn_log, planted

import csa_games
import solvers
from csa_games.calibration import check
from csa_games.calibration.log import write_jsonl
from csa_games.calibration.quantal import asked, fit_rationality, menu
from csa_games.calibration.simulate import conversations
from csa_games.cli import main
from csa_games.factored import factored_game
from csa_games.override import override
from csa_games.runs import save_run
from csa_games.scenario import read_scenario
from csa_games.toml_text import toml_text
from solvers.reaction import answered
from solvers.response import certify

MAP = """
format = 1
name = "simulated"
cite = "Conversations drawn from a planted scenario."
design = "designed"
"""
OBSERVED = MAP + 'policy = "observed"\nfree = ["risk"]\n'
COUNT = 1500


@pytest.fixture(scope="module")
def truth():
    return planted()


@pytest.fixture(scope="module")
def log(truth):
    return drawn_log(truth, COUNT, seed=11)


@pytest.fixture
def place(tmp_path, monkeypatch, truth, log):
    """Return a folder with a log, a base scenario of other numbers, and a mapping."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    write_jsonl("log.jsonl.gz", conversations(log, truth))
    base = override(truth, {"intents.seeker.rationality": 0.7, "intents.seeker.weights.risk": 1.0})
    save_scenario(base)
    (tmp_path / "map.toml").write_text(OBSERVED)
    return tmp_path


def save_scenario(scenario):
    with open("base.toml", "w", encoding="utf-8") as file:
        file.write(toml_text(scenario.model_dump(mode="json", exclude_none=True)))


def csa_fit(capsys, *words, code=0, json_too=True):
    base = ("--map", "map.toml", "--base", "base.toml")
    found = main(["fit", *words, *base, *(["--json"] if json_too else [])])
    told = capsys.readouterr()
    assert found == code, told.err
    return json.loads(told.out) if json_too and code != 2 else " ".join(told.out.split()) + told.err


def solved(truth, folder):
    """Save the planted policy and the reactions to it as a run; return its game and solution."""
    game = factored_game(truth)
    policy = answered(game, 1, complies(truth))
    solution = certify(
        game, policy, method="by hand", steps=1, seconds=0.0, status="max_steps", history=()
    )
    save_run(folder, game, solution, source="planted.toml")
    return game, solution


# --- what comes back


def test_planted_numbers_come_back_within_their_intervals(place, capsys):
    told = csa_fit(capsys, "log.jsonl.gz", "-o", "fitted.toml")["choosing"]["seeker"]
    for name, true in (("rationality", RATIONALITY), ("risk", RISK)):
        found = told[name]
        # Seed 11: within the 90 % interval, as nine in ten seeds are.
        assert found["low"] <= true <= found["high"]
        assert found["high"] - found["low"] < 0.5
        assert found["n"] == told["choices"]
    likelihood = told["log_likelihood"]
    assert likelihood["even"] < likelihood["fitted"] <= likelihood["frequencies"]
    assert likelihood["base"] < likelihood["fitted"]
    seeker = read_scenario("fitted.toml").intents[0]
    assert seeker.rationality.value == pytest.approx(told["rationality"]["value"], rel=1e-5)
    assert seeker.rationality.low == pytest.approx(told["rationality"]["low"], rel=1e-5)
    assert seeker.rationality.high == pytest.approx(told["rationality"]["high"], rel=1e-5)
    assert seeker.rationality.source.startswith("simulated: ")
    assert seeker.weights.risk == pytest.approx(told["risk"]["value"], rel=1e-5)
    assert seeker.weights.satisfaction == 1.0
    assert "satisfaction as before: assumption: " in seeker.weights.source
    # Kernels are fitted as ever, and the file is one that is solved.
    assert read_scenario("fitted.toml").intents[1].kernel.source.startswith("simulated: ")
    words = ["solve", "fitted.toml", "--method", "qre", "--set", "turns=1", "--json"]
    assert main(words) == 0


def test_what_was_fitted_is_shown(place, capsys):
    told = csa_fit(capsys, "log.jsonl.gz", "-o", "fitted.toml", json_too=False)
    assert "seeker chooses λ 1." in told
    assert "weight of risk 1." in told
    assert "The policy that users knew is the one that the log shows: " in told
    assert "The policy that users knew" in read_scenario("fitted.toml").notes


@pytest.mark.parametrize("kind", ["run", "bundle"])
def test_a_known_policy_is_taken_as_it_is(place, capsys, truth, log, kind):
    game, solution = solved(truth, "policies/run")
    csa_games.tabulate(game, solution).save("policies/bundle")
    (place / "map.toml").write_text(MAP + f'policy = "policies/{kind}"\nfree = ["risk"]\n')
    found = csa_fit(capsys, "log.jsonl.gz", "-o", "fitted.toml")["choosing"]["seeker"]
    offered = menu(truth, "seeker", complies(truth))
    direct = fit_rationality(offered, asked(offered, log), free=("risk",))
    assert found["rationality"]["value"] == pytest.approx(direct.rationality.value, rel=1e-5)
    assert found["rationality"]["low"] == pytest.approx(direct.rationality.low, rel=1e-3)
    assert found["risk"]["value"] == pytest.approx(direct.weights["risk"].value, rel=1e-4)
    # What the log shows of the policy is less sure.
    (place / "map.toml").write_text(OBSERVED)
    wider = csa_fit(capsys, "log.jsonl.gz", "-o", "again.toml")["choosing"]["seeker"]
    assert wider["rationality"]["value"] == pytest.approx(found["rationality"]["value"], abs=0.1)
    for name in ("rationality", "risk"):
        one, other = (told[name]["high"] - told[name]["low"] for told in (wider, found))
        assert other < one < 2 * other


def test_a_mapping_may_lie_elsewhere(place, capsys, truth):
    solved(truth, "elsewhere/run")
    (place / "elsewhere" / "map.toml").write_text(MAP + 'policy = "run"\n')
    words = ("--map", "elsewhere/map.toml", "--base", "base.toml", "-o", "x.toml")
    assert main(["fit", "log.jsonl.gz", *words]) == 0
    assert capsys.readouterr()


def test_choices_are_counted_by_a_check(place, capsys, truth, log):
    told = csa_fit(capsys, "log.jsonl.gz", "--check")
    offered = menu(truth, "seeker", complies(truth))
    assert told["choices"] == {"seeker": int(asked(offered, log).sum())}
    assert f"choices of seeker {told['choices']['seeker']:,}" in csa_fit(
        capsys, "log.jsonl.gz", "--check", json_too=False
    )


def test_a_log_of_users_who_choose_alone_is_one(place, capsys, truth, log):
    """Nothing but asks and answers of one quantal intent: no kernel, no signal to tell."""
    alone = override(truth, {"intents.seeker.prior": 1.0, "intents.other.prior": 0.0})
    silent = (
        one.model_copy(
            update={"events": tuple(e.model_copy(update={"signal": None}) for e in one.events)}
        )
        for one in conversations(log, truth)
        if one.type == "seeker"
    )
    write_jsonl("silent.jsonl", silent)
    save_scenario(alone)
    told = csa_fit(capsys, "silent.jsonl", "-o", "x.toml")["choosing"]["seeker"]
    assert told["rationality"]["low"] < RATIONALITY < told["rationality"]["high"]


# --- what does not come back is said


def test_what_the_log_does_not_tell_stays_the_bases(place, capsys):
    def left(text, said):
        (place / "map.toml").write_text(text)
        told = csa_fit(capsys, "log.jsonl.gz", "-o", "x.toml")
        assert said in " ".join(told["remarks"])
        seeker = read_scenario("x.toml").intents[0]
        before = read_scenario("base.toml").intents[0]
        assert (seeker.rationality, seeker.weights) == (before.rationality, before.weights)
        return told

    left(MAP, "the mapping does not say under which policy the log was made")
    with gzip.open("log.jsonl.gz", "rt") as file:
        few = [line for line in file if '"seeker"' in line][:20]
    (place / "log.jsonl.gz").write_text("".join(few))
    left(OBSERVED, "choices, expected 50 at least")


def test_weights_that_do_not_matter_are_said_to(place, capsys):
    # All that satisfies is worth 0: neither λ nor risk is told by it, but effort tells λ.
    same = [{"values": {"comply": 0.0, "refuse": 0.0}, "source": "assumption: planted"}]
    scenario = planted(satisfaction=same)
    save_scenario(scenario)
    write_jsonl("log.jsonl.gz", conversations(drawn_log(scenario, COUNT, seed=1), scenario))
    (place / "map.toml").write_text(OBSERVED.replace("risk", "satisfaction"))
    told = csa_fit(capsys, "log.jsonl.gz", "-o", "x.toml")
    assert "rationality" in told["choosing"]["seeker"]
    assert "satisfaction" not in told["choosing"]["seeker"]
    assert "does not move with λ times the weight of satisfaction" in " ".join(told["remarks"])
    assert read_scenario("x.toml").intents[0].weights.satisfaction == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('policy = "nowhere"\n', 'expected "observed" or the folder of a run (run.json) or of a'),
        ('policy = ""\n', "map.toml: policy: found ''"),
        ('policy = "observed"\nfree = ["effort"]\n', "map.toml: free"),
        ("policy = 3\n", "map.toml: policy: found 3"),
    ],
)
def test_wrong_mappings_are_said_in_sentences(place, capsys, text, said):
    (place / "map.toml").write_text(MAP + text)
    assert said in csa_fit(capsys, "log.jsonl.gz", "-o", "x.toml", code=2)
    assert not (place / "x.toml").exists()


def test_policies_of_other_games_are_refused(place, capsys, truth):
    solved(planted(turns=1), "short")
    (place / "map.toml").write_text(MAP + 'policy = "short"\n')
    said = csa_fit(capsys, "log.jsonl.gz", "-o", "x.toml", code=2)
    assert "has no answer in the state plain:clear>comply/plain:clear, expected one in ev" in said
    game = csa_games.load("csa_oneshot")
    solution = solvers.solve(game, "cfr", max_steps=2)
    save_run("other", game, solution, source="csa_oneshot")
    (place / "map.toml").write_text(MAP + 'policy = "other"\n')
    assert "expected the responses of planted: comply, refuse" in csa_fit(
        capsys, "log.jsonl.gz", "-o", "x.toml", code=2
    )


def test_a_log_that_the_policy_cannot_have_led_to_is_refused(place, capsys, truth):
    game = factored_game(truth)
    always = np.zeros_like(complies(truth))
    always[:, 0] = 1
    solution = certify(
        game,
        answered(game, 1, always),
        method="by hand",
        steps=1,
        seconds=0.0,
        status="max_steps",
        history=(),
    )
    save_run("yes", game, solution, source="planted.toml")
    (place / "map.toml").write_text(MAP + 'policy = "yes"\n')
    said = csa_fit(capsys, "log.jsonl.gz", "-o", "x.toml", code=2)
    assert "expected none where the policy never leads" in said


def test_games_that_are_too_large_are_refused(place, capsys):
    (place / "base.toml").write_text(
        (place / "base.toml").read_text().replace("turns = 2", "turns = 20")
    )
    assert csa_fit(capsys, "log.jsonl.gz", "--check")["choices"]["seeker"] > COUNT
    said = csa_fit(capsys, "log.jsonl.gz", "-o", "x.toml", code=2)
    assert "information sets, expected 200,000 at most" in said
    (place / "map.toml").write_text(MAP)
    csa_fit(capsys, "log.jsonl.gz", "-o", "x.toml")


# --- properties


def shuffled(place, seed):
    """Write the log of `place` with its lines in another order."""
    with gzip.open(place / "log.jsonl.gz", "rt") as file:
        lines = list(file)
    order = np.random.default_rng(seed).permutation(len(lines))
    assert not np.array_equal(order, np.arange(len(lines)))
    (place / "shuffled.jsonl").write_text("".join(lines[k] for k in order))


def test_permuting_conversations_changes_nothing(place, capsys):
    shuffled(place, 0)
    csa_fit(capsys, "log.jsonl.gz", "-o", "a.toml")
    csa_fit(capsys, "shuffled.jsonl", "-o", "b.toml")
    assert (place / "a.toml").read_bytes() == (place / "b.toml").read_bytes()
    assert tomllib.loads((place / "a.toml").read_text())["intents"][0]["rationality"]["low"] > 0


def test_pieces_do_not_matter(place, capsys, monkeypatch):
    csa_fit(capsys, "log.jsonl.gz", "-o", "a.toml")
    monkeypatch.setattr(check, "PIECE", 37)
    csa_fit(capsys, "log.jsonl.gz", "-o", "b.toml")
    assert (place / "a.toml").read_bytes() == (place / "b.toml").read_bytes()


def test_duplicating_the_log_halves_the_variance(place, capsys, truth):
    solved(truth, "run")
    (place / "map.toml").write_text(MAP + 'policy = "run"\nfree = ["risk"]\n')
    once = csa_fit(capsys, "log.jsonl.gz", "-o", "a.toml")["choosing"]["seeker"]
    twice = csa_fit(capsys, "log.jsonl.gz", "log.jsonl.gz", "-o", "b.toml")["choosing"]["seeker"]
    assert twice["choices"] == 2 * once["choices"]
    for name in ("rationality", "risk"):
        one, two = once[name], twice[name]
        assert two["value"] == pytest.approx(one["value"], rel=1e-4)
        ratio = (two["high"] - two["low"]) / (one["high"] - one["low"])
        assert ratio**2 == pytest.approx(0.5, rel=0.03)
