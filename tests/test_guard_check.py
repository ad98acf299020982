"""`csa guard check`: what would happen if a bundle went into service."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from bundles import files_of, solved, table, write

from csa_games.cli import main
from csa_games.evaluate import value_and_gap
from csa_games.game import ASSISTANT, USER
from csa_games.guard import Guard
from csa_games.guard.bundle import ROWS
from csa_games.guard.overview import coverage, rung_without


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    place = tmp_path_factory.mktemp("bundles") / "cascade"
    table("guard_cascade").save(place, sequence=3)
    return place


def told(capsys, *arguments: str, code: int = 0) -> dict:
    assert main(["guard", "check", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_everything_that_a_deployment_would_do(bundle, tmp_path, capsys):
    (tmp_path / "secret").write_bytes(b"a secret\n")
    found = told(capsys, str(bundle), "--secret-file", str(tmp_path / "secret"))
    exact = table("guard_cascade").exact
    assert found["revision"] == Guard.load(bundle).revision
    assert (found["name"], found["sequence"], found["not_after"]) == ("guard_cascade", 3, None)
    assert (found["expired"], found["keyed"], found["signature_checked"]) == (False, True, False)
    assert {trust: row["rows"] for trust, row in found["rows"].items()} == {
        trust: exact.trust.count(trust) for trust in ("trusted", "refined", "noise", "deviation")
    }
    noise = np.array(exact.trust) == "noise"
    share = exact.reach[noise].sum() / exact.reach.sum()
    assert found["rows"]["noise"]["decisions"] == pytest.approx(share, abs=1e-12)
    assert sum(row["decisions"] for row in found["rows"].values()) == pytest.approx(1)
    assert found["readers"]["wildguard"] == {
        "gives": "signal",
        "kind": "label",
        "reads": "no: clear, yes: flag, refusal: flag",
    }
    assert found["without_signal"] == found["without_ask"] == "the constant response refuse"
    assert list(found["modes"]) == ["off", "shadow", "enforce"]
    assert found["on_error"]["fallback"] == "the bundle's constant response, refuse"
    assert found["argmax"] is None


def test_people_are_told_the_same(bundle, capsys):
    assert main(["guard", "check", str(bundle)]) == 0
    text = capsys.readouterr().out
    for line in (
        r"sequence +3",
        r"serves until +no end",
        r"draws +predictable: no secret was given",
        r"signature +not checked: no keys were given",
        r"trusted +\d+ ",
        r"llama_guard +signal +safe: clear, unsafe: flag, refusal: flag",
        r"shadow +decisions are made, counted and logged, and everything passes",
    ):
        assert re.search(line, text), line


def test_the_certificate_of_the_likeliest_responses_is_its_own(bundle, capsys):
    found = told(capsys, str(bundle), "--argmax")["argmax"]
    game, solution = solved("guard_cascade")
    rows, guard = table("guard_cascade"), Guard.load(bundle)
    where = {key: n for n, key in enumerate(game.names.infosets[ASSISTANT])}
    policy = np.array(solution.policy[ASSISTANT])
    responses = [response.name for response in game.scenario.responses]
    for key in rows.exact.keys:
        shares = guard.decide([*map(tuple, _turns(key))], "c1").probabilities
        best = max(responses, key=lambda name, shares=shares: shares[name])
        policy[where[key]] = [float(name == best) for name in responses]
    value, gap = value_and_gap(game.form, (np.asarray(solution.policy[USER]), policy))
    assert found["value"] == pytest.approx(value.tolist(), abs=1e-9)
    assert found["gap"] == pytest.approx(gap.tolist(), abs=1e-9)
    # It is another policy, and what a user could gain against it another number.
    assert found["gap"] != pytest.approx(rows.served[1].tolist(), abs=1e-6)


def _turns(key: str) -> list[list[str]]:
    return [re.split("[:>]", turn) for turn in key.split("/")]


def test_what_would_not_activate_exits_with_3(bundle, tmp_path, capsys):
    files = files_of(bundle)
    bad = write(tmp_path / "bad", files | {ROWS: files[ROWS][:-1]})
    assert main(["guard", "check", str(bad)]) == 3
    assert "policy.sqlite: found " in capsys.readouterr().err
    assert main(["guard", "check", str(bundle), "--least-sequence", "4"]) == 3
    assert "found the sequence 3, expected 4 or more" in capsys.readouterr().err
    assert main(["guard", "check", str(tmp_path / "nowhere")]) == 2


def test_what_has_expired_fails_the_check(tmp_path, capsys):
    table("guard_cascade").save(tmp_path / "b", not_after="2020-02-29")
    assert told(capsys, str(tmp_path / "b"), code=1)["expired"] is True
    assert main(["guard", "check", str(tmp_path / "b")]) == 1
    assert "2020-02-29, which has passed: every reason is STALE" in capsys.readouterr().out


def test_rungs_without_a_feature(bundle):
    guard = Guard.load(bundle)
    assert rung_without(guard, "signal") is None
    assert sum(share.rows for share in coverage(guard).values()) == len(
        table("guard_cascade").exact.keys
    )
    rungs = (("turn", "ask", "signal"), ("turn", "ask"), ("signal",))
    other = replace(guard, terms=replace(guard.terms, rungs=rungs))
    assert rung_without(other, "signal") == ("turn", "ask")
    assert rung_without(other, "ask") == ("signal",)
