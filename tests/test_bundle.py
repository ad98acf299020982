"""What is written: the same bytes each time, whole or not at all, over nothing but bundles."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys

import pytest
from bundles import certified, files_of, solved, store_of, table, veiled
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario

from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.files import write_file
from csa_games.guard import Guard, verify
from csa_games.guard.bundle import FILES, MANIFEST, ROWS, parse
from csa_games.scenario import scenario_from
from csa_games.table import tabulate


def test_the_folder_holds_what_the_manifest_lists(tmp_path):
    revision = table("crisis_guidance").save(tmp_path / "b")
    files = files_of(tmp_path / "b")
    assert sorted(files) == sorted([MANIFEST, *FILES])
    assert revision == hashlib.sha256(files[MANIFEST]).hexdigest()
    manifest = json.loads(files[MANIFEST])
    assert {entry["name"]: entry["sha256"] for entry in manifest["files"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != MANIFEST
    }


def test_the_manifest_is_canonical_and_its_real_numbers_are_strings(tmp_path):
    table("crisis_guidance").save(tmp_path / "b", provenance={"seconds": 1.5, "cores": [2]})
    text = (tmp_path / "b" / MANIFEST).read_text(encoding="utf-8")
    manifest = json.loads(text)
    assert text == json.dumps(
        manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )

    def real(part):
        if isinstance(part, dict):
            part = list(part.values())
        return any(map(real, part)) if isinstance(part, list) else isinstance(part, float)

    assert not real(manifest)
    assert manifest["provenance"] == {"seconds": "1.5", "cores": [2]}
    solution = solved("crisis_guidance")[1]
    assert [float(x) for x in manifest["solution"]["gap"]] == solution.gap.tolist()


def test_the_manifest_says_how_to_decide(tmp_path):
    table("crisis_guidance").save(tmp_path / "b", sequence=7, created="2026-11-22")
    manifest = json.loads((tmp_path / "b" / MANIFEST).read_bytes())
    scenario = table("crisis_guidance").scenario
    assert manifest["actions"] == [response.name for response in scenario.responses]
    assert manifest["ending_actions"] == ["refer"]
    assert manifest["ending_asks"] == ["leave", "migrate"]
    assert manifest["fallback"] == scenario.fallback.model_dump()
    assert (manifest["hit_policy"], manifest["completeness"]) == ("UNIQUE", "fallback")
    assert (manifest["sequence"], manifest["created"]) == (7, "2026-11-22")
    assert manifest["solution"]["class"] == "security"
    rows = manifest["rows"]
    assert rows["trusted"] + rows["noise"] + rows["deviation"] == 414  # counted by hand: see sizes


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        table("crisis_guidance").save(tmp_path / folder)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_another_process_gives_the_same_bytes(tmp_path):
    # Hash seeds differ between processes, and so would anything ordered by a set.
    table("csa_oneshot").save(tmp_path / "here")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from bundles import table; "
        "table('csa_oneshot').save(sys.argv[2])"
    )
    here = os.path.dirname(__file__)
    subprocess.run(
        [sys.executable, "-c", program, here, str(tmp_path / "there")],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.path.dirname(here)},
    )
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")


def test_the_digest_does_not_depend_on_the_library_that_wrote_the_file(tmp_path):
    table("csa_oneshot").save(tmp_path / "b")
    files = files_of(tmp_path / "b")
    # Bytes 96-99 of a SQLite file are the version of the library (sqlite.org/fileformat2.html).
    other = files[ROWS][:96] + (3_050_000).to_bytes(4, "big") + files[ROWS][100:]
    assert other != files[ROWS]
    expected = parse(files[MANIFEST])["rows"]["digest"]
    assert store_of(files | {ROWS: other}).digest() == expected


def test_the_digest_tells_rows_apart_that_differ_in_the_last_bit(tmp_path):
    table("csa_oneshot").save(tmp_path / "b")
    files = files_of(tmp_path / "b")
    connection = sqlite3.connect(tmp_path / "b" / ROWS)
    with connection:
        connection.execute("UPDATE assistant SET reach = reach * (1 + 2.3e-16)")
    connection.close()
    changed = (tmp_path / "b" / ROWS).read_bytes()
    assert store_of(files | {ROWS: changed}).digest() != store_of(files).digest()


def test_any_sqlite_reads_the_rows(tmp_path):
    rows = table("crisis_guidance")
    rows.save(tmp_path / "b")
    connection = sqlite3.connect(f"file:{tmp_path / 'b' / ROWS}?mode=ro&immutable=1", uri=True)
    found = dict(connection.execute("SELECT key, probability_comply FROM assistant"))
    order = [key for (key,) in connection.execute("SELECT key FROM assistant")]
    (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    comply = [response.name for response in rows.scenario.responses].index("comply")
    expected = dict(zip(rows.exact.keys, rows.exact.probabilities[:, comply], strict=True))
    assert expected == {key: p for key, p in found.items() if not key.startswith("~")}
    assert order == sorted(order)
    assert journal != "wal"


def test_what_is_undefined_is_null(tmp_path):
    tabulate(*veiled()).save(tmp_path / "b")
    connection = sqlite3.connect(tmp_path / "b" / ROWS)
    columns = "posterior_malicious, value_comply, margin, own_reach"
    (row,) = connection.execute(f"SELECT {columns} FROM assistant WHERE key = 'veiled:clear'")
    (coarse,) = connection.execute(f"SELECT {columns} FROM assistant WHERE key = '~signal=clear'")
    connection.close()
    assert row == (None, None, None, 1.0)
    assert coarse[-1] is None


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_saved_is_what_a_guard_reads(tmp_path_factory, seed):
    game = dialogue_game(random_scenario(seed))
    rows = tabulate(game, certified(game, random_policy(game, seed)))
    folder = tmp_path_factory.mktemp("b")
    revision = rows.save(folder)
    guard = Guard.load(folder)
    assert guard.revision == revision
    for n, key in enumerate(rows.exact.keys):
        row = guard.store.get(key)
        assert row.probabilities == tuple(rows.exact.probabilities[n])
        assert (row.trust, row.own_reach) == (rows.exact.trust[n], rows.exact.own_reach[n])
    assert guard.store.get("no such key") is None


def golden(folder):
    return [json.loads(line) for line in (folder / "golden.jsonl").read_bytes().splitlines()]


def test_there_are_a_hundred_golden_probes_or_one_for_each_row(tmp_path):
    table("crisis_guidance").save(tmp_path / "b")
    probes = golden(tmp_path / "b")
    reasons = {probe["reason"] for probe in probes}
    assert sum(probe["key"] is not None for probe in probes) >= 100
    assert reasons == {"SPLIT", "BACKOFF", "DEFAULT", "ERROR"}  # a CFR average has no pure rows
    table("csa_oneshot").save(tmp_path / "c")
    probes = golden(tmp_path / "c")
    assert {probe["key"] for probe in probes} == {"plain:clear", "plain:flag", None}


def test_a_bundle_replaces_an_earlier_one_and_an_empty_folder(tmp_path):
    (tmp_path / "b").mkdir()
    first = table("csa_oneshot").save(tmp_path / "b")
    second = table("csa_oneshot").save(tmp_path / "b", sequence=2)
    assert first != second == Guard.load(tmp_path / "b").revision
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_folders_above_are_made(tmp_path):
    table("csa_oneshot").save(tmp_path / "deep" / "down" / "b")
    assert verify(tmp_path / "deep" / "down" / "b").passed


def taken_by_a_file(place):
    place.write_text("mine")


def taken_by_notes(place):
    place.mkdir()
    (place / "notes.txt").write_text("mine")


def taken_by_another_manifest(place):
    place.mkdir()
    (place / MANIFEST).write_text('{"schema": "somebody else\'s"}')


def taken_by_a_bundle_and_notes(place):
    table("csa_oneshot").save(place)
    (place / "notes.txt").write_text("mine")


@pytest.mark.parametrize(
    "take",
    [taken_by_a_file, taken_by_notes, taken_by_another_manifest, taken_by_a_bundle_and_notes],
)
def test_nothing_but_a_bundle_is_ever_replaced(tmp_path, take):
    place = tmp_path / "b"
    take(place)
    before = place.read_bytes() if place.is_file() else files_of(place)
    with pytest.raises(InputError, match=r"b (is a file|holds .* and is not a bundle), expected"):
        table("csa_oneshot").save(place)
    assert before == (place.read_bytes() if place.is_file() else files_of(place))


class Interrupted(BaseException):
    """As Ctrl-C is: no Exception."""


def interrupt(monkeypatch, after):
    """Let `after` of the calls that change the disk pass, and stop at the next."""
    left = [after]

    def counted(name, owner):
        real = getattr(owner, name)

        def call(*args, **kwargs):
            if left[0] == 0:
                left[0] = -1  # what cleans up afterwards gets through
                raise Interrupted
            left[0] -= 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    for name in ("fsync", "replace", "rename", "mkdir"):
        counted(name, os)


def test_an_export_that_is_interrupted_anywhere_leaves_the_old_bundle_whole(tmp_path, monkeypatch):
    place = tmp_path / "b"
    table("csa_oneshot").save(place)
    before = files_of(place)
    stopped = 0
    for after in range(100):
        with monkeypatch.context() as patch:
            interrupt(patch, after)
            try:
                table("csa_oneshot").save(place, sequence=2)
            except Interrupted:
                stopped += 1
            else:
                break
        # The last stops come after the new bundle is in place.
        assert files_of(place) == before or verify(place).passed
        assert list(tmp_path.iterdir()) == [place]
    assert stopped >= 9  # six files, a folder, two renames
    assert json.loads((place / MANIFEST).read_bytes())["sequence"] == 2


def test_a_process_that_dies_while_exporting_leaves_the_old_bundle_whole(tmp_path):
    place = tmp_path / "b"
    table("csa_oneshot").save(place)
    before = files_of(place)
    program = (
        "import os, sys\n"
        "from csa_games.folders import write_folder\n"
        "os.fsync = lambda _: os._exit(9)\n"
        "write_folder(sys.argv[1], {'manifest.json': b'{}'})\n"
    )
    root = os.path.dirname(os.path.dirname(__file__))
    died = subprocess.run([sys.executable, "-c", program, str(place)], cwd=root)
    assert died.returncode == 9
    assert files_of(place) == before


def test_a_file_is_written_entirely_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    write_file(path, b"old")
    for after in range(2):
        with monkeypatch.context() as patch:
            interrupt(patch, after)
            with pytest.raises(Interrupted):
                write_file(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
    write_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_arguments_that_cannot_be_written_are_refused(tmp_path):
    with pytest.raises(InputError, match="the provenance is not JSON"):
        table("csa_oneshot").save(tmp_path / "b", provenance={"who": object()})
    with pytest.raises(InputError, match="the provenance is not JSON"):
        table("csa_oneshot").save(tmp_path / "b", provenance={"nan": float("nan")})
    with pytest.raises(InputError, match="sequence: found 0, expected a whole number from 1"):
        table("csa_oneshot").save(tmp_path / "b", sequence=0)
    assert not (tmp_path / "b").exists()


def test_keys_of_the_provenance_that_are_numbers_keep_the_manifest_canonical(tmp_path):
    # Sorted as numbers they stand in another order than as the texts that JSON makes of them.
    table("csa_oneshot").save(tmp_path / "b", provenance={"by core": {2: "two", 10: "ten"}})
    assert verify(tmp_path / "b").passed


def test_the_card_promises_a_minimax_value_in_the_security_class_only(tmp_path):
    game, solution = solved("crisis_guidance")
    table("crisis_guidance").save(tmp_path / "b")
    card = (tmp_path / "b" / "CARD.md").read_text(encoding="utf-8")
    value, gap = table("crisis_guidance").served
    assert card.startswith('---\nname: "crisis_guidance"\n')
    assert f"expected payoff is at least {value[1] - gap[0]:.12g}" in card
    assert card.count("\n- assumption: ") == card.count("\n- measured: ") == 1

    content = game.scenario.model_dump(mode="json", exclude_none=True)
    (malicious,) = [part for part in content["intents"] if part["name"] == "malicious"]
    malicious |= {
        "behaviour": "rational",
        "weights": {"satisfaction": 0.0, "risk": 1.0, "source": "assumption: wants harm"},
    }
    content["payoff"]["effort"] = [
        {
            "intents": ["malicious"],
            "values": dict.fromkeys(malicious["asks"], 0.1),
            "source": "assumption: some",
        }
    ]
    general = dialogue_game(scenario_from(content, "a rational variant"))
    tabulate(general, certified(general, solution.policy)).save(tmp_path / "g")
    card = (tmp_path / "g" / "CARD.md").read_text(encoding="utf-8")
    assert "General-sum: the gaps are measured, and nothing else is promised." in card
    assert "at least" not in card
    assert verify(tmp_path / "g").passed
