"""Solution concepts on the command line: commitments from a file to a bundle and back."""

import json
import math
import re
from pathlib import Path

import pytest

import csa_games
import solvers
from csa_games.cli import main
from csa_games.factored import factored_game
from csa_games.findings import FINDINGS
from csa_games.override import override
from csa_games.runs import read_run

SCENARIO = Path(__file__).parents[1] / "csa_games" / "scenarios" / "crisis_guidance.toml"

RATIONAL = """
[[payoff.effort]]
intents = ["malicious"]
values = {plain = 0.0, contextualised = 0.1, disguised = 0.3, leave = 0.0, migrate = 0.2}
source = "assumption"
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of one turn of crisis guidance with a malicious user who acts for itself."""
    text = SCENARIO.read_text(encoding="utf-8")
    weights = (
        'behaviour = "rational"\nweights = {satisfaction = 1.0, risk = 1.0, source = "assumption"}'
    )
    text = text.replace('behaviour = "adversarial"', weights)
    text = re.sub(r"^turns = \d+$", "turns = 1", text, flags=re.MULTILINE)
    path = tmp_path_factory.mktemp("scenario") / "rational.toml"
    path.write_text(text + RATIONAL, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the saved run of a commitment."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["solve", str(scenario), "--method", "commitment", "--out", str(folder)]) == 0
    return folder


def printed(capsys, *words):
    """Return (exit code, the JSON object printed) of a command."""
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_commitment_says_what_it_is_worth(scenario, tmp_path, capsys):
    words = ("solve", str(scenario), "--method", "commitment", "--nudge", "0.001")
    code, found = printed(capsys, *words, "--out", str(tmp_path / "run"))
    assert (code, found["status"], found["method"]) == (0, "exact", "commitment-milp")
    told = found["commitment"]
    assert told["strong"] == found["value"][1]
    assert math.isclose(told["optimality_gap"], told["bound"] - told["strong"])
    assert math.isclose(told["value_of_commitment"], told["strong"] - told["equilibrium"])
    assert math.isclose(told["value_of_randomisation"], told["strong"] - told["pure"])
    assert 0 <= told["strong"] - told["weak"] < 1e-6
    assert found["certificate"].startswith("commitment: assistant expects 0.577")


def test_what_depends_on_ties_is_said(run, scenario, tmp_path, capsys):
    main(["solve", str(scenario), "--method", "commitment", "--out", str(tmp_path / "run")])
    text = " ".join(capsys.readouterr().out.split())
    assert "--nudge 0.001 leaves hardly any" in text
    assert "worth of committing" in text
    assert "worth of mixing" in text


def test_a_commitment_comes_back_from_its_run(run):
    found = read_run(run).solution
    assert found.commitment is not None
    assert found.commitment.strong == found.value[1]
    record = json.loads((run / "run.json").read_bytes())
    assert record["findings"]["commitment"]["bound"] == found.commitment.bound


def test_a_damaged_commitment_is_refused(run, tmp_path, capsys):
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    record = json.loads((copy / "run.json").read_bytes())
    record["findings"]["commitment"]["leader"] = "assistant"
    (copy / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert main(["compare", str(copy)]) == 2
    assert "findings.commitment.leader" in capsys.readouterr().err


def test_a_commitment_is_compared_and_exported(run, tmp_path, capsys):
    code, compared = printed(capsys, "compare", str(run))
    assert code == 0
    rows = {row["policy"]: row for row in compared["rows"]}
    # Comparisons break ties against the assistant.
    assert math.isclose(
        rows["solution"]["value"], read_run(run).solution.commitment.weak, abs_tol=1e-9
    )
    bundle = tmp_path / "bundle"
    assert main(["export", str(run), str(bundle)]) == 0
    assert main(["verify", str(bundle)]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--leader", "somebody"], "expected user, assistant, 0, 1"),
        (["--target", "1"], "commitment takes no target"),
        (["--seconds", "0"], "seconds is 0.0"),
        (["--nudge", "2"], "nudge is 2.0"),
        (["--starts", "0", "--seed", "1"], None),
        (["--checkpoint", "x"], "--checkpoint: commitment cannot be resumed"),
    ],
)
def test_wrong_options_end_with_a_sentence(scenario, tmp_path, capsys, words, said):
    out = ["--out", str(tmp_path / "run")]
    method = ["--method", "commitment-gradient" if said is None else "commitment"]
    code = main(["solve", str(scenario), *method, *words, *out])
    assert code == 2
    text = " ".join(capsys.readouterr().err.split())
    assert (said or "starts is 0") in text
    assert not (tmp_path / "run").exists()


# method -> (options, what it reports)
CONCEPTS = {
    "budget": (["--budget", "risk@malicious<=0.01", "--objective", "payoff"], "budgeted"),
    "robust": (
        ["--prior", "malicious=0.01:0.1", "--weight", "beta=1:5", "--kernels", "0.1"],
        "robustness",
    ),
    "qre": (["--rationality", "5"], "quantal"),
    "qre-normal-form": (["--rationality", "5"], "quantal"),
    "lp-refined": (["--epsilon", "0.001"], "refinement"),
    "cfr-refined": (["--epsilon", "0.001", "--target", "0.01"], "refinement"),
    "commitment-gradient": (["--starts", "2", "--seed", "1"], "commitment"),
}


@pytest.mark.parametrize("method", CONCEPTS)
def test_every_concept_is_saved_with_what_it_reports(method, tmp_path, capsys):
    words, finding = CONCEPTS[method]
    folder = tmp_path / "run"
    solve = ("solve", "csa_oneshot", "--method", method, *words, "--out", str(folder))
    code, found = printed(capsys, *solve)
    assert code == 0
    assert found["method"] == method
    kept = read_run(folder).solution
    others = [name for name in FINDINGS if name != finding]
    assert [getattr(kept, name) for name in others] == [None] * len(others)
    told, saved = found[finding], getattr(kept, finding)
    for name, value in told.items():
        same = getattr(saved, name)
        if isinstance(value, float):
            assert value == pytest.approx(same, rel=1e-12)
        if isinstance(value, dict):
            assert value == same
    if finding == "refinement":
        assert [len(part) for part in saved.loss] == [
            treeplex.infosets for treeplex in read_run(folder).game.form.treeplex
        ]
    assert main(["compare", str(folder)]) == 0


def test_one_oneshot_budget_by_hand(tmp_path, capsys):
    """A bound beyond what the best policy does anyway is free."""
    words = ("--method", "budget", "--budget", "risk@malicious<=0.9")
    code, found = printed(capsys, "solve", "csa_oneshot", *words, "--out", str(tmp_path / "run"))
    (budget,) = found["budgeted"]["budgets"]
    assert (code, budget["price"]) == (0, 0.0)
    assert found["budgeted"]["value"] == pytest.approx(0.88759388)  # the linear program's


def test_kernels_in_doubt_are_shown_with_the_worst_found(tmp_path, capsys):
    words = ["solve", "crisis_guidance", "--set", "turns=2", "--method", "robust"]
    assert main([*words, "--kernels", "0.05", "--out", str(tmp_path / "run")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "whatever the kernels and channels are" in text
    assert "benign, after refuse" in text
    words = ["solve", "purple_zero_sum", "--method", "robust", "--payoffs"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "has no interval in which a payoff could be worse" in capsys.readouterr().err


def test_games_that_are_too_large_for_the_program_have_an_optimality_gap(
    tmp_path, capsys, monkeypatch
):
    words = ["solve", "crisis_guidance", "--set", "turns=2", "--method", "robust"]
    words += ["--channels", "0.05", "--out", str(tmp_path / "run")]
    code, exact = printed(capsys, *words)
    assert (code, exact["status"], exact["robustness"]["gap"]) == (0, "exact", 0)
    monkeypatch.setattr("solvers.doubt.MOST_PAIRS_DRIFTING", 0)
    code, found = printed(capsys, *words, "--target", "0.02")
    assert (code, found["status"]) == (0, "target")
    gap = found["robustness"]["gap"]
    below = exact["robustness"]["value"] - found["robustness"]["value"]
    assert -1e-9 <= below <= gap <= 0.02
    assert read_run(tmp_path / "run").solution.robustness.gap == gap
    assert main([*words, "--max-steps", "2"]) == 4
    text = " ".join(capsys.readouterr().out.split())
    assert "no policy has a guarantee that is higher by more" in text


def test_one_percent_of_compliance_with_malice(tmp_path, capsys):
    words = ("--set", "turns=2", "--method", "budget", "--objective", "satisfaction")
    words = ("solve", "crisis_guidance", *words, "--budget", "gives:comply@malicious<=0.01")
    code, found = printed(capsys, *words, "--out", str(tmp_path / "run"))
    (budget,) = found["budgeted"]["budgets"]
    assert code == 0
    assert budget["level"] == pytest.approx(0.01, abs=1e-9)


def test_auto_says_what_it_picked_and_why(scenario, tmp_path, capsys):
    out = str(tmp_path / "run")
    # An option of another method is no fault: nobody knew which it would be.
    words = ("--method", "auto", "--target", "0.1", "--out", out)
    _, found = printed(capsys, "solve", "csa_oneshot", *words)
    assert found["method"] == "lp"
    assert found["why"] == "the security class with 30 histories, few enough to be exact"
    _, found = printed(capsys, "solve", str(scenario), *words)
    assert found["method"] == "commitment-milp"
    assert "general-sum" in found["why"]


def test_a_frontier_is_a_table_and_a_picture(tmp_path, capsys):
    folder = tmp_path / "frontier"
    words = ("frontier", "csa_oneshot", "risk@malicious<=", "0.02:0.2:4", "--out", str(folder))
    code, found = printed(capsys, *words)
    assert code == 0
    values = [row["payoff"] for row in found["rows"]]
    assert values == sorted(values)
    prices = [row["risk@malicious price"] for row in found["rows"]]
    assert prices == sorted(prices, reverse=True)
    lines = (folder / "frontier.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5
    assert "risk@malicious&lt;=" in (folder / "frontier.svg").read_text(encoding="utf-8")


def test_a_frontier_over_a_number_of_the_scenario(capsys):
    code, found = printed(capsys, "frontier", "csa_oneshot", "weights.beta", "0,5,10")
    assert code == 0
    values = [row["payoff"] for row in found["rows"]]
    assert values == sorted(values, reverse=True)
    first = override(csa_games.load("csa_oneshot").scenario, {"weights.beta": 5.0})
    exact = solvers.solve(factored_game(first), "lp").value[1]
    assert values[1] == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["csa_oneshot", "nothing<=", "0:1:3"], "found the measure 'nothing'"),
        (["csa_oneshot", "weights.x", "0:1:3"], "no 'x' there"),
        (["csa_oneshot", "weights.beta", "a,b"], "found the values 'a,b'"),
        (["csa_oneshot", "weights.beta", "0:1:1"], "found the values '0:1:1'"),
        (["csa_oneshot", "weights.beta", "0,inf"], "found the values '0,inf'"),
        (["openspiel:kuhn_poker", "weights.beta", "0,1"], "is no scenario"),
        (["csa_oneshot", "risk@malicious<=", "0,0.1", "--budget", "risk"], "risk"),
    ],
)
def test_wrong_frontiers_end_with_a_sentence(capsys, words, said):
    assert main(["frontier", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_refining_leaves_the_certificate_and_most_rows_off_the_path_are_refined(tmp_path, capsys):
    solve = ("solve", str(SCENARIO), "--set", "turns=2", "--target", "1e-3")
    plain = printed(capsys, *solve, "--out", str(tmp_path / "plain"))[1]
    code, found = printed(capsys, *solve, "--refine", "--out", str(tmp_path / "run"))
    assert code == 0
    assert math.isclose(found["nash_conv"], plain["nash_conv"], abs_tol=1e-5)
    assert found["refinement"]["epsilon"] == 0.01
    trust = []
    for run in ("plain", "run"):
        rows = tmp_path / f"{run}.csv"
        main(["export", str(tmp_path / run), str(rows), "--to", "csv"])
        trust.append([line.split(",")[1] for line in rows.read_text().splitlines()])
    assert "refined" not in trust[0]
    assert trust[0].count("noise") > 4 * trust[1].count("noise") > 0
    assert trust[1].count("refined") > 3 * trust[1].count("noise")


def test_policies_that_promise_more_are_not_refined(tmp_path, capsys):
    words = ["solve", str(SCENARIO), "--method", "robust", "--refine", "--out", str(tmp_path / "r")]
    assert main(words) == 2
    assert "--refine: robust promises more than a gap" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
