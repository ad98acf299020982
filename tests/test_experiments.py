"""Experiments answer their question from their rows, and some answers are known."""

import csv
import json
import re

import numpy as np
import pytest

from csa_games.cli import main
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario
from experiments import atlas, horizon
from experiments.__main__ import FOLDER, INDEX, index
from experiments.experiment import read_rows
from experiments.logs import source
from experiments.questions import CASE_STUDIES, EXPERIMENTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a quick run of an experiment, made once."""
    made = {}

    def of(name):
        if name in CASE_STUDIES and not source.folder().is_dir():
            pytest.skip("the published logs are not beside this checkout")
        if name not in made:
            made[name] = tmp_path_factory.mktemp("experiments") / name
            assert main(["experiment", name, "--quick", "--out", str(made[name])]) == 0
        return made[name]

    return of


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_quick_run_leaves_rows_pictures_their_numbers_and_an_answer(name, folder):
    run = folder(name)
    assert len(table(run / "results.csv")) >= 2
    report = (run / "report.md").read_text(encoding="utf-8")
    assert EXPERIMENTS[name].question in report
    pictures = sorted(path.stem for path in (run / "figures").glob("*.svg"))
    assert pictures == sorted(re.findall(r"\(figures/(.+)\.svg\)", report)) != []
    for picture in pictures:
        assert (run / "figures" / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
        assert len(table(run / "figures" / f"{picture}.csv")) >= 2
    told = json.loads((run / "provenance.json").read_text())
    assert told["quick"] is True
    assert told["seed"] == 0
    assert told["made on"][0]["packages"]["jax"]
    assert len(told["seconds of each cell"]) == len(list((run / "cells").iterdir()))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_going_on_with_a_finished_experiment_changes_nothing(name, folder):
    run = folder(name)
    before = {
        path: path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name != "provenance.json"
    }
    assert main(["experiment", name, "--quick", "--out", str(run)]) == 0
    assert {path: path.read_bytes() for path in before} == before


def test_the_list_has_every_question(capsys):
    assert main(["experiment", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {name: one.question for name, one in EXPERIMENTS.items()}


def test_an_unknown_experiment_is_refused(capsys):
    assert main(["experiment", "alchemy"]) == 2
    assert "there is no experiment 'alchemy'; the experiments are atlas" in capsys.readouterr().err


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_report_in_the_tree_is_what_its_rows_say(name):
    kept = FOLDER / name
    experiment = EXPERIMENTS[name]
    assert json.loads((kept / "provenance.json").read_text())["quick"] is False
    sweep = json.loads((kept / "sweep.json").read_text())
    assert sweep["cells"] == json.loads(json.dumps(experiment.cells(False)))
    rows = read_rows(kept)
    report = (kept / "report.md").read_text(encoding="utf-8")
    for paragraph in experiment.answer(rows):
        assert paragraph in report


def test_the_index_lists_every_experiment():
    assert INDEX.read_text(encoding="utf-8") == index()
    assert all(f"({name}/report.md)" in index() for name in EXPERIMENTS)


# What is known of the answers.


def test_in_one_shot_moderation_the_regimes_are_those_of_bayes(folder):
    # One ask and no reaction: the best response to a signal is the one with the best posterior
    # mean, which needs no game. Ties aside, the map has to be that everywhere.
    scenario = read_scenario(builtin_scenarios()["csa_oneshot"])
    content = json.loads(scenario.model_dump_json())
    responses = [part["name"] for part in content["responses"]]
    severity = {part["name"]: part["severity"]["value"] for part in content["categories"]}
    intents = [part["name"] for part in content["intents"]]
    satisfaction, risk = np.zeros((3, 5)), np.zeros((3, 5))
    for field, filled in (("satisfaction", satisfaction), ("risk", risk)):
        for part in content["payoff"][field]:
            for who in part["intents"] or intents:
                for response, value in part["values"].items():
                    weight = severity[part["category"]] if field == "risk" else 1.0
                    filled[intents.index(who), responses.index(response)] = weight * value
    likely = {}
    for part in content["channel"]:
        for who in part["intents"]:
            likely[who] = part["probabilities"]
    others = {part["name"]: part["prior"]["value"] for part in content["intents"]}
    rows = table(folder("atlas") / "results.csv")
    assert len({row["regime"] for row in rows}) > 2
    for row in rows:
        beta, prior = float(row["beta"]), float(row["prior"])
        rest = (1 - prior) / (1 - others["malicious"])
        p = np.array([prior if who == "malicious" else others[who] * rest for who in intents])
        expected = []
        for signal in ("clear", "flag"):
            weight = p * [likely[who][signal] for who in intents]
            best = responses[int((weight @ (satisfaction - beta * risk)).argmax())]
            expected.append(f"{signal} {best}")
        assert row["regime"] == ", ".join(expected)


def test_a_flip_is_told_between_the_places_where_it_is():
    rows = [{"beta": 1.0, "prior": p, "regime": r} for p, r in ((0.4, "b"), (0.1, "a"), (0.2, "a"))]
    ((beta, prior, below, above),) = atlas.flips(rows)
    assert (beta, below, above) == (1.0, "a", "b")
    assert 0.2 < prior < 0.4


def test_memory_is_never_harmful_and_one_turn_needs_none(folder):
    rows = table(folder("horizon") / "results.csv")
    secured = {(int(row["turns"]), int(row["memory"])): float(row["secured"]) for row in rows}
    gap = {int(row["turns"]): float(row["gap"]) for row in rows if row["gap"]}
    assert secured.keys() == {(1, 1), (2, 1), (2, 2)}
    assert gap.keys() == {1, 2}
    assert secured[2, 2] - secured[2, 1] > 0.05


def test_a_policy_of_less_memory_does_what_the_shorter_one_does_on_its_last_turns():
    scenario = read_scenario(builtin_scenarios()["crisis_guidance"])
    game, shorter = (factored_game(override(scenario, {"turns": h})) for h in (2, 1))
    rows = np.random.default_rng(0).dirichlet(np.ones(6), len(shorter.names.infosets[ASSISTANT]))
    policy = horizon.remembering(game, shorter, rows)
    known = dict(zip(shorter.names.infosets[ASSISTANT], rows, strict=True))
    for key, row in zip(game.names.infosets[ASSISTANT], policy, strict=True):
        # "plain:clear:guide/disguised:flag": the last turn is what stands behind the slash.
        assert np.array_equal(row, known[key.rpartition("/")[2]])


def test_more_responses_never_secure_less(folder):
    rows = table(folder("refusal-first") / "results.csv")
    for psi in {row["psi"] for row in rows}:
        here = {row["policy"]: float(row["secured"]) for row in rows if row["psi"] == psi}
        room = float(rows[0]["target"])
        assert here["constructive"] >= max(here.values()) - room
        assert here["comply or refuse"] >= here["always refuse"] - room
        assert here["comply or refuse"] >= here["always comply"] - room
        # Without the only response that is not one of the two, nothing but the two is left.
        assert min(here[f"without {gone}"] for gone in ("guide", "partial", "clarify")) > (
            here["comply or refuse"] - room
        )


def test_a_policy_is_best_against_the_users_it_was_made_for(folder):
    rows = table(folder("rationality") / "results.csv")
    value = {(row["made for"], row["meets"]): float(row["value"]) for row in rows}
    room = {row["made for"]: float(row["room"]) for row in rows}
    kinds = {meets for _, meets in value}
    assert len(kinds) == 4
    for made in kinds:
        # An upper bound on the value of any policy: the room above the policy that was found, and
        # what the nudge away from ties costs it.
        best = value[made, made] + room[made] + 0.01
        assert all(value[other, made] <= best for other in kinds)
        # Nothing is worse for the assistant than a user who wants just that.
        assert all(value[made, "adversarial"] <= value[made, other] + 1e-9 for other in kinds)


def test_a_guard_is_worth_what_it_changes(folder):
    # One ask, no reaction: sum over verdicts of the best mean, less the best without a verdict.
    # Responses by (benign, sensitive, malicious): satisfaction less twice the risk, csa_oneshot.
    worth = np.array(
        [
            [1.0, 0.594, 0.265, 0.245, 0.0],
            [0.245, 0.245, 0.245, 0.245, 0.0],
            [1.0 - 2.0, 0.594 - 2 * 0.35, 0.265, 0.245, 0.0],
        ]
    )
    prior = np.array([0.90, 0.06, 0.04])
    rows = [row for row in table(folder("guard-economics") / "results.csv") if row["recall"]]
    assert len(rows) == 5
    for row in rows:
        recall = float(row["recall"])
        flagged = prior * [0.057, 0.057, recall]
        expected = (flagged @ worth).max() + ((prior - flagged) @ worth).max()
        assert float(row["value"]) == pytest.approx(expected, abs=2e-6)


def test_a_second_look_pays_up_to_what_it_brings(folder):
    # Llama-Guard2 then WildGuard, prior .1: only what the first one calls clear is worth a look.
    # It catches .970 of what is left, .1 * .665, and takes .004 of the benign; who is flagged is
    # refused. Complying with a benign ask is worth 1 and with a malicious one 1 - 2.
    rows = [row for row in table(folder("guard-economics") / "results.csv") if row["cost"]]
    benign, malicious = 0.9 * 0.992, 0.1 * 0.665
    flagged = 0.9 * 0.008, 0.1 * 0.335
    for row in rows:
        cost = float(row["cost"])
        plain = max(0.0, benign - malicious), max(0.0, flagged[0] - flagged[1])
        looked = [
            max(0.0, b * 0.996 - m * 0.030) + max(0.0, b * 0.004 - m * 0.970) - cost * (b + m)
            for b, m in ((benign, malicious), flagged)
        ]
        expected = sum(max(pair) for pair in zip(plain, looked, strict=True))
        assert float(row["value"]) == pytest.approx(expected, abs=1e-7)
        assert float(row["alone"]) == pytest.approx(sum(plain), abs=1e-7)


def test_where_everything_is_answered_attacks_stop_at_their_rate_of_success(folder):
    # Strata-Sword, arXiv 2509.01444, table 2: .0020, .0580, .3024 in the mean of five models.
    rate = {"basic": 0.0020, "reworded": 0.0580, "hidden": 0.3024, "abstain": 0.0}
    rows = table(folder("disguise") / "results.csv")
    for row in rows:
        cost = float(row["cost"])
        effort = {"basic": 0.0, "reworded": 0.2 * cost, "hidden": cost, "abstain": 0.0}
        if row["policy"] == "answers everything":
            best = max(rate, key=lambda ask: rate[ask] - effort[ask])
            assert float(row[f"asks {best}"]) == pytest.approx(1)
            assert float(row["harm"]) == pytest.approx(rate[best])
    by = {(row["policy"], row["cost"]): float(row["value"]) for row in rows}
    for (policy, cost), found in by.items():
        if policy == "answers everything":
            assert by["best commitment", cost] >= found - 1e-9


def test_no_table_beats_the_one_made_for_the_drift_at_hand(folder):
    rows = table(folder("drift") / "results.csv")
    value = {
        (row["scenario"], float(row["survive"]), row["table"]): float(row["secured"])
        for row in rows
    }
    for (name, share, made), secured in value.items():
        assert secured <= value[name, share, "made for this one"] + 1e-4
        same = {"made for no drift": 1.0, "made for the most": min(s for _, s, _ in value)}
        if same.get(made) == share:
            assert secured == pytest.approx(value[name, share, "made for this one"], abs=1e-9)
    # Who is flagged in place of cleared can only help: what is secured rises with what survives.
    for name in ("csa_oneshot", "crisis_guidance"):
        best = sorted(
            (s, v) for (n, s, m), v in value.items() if (n, m) == (name, "made for this one")
        )
        assert [v for _, v in best] == sorted(v for _, v in best)
