"""Logs of conversations: what is read, what is skipped, and what is said of wrong ones."""

import gzip
import json
import random
import tracemalloc

import numpy as np
import pytest
from json_schema import violations
from random_scenarios import random_scenario

from csa_games.calibration import log
from csa_games.calibration.check import check, surveyed
from csa_games.calibration.codes import Codes, coder, encode
from csa_games.calibration.fitted import fittable
from csa_games.calibration.log import Conversation, Event, read, write_jsonl
from csa_games.calibration.mapping import mapping_from, read_mapping
from csa_games.calibration.simulate import conversations, simulate
from csa_games.errors import InputError

MAPPING = {"format": 1, "name": "a_log", "cite": "A log.", "design": "designed"}
LINE = {"id": "c1", "type": "one", "events": [{"ask": "plain", "strategy": "comply"}]}


def reading(**more):
    return mapping_from(MAPPING | more, "map.toml")


def survey(path, scenario, **more):
    mapping = reading(**more)
    return surveyed([path], coder(mapping, scenario), fittable(scenario, mapping))[0]


def same(one: Codes, other: Codes) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
@pytest.mark.parametrize("seed", range(12))
def test_a_simulated_log_is_read_back(tmp_path, seed, name):
    scenario = random_scenario(seed)
    drawn = simulate(scenario, 60, np.random.default_rng(seed))
    write_jsonl(tmp_path / name, conversations(drawn, scenario))
    found, faults = encode(coder(reading(), scenario), enumerate(read(tmp_path / name), 1))
    assert not faults
    assert same(found, drawn)


def test_the_same_log_is_the_same_bytes(tmp_path):
    one = Conversation(id="a", events=(Event(ask="plain"),))
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_jsonl(tmp_path / name, [one])
    written = (tmp_path / "a.jsonl.gz").read_bytes()
    assert written == (tmp_path / "b.jsonl.gz").read_bytes()
    assert gzip.decompress(written) == b'{"id":"a","events":[{"ask":"plain"}]}\n'


def test_a_log_that_breaks_off_while_it_is_written_leaves_nothing(tmp_path):
    def breaking():
        yield Conversation(id="a", events=())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(tmp_path / "a.jsonl", breaking())
    assert not list(tmp_path.iterdir())


def test_what_a_source_keeps_besides_is_not_kept(tmp_path):
    (tmp_path / "log").write_text(
        json.dumps({**LINE, "prompt": "a secret", "events": [{"ask": "plain", "text": "another"}]})
    )
    (found,) = read(tmp_path / "log")
    assert "secret" not in repr(found)
    assert "another" not in repr(found)


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_line_ends_blank_lines_and_byte_order_marks_are_no_matter(tmp_path, ending, encoding):
    text = ending.join([json.dumps(LINE), "", json.dumps(LINE), "  "] if ending else ["", ""])
    (tmp_path / "log").write_bytes((text or json.dumps(LINE)).encode(encoding))
    assert [one.id for one in read(tmp_path / "log")] == ["c1"] * (2 if ending else 1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 2: not JSON"),
        (b"[1]", "line 2: found [1], expected a JSON object"),
        (b'"c"', "line 2: found 'c', expected a JSON object"),
        (b'{"events": []}', "line 2: id: is missing, expected: What the source calls"),
        (b'{"id": 7, "events": []}', "line 2: id: found 7, expected text"),
        (b'{"id": "a"}', "line 2: events: is missing"),
        (b'{"id": "a", "events": {}}', "line 2: events: found {}, expected"),
        (b'{"id": "a", "events": [3]}', "line 2: events[0]: found 3, expected a table"),
        (b'{"id": "a", "events": [{"t": -1}]}', "line 2: events[0].t: found -1, expected"),
        (
            b'{"id": "a", "events": [{"ask": 3}]}',
            "line 2: events[0].ask: found 3, expected a label",
        ),
        (b'{"id": "a", "events": [{"ask": ""}]}', "line 2: events[0].ask: found '', expected a"),
        (
            b'{"id": "a", "events": [{"ask": "' + b"x" * 201 + b'"}]}',
            "expected a label of 1 to 200 characters: logs hold no text",
        ),
        (b'{"id": "\xe9", "events": []}', "line 2: found byte 8 that is not UTF-8 text"),
        (b'{"id": "a", "events": [' + b"[" * 100_000, "line 2: "),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, said):
    (tmp_path / "log").write_bytes(json.dumps(LINE).encode() + b"\n" + line + b"\n")
    with pytest.raises(InputError) as error:
        list(read(tmp_path / "log"))
    assert said in str(error.value)
    assert str(tmp_path / "log") in str(error.value)


def test_wrong_files_are_named(tmp_path):
    packed = gzip.compress(b"".join(json.dumps(LINE).encode() + b"\n" for _ in range(9999)), 0)
    (tmp_path / "short.gz").write_bytes(packed[: len(packed) // 2])
    damaged = bytearray(gzip.compress(random.Random(0).randbytes(9999)))
    damaged[5000:5100] = bytes(100)
    (tmp_path / "bad.gz").write_bytes(b"\x1f\x8b" + bytes(damaged[2:]))
    (tmp_path / "utf16").write_text(json.dumps(LINE), "utf-16")
    (tmp_path / "folder").mkdir()
    for name, said in {
        "short.gz": "broken off or damaged after line",
        "bad.gz": "bad.gz",
        "utf16": "UTF-16",
        "folder": "cannot be read",
        "nowhere": "cannot be read",
        "null\0": "not the name of a file",
    }.items():
        with pytest.raises(InputError, match=said):
            list(read(f"{tmp_path}/{name}"))


def test_a_line_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "LONGEST_LINE", 1000)
    (tmp_path / "log.gz").write_bytes(gzip.compress(bytes(b"x" * 50_000_000)))
    tracemalloc.start()
    with pytest.raises(InputError, match="more than 1,000 bytes"):
        list(read(tmp_path / "log.gz"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_an_empty_log_holds_nothing(tmp_path):
    (tmp_path / "log").write_bytes(b"")
    assert list(read(tmp_path / "log")) == []


def test_lines_keep_to_the_schema():
    schema = log.json_schema()
    line = json.loads(Conversation(id="a", events=(Event(ask="plain", t=1),)).model_dump_json())
    assert not list(violations(line, schema, schema))
    assert list(violations({"id": 3, "events": []}, schema, schema))


def test_faults_of_labels_are_counted_and_named_where_they_first_are(tmp_path):
    scenario = random_scenario(3)
    ask = scenario.asks[0].name
    event = {"ask": ask, "strategy": scenario.responses[0].name}
    talks = [
        {"id": "a", "events": [event]},
        {"id": "b", "type": "who?", "events": [event, {"ask": "what?"}]},
        {"id": "b", "type": "who?", "events": []},
    ]
    (tmp_path / "log").write_text("\n".join(map(json.dumps, talks)) + "\n{\n")
    found = survey(tmp_path / "log", scenario)
    assert (found.conversations, found.events, found.repeated) == (3, 3, 1)
    assert found.unknown == {"type": {"who?": 2}, "ask": {"what?": 1}}
    assert found.missing["signal"] == 3
    assert sorted(fault.split("log, ")[1].split(",")[0] for fault in found.faults) == [
        "line 2: ask: found 'what?'",
        "line 2: type: found 'who?'",
        "line 4: not JSON: Expecting property name enclosed in double quotes: line 2 column 1 "
        "(char 2)",
    ]
    with pytest.raises(InputError):
        check(found)


def test_faults_beyond_the_first_are_counted(tmp_path):
    (tmp_path / "log").write_text("{\n" * 50)
    found = survey(tmp_path / "log", random_scenario(3))
    assert (len(found.faults), found.more_faults) == (20, 30)
    with pytest.raises(InputError, match="and 30 further faults"):
        check(found)


CRISIS = {
    "asks": {"A": "plain", "B": "contextualised", "bye": "leave", "noise": ""},
    "signals": {"ok": "clear"},
    "strategies": {"yes": "comply", "no": "refuse"},
}


def coded(*events, scenario, **more):
    one = Conversation(id="a", group="g", events=tuple(Event(**event) for event in events))
    return encode(coder(reading(**CRISIS, **more), scenario), [(7, one)])


@pytest.fixture(scope="module")
def crisis():
    from csa_games.scenario import builtin_scenarios, read_scenario

    return read_scenario(builtin_scenarios()["crisis_guidance"])


def test_asks_and_reactions_tell_each_other(crisis):
    found, faults = coded(
        {"ask": "A", "strategy": "yes", "reaction": "B"}, {"strategy": "no"}, {"ask": "bye"},
        scenario=crisis,
    )  # fmt: skip
    assert not faults
    assert found.ask.tolist() == [0, 1, 3]
    assert found.reaction.tolist() == [1, 3, -1]


def test_nothing_is_taken_over_a_gap(crisis):
    found, faults = coded(
        {"t": 0, "ask": "A", "strategy": "yes"}, {"t": 2, "ask": "B", "strategy": "no"},
        scenario=crisis,
    )  # fmt: skip
    assert not faults
    assert found.reaction.tolist() == [-1, -1]


def test_a_label_mapped_to_nothing_is_not_recorded(crisis):
    found, faults = coded({"ask": "noise", "signal": "ok", "strategy": "yes"}, scenario=crisis)
    assert not faults
    assert (found.ask[0], found.signal[0]) == (-1, 0)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (
            [{"ask": "A", "strategy": "yes", "reaction": "B"}, {"ask": "A"}],
            "events[1].ask: found 'A' after the reaction 'B', expected the same",
        ),
        ([{"ask": "bye", "strategy": "no"}], "events[0]: found more after 'bye', expected nothing"),
        ([{"ask": "bye"}, {"ask": "A"}], "events[0]: found more after 'bye', expected nothing"),
        ([{"signal": "?"}], "signal: found '?', expected one of ok"),
    ],
)
def test_turns_that_cannot_be_are_named(crisis, events, said):
    _, faults = coded(*events, scenario=crisis)
    assert [fault.line for fault in faults] == [7]
    assert said in faults[0].sentence


def test_groups_are_asked_for_where_they_cluster(crisis):
    one = Conversation(id="a", events=())
    _, faults = encode(coder(reading(cluster="group"), crisis), [(3, one)])
    assert "group: is missing" in faults[0].sentence


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"design": "guessed"}, "map.toml: design: found 'guessed', expected 'population', 'des"),
        ({"format": 2}, "map.toml: format: found 2, expected 1"),
        ({"latent": ["benign"]}, "expected none or at least two"),
        ({"asks": {"A": "Not A Name"}}, "map.toml: asks.A: found 'Not A Name', expected a name"),
        ({"ask": {}}, "map.toml: ask: is not a field of a mapping, expected one of format"),
    ],
)
def test_a_wrong_mapping_is_named(more, said):
    with pytest.raises(InputError) as error:
        reading(**more)
    assert said in str(error.value)


def test_the_sampling_design_is_asked_for():
    with pytest.raises(InputError, match="design: is missing, expected: How conversations came"):
        mapping_from({name: v for name, v in MAPPING.items() if name != "design"}, "map.toml")


def test_mapped_names_must_be_those_of_the_scenario(crisis):
    with pytest.raises(InputError) as error:
        coder(reading(asks={"A": "nope"}, latent=["benign", "nobody"]), crisis)
    assert "asks: found 'nope' for 'A', expected a name of crisis_guidance: plain" in str(
        error.value
    )
    assert "latent: found 'nobody', expected intents" in str(error.value)
    assert len(error.value.faults) == 2


def test_wrong_mapping_files_are_named(tmp_path):
    (tmp_path / "bad.toml").write_text("format =")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    for name, said in {"bad": "not a TOML", "bytes": "not a TOML", "none": "be read"}.items():
        with pytest.raises(InputError, match=said):
            read_mapping(tmp_path / f"{name}.toml")
