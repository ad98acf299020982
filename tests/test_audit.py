"""The audit log: what it says, that it survives crashes, and what replay finds done to it."""

import errno
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import pytest
from bundles import files_of, sealed, table, write

from csa_games.cli import main as csa
from csa_games.errors import InputError
from csa_games.guard import Guard, audit
from csa_games.guard.__main__ import main as plain
from csa_games.guard.audit import AuditLog, opened
from csa_games.guard.deployment import Deployment
from csa_games.guard.keys import Turn
from csa_games.guard.replay import replay

SECRET = b"a secret of the tests"
ROOT = Path(__file__).parents[1]


class Clock:
    """A clock that is told what time it is."""

    def __init__(self):
        self.now = 1_790_000_000_123_456_789

    def __call__(self):
        """Return the time, a millisecond later each time."""
        self.now += 1_000_000
        return self.now


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Two bundles of the same policy: the second one's revision is another."""
    root = tmp_path_factory.mktemp("bundles")
    table("crisis_guidance").save(root / "one", sequence=1)
    table("crisis_guidance").save(root / "two", sequence=2)
    return root


@pytest.fixture(scope="module")
def guard(bundles):
    return Guard.load(bundles / "one", SECRET)


TEXT = "how do I tell my boss? 555-0199"
HISTORIES = [
    [("plain", "clear")],
    [("plain", "flag")],
    [("plain", None)],
    [("plain", TEXT)],
    [(TEXT, "flag")],
    [("plain", "clear", "comply"), ("contextualised", "flag")],
    [("plain", "clear", TEXT), ("contextualised", "flag")],
    [("plain", {"reader": TEXT, "score": TEXT}), ("plain", "flag")],
    [{"ask": "plain", "signal": "flag", "response": "refuse", "text": TEXT}, ("plain", "flag")],
    [("plain", "clear", "comply")] * 3,
    [(TEXT, TEXT, "comply")] * 500 + [("plain", "flag")],
    [],
    TEXT,
    None,
]


class Relay:
    """A log in whose place another can be put: loading a bundle takes a while."""

    def __init__(self):
        self.log = None

    def record(self, ruling, turns):
        """Let the log record that."""
        return self.log.record(ruling, turns)


@cache
def deployed(folder):
    """Return a deployment, made once, and the relay to its log."""
    relay = Relay()
    return Deployment(folder, secret=SECRET, audit=relay), relay


def written(bundles, path, *, secret=SECRET, count=40, seed=0, **settings):
    """Return the path of a log with `count` decisions of a deployment."""
    choose = random.Random(seed)
    deployment, relay = deployed(bundles / "one")
    with AuditLog(path, secret=secret, clock=Clock(), **settings) as log:
        relay.log = log
        for k in range(count):
            deployment.decide(choose.choice(HISTORIES), f"conversation {k} of {TEXT}")
        assert (log.lost, log.fault) == (0, None)
    return path


def parts(path):
    """Return every file of the log at `path`, shuffled."""
    found = sorted(path.parent.glob(path.name + "*"))
    random.Random(1).shuffle(found)
    return found


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


# What a line says.


def test_a_line_is_the_ruling_and_nothing_else(bundles, tmp_path):
    log = AuditLog(tmp_path / "log", secret=SECRET, clock=Clock())
    ruling = Deployment(bundles / "one", secret=SECRET, audit=log).decide(
        [("plain", "clear", "comply"), ("plain", "flag")], "account 17"
    )
    decision = ruling.decision
    header, line = map(json.loads, lines_of(tmp_path / "log"))
    assert header["schema"] == "csa-games/audit"
    assert (header["file"], header["line"], header["previous"]) == (1, 0, None)
    assert line == {
        "line": 1,
        "previous": hashlib.sha256(lines_of(tmp_path / "log")[0][:-1]).hexdigest(),
        "time": "2026-09-21T14:13:20.125456Z",
        "id": ruling.id,
        "scope": decision.scope,
        "turn": 2,
        "history": [["plain", "clear", "comply"], ["plain", "flag"]],
        "revision": decision.revision,
        "sequence": 1,
        "key": decision.key,
        "key_used": decision.key_used,
        "keyed": True,
        "rung": decision.rung,
        "probabilities": decision.probabilities,
        "u": decision.u,
        "verdict": decision.action,
        "enforced": ruling.enforced,
        "mechanism": ruling.mechanism,
        "reason": decision.reason,
        "mode": "enforce",
        "arm": "stable",
        "latency_ns": ruling.latency_ns,
        "mac": line["mac"],
    }
    assert log.anchor == hashlib.sha256(lines_of(tmp_path / "log")[1][:-1]).hexdigest()


def test_no_text_and_no_id_gets_into_a_log(bundles, tmp_path):
    path = written(bundles, tmp_path / "log", count=60)
    content = path.read_bytes()
    for word in TEXT.replace("?", "").split():
        if len(word) > 4:  # "do" is in "response"
            assert word.encode() not in content
    assert b"conversation" not in content
    histories = [json.loads(line)["history"] for line in lines_of(path)[1:]]
    assert [["plain", None]] in histories  # missing, or nothing that a name is known for
    assert [[None, "flag"]] in histories
    assert [["plain", "clear", "?"], ["contextualised", "flag"]] in histories
    assert None in histories
    assert max(map(len, filter(None, histories))) == 64  # of 501 turns


def test_turns_that_are_no_names_are_refused(bundles, tmp_path):
    ruling = Deployment(bundles / "one", secret=SECRET).decide([(TEXT, "flag")], "c")
    log = AuditLog(tmp_path / "log")
    assert not log.record(ruling, [(TEXT, "flag")])
    assert log.lost == 1
    assert "expected those of Guard.observed" in log.fault
    assert TEXT.encode() not in (tmp_path / "log").read_bytes()


def test_real_numbers_are_exact(bundles, tmp_path, guard):
    path = written(bundles, tmp_path / "log", count=30)
    for line in lines_of(path)[1:]:
        entry = json.loads(line)
        if entry["key"] is not None:
            decision = guard.decide_in([tuple(turn) for turn in entry["history"]], entry["scope"])
            assert (entry["u"], entry["probabilities"]) == (decision.u, decision.probabilities)


@pytest.mark.parametrize("key", [None, b"k"])
def test_lines_are_read_as_they_are_written(key):
    entry = {"line": 3, "previous": "x", "b": [0.1, 1e-300, None, True], "a": {"z": 1, "y": "é"}}
    line = audit.sealed(entry, key)
    assert opened(line, key) == opened(line, None) == entry
    for other in (b" " + line, line.replace(b"1e-300", b"1.0e-300"), line.replace(b'"a"', b'"c"')):
        with pytest.raises(ValueError, match="canonical"):
            opened(other, key)
    with pytest.raises(ValueError, match="code"):
        opened(line, b"another")


def test_threads_share_a_log(bundles, tmp_path, guard):
    with AuditLog(tmp_path / "log", secret=SECRET, most_bytes=20_000) as log:
        deployment, relay = deployed(bundles / "one")
        relay.log = log
        threads = [
            threading.Thread(
                target=lambda k=k: [deployment.decide(HISTORIES[k], f"{k} {j}") for j in range(30)]
            )
            for k in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = replay(parts(tmp_path / "log"), [guard], SECRET)
    assert (found.decisions, found.recomputed, found.faults) == (180, 180, ())
    assert found.logs[0].files > 4


# Going on.


def test_a_log_is_continued(bundles, tmp_path, guard):
    path = tmp_path / "log"
    for k in range(4):
        written(bundles, path, count=8, seed=k, most_bytes=5000)
    found = replay(parts(path), [guard], SECRET, anchors=[anchor_of(path)])
    assert (found.decisions, found.faults, len(found.logs)) == (32, (), 1)
    assert found.logs[0].files == len(parts(path)) > 4
    assert all(part.stat().st_size < 5000 + 4000 for part in parts(path))


def anchor_of(path):
    return hashlib.sha256(lines_of(path)[-1][:-1]).hexdigest()


@pytest.mark.parametrize("kept", [1, 100, 400])
def test_a_torn_line_is_put_aside_and_the_chain_goes_on(bundles, tmp_path, guard, kept):
    path = written(bundles, tmp_path / "log", count=10)
    whole = path.read_bytes()
    last = len(lines_of(path)[-1])
    path.write_bytes(whole[: len(whole) - last + kept])
    found = replay([path], [guard], SECRET)
    assert (found.faults, found.decisions, found.logs[0].torn) == ((), 9, kept)
    assert found.gaps == (
        f"{path}: line 11: the log ends in the middle of a line, {kept} bytes of it, as a crash "
        "leaves it, or a cut",
    )
    written(bundles, path, count=5)
    assert path.with_name("log.000001").read_bytes() == whole[: len(whole) - last + kept]
    found = replay(parts(path), [guard], SECRET)
    assert (found.faults, found.gaps, found.decisions) == ((), (), 14)
    assert found.logs[0].torn == kept
    # And what was torn cannot be made up afterwards.
    path.with_name("log.000001").write_bytes(whole)
    assert not replay(parts(path), [guard], SECRET).passed


def test_a_crash_between_two_files_loses_nothing(bundles, tmp_path, guard):
    path = written(bundles, tmp_path / "log", count=10)
    path.rename(path.with_name("log.000001"))
    written(bundles, path, count=5)
    found = replay(parts(path), [guard], SECRET)
    assert (found.faults, found.decisions, found.logs[0].files) == ((), 15, 2)


def test_an_empty_file_is_where_a_log_begins(bundles, tmp_path, guard):
    (tmp_path / "log").touch()
    assert replay([written(bundles, tmp_path / "log")], [guard], SECRET).passed


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"something else\n", "its first line is no line of JSON"),
        (b'{"line":0,"previous":null}\n', "its first line is not the header of a file"),
    ],
)
def test_what_is_no_log_is_not_touched(tmp_path, content, sentence):
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        AuditLog(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == content


def test_a_log_of_another_secret_or_a_changed_one_is_not_continued(bundles, tmp_path):
    path = written(bundles, tmp_path / "log")
    with pytest.raises(InputError, match="its last line was not written with this secret"):
        AuditLog(path, secret=b"another")
    path.write_bytes(path.read_bytes()[:-200] + b"0" + path.read_bytes()[-199:])
    with pytest.raises(InputError, match="its last line"):
        AuditLog(path, secret=SECRET)


def test_two_writers_of_a_log_are_refused(tmp_path):
    with AuditLog(tmp_path / "log"), pytest.raises(InputError, match="needs a log of its own"):
        AuditLog(tmp_path / "log")
    AuditLog(tmp_path / "log").close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"secret": b""}, "the secret is bytes"),
        ({"most_bytes": 0}, "most_bytes: found 0"),
        ({"sync": "often"}, "sync: found 'often', expected one of rotation, line"),
    ],
)
def test_settings_are_checked(tmp_path, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        AuditLog(tmp_path / "log", **settings)


def test_where_nothing_can_be_written_it_does_not_open(tmp_path):
    with pytest.raises(InputError, match="cannot be written: No such file"):
        AuditLog(tmp_path / "no" / "log")


# When writing fails.


def test_a_full_disk_loses_lines_and_says_how_many(bundles, tmp_path, guard, monkeypatch):
    clock, path = Clock(), tmp_path / "log"
    log = AuditLog(path, secret=SECRET, clock=clock)
    deployment, relay = deployed(bundles / "one")
    relay.log = log
    already = deployment.counters.unlogged
    assert deployment.decide(HISTORIES[0], "c1").decision.reason == "SPLIT"
    write = os.write

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def half(descriptor, data):
        return write(descriptor, data[: len(data) // 2])

    for fails in (full, half):
        monkeypatch.setattr(os, "write", fails)
        for k in range(3):  # only the first is tried
            assert deployment.decide(HISTORIES[0], f"c{k}").decision.reason == "SPLIT"
        monkeypatch.setattr(os, "write", write)
        assert deployment.decide(HISTORIES[0], "c4").decision.reason == "SPLIT"  # not yet again
        clock.now += 10**9
        deployment.decide(HISTORIES[1], "c5")
    assert "of" in log.fault
    assert log.lost == deployment.counters.unlogged - already == 8
    log.close()
    assert not log.record(deployment.decide(HISTORIES[0], "c6"), [Turn("plain", "clear")])
    told = [json.loads(line).get("lost") for part in sorted(parts(path)) for line in whole(part)]
    assert sorted(filter(None, told)) == [4, 4]
    found = replay(parts(path), [guard], SECRET)
    assert (found.faults, found.gaps, found.decisions) == ((), (), 3)
    assert (found.logs[0].lost, found.logs[0].files) == (8, 2)
    assert found.logs[0].torn > 100


def whole(path):
    return [line for line in lines_of(path) if line.endswith(b"\n")]


@pytest.mark.parametrize(("sync", "times"), [("line", 3), ("rotation", 0)])
def test_lines_are_forced_to_the_disk_if_asked(bundles, tmp_path, monkeypatch, sync, times):
    deployment, relay = deployed(bundles / "one")
    with AuditLog(tmp_path / "log", sync=sync) as relay.log:
        forced = []
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", forced.append)
            for k in range(3):
                deployment.decide(HISTORIES[0], f"c{k}")
    assert len(forced) == times


def test_a_file_that_cannot_be_put_aside_grows_on(bundles, tmp_path, guard):
    with AuditLog(tmp_path / "log", secret=SECRET, most_bytes=1000) as log:
        (tmp_path / "log.000001").touch()
        deployment, relay = deployed(bundles / "one")
        relay.log = log
        for k in range(10):
            deployment.decide(HISTORIES[0], f"c{k}")
        assert (log.lost, log.fault.rpartition(" is ")[2]) == (0, "there already")
    assert replay([tmp_path / "log"], [guard], SECRET).decisions == 10


def test_a_file_that_is_taken_away_is_followed_by_another(bundles, tmp_path, guard):
    with AuditLog(tmp_path / "log", secret=SECRET, most_bytes=3000) as log:
        deployment, relay = deployed(bundles / "one")
        relay.log = log
        deployment.decide(HISTORIES[0], "c")
        (tmp_path / "log").rename(tmp_path / "elsewhere")
        for k in range(5):
            deployment.decide(HISTORIES[0], f"c{k}")
    found = replay(tmp_path.iterdir(), [guard], SECRET)
    # The lock is a file of its own.
    assert [fault.file for fault in found.faults] == [str(tmp_path / ".log.lock")]
    assert found.decisions == 6


KILLED = """
import mmap, os, random, signal, struct, sys, time
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from csa_games.guard.audit import AuditLog
from csa_games.guard.keys import Turn
from csa_games.guard.replay import replay

path, kills = sys.argv[2], int(sys.argv[3])
decision = SimpleNamespace(
    key="plain:flag", key_used="plain:flag", keyed=True, probabilities={"comply": 0.1, "no": 0.9},
    reason="SPLIT", revision="r" * 64, rung=0, scope="5" * 64, u=0.5, action="refuse",
)
ruling = SimpleNamespace(
    decision=decision, arm="stable", enforced="refuse", id="i" * 300, latency_ns=1,
    mechanism="text", mode="enforce", sequence=1, turn=1,
)
told = mmap.mmap(-1, 8)  # how many decisions the children say are in the log
choose = random.Random(int(sys.argv[4]))
for k in range(kills):
    begun, first = os.pipe()
    child = os.fork()
    if child == 0:
        log = AuditLog(path, secret=b"k", most_bytes=3000)
        while True:
            if log.record(ruling, [Turn("plain", "flag")]):
                (count,) = struct.unpack("q", told[:])
                told[:] = struct.pack("q", count + 1)
                if first >= 0:
                    os.write(first, b"1")
                    first = -1
    if k % 4:  # the others are killed while they open the log, if so
        os.read(begun, 1)
    time.sleep(choose.uniform(0.0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(begun)
    os.close(first)
(count,) = struct.unpack("q", told[:])
folder, name = os.path.split(path)
files = [os.path.join(folder, other) for other in os.listdir(folder) if other.startswith(name)]
found = replay(files, [], b"k")
assert found.wrong == 0, found.faults
assert len(found.logs) == 1, found.logs
assert count <= found.decisions <= count + kills, (count, found.decisions)
print(count, found.logs[0].files, found.logs[0].torn)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_a_hundred_times_a_log_verifies_and_goes_on(tmp_path):
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", KILLED, str(ROOT), str(tmp_path / "log"), "100", "7"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    count, files, _ = map(int, done.stdout.split())
    assert count >= 75  # of all that were not killed sooner
    assert files >= 75 / 4


# What replay finds.


def faults_of(lines, path, guard, secret=SECRET, **settings):
    path.write_bytes(b"".join(lines))
    return [str(fault) for fault in replay([path], [guard], secret, **settings).faults]


@pytest.mark.parametrize("secret", [None, SECRET], ids=["hashes", "codes"])
def test_every_change_is_found(bundles, tmp_path, guard, secret):
    path = written(bundles, tmp_path / "log", secret=secret, count=5)
    lines = lines_of(path)

    def faults(changed):
        path.write_bytes(b"".join(changed))
        found = replay([path], [guard], secret)
        return [(fault.line, fault.says) for fault in found.faults]

    assert faults(lines) == []
    for k in range(1, len(lines) - 1):  # what is done to the last is for the anchor, or the code
        assert faults(lines[:k] + lines[k + 1 :]) == [
            (k + 1, f"is the line {k + 1} of the log, expected the line {k}: what is between is "
             "missing or comes later")
        ]  # fmt: skip
        swapped = [*lines[:k], lines[k + 1], lines[k], *lines[k + 2 :]]
        assert [line for line, _ in faults(swapped)] == [k + 1, k + 2]
        assert faults(lines[: k + 1] + lines[k:]) == [
            (k + 2, f"is the line {k} of the log, expected the line {k + 1}: it is repeated or out "
             "of order")
        ]  # fmt: skip
        entry = json.loads(lines[k])
        entry.pop("mac", None)
        edited = audit.sealed(entry | {"latency_ns": 1}, None) + b"\n"
        found = faults([*lines[:k], edited, *lines[k + 1 :]])
        if secret:
            assert found == [(k + 1, "has no code, expected one made with the secret")]
        else:
            ((line, says),) = found
            assert (line, says[:41]) == (k + 2, "says that the line before it has the hash")


def test_every_byte_of_a_line_counts(bundles, tmp_path, guard):
    path = written(bundles, tmp_path / "log", count=3)
    content = path.read_bytes()
    choose = random.Random(3)
    for place in choose.sample(range(len(content)), 50):
        other = bytes([content[place] ^ choose.choice([1, 2, 4, 32, 128])])
        path.write_bytes(content[:place] + other + content[place + 1 :])
        found = replay([path], [guard], SECRET)
        # A line that lost its end is a torn one, which is told apart.
        assert found.wrong or found.gaps, place
        assert found.wrong or place == len(content) - 1


def test_a_decision_that_was_never_made_is_found_by_whoever_holds_the_bundle(
    bundles, tmp_path, guard
):
    """Whoever writes hashes without a secret can write them anew; not what the policy decides."""
    path = written(bundles, tmp_path / "log", secret=None, count=12)
    lines = lines_of(path)
    entries = [opened(line[:-1], None) for line in lines]
    k = next(k for k, entry in enumerate(entries) if entry.get("reason") == "SPLIT")
    others = {
        "verdict": "refuse" if entries[k]["verdict"] != "refuse" else "comply",
        "enforced": "pass",
        "mechanism": "block",
        "u": entries[k]["u"] / 2,
        "key": "plain:clear>comply/plain:flag",
        "key_used": "~turn=1",
        "rung": 1,
        "reason": "MATCH",
        "probabilities": entries[k]["probabilities"] | {"comply": 0.5},
        "scope": "0" * 64,
        "sequence": 9,
        "keyed": 1,
        "history": [["plain", "clear", "comply"]] * 2 + [["plain", "clear"]],
    }
    for what, value in others.items():
        before, forged = None, []
        for j, entry in enumerate(entries):
            changed = entry | ({what: value} if j == k else {}) | {"previous": before}
            line = audit.sealed(changed, None)
            before = hashlib.sha256(line).hexdigest()
            forged.append(line + b"\n")
        found = faults_of(forged, path, guard, None)
        assert found, what
        assert all(fault.startswith(f"{path}: line {k + 1}: ") for fault in found)
        if what not in ("scope", "history"):
            assert len(found) == 1 or what == "verdict"
            assert any(fault.startswith(f"{path}: line {k + 1}: {what}: found ") for fault in found)


def test_a_cut_is_found_by_the_anchor(bundles, tmp_path, guard):
    path = written(bundles, tmp_path / "log")
    lines, anchor = lines_of(path), anchor_of(path)
    assert faults_of(lines, path, guard, anchors=[anchor]) == []
    assert faults_of(lines[:-1], path, guard) == []
    (fault,) = faults_of(lines[:-1], path, guard, anchors=[anchor])
    assert fault.startswith(f"anchor: no line has the hash {anchor}: lines were cut off, or")
    written(bundles, path, count=3)  # goes on from the cut
    assert not replay([path], [guard], SECRET, anchors=[anchor]).passed


def test_missing_exchanged_and_repeated_files_are_found(bundles, tmp_path, guard):
    path = written(bundles, tmp_path / "log", count=30, most_bytes=5000)
    files = sorted(parts(path))
    numbers = sorted(files, key=lambda file: (file == path, file))
    assert replay(files, [guard], SECRET).passed
    for k, file in enumerate(numbers[:-1]):
        rest = [other for other in numbers if other != file]
        found = replay(rest, [guard], SECRET).faults
        assert found[0].file == str(numbers[k + 1])
        assert f"begins the file {k + 2} of the log, expected the file {k + 1}" in found[0].says
    found = replay([*files, files[1]], [guard], SECRET).faults
    assert "it is given twice" in found[0].says
    cut = numbers[1].read_bytes()
    numbers[1].write_bytes(cut[:-10])
    assert "ends in the middle of a line: the file was cut" in str(
        replay(files, [guard], SECRET).faults[0]
    )
    numbers[1].write_bytes(cut[: cut.rindex(b"\n", 0, -1) + 1])
    (fault,) = replay(files, [guard], SECRET).faults[:1]
    assert "what is between is missing" in fault.says
    numbers[1].write_bytes(b"x" + cut)
    found = replay(files, [guard], SECRET).faults
    assert "nothing in it was checked: its first line is no line of JSON" in found[0].says


def test_a_line_without_an_end_needs_no_memory(bundles, tmp_path, guard):
    path = written(bundles, tmp_path / "log", count=3)
    lines = lines_of(path)
    found = faults_of([*lines[:2], b"x" * 5_000_000 + b"\n", *lines[2:]], path, guard)
    assert found[0] == f"{path}: line 3: is no line of JSON"


def test_bundles_that_are_not_at_hand_are_told(bundles, tmp_path, guard):
    path = written(bundles, tmp_path / "log", count=5)
    other = Guard.load(bundles / "two", SECRET)
    found = replay([path], [other], SECRET)
    assert (found.decisions, found.recomputed, found.wrong) == (5, 0, 0)
    assert found.gaps == (
        f"5 decisions were made under the revision {guard.revision}, whose bundle is not at hand; "
        "they were not computed again",
    )
    assert found.counts["revision"] == {guard.revision: 5}


def test_without_the_secret_draws_are_believed_and_all_else_is_checked(bundles, tmp_path):
    path = written(bundles, tmp_path / "log", count=30)
    guard = Guard.load(bundles / "one")
    found = replay([path], [guard])
    assert (found.wrong, found.recomputed) == (0, 30)
    assert found.gaps == (
        "30 draws are keyed with a secret that was not given; their numbers were taken as they are",
    )
    assert not replay([path], [guard], b"another").passed


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "shadow"},
        {"on_error": "closed"},
        {"on_error": "open"},
        {"argmax": True},
        {"canary": 0.5},
        {"secret": None},
    ],
    ids=str,
)
def test_every_way_of_deciding_is_replayed(bundles, tmp_path, settings):
    secret = settings.get("secret", SECRET)
    canary = {"canary": (bundles / "two", 0.5)} if "canary" in settings else {}
    with AuditLog(tmp_path / "log", secret=secret) as log:
        settings = {"secret": SECRET} | settings | canary
        deployment = Deployment(bundles / "one", audit=log, **settings)
        for k, history in enumerate(HISTORIES * 2):
            deployment.decide(history, f"c{k}")
            if k % 3 == 0:
                deployment.follow([("plain", "clear"), ("plain", "flag")], f"c{k}")
        deployment.decide(HISTORIES[0], 17)
    guards = [Guard.load(bundles / name, secret) for name in ("one", "two")]
    found = replay([tmp_path / "log"], guards, secret)
    assert (found.faults, found.gaps) == ((), ())
    assert found.recomputed == found.decisions == 39
    assert found.counts["reason"]["ERROR"] == 5 * 2 + 1
    assert len(found.counts["revision"]) == (2 if canary else 1)


def test_a_bundle_past_its_time_is_replayed_by_the_time_of_the_line(bundles, tmp_path):
    files = files_of(bundles / "one")
    write(tmp_path / "b", sealed(files, lambda m: m.update(not_after="2026-09-21T14:00:00Z")))
    guard = Guard.load(tmp_path / "b", SECRET)
    path = tmp_path / "log"
    with AuditLog(path, secret=SECRET) as log:  # its clock is that of the deployment
        Deployment(tmp_path / "b", secret=SECRET, audit=log).decide(HISTORIES[0], "c")
    assert replay([path], [guard], SECRET).counts["reason"] == {"STALE": 1}
    assert replay([path], [guard], SECRET).faults == ()
    path.unlink()
    clock = Clock()
    clock.now -= 3600 * 10**9  # before, so that the reason cannot be
    with AuditLog(path, secret=SECRET, clock=clock) as log:
        Deployment(tmp_path / "b", secret=SECRET, audit=log).decide(HISTORIES[0], "c")
    (fault,) = replay([path], [guard], SECRET).faults
    assert fault.says == "reason: found 'STALE', computed again it is 'SPLIT'"


def test_the_response_of_the_host_itself_is_told_apart(bundles, tmp_path, guard):
    emergency = {"action": "sorry", "mechanism": "text", "text": "Come back later."}
    with AuditLog(tmp_path / "log", secret=SECRET) as log:
        deployment = Deployment(tmp_path / "no", secret=SECRET, audit=log, emergency=emergency)
        deployment.decide(HISTORIES[0], "c")
    found = replay([tmp_path / "log"], [guard], SECRET)
    assert found.wrong == found.recomputed == 0
    assert "1 decisions were made without a bundle" in found.gaps[0]


def test_several_logs_are_told_apart(bundles, tmp_path, guard):
    for k in range(3):
        written(bundles, tmp_path / f"worker-{k}", count=10 + k, seed=k, most_bytes=9000)
    files = [file for file in tmp_path.iterdir() if not file.name.startswith(".")]
    found = replay(files, [guard], SECRET)
    assert (found.faults, sorted(chain.decisions for chain in found.logs)) == ((), [10, 11, 12])


# The command line.


def test_replay_from_the_command_line(bundles, tmp_path, capsys):
    path = written(bundles, tmp_path / "log", count=20)
    (tmp_path / "key").write_bytes(SECRET + b"\n")
    arguments = [
        str(path),
        "--policy",
        str(bundles / "one"),
        "--secret-file",
        str(tmp_path / "key"),
    ]
    assert csa(["guard", "replay", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["passed"], found["recomputed"]) == (True, 20)
    assert found["logs"][0]["anchor"] == anchor_of(path)
    assert csa(["guard", "replay", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "20 decisions, 20 computed again: what the log says holds" in shown
    assert anchor_of(path) in shown
    assert plain(["replay", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == found

    other = [*arguments[:2], str(bundles / "two"), *arguments[3:]]
    assert (csa(["guard", "replay", *other]), plain(["replay", *other])) == (1, 1)
    assert "whose bundle is not at hand" in capsys.readouterr().out
    wrong = [*arguments, "--anchor", "0" * 64]
    assert (csa(["guard", "replay", *wrong, "--json"]), plain(["replay", *wrong])) == (3, 3)
    captured = capsys.readouterr()
    assert json.loads(captured.out)["faults"][0]["file"] == "anchor"
    assert "no line has the hash" in captured.err
    assert csa(["guard", "replay", str(tmp_path / "none"), *arguments[1:]]) == 2
    assert "cannot be read" in capsys.readouterr().err
