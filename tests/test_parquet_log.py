"""Logs in Parquet: read as their JSON lines are; what is said of other and of damaged files."""

import gzip
import json
import random
import sys

import numpy as np
import pytest
from random_scenarios import random_scenario

from csa_games.calibration import parquet
from csa_games.calibration.log import Conversation, Event, lines, read, write_jsonl
from csa_games.calibration.parquet import write_parquet
from csa_games.calibration.simulate import conversations, simulate
from csa_games.cli import main
from csa_games.errors import InputError

arrow = pytest.importorskip("pyarrow")
files = pytest.importorskip("pyarrow.parquet")

MAP = 'format = 1\nname = "a_log"\ncite = "A log."\ndesign = "designed"\n'


def drawn(seed, count=200):
    scenario = random_scenario(seed)
    codes = simulate(scenario, count, np.random.default_rng(seed))
    return list(conversations(codes, scenario))


def log_of(tmp_path, **columns):
    path = tmp_path / "log"
    files.write_table(arrow.table(columns), path)
    return path


@pytest.mark.parametrize("seed", range(5))
def test_a_log_is_read_back(tmp_path, seed, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS", 7)  # batches, row groups and pieces begin elsewhere
    talks = drawn(seed)
    write_parquet(tmp_path / "log", talks)
    assert list(lines(tmp_path / "log")) == list(enumerate(talks, 1))


def test_the_command_fits_the_same_to_both_formats(tmp_path, monkeypatch, capsys):
    from csa_games.scenario import builtin_scenarios, read_scenario

    monkeypatch.chdir(tmp_path)
    (tmp_path / "map.toml").write_text(MAP)
    crisis = read_scenario(builtin_scenarios()["crisis_guidance"])
    talks = list(conversations(simulate(crisis, 500, np.random.default_rng(3)), crisis))
    write_jsonl("log.jsonl", talks)
    write_parquet("log.parquet", talks)
    for name in ("jsonl", "parquet"):
        words = ["--map", "map.toml", "--base", "crisis_guidance", "-o", f"{name}.toml"]
        assert main(["fit", f"log.{name}", *words]) == 0
    capsys.readouterr()
    assert (tmp_path / "jsonl.toml").read_bytes() == (tmp_path / "parquet.toml").read_bytes()


def test_what_pyarrow_makes_of_json_is_a_log(tmp_path):
    # Written by nobody's schema: fields in another order, dictionaries, large strings, more fields.
    events = [[{"text": "a secret", "reaction": "x", "ask": "y", "fine": 2.5}], []]
    large = arrow.array(["g", None], arrow.large_string())
    kind = arrow.array(["one", "two"]).dictionary_encode()
    path = log_of(tmp_path, prompt=["p", "q"], events=events, type=kind, group=large, id=["a", "b"])
    assert list(read(path)) == [
        Conversation(
            id="a", group="g", type="one", events=(Event(ask="y", reaction="x", fine=2.5),)
        ),
        Conversation(id="b", type="two", events=()),
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": [1]}, "found the columns a, expected id and events"),
        ({"id": ["a"]}, "found the columns id, expected id and events"),
        ({"id": ["a"], "events": [[{"text": "y"}]]}, "events: found none of the fields t, ask"),
        ({"id": ["a"], "events": [3]}, "row 1: events: found 3, expected a list"),
        ({"id": [1], "events": [[{"ask": "x"}]]}, "row 1: id: found 1, expected text"),
        ({"id": ["a"], "events": [["x"]]}, "row 1: events[0]: found 'x', expected a table"),
        ({"id": ["a"], "events": [[{"ask": 3}]]}, "events[0].ask: found 3, expected a label"),
        (
            {"id": ["a", "b"], "events": [[{"ask": "x"}], None]},
            "row 2: events: found None, expected a list",
        ),
        (
            {"id": ["a", "b"], "events": [[{"ask": "x"}], [None]]},
            "row 2: events[0]: found None, expected a table",
        ),
        ({"id": ["a"], "events": [[{"t": -1}]]}, "row 1: events[0].t: found -1, expected"),
        ({"id": ["a"], "events": [[{"ask": "x" * 201}]]}, "logs hold no text"),
    ],
)
def test_other_columns_are_named(tmp_path, columns, said):
    path = log_of(tmp_path, **columns)
    with pytest.raises(InputError) as error:
        list(read(path))
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_a_text_that_is_not_utf8_is_named_by_its_row(tmp_path):
    latin = arrow.array([b"a", b"\xe9t\xe9", b"c"]).view(arrow.string())
    path = log_of(tmp_path, id=latin, events=[[{"ask": "x"}]] * 3)
    found = dict(lines(path))
    assert found[2].endswith("row 2: found byte 0 of a text that is not UTF-8")
    assert [found[row].id for row in (1, 3)] == ["a", "c"]


def test_no_damage_is_a_traceback(tmp_path, capsys):
    path, draw = tmp_path / "log", random.Random(0)
    write_parquet(path, drawn(1))
    whole = path.read_bytes()
    told = 0
    for _ in range(150):
        data = bytearray(whole[: draw.choice([len(whole), draw.randrange(5, len(whole))])])
        for _ in range(draw.randrange(4)):
            data[draw.randrange(4, len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            list(read(path))
        except InputError:
            told += 1
    assert told > 50


def test_what_else_begins_so_is_named(tmp_path):
    (tmp_path / "short").write_bytes(b"PAR1....")
    write_parquet(tmp_path / "log", drawn(1))
    (tmp_path / "packed").write_bytes(gzip.compress((tmp_path / "log").read_bytes()))
    for name, said in {"short": "damaged after row 0", "packed": "within gzip"}.items():
        with pytest.raises(InputError, match=said):
            list(read(tmp_path / name))


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    write_parquet(tmp_path / "log", drawn(1))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'csa-games\[parquet\]'"):
        list(read(tmp_path / "log"))
    with pytest.raises(InputError, match=r"pip install 'csa-games\[parquet\]'"):
        write_parquet(tmp_path / "other", [])
    assert not (tmp_path / "other").exists()


def test_rows_are_not_all_in_memory(tmp_path):
    events = arrow.array([[{"ask": "x"}]] * 1000)
    schema = arrow.schema(
        [("id", arrow.string()), ("events", events.type), ("text", arrow.string())]
    )
    with files.ParquetWriter(tmp_path / "log", schema, compression="none") as writer:
        for k in range(40):  # 40 row groups of 1.6 MB, most of it text
            ids = arrow.array([f"{k} {n}".ljust(150, "-") for n in range(1000)])
            text = arrow.array([f"{k} {n}".ljust(1500, ".") for n in range(1000)])
            writer.write_table(arrow.table([ids, events, text], schema))
    assert (tmp_path / "log").stat().st_size > 40_000_000
    before, most = arrow.total_allocated_bytes(), 0
    for _ in lines(tmp_path / "log"):
        most = max(most, arrow.total_allocated_bytes() - before)
    assert 0 < most < 5_000_000


def test_progress_is_told_in_bytes(tmp_path):
    write_parquet(tmp_path / "log", drawn(2, 2500))
    told = []
    assert sum(1 for _ in lines(tmp_path / "log", lambda *seen: told.append(seen))) == 2500
    size = (tmp_path / "log").stat().st_size
    assert [done for done, _ in told] == [size * 1000 // 2500, size * 2000 // 2500, size]
    assert {whole for _, whole in told} == {size}


def test_the_same_log_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_parquet(tmp_path / name, drawn(4))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads(next(read(tmp_path / "a")).model_dump_json())["id"] == "c0"
