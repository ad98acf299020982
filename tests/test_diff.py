"""What differs between two bundles, against decisions asked one by one and against the solvers."""

import csv
import json
from functools import cache

import numpy as np
import pytest
from bundles import builtin, certified, files_of, near, solved, table
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario

import solvers
from csa_games.cli import main
from csa_games.dialogue import dialogue_game
from csa_games.diff import (
    Change,
    changes,
    compared,
    difference,
    measured,
    open_side,
    too_large,
    write_rows,
)
from csa_games.errors import InputError
from csa_games.evaluate import response_use
from csa_games.game import ASSISTANT
from csa_games.guard.keys import turns_of
from csa_games.outcomes import harmed, refused
from csa_games.override import override
from csa_games.scenario import scenario_from
from csa_games.table import tabulate


@cache
def milder():
    """Return crisis_guidance of two turns with risks weighed less, and any policy of it."""
    game = dialogue_game(override(builtin("crisis_guidance", 2), {"weights.beta": 1.6}))
    return game, certified(game, random_policy(game, 3))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("bundles")
    table("crisis_guidance").save(place / "a")
    tabulate(*milder()).save(place / "b", sequence=2, not_after="2027-03-31")
    return place / "a", place / "b"


@pytest.fixture(scope="module")
def sides(folders):
    return tuple(map(open_side, folders))


def served(side, game):
    """Return what the guard says at every infoset of `game`, asked one by one [I, A]."""
    names = [response.name for response in game.scenario.responses]
    rows = [
        side.guard.decide(turns_of(key), "c").probabilities
        for key in game.names.infosets[ASSISTANT]
    ]
    return np.array([[row[name] for name in names] for row in rows])


def test_every_state_is_what_the_guards_say(sides):
    a, b = sides
    states = {state.key: state for state in compared(a, b)}
    assert list(states) == sorted(states)
    rows = table("crisis_guidance").exact
    assert set(states) == set(rows.keys)
    for key, state in states.items():
        p, q = (side.guard.decide(turns_of(key), "c").probabilities for side in sides)
        assert (list(p.values()), list(q.values())) == (list(state.a), list(state.b))
        assert list(p) == list(q)
        assert state.moved == pytest.approx(
            max(sum(q[r] - p[r] for r in p if q[r] > p[r]), 0), abs=1e-12
        )
        assert state.reach[0] == rows.reach[rows.keys.index(key)]
    # Noise is served by coarser rows: else the table would not be what counts.
    noise = [state for state in states.values() if state.trust[0] == "noise"]
    assert any(state.a != tuple(rows.probabilities[rows.keys.index(state.key)]) for state in noise)


def test_shares_and_the_states_on_top(sides):
    found = difference(*sides, top=5)
    states = list(compared(*sides))
    for k in (0, 1):
        weights = [state.reach[k] for state in states]
        assert found.share[k] == pytest.approx(
            np.average([state.moved for state in states], weights=weights)
        )
    mean = [state.moved * sum(state.reach) / 2 for state in states]
    order = sorted(range(len(states)), key=lambda n: (-mean[n], states[n].key))
    assert [state.key for state in found.top] == [states[n].key for n in order[:5]]
    assert found.rows == {
        "both": 414,
        "moved": sum(state.moved > 1e-12 for state in states),
        "only_a": 0,
        "only_b": 0,
    }
    assert not found.identical


def test_responses_by_intent_are_those_of_the_games(sides):
    found = difference(*sides)
    games = (solved("crisis_guidance"), milder())
    for k, (side, (game, solution)) in enumerate(zip(sides, games, strict=True)):
        use = response_use(game, (solution.policy[0], served(side, game)))
        for intent, row in use.items():
            for response, often in row.items():
                # Reach is that of the stored rows: noise is some 1e-6 of it.
                assert found.responses[intent][response][k] == pytest.approx(often, abs=1e-5)


def test_outcomes_and_values_are_those_of_the_solvers(sides):
    found = measured(*sides)
    games = (solved("crisis_guidance"), milder())
    for k, (side, (game, solution)) in enumerate(zip(sides, games, strict=True)):
        policy = (solution.policy[0], served(side, game))
        for measure in (refused, harmed):
            for intent, number in measure(game, policy).items():
                both = found.outcomes[measure.__name__][intent]
                assert both[k] == pytest.approx(number, abs=1e-12)
    for worth in found.worth:
        game, solution = games["ab".index(worth.scenario)]
        policy = (solution.policy[0], served(sides["ab".index(worth.policy)], game))
        assert near(worth.value, solvers.value(game, policy)[1])
        assert near(worth.gain, solvers.gap(game, policy)[0])
        assert worth.guaranteed == worth.value - worth.gain
    assert [(worth.scenario, worth.policy) for worth in found.worth] == [
        *(("a", "a"), ("a", "b"), ("b", "a"), ("b", "b"))
    ]


def test_changed_numbers_are_named_as_override_names_them(sides):
    found = difference(*sides)
    assert [change.path for change in found.scenario] == [
        *("weights.beta.source", "weights.beta.value")
    ]
    changed = {change.path: (change.a, change.b) for change in found.manifest}
    assert changed["sequence"] == (1, 2)
    assert changed["not_after"] == (None, "2027-03-31")
    assert "files.scenario.json.sha256" in changed


def test_changes_by_name_and_by_position():
    a = {"asks": [{"name": "x", "n": 1}, {"name": "y", "n": 2}], "cells": [{"v": 1}], "k": [1, 2]}
    b = {"asks": [{"name": "y", "n": 2}, {"name": "x", "n": 3}], "cells": [{"v": 2}], "k": [1]}
    assert list(changes(a, b)) == [
        Change("asks.x.n", 1, 3),
        Change("cells.0.v", 1, 2),
        Change("k", (1, 2), (1,)),
    ]
    assert list(changes({"n": 1}, {"n": True})) == [Change("n", 1, True)]
    assert list(changes({}, {"n": {"m": 1}})) == [Change("n", None, {"m": 1})]
    assert list(changes(a, a)) == []


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_names_may_stand_in_another_order(tmp_path_factory, seed):
    # The same game and policy, responses the other way round: nothing moves.
    game = dialogue_game(random_scenario(seed))
    policy = random_policy(game, seed)
    place = tmp_path_factory.mktemp("b")
    tabulate(game, certified(game, policy)).save(place / "a")
    content = game.scenario.model_dump(mode="json", exclude_none=True)
    content["responses"].reverse()
    turned = dialogue_game(scenario_from(content, "turned"))
    infosets = [game.names.infosets[player] for player in (0, 1)]
    mirrored = []
    for player in (0, 1):
        where = {key: i for i, key in enumerate(infosets[player])}
        rows = np.asarray(policy[player])[[where[key] for key in turned.names.infosets[player]]]
        mirrored.append(rows if player == 0 else rows[:, ::-1])
    tabulate(turned, certified(turned, tuple(mirrored))).save(place / "b")
    a, b = open_side(place / "a"), open_side(place / "b")
    found = difference(a, b)
    assert found.rows["moved"] == found.rows["only_a"] == found.rows["only_b"] == 0
    for row in found.responses.values():
        for one, other in row.values():
            assert near(one, other) or (np.isnan(one) and np.isnan(other))
    worth = measured(a, b).worth
    assert near([part.value for part in worth], worth[0].value)


def test_states_that_only_one_of_them_has_are_served_by_the_ladder_of_the_other(tmp_path):
    short = dialogue_game(override(solved("crisis_guidance")[0].scenario, {"turns": 1}))
    tabulate(short, certified(short, random_policy(short, 1))).save(tmp_path / "short")
    table("crisis_guidance").save(tmp_path / "long")
    a, b = open_side(tmp_path / "long"), open_side(tmp_path / "short")
    found = difference(a, b)
    here, there = (len(list(side.guard.store.assistant())) for side in (a, b))
    assert found.rows["only_b"] == 0
    assert found.rows["both"] + found.rows["only_a"] == 414
    assert here > there
    (state, *_) = [state for state in compared(a, b) if "/" in state.key]
    assert (state.trust[1], state.reach[1]) == (None, 0.0)
    assert list(state.b) == list(b.guard.decide(turns_of(state.key), "c").probabilities.values())
    back = difference(b, a)
    assert (back.rows["only_b"], back.share) == (found.rows["only_a"], found.share[::-1])


def test_rows_are_written_as_csv(sides, tmp_path):
    write_rows(*sides, tmp_path / "moved.csv")
    with (tmp_path / "moved.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    states = [state for state in compared(*sides) if state.moved > 1e-12]
    assert [row["key"] for row in rows] == [state.key for state in states]
    for row, state in zip(rows, states, strict=True):
        assert float(row["moved"]) == state.moved
        assert float(row["reach_b"]) == state.reach[1]
        assert float(row["probability_guide_b"]) == state.b[3]


def test_games_too_large_are_left_out(sides, monkeypatch):
    assert too_large(*sides) == ""
    monkeypatch.setattr("csa_games.diff.MOST_INFOSETS", 400)
    assert "information sets, more than 400: outcomes and values are left out" in too_large(*sides)


def run(capsys, *words):
    code = main(list(map(str, words)))
    found = capsys.readouterr()
    return code, found.out + found.err


def test_people_are_shown_what_differs(folders, tmp_path, capsys):
    code, text = run(capsys, "diff", *folders, "--top", 2, "-o", tmp_path / "moved.csv")
    assert code == 0
    for part in (
        *("not_after", "2027-03-31", "weights.beta.value", "served.value"),
        *("414 states have a row in both, 0 only in A", "what moves most, weighted by reach"),
        *("answers per conversation", "outcomes, each in its own scenario"),
        *("B in the scenario of A", "moved.csv"),
    ):
        assert part in text
    assert text.count(" → ") >= 2
    assert (tmp_path / "moved.csv").stat().st_size > 1000


def test_programs_get_all_of_it(folders, capsys):
    code, text = run(capsys, "diff", *folders, "--json", "--top", 3)
    found = json.loads(text)
    assert code == 0
    assert (found["identical"], found["same_rows"], len(found["top"])) == (False, False, 3)
    assert found["a"]["revision"] != found["b"]["revision"]
    assert sum(found["top"][0]["probabilities"]["b"].values()) == pytest.approx(1)
    assert len(found["worth"]) == 4


def test_identical_ones_say_so(folders, capsys):
    code, text = run(capsys, "diff", folders[0], folders[0])
    assert code == 0
    assert "The two are identical: the same revision." in text
    found = json.loads(run(capsys, "diff", folders[0], folders[0], "--json")[1])
    assert (found["identical"], found["rows"]["moved"], found["scenario"]) == (True, 0, [])


def test_the_same_rows_under_another_sequence(folders, tmp_path, capsys):
    table("crisis_guidance").save(tmp_path / "again", sequence=9)
    code, text = run(capsys, "diff", folders[0], tmp_path / "again")
    assert code == 0
    assert "identical" not in text
    assert "The rows are the same, bit for bit." in text
    assert "The scenario is the same." in text
    assert "moves in 0: 0.00%" in " ".join(text.split())


def test_what_cannot_be_compared(folders, tmp_path, capsys):
    table("csa_oneshot").save(tmp_path / "other")
    code, text = run(capsys, "diff", folders[0], tmp_path / "other")
    assert code == 2
    assert "cannot be compared: signals found only in the first: unsure; only in the second" in text
    with pytest.raises(InputError, match="cannot be compared: asks"):
        measured(open_side(folders[0]), open_side(tmp_path / "other"))
    code, text = run(capsys, "diff", folders[0], tmp_path / "nowhere")
    assert (code, "found no folder there" in text) == (2, True)
    assert run(capsys, "diff", *folders, "--top", -1)[0] == 2
    damaged = files_of(tmp_path / "other")
    (tmp_path / "other" / "CARD.md").write_bytes(damaged["CARD.md"][:-1])
    assert run(capsys, "diff", folders[0], tmp_path / "other")[0] == 3
