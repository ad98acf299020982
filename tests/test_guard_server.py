"""The benchmark of the server: what it reads of its client, what it checks, and what it reports."""

import asyncio
import json
import math

import pytest
from bundles import unsolved

from csa_games.errors import InputError
from csa_games.guard import Guard
from experiments import guard_server
from experiments.guard_server import Burst, calls, expected, report, right, spoken

SPOKEN = """Running 5s test @ http://127.0.0.1:8123/v1/decide
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    20.10ms    4.00ms  80.00ms   90.00%
    Req/Sec     3.20k   300.00     3.90k    70.00%
  Latency Distribution
     50%  950.00us
     75%   21.00ms
     90%   24.00ms
     99%    1.20s
  16003 requests in 5.01s, 28.51MB read
Requests/sec:   3194.21
"""


def test_what_wrk_writes_is_read():
    burst = spoken(SPOKEN)
    assert burst[:5] == pytest.approx((16003, 0, 5.01, 0.95, 1200.0))
    assert math.isnan(burst.cpu_us)
    assert round(burst.rate) == 3194
    faults = "  Socket errors: connect 1, read 2, write 3, timeout 4\n"
    faults += "  Non-2xx or 3xx responses: 5\n"
    assert spoken(SPOKEN + faults).errors == 15
    assert spoken(SPOKEN.replace("in 5.01s", "in 5.50m")).seconds == 330
    with pytest.raises(InputError, match="no result of wrk"):
        spoken("unable to connect")


def test_without_wrk_a_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="wrk is not installed"):
        guard_server.wrk(None, "http://127.0.0.1:1", tmp_path, 1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("benchmark")
    for name in ("one", "other"):
        unsolved().save(place / name, provenance={"export": name})
    return [place / "one", place / "other"]


def test_answers_are_compared_with_those_of_their_revision(folders):
    one, other = (Guard.load(folder, guard_server.SECRET) for folder in folders)
    assert one.revision != other.revision
    asked = calls(one)
    answers = expected((one, other), asked)
    assert len(asked) == guard_server.CONVERSATIONS
    assert len(answers) == 2 * len(asked)
    assert len({action for action, _ in answers.values()}) > 1
    mixed = next(call for call in asked if one.decide(**call).reason == "SPLIT")
    body, decision = json.dumps(mixed), one.decide(**mixed).as_dict()
    assert right(200, {"decision": decision}, body, answers)
    assert not right(500, {"decision": decision}, body, answers)
    # The draw is of the revision, so an answer of neither whole bundle would be seen.
    assert not right(200, {"decision": decision | {"revision": other.revision}}, body, answers)
    another = next(name for name in decision["probabilities"] if name != decision["action"])
    assert not right(200, {"decision": decision | {"action": another}}, body, answers)
    assert not right(200, {"decision": decision | {"revision": "x"}}, body, answers)


def test_swaps_under_load_are_measured_on_a_real_server(folders, tmp_path):
    guards = [Guard.load(folder, guard_server.SECRET) for folder in folders]
    link, secret = tmp_path / "current", tmp_path / "secret"
    link.symlink_to(folders[0])
    secret.write_bytes(guard_server.SECRET)
    answers = expected(guards, calls(guards[0]))
    with guard_server.served(*guard_server.guarding(link, secret)) as (process, url):
        found = asyncio.run(guard_server.reloads(process, url, link, folders, answers, 3))
        made = guard_server.counted(url)
        assert guard_server.cpu_seconds(process) > 0
    assert (found["swaps"], found["lost"], found["wrong"]) == (3, 0, 0)
    assert found["requests"] == made > 0


def test_the_report_says_what_was_measured():
    results = json.loads((guard_server.FOLDER / "results.json").read_text(encoding="utf-8"))
    text = report(results)
    assert text == (guard_server.FOLDER / "report.md").read_text(encoding="utf-8")
    million, swapped = results["million"], results["reloads"]
    # The bar of the benchmark, as measured on the machine that the report names.
    assert million["requests"] >= guard_server.MILLION
    assert million["errors"] == swapped["lost"] == swapped["wrong"] == 0
    assert swapped["swaps"] >= guard_server.RELOADS
    assert f"{million['requests']:,} requests in one go" in text
    whole = Burst(**{name: million[name] for name in Burst._fields})
    assert f"{whole.rate:,.0f}/s" in text
