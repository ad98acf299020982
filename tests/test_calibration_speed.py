"""The benchmark of fitting: what it draws, and that its report is of its results."""

import json

import pytest

from csa_games.calibration.log import read
from experiments import calibration_speed
from experiments.calibration_speed import COUNT, EVENTS, FOLDER, LATENT, MOST_BYTES, drawn, logs_in


def test_nobody_leaves_and_latent_intents_have_no_type():
    talks = list(drawn(0, 300))
    assert [one.id for one in talks] == [f"c{n}" for n in range(300)]
    assert {len(one.events) for one in talks} == {EVENTS}
    types = {one.type for one in talks}
    assert None in types
    assert not types & set(LATENT)
    assert all(event.strategy and event.signal for one in talks for event in one.events)


def test_logs_that_are_there_are_not_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration_speed, "PIECE", 40)
    paths = logs_in(tmp_path, 100)
    assert [len(list(read(path))) for path in paths] == [40, 40, 20]
    assert len({one.id for path in paths for one in read(path)}) == 100
    kept = paths[1].read_bytes()
    paths[0].write_text("")
    paths[1].unlink()
    logs_in(tmp_path, 100)
    assert (paths[0].read_text(), paths[1].read_bytes()) == ("", kept)


def test_the_farthest_estimate_is_the_one_that_is_told():
    estimates = {
        f"intents.{intent.name}.kernel.after.{response}": {
            ask: {"value": p} for ask, p in row.items()
        }
        for intent in calibration_speed.truth().intents
        if intent.kernel is not None
        for response, row in intent.kernel.after.items()
    }
    assert calibration_speed.farthest(estimates) == 0
    estimates["intents.benign.kernel.after.refuse"]["plain"]["value"] += 0.25
    assert calibration_speed.farthest(estimates) == pytest.approx(0.25)


def test_the_report_is_of_the_results_and_of_a_million_conversations():
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    report = (FOLDER / "report.md").read_text(encoding="utf-8")
    assert report == calibration_speed.markdown(results)
    for part in calibration_speed.PARTS:
        assert results[part]["conversations"] == COUNT
        assert results[part]["events"] == COUNT * EVENTS
    assert results["command"]["found"]["peak"] < MOST_BYTES
    assert results["command"]["found"]["farthest"] < 0.01
