"""The papers: pages are what their results give, agreement is computed, and quick runs hold."""

import copy
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from exact import best_response_value, random_policy
from known_games import KUHN, game

from papers import battleship, curves, oyster_1, paper, published, strata_sword
from papers.__main__ import main
from papers.catalogue import INDEX, PAPERS, index
from papers.kim_sandholm_2026 import time_to
from papers.literal_cfr import averages, exploitability, unfolded
from papers.paper import Claim, MissingDataError, claims_table, faults, files, readme, run

CLAIM = Claim("the answer", "page 1", theirs=42.0, ours=42.004, tolerance=0.01)


@pytest.mark.parametrize("name", PAPERS)
def test_pages_are_what_the_results_in_the_tree_give(name):
    assert faults(PAPERS[name]) == []


def test_the_index_is_what_the_results_in_the_tree_give():
    assert INDEX.read_text(encoding="utf-8") == index()


@pytest.mark.parametrize("name", PAPERS)
def test_results_say_where_they_come_from(name):
    results = paper.read(PAPERS[name])
    assert results["command"] == f"python -m papers.{name}"
    made = results["provenance"]
    assert len(made["git"]["commit"]) == 40
    assert not made["git"]["dirty"]
    assert made["packages"]["jax"]
    assert made["git"]["commit"][:10] in readme(PAPERS[name], results)


@pytest.mark.parametrize("name", PAPERS)
def test_a_quick_run_finds_what_is_claimed(name, shared_data):
    """Everything agrees but what is known not to: the published Battleship curves."""
    one = PAPERS[name]
    results = paper.measure(one, quick=True)
    claims = one.claims(results["measured"])
    assert len(claims) >= 3
    differing = [claim.statement for claim in claims if not claim.agrees]
    if name == "battleship":
        assert [statement.partition(":")[0] for statement in differing] == ["cfr", "cfr+", "dcfr"]
    else:
        assert differing == []
    made = files(one, results)
    assert claims_table(claims).encode() in made["README.md"]
    assert {f for f in made if f.endswith(".svg")} == {
        f.replace(".csv", ".svg") for f in made if f.endswith(".csv")
    }


def test_agreement_is_computed():
    assert CLAIM.agrees
    assert not replace(CLAIM, ours=42.02).agrees
    assert not replace(CLAIM, ours=math.nan).agrees
    assert not replace(CLAIM, ours=42.02).explained
    assert replace(CLAIM, ours=42.02, reason="known").explained
    rows = claims_table([CLAIM, replace(CLAIM, ours=42.02)]).splitlines()[2:]
    assert [row.split(" | ")[-1] for row in rows] == ["yes |", "**no** |"]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Return a paper, its results, and its folder elsewhere, as in the tree."""
    one = PAPERS["oyster_1"]
    results = paper.read(one)
    monkeypatch.setattr(paper, "FOLDER", tmp_path)
    paper.write(one, results)
    assert faults(one) == []
    return one, results, tmp_path / one.name


def test_a_perturbed_number_is_found_to_disagree(copied):
    one, results, _ = copied
    changed = copy.deepcopy(results)
    changed["measured"]["crossings"][0][2] += 0.2
    paper.write(one, changed)
    (fault,) = faults(one)
    assert "beta where GPT-5 = Oyster Qwen3-14B" in fault
    assert "| **no** |" in readme(one, changed)
    assert "Not explained." in readme(one, changed)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("README.md", "is not what the results in the tree give"),
        ("frontier.csv", "is not what the results in the tree give"),
    ],
)
def test_a_typed_number_is_found(copied, name, fault):
    one, _, folder = copied
    text = (folder / name).read_text(encoding="utf-8")
    assert "0.732" in text
    (folder / name).write_text(text.replace("0.732", "0.733", 1), encoding="utf-8")
    assert faults(one) == [f"oyster_1/{name} {fault}"]


def test_what_is_missing_is_found(copied):
    one, _, folder = copied
    (folder / "frontier.svg").unlink()
    assert faults(one) == ["oyster_1/frontier.svg is missing"]
    (folder / "results.json").unlink()
    (fault,) = faults(one)
    assert fault.endswith("make it: python -m papers.oyster_1")


def test_the_command_checks_and_reports(copied, capsys):
    one, _, folder = copied
    assert run([one], ["--check"]) == 0
    (folder / "README.md").write_text("typed\n", encoding="utf-8")
    assert run([one], ["--check"]) == 1
    assert "oyster_1/README.md is not what" in capsys.readouterr().out
    assert run([one], ["--report"]) == 0
    assert run([one], ["--check"]) == 0


def test_the_command_measures_quickly_and_writes_nothing(copied, capsys):
    one, _, folder = copied
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run([one], ["--quick"]) == 0
    assert "| beta where GPT-5 = Oyster Qwen3-14B |" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_without_published_data_a_paper_is_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(published, "SHARED", tmp_path)
    with pytest.raises(MissingDataError, match="no folder ddcfr_curves in shared/data"):
        published.folder("ddcfr_curves")
    assert run([PAPERS["cfr_curves"]], ["--quick"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("cfr_curves is skipped: it compares with published data")
    assert said.out == ""


def test_all_papers_are_checked_with_their_index(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["papers", "--check"])
    assert main() == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", range(3))
def test_exact_exploitability_is_that_of_another_walk(seed):
    root = game(KUHN).root
    policy = random_policy(root, seed)
    expected = sum(best_response_value(root, player, policy) for player in (0, 1)) / 2
    assert exploitability(unfolded(root()), policy) == expected


def test_exact_runs_give_the_closed_forms_of_battleship():
    tree = unfolded(curves.game(battleship.NAME).root())
    for method, exact in battleship.CLOSED.items():
        found = exploitability(tree, averages(lambda: tree, method, 3, 1000))
        assert found.limit_denominator(10**6) == exact(3)
    assert battleship.CLOSED["cfr+"](10) == Fraction(17, 1320)


def test_crossings_are_where_the_lines_meet():
    for first, second, _, _ in oyster_1.CROSSINGS:
        (_, s, r), (_, s_other, r_other) = oyster_1.POINTS[first], oyster_1.POINTS[second]
        expected = (s - s_other) / (r - r_other)
        assert oyster_1.crossing(first, second) == pytest.approx(expected, abs=1e-7)


def test_retrying_is_the_geometric_distribution():
    for success in (0.058, 0.3024):
        for tries in (1, 7):
            expected = 1 - (1 - success) ** tries
            assert strata_sword.reached(success, tries) == pytest.approx(expected, rel=1e-12)


def test_the_time_to_a_target_is_the_last_crossing():
    points = [[1.0, 1e-1], [10.0, 1e-3], [100.0, 1e-1], [1000.0, 1e-3]]
    assert time_to(points, 1e-2) == pytest.approx(100 * np.sqrt(10))
    assert time_to(points, 1e-4) is None
    assert time_to(points, 1.0) == 1.0
