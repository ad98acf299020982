"""`csa doubt` against Bayes, the intervals of fitted files, and what it says of wrong input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from csa_games.calibration.log import write_jsonl
from csa_games.calibration.simulate import conversations, simulate
from csa_games.cli import main
from csa_games.scenario import builtin_scenarios, read_scenario

MAP = """
format = 1
name = "simulated"
cite = "Conversations drawn from crisis_guidance."
design = "designed"
"""


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")


def doubt(capsys, *words):
    code = main(["doubt", *words, "--json"])
    told = capsys.readouterr()
    assert code == 0, told.err
    return json.loads(told.out)


def test_flips_of_one_shot_are_where_bayes_puts_them(capsys):
    # csa_oneshot after a flag: benign .9 · .057 and malicious .04 · .943. Helping in part is worth
    # s (b + m) − 2 · .35 m to both, an explanation .265 (b + m), to the sensitive both the same.
    told = doubt(capsys, "csa_oneshot", "--target", "1e-6", "--plot", "pictures/tornado")
    b, m = 0.9 * 0.057, 0.04 * 0.943
    tie = 0.265 + 2 * 0.35 * m / (b + m)
    (end,) = (
        row
        for row in told["ends"]
        if row["number"] == "payoff.satisfaction.0.values.partial" and row["side"] == "low"
    )
    assert end["end"] == 0.524
    assert end["flips_at"] == pytest.approx(tie, abs=3e-5)
    assert end["lost"] == pytest.approx([(tie - 0.524) * (b + m)] * 2, abs=2e-6)
    assert end["lost"][0] <= end["lost"][1] <= end["lost"][0] + 1e-6
    (flip,) = end["responses"]
    assert (flip["state"], flip["before"], flip["after"]) == ("plain:flag", "partial", "explain")
    assert end["overtaken_by"] == ["threshold"]  # which explains
    (other,) = (
        row
        for row in told["ends"]
        if row["number"] == "payoff.satisfaction.0.values.partial" and row["side"] == "high"
    )
    assert (other["flips_at"], other["responses"]) == (None, [])
    lost = [row["lost"][0] for row in told["ends"]]
    assert lost == sorted(lost, reverse=True)
    assert [row["state"] for row in told["states"]] == ["plain:clear", "plain:flag"]
    # The picture has its numbers beside it.
    assert sorted(path.name for path in Path("pictures").iterdir()) == [
        "tornado.csv",
        "tornado.png",
        "tornado.svg",
    ]
    with open("pictures/tornado.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0]["number"] == told["ends"][0]["label"]
    assert max(float(rows[0][side]) for side in ("low end", "high end")) == pytest.approx(lost[0])


def test_what_flips_is_shown(capsys):
    assert main(["doubt", "csa_oneshot", "--rows", "2"]) == 0
    said = capsys.readouterr().out
    assert (
        "csa_oneshot: 12 ends of intervals tried one at a time, and conclusions flip at 9" in said
    )
    assert "prior of malicious" in said
    assert "and 7 more" in said
    assert "always comply" in said


def test_nothing_flips_where_little_counts(capsys):
    assert main(["doubt", "csa_oneshot", "--least", "1", "--plot", "empty"]) == 0
    said = capsys.readouterr().out
    assert "conclusions flip at 0" in said
    assert "Responses that flip" not in said
    assert Path("empty.svg").is_file()


def test_intervals_of_a_fitted_file_are_tried(capsys):
    crisis = read_scenario(builtin_scenarios()["crisis_guidance"])
    write_jsonl("log.jsonl", conversations(simulate(crisis, 500, np.random.default_rng(0)), crisis))
    Path("map.toml").write_text(MAP)
    fit = ["fit", "log.jsonl", "--map", "map.toml", "--base", "crisis_guidance", "-o", "f.toml"]
    assert main(fit) == 0
    said = capsys.readouterr().out
    assert "What the log does not tell" in said
    assert "Withheld: priors, for the log is designed" in said
    assert "csa doubt f.toml" in said
    coarse = ("--target", "1e-2", "--least", "1e-2")
    told = doubt(capsys, "f.toml", "--set", "turns=1", *coarse)
    labels = {row["label"] for row in told["ends"]}
    assert {"benign opens: plain", "prior of malicious"} <= labels
    fitted = read_scenario("f.toml")
    ends = {
        row["side"]: row["end"] for row in told["ends"] if row["label"] == "benign opens: plain"
    }
    kernel = fitted.intents[0].kernel
    assert ends["low"] == pytest.approx(kernel.low.opening["plain"], abs=1e-9)
    assert ends["high"] == pytest.approx(kernel.high.opening["plain"], abs=1e-9)


KNOWN = [
    *(f"intents.{name}.prior={p}" for name, p in (("benign", 0.9), ("sensitive", 0.06))),
    "intents.malicious.prior=0.04",
    *(f"payoff.satisfaction.0.values.{name}=0.5" for name in ("partial", "explain", "redirect")),
]
"""All numbers of csa_oneshot that have an interval, without one."""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["openspiel:kuhn_poker"], "is no scenario, and has no numbers with intervals"),
        (["nowhere.toml"], "nowhere.toml"),
        (["csa_oneshot", "--target", "0.1"], "expected the first above 0 and no larger"),
        (["csa_oneshot", "--target", "0"], "expected the first above 0"),
        (
            ["csa_oneshot", *(word for change in KNOWN for word in ("--set", change))],
            "csa_oneshot: found no interval around any number",
        ),
    ],
)
def test_wrong_input_is_said_in_sentences(capsys, words, said):
    assert main(["doubt", *words]) == 2
    assert said in capsys.readouterr().err
