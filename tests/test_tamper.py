"""A signed bundle that was touched anywhere is refused, with what and where, by whoever reads it.

Keys are configured throughout: without them an unsigned manifest may say anything that is
consistent, and only `verify` finds what is not true.
"""

import json
import math
import os
import struct
from contextlib import contextmanager
from hashlib import blake2b

import pytest
from bundles import (
    edited_json,
    files_of,
    rows_changed,
    sealed,
    sql,
    store_of,
    table,
    unsolved,
    write,
)
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from csa_games.guard import BundleError, Guard, content, verify
from csa_games.guard.bundle import (
    FILES,
    GOLDEN,
    MANIFEST,
    PLAYS,
    READER,
    RESPONSES,
    ROWS,
    SCENARIO,
    SIGNATURE,
    canonical,
    listing,
    parse,
    read_files,
    sha256,
)
from csa_games.guard.decide import from_files
from csa_games.guard.deployment import Deployment
from csa_games.guard.keys import turns_of
from csa_games.guard.plays import TRUST, TRUSTED, Plays
from csa_games.guard.signing import check, new_keys, read_keys, sign
from csa_games.signing import write_keys

EVERY = (MANIFEST, SIGNATURE, *FILES)
RELEASE = new_keys("release", "ed25519", b"r" * 32)
SITE = new_keys("site", "hmac", b"s" * 32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder of `keys`, with a pair, and of bundles that it has signed: `b`, `older`."""
    place = tmp_path_factory.mktemp("tamper")
    (key, _) = write_keys(place / "keys", "release", "ed25519", b"r" * 32)
    table("csa_oneshot").save(place / "b", sequence=3, sign=key)
    table("csa_oneshot").save(place / "older", sequence=2, sign=key)
    return place


@pytest.fixture(scope="module")
def files(place):
    return files_of(place / "b")


def refused(folder, keys, *where):
    """Return the faults of a bundle, which everybody has to refuse, naming one of `where`."""
    with pytest.raises(BundleError) as caught:
        Guard.load(folder, keys=keys)
    report = verify(folder, keys=keys)
    assert not report.passed
    for fault in (caught.value.faults[0], report.faults[0]):
        assert fault.startswith(where), fault
        assert "\n" not in fault
    return report.faults


@contextmanager
def changed(folder, name, data):
    """Let the file `name` of a bundle hold `data` for a moment."""
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(data)
    try:
        yield
    finally:
        (folder / name).write_bytes(before)


def with_byte(data, position, byte):
    return data[:position] + bytes([byte]) + data[position + 1 :]


# What SQLite means by a byte (sqlite.org/fileformat2.html), and where JSON has marks and text.
CLASSES = {
    "the first byte": lambda data: [0],
    "the last byte": lambda data: [len(data) - 1],
    "the first hundred": lambda data: range(min(100, len(data))),
    "page boundaries": lambda data: [k + d for k in range(4096, len(data), 4096) for d in (-1, 0)],
    "marks": lambda data: [k for k, byte in enumerate(data) if byte in b'{}[]":,\n ='],
    "letters and digits": lambda data: [k for k, byte in enumerate(data) if chr(byte).isalnum()],
    "zeros": lambda data: [k for k, byte in enumerate(data) if byte == 0],
    "anywhere": lambda data: range(len(data)),
}


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_one_changed_byte_is_refused(place, files, name, data):
    where = data.draw(st.sampled_from(sorted(CLASSES)))
    positions = CLASSES[where](files[name])
    assume(len(positions) > 0)
    position = data.draw(st.sampled_from(positions))
    byte = files[name][position] ^ data.draw(st.integers(1, 255))
    with changed(place / "b", name, with_byte(files[name], position, byte)):
        # A manifest with another hash in it is told by the file of that hash.
        refused(place / "b", place / "keys", *(EVERY if name == MANIFEST else (name,)))


def test_no_byte_of_the_envelope_is_without_meaning(files):
    # Nothing hashes it, so that every position is tried, and every bit in turn: the case of
    # letters, and what base64 leaves over.
    for position, byte in enumerate(files[SIGNATURE]):
        touched = with_byte(files[SIGNATURE], position, byte ^ 1 << (position % 8))
        assert check(files[MANIFEST], touched, RELEASE[1:]).faults


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_what_is_cut_or_longer_is_refused(place, files, name, data):
    whole = files[name]
    size = data.draw(st.sampled_from([0, 1, len(whole) // 2, len(whole) - 1, len(whole) + 1, None]))
    if size is None:
        size = data.draw(st.integers(0, len(whole) - 1))
    filling = data.draw(st.sampled_from([b" ", b"\n", b"\0", b"}"]))
    with changed(place / "b", name, (whole + filling)[:size]):
        refused(place / "b", place / "keys", name)


@pytest.mark.parametrize("name", EVERY)
def test_a_missing_file_is_refused(place, files, tmp_path, name):
    left = {other: files[other] for other in files if other != name}
    (fault, *_) = refused(write(tmp_path / "b", left), place / "keys", name)
    assert fault.startswith(f"{name}: is missing")


@pytest.mark.parametrize(
    "name",
    [
        *("notes.txt", ".hidden", "MANIFEST.JSON", "policy.sqlite-wal", "policy.sqlite-journal"),
        *("signature.dsse.json.new", "signature.json", "golden.jsonl~", "responses.de.json"),
    ],
)
def test_an_extra_file_is_refused(place, files, tmp_path, name):
    folder = write(tmp_path / "b", files | {name: b"{}"})
    refused(folder, place / "keys", f"{name}: is in the folder, but not in the manifest")


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_refused_and_not_waited_for(place, files, tmp_path, name, make):
    folder = write(tmp_path / "b", {other: files[other] for other in files if other != name})
    make(folder / name)
    refused(folder, place / "keys", f"{folder / name}: found something that is no file")


# Signatures that are somebody's, or of something.


def signed(files, *keys, **changes):
    """Return `files` with a signature by `keys` whose statement has `changes`."""
    manifest = files[MANIFEST]
    envelope = None
    for key in keys:
        envelope = sign(manifest, key, envelope)
    return files | {SIGNATURE: canonical(json.loads(envelope) | changes)}


FORGERIES = {
    "stripped": (lambda f, _: {n: f[n] for n in f if n != SIGNATURE}, "is missing, but keys are"),
    "another key": (
        lambda f, _: signed(f, new_keys("mallory", "ed25519", b"m" * 32)[0]),
        "signatures[0]: found the keyid",
    ),
    "another kind of key": (lambda f, _: signed(f, SITE[0]), "signatures[0]: found the keyid"),
    "no signatures": (lambda f, _: signed(f, RELEASE[0], signatures=[]), "found no signatures"),
    "another payload type": (
        lambda f, _: signed(f, RELEASE[0], payloadType="text/plain"),
        "payloadType: found 'text/plain', expected 'application/vnd.in-toto+json'",
    ),
    "no payload": (lambda f, _: signed(f, RELEASE[0], payload=""), "is not what release (ed25519"),
    "an algorithm": (lambda f, _: signed(f, RELEASE[0], alg="none"), "found other fields than"),
    "of another bundle": (
        lambda f, older: f | {SIGNATURE: older[SIGNATURE]},
        "predicate.sequence: found 2, expected 3",
    ),
    "another statement on it": (
        lambda f, older: signed(
            f, RELEASE[0], payload=json.loads(signed(older, RELEASE[0])[SIGNATURE])["payload"]
        ),
        "is not what release (ed25519",
    ),
    "too many": (
        lambda f, _: signed(f, RELEASE[0], signatures=[{"sig": "AAAA"}] * 65),
        "found 65 signatures, expected at most 64",
    ),
    "a list": (lambda f, _: f | {SIGNATURE: b"[]"}, "found [], expected fields"),
    "a name twice": (
        lambda f, _: f | {SIGNATURE: f[SIGNATURE][:-1] + b',"payload":""}'},
        "it has the name 'payload' twice",
    ),
    "blanks": (lambda f, _: f | {SIGNATURE: f[SIGNATURE] + b"\n"}, "is not canonical JSON"),
    "huge": (lambda f, _: f | {SIGNATURE: b" " * 1_000_001}, "found more than 1000000 bytes"),
    "deep": (lambda f, _: f | {SIGNATURE: b"[" * 100_000}, "it is nested too deeply"),
}


@pytest.mark.parametrize("forgery", sorted(FORGERIES))
def test_a_signature_that_says_nothing_is_refused(place, files, tmp_path, forgery):
    forge, sentence = FORGERIES[forgery]
    folder = write(tmp_path / "b", forge(files, files_of(place / "older")))
    faults = refused(folder, place / "keys", SIGNATURE)
    assert any(sentence in fault for fault in faults), faults


@pytest.mark.parametrize("name", [RESPONSES, GOLDEN, SCENARIO, ROWS, PLAYS, MANIFEST])
def test_a_forgery_with_every_hash_right_is_refused_by_its_signature(place, files, tmp_path, name):
    forge = {
        RESPONSES: lambda: edited_json(files, name, lambda r: r["refuse"].update(mechanism="pass")),
        GOLDEN: lambda: files | {name: files[name].splitlines(keepends=True)[0]},
        SCENARIO: lambda: edited_json(files, name, lambda s: s.update(title="Another")),
        ROWS: lambda: sql(files, "UPDATE assistant SET reach = reach / 2"),
        PLAYS: lambda: files | {name: with_byte(files[name], len(files[name]) - 1, 3)},
        MANIFEST: lambda: files,
    }
    forged = sealed(forge[name](), lambda manifest: manifest.update(created="2030-01-01"))
    faults = refused(write(tmp_path / "b", forged), place / "keys", SIGNATURE)
    assert any("it signs manifest.json with the SHA-256" in fault for fault in faults)
    assert name == MANIFEST or any(f"it signs {name} with" in fault for fault in faults)


# What is signed, and not to be served all the same.


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda m: m.update(schema="csa-games/bundle/2"), "schema: found 'csa-games/bundle/2', ex"),
        (
            lambda m: m["compat"].update(min_reader=READER + 1),
            f"compat.min_reader: found {READER + 1}, expected at most {READER}",
        ),
        (lambda m: m.update(key_version=2), "key_version: found 2, expected 1"),
        (lambda m: m.update(sequence=0), "sequence: found 0, expected a whole number from 1"),
        (lambda m: m.update(not_after="2027-02-30"), "not_after: found '2027-02-30', which is no"),
        (lambda m: m.update(not_after="soon"), "not_after: found 'soon', expected a date such as"),
    ],
)
def test_a_newer_schema_and_fields_that_make_no_sense(place, files, tmp_path, edit, sentence):
    manifest = parse(files[MANIFEST])
    edit(manifest)
    forged = files | {MANIFEST: canonical(manifest)}
    folder = write(tmp_path / "b", signed(forged, RELEASE[0]))
    (fault, *_) = refused(folder, place / "keys", MANIFEST)
    assert sentence in fault


@pytest.mark.parametrize("name", [MANIFEST, RESPONSES, GOLDEN, SCENARIO])
def test_a_name_twice_is_refused_wherever_it_stands(place, files, tmp_path, name):
    # Readers that keep the first and readers that keep the last would serve other things.
    first = files[name].splitlines()[0]
    field = sorted(json.loads(first))[0]
    twice = first[:-1] + b"," + canonical({field: json.loads(first)[field]})[1:]
    data = twice + files[name][len(first) :]
    forged = files | {name: data}
    if name != MANIFEST:
        forged = signed(sealed(forged), RELEASE[0])
    folder = write(tmp_path / "b", forged)
    assert any(
        fault.startswith(name) and f"the name {field!r} twice" in fault
        for fault in verify(folder, keys=place / "keys").faults
    )
    if name != SCENARIO:  # a guard does not read it
        refused(folder, place / "keys", name)


def test_an_older_sequence_is_refused_and_the_newer_bundle_stays(place, files, tmp_path):
    older = files_of(place / "older")
    with pytest.raises(BundleError, match="found the sequence 2, expected 3 or more"):
        Deployment(write(tmp_path / "o", older), keys=place / "keys", least_sequence=3)
    folder = write(tmp_path / "b", files)
    deployment = Deployment(folder, keys=place / "keys")
    revision = deployment.guard.revision
    for name, data in older.items():
        (folder / name).write_bytes(data)
    activation = deployment.reload()
    assert (activation.changed, activation.sequence) == (False, 3)
    assert "sequence" in activation.fault
    assert deployment.guard.revision == revision == sha256(files[MANIFEST])
    # Nor does a bundle get in whose signature somebody has taken away.
    (folder / SIGNATURE).unlink()
    assert "signature.dsse.json: is missing" in deployment.reload(allow_rollback=True).fault
    assert deployment.guard.revision == revision


def test_keys_are_not_passed_by_when_files_are_not_checked(place, files, tmp_path):
    # A signature is about hashes, so that they are taken where there are keys.
    data = with_byte(files[ROWS], len(files[ROWS]) - 1, 255)
    folder = write(tmp_path / "b", files | {ROWS: data})
    with pytest.raises(BundleError, match=r"policy\.sqlite: found the SHA-256"):
        Guard.load(folder, keys=place / "keys", check=False)


# Never a traceback: whatever the files hold, with every hash right.


def hostile(files, name, data):
    """Return `files` with `data` in the file `name`, and a manifest that lists it so."""
    forged = files | {name: data}
    listed = listing({part: forged[part] for part in FILES})
    return forged | {MANIFEST: canonical(parse(files[MANIFEST]) | {"files": listed})}


def answered(folder):
    """See that a bundle is loaded or refused, in words."""
    try:
        Guard.load(folder)
    except BundleError as error:
        faults = error.faults
    else:
        faults = verify(folder).faults
    assert all(isinstance(fault, str) for fault in faults)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FILES), st.binary(max_size=40) | JSON.map(lambda v: json.dumps(v).encode()))
@example(SCENARIO, b"null")
@example(SCENARIO, b'{"name": "\\ud800"}')
@example(RESPONSES, b'{"comply": {"mechanism": "pass", "text": "\\ud800", "ends": false}}')
@example(GOLDEN, b'{"history": [], "conversation": "c"}')
@example(ROWS, b"SQLite format 3\0")
@example(PLAYS, b"CSAPLAY1" + b"\0" * 16)
def test_any_bytes_are_refused_in_words(files, tmp_path_factory, name, data):
    folder = write(tmp_path_factory.mktemp("h") / "b", hostile(files, name, data))
    assert not verify(folder).passed
    answered(folder)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_value_in_a_json_file_is_answered_in_words(files, tmp_path_factory, data):
    name = data.draw(st.sampled_from([MANIFEST, RESPONSES, SCENARIO]))
    content = json.loads(files[name])
    inside = content
    while True:
        step = data.draw(
            st.sampled_from(sorted(inside) if isinstance(inside, dict) else range(len(inside)))
        )
        part = inside[step]
        if not isinstance(part, dict | list) or not part or data.draw(st.booleans()):
            break
        inside = part
    # Sizes that are honest, but take long, are another matter.
    inside[step] = data.draw(JSON.filter(lambda value: not isinstance(value, int) or value < 5))
    changed = canonical(content)
    forged = files | {MANIFEST: changed} if name == MANIFEST else hostile(files, name, changed)
    answered(write(tmp_path_factory.mktemp("h") / "b", forged))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_damaged_rows_are_answered_in_words_even_if_their_hash_is_right(
    files, tmp_path_factory, data
):
    rows = files[ROWS]
    used = [k for k, byte in enumerate(rows) if byte]
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.sampled_from(used) | st.integers(0, len(rows) - 1))
        rows = with_byte(rows, position, data.draw(st.integers(0, 255)))
    answered(write(tmp_path_factory.mktemp("h") / "b", hostile(files, ROWS, rows)))


CELLS = ["'text'", "NULL", "x'00ff'", "1e999", "-1e999", "-1", "2", "9e307", "''"]


COLUMNS = [
    *("probability_comply", "posterior_benign", "value_comply", "reach", "own_reach", "margin"),
    *("loss", "trust", "key"),
]


REQUIRED = ("probability_comply", "reach", "trust", "key")  # which SQLite keeps from being NULL


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        (column, cell)
        for column in COLUMNS
        for cell in CELLS
        if cell != "NULL" or column not in REQUIRED
    ],
)
def test_cells_of_another_kind_are_answered_in_words(files, tmp_path, column, cell):
    change = f"UPDATE assistant SET {column} = {cell} WHERE key = 'plain:flag'"
    rows = rows_changed(files, change)[ROWS]
    folder = write(tmp_path / "b", hostile(files, ROWS, rows))
    assert verify(folder).passed == (column == "loss" and cell == "NULL")  # as it was
    answered(folder)


@pytest.fixture(scope="module")
def unprobed(tmp_path_factory):
    """Return the files of a bundle, and a row of it that no probe asks for."""
    folder = tmp_path_factory.mktemp("unprobed") / "b"
    unsolved().save(folder)
    guard, files = Guard.load(folder), files_of(folder)
    probes = [json.loads(line) for line in files[GOLDEN].splitlines()]
    seen = {probe[name] for probe in probes for name in ("key", "key_used")}
    rows = [row for row in guard.store.assistant() if row.trust == TRUSTED and row.posterior]
    key = next(row.key for row in rows if row.key not in seen)
    assert guard.decide(turns_of(key), "c").rung == 0
    return files, key


def decided(unprobed, folder, name, data):
    """Return the fields of a decision of a bundle with `data` in the file of this `name`."""
    files, key = unprobed
    guard = Guard.load(write(folder, hostile(files, name, data)))  # the probes come out
    decision = guard.decide(turns_of(key), "c").as_dict()
    canonical(decision)  # which takes no numbers that are not finite
    return decision


ROW_DAMAGES = [
    *(f"{column} = {cell}" for column in COLUMNS[:-2] for cell in ("'text'", "x'00ff'", "''")),
    *(f"{column} = {cell}" for column in COLUMNS[:-2] for cell in ("1e999", "-1e999")),
    *("trust = 'text'", "trust = x'00ff'", "trust = CAST(x'ff' AS TEXT)", "trust = 2"),
    *("posterior_benign = NULL", "posterior_malicious = NULL", "value_refuse = NULL"),
    *("trust = 'noise', own_reach = NULL", "trust = 'refined', loss = NULL"),
]


@pytest.mark.parametrize("change", ROW_DAMAGES)
def test_of_a_row_that_is_damaged_only_what_it_plays_is_told(unprobed, tmp_path, change):
    files, key = unprobed
    changed = rows_changed(files, f"UPDATE assistant SET {change} WHERE key = '{key}'")
    decision = decided(unprobed, tmp_path / "b", ROWS, changed[ROWS])
    assert decision["rung"] == 0
    assert decision["posterior"] is decision["values"] is decision["margin"] is None
    assert "What else is in the row that decided is damaged" in decision["explanation"]
    assert not verify(tmp_path / "b").passed


# What is in the file of plays: a header of 24 bytes, the last number of which are the plays, where
# buckets begin, and records of a hash, the own reach, six probabilities and a mark.
RECORD = struct.Struct("<16s7dB")


def with_cells(plays, key, **cells):
    """Return a file of plays with these cells, by their position, in the record of `key`."""
    at = plays.index(blake2b(key.encode(), digest_size=16).digest())
    found = list(RECORD.unpack_from(plays, at))
    for name, cell in cells.items():
        found[int(name[1:])] = cell
    return plays[:at] + RECORD.pack(*found) + plays[at + RECORD.size :]


def with_start(plays, key, ahead, number):
    """Return a file of plays where the bucket of `key`, or one so far ahead, begins elsewhere."""
    (bits,) = struct.unpack_from("<I", plays, 12)
    hashed = int.from_bytes(blake2b(key.encode(), digest_size=16).digest()[:4], "big")
    at = 24 + 4 * ((hashed >> (32 - bits)) + ahead)
    return plays[:at] + struct.pack("<I", number) + plays[at + 4 :]


PLAY_DAMAGES = {
    "a mark too large": lambda plays, key: with_cells(plays, key, _8=5),
    "the largest mark": lambda plays, key: with_cells(plays, key, _8=255),
    "a probability that is none": lambda plays, key: with_cells(plays, key, _2=math.nan),
    "an infinite probability": lambda plays, key: with_cells(plays, key, _7=math.inf),
    "less than any number": lambda plays, key: with_cells(plays, key, _4=-math.inf),
    "an infinite own reach": lambda plays, key: with_cells(plays, key, _1=math.inf),
    "noise of no own reach": lambda plays, key: with_cells(plays, key, _1=math.nan, _8=2),
    "another hash": lambda plays, key: with_cells(plays, key, _0=b"\xff" * 16),
    "a bucket that ends before it begins": lambda plays, key: with_start(plays, key, 1, 0),
    "a bucket that begins after it ends": lambda plays, key: with_start(plays, key, 0, 2**32 - 1),
    "a bucket of everything": lambda plays, key: with_start(plays, key, 1, 2**32 - 1),
}


@pytest.mark.parametrize("place", ["in memory", "on disk"])
@pytest.mark.parametrize("damage", sorted(PLAY_DAMAGES))
def test_a_damaged_play_that_no_probe_asks_for_decides_nothing(
    unprobed, tmp_path, monkeypatch, damage, place
):
    monkeypatch.setattr(content, "MOST_COPIED", 0 if place == "on disk" else 2**30)
    files, key = unprobed
    plays = PLAY_DAMAGES[damage](files[PLAYS], key)
    # Probes of the same bucket must not be asked.
    guard = from_files(read_files(write(tmp_path / "b", hostile(files, PLAYS, plays))), check=False)
    decision = guard.decide(turns_of(key), "c")
    assert decision.rung > 0
    assert decision.reason in ("BACKOFF", "DEFAULT")
    assert "The row of this state is damaged." in decision.explanation
    faults = verify(tmp_path / "b").faults
    assert any(fault.startswith("plays.bin: the row ") for fault in faults)


def test_a_play_that_differs_in_the_last_bit_is_found(unprobed, tmp_path):
    files, key = unprobed
    row = store_of(files).get(key)
    for k, number in enumerate((row.own_reach, *row.probabilities), start=1):
        plays = with_cells(files[PLAYS], key, **{f"_{k}": math.nextafter(number, 2.0)})
        folder = write(tmp_path / str(k), hostile(files, PLAYS, plays))
        (fault,) = verify(folder).faults
        assert fault.startswith(f"plays.bin: the row {key}: found ('{row.trust}', ")


def test_a_play_of_no_row_is_found(unprobed, tmp_path):
    files, key = unprobed
    less = sql(files, f"DELETE FROM assistant WHERE key = '{key}'")
    sentence = rf"plays.bin: found {store_of(files).plays.count} plays, expected "
    more = sealed(less | {PLAYS: files[PLAYS]}, lambda m: m["rows"].update(trusted=trusted(m) - 1))
    folder = write(tmp_path / "more", more)
    assert any(fault.startswith(sentence) for fault in verify(folder).faults)
    with pytest.raises(BundleError, match=sentence):
        Guard.load(folder, check=False)


def trusted(manifest):
    return manifest["rows"]["trusted"]


HEADS = {
    "nothing": (lambda plays: b"", "found b'', expected b'CSAPLAY1' and a header"),
    "half a header": (lambda plays: plays[:20], "found b'CSAPLAY1', expected b'CSAPLAY1' and"),
    "another version": (lambda plays: b"CSAPLAY2" + plays[8:], "found b'CSAPLAY2', expected"),
    "other responses": (
        lambda plays: plays[:8] + struct.pack("<I", 7) + plays[12:],
        "found plays of 7 responses, in 2^",
    ),
    "more buckets than there are hashes": (
        lambda plays: plays[:12] + struct.pack("<I", 2**32 - 1) + plays[16:],
        "in 2^4294967295 buckets, expected 6 responses, and 2^32 buckets or fewer",
    ),
    "one bucket": (lambda plays: plays[:12] + bytes(4) + plays[16:], "bytes, expected "),
    "most plays": (lambda plays: plays[:16] + b"\xff" * 8 + plays[24:], "bytes, expected "),
    "a byte too many": (lambda plays: plays + b"\0", "bytes, expected "),
}


@pytest.mark.parametrize("place", ["in memory", "on disk"])
@pytest.mark.parametrize("head", sorted(HEADS))
def test_plays_of_another_structure_are_refused(unprobed, tmp_path, monkeypatch, head, place):
    monkeypatch.setattr(content, "MOST_COPIED", 0 if place == "on disk" else 2**30)
    (files, _), (change, sentence) = unprobed, HEADS[head]
    folder = write(tmp_path / "b", hostile(files, PLAYS, change(files[PLAYS])))
    for fault in (verify(folder).faults[0], refusal(folder)):
        assert fault.startswith("plays.bin: found ")
        assert sentence in fault


def refusal(folder):
    with pytest.raises(BundleError) as caught:
        Guard.load(folder, check=False)
    return str(caught.value)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_plays_are_answered_as_plays_or_not_at_all(unprobed, data):
    files, _ = unprobed
    plays, store = files[PLAYS], store_of(files)
    for _ in range(data.draw(st.integers(1, 20))):
        # The size is checked, and all else is what it likes.
        position = data.draw(st.integers(24, len(plays) - 1) | st.integers(24, 600))
        plays = with_byte(plays, position, data.draw(st.integers(0, 255)))
    found = Plays(plays, 6)
    for row in store.assistant():
        play = found.find(row.key)
        if play is not None:
            assert play.trust in TRUST
            assert all(map(math.isfinite, (play.own_reach or 0.0, *play.probabilities)))


def test_a_damaged_row_of_the_ladder_is_passed_by(unprobed, tmp_path):
    files, _ = unprobed
    guard = Guard.load(write(tmp_path / "a", files))
    history = [(None, "flag")]  # an ask that is missing
    coarse = guard.decide(history, "c")
    assert coarse.rung == len(guard.terms.rungs)
    plays = with_cells(files[PLAYS], coarse.key_used, _8=9)
    forged = from_files(hostile(files, PLAYS, plays), check=False)
    assert forged.decide(history, "c").reason == "DEFAULT"


def test_a_row_that_can_no_longer_be_read_is_told_without(unprobed, tmp_path):
    files, key = unprobed
    guard = Guard.load(write(tmp_path / "b", files))
    decision, told = (guard.decide(turns_of(key), "c") for _ in range(2))
    assert told.posterior is not None
    guard.store._connection.close()
    assert decision.posterior is decision.values is decision.margin is None
    assert "can no longer be read" in decision.explanation
    assert decision.probabilities == told.probabilities


def test_a_deep_manifest_is_refused_in_words(files, tmp_path):
    # As deep as Python reads: what is read may be too deep to be written again.
    for depth in (100, 300, 900, 990, 2000, 100_000):
        deep = b"[" * depth + b"]" * depth
        manifest = files[MANIFEST].replace(
            b'"provenance":{', b'"provenance":{"a":' + deep + b",", 1
        )
        assert manifest != files[MANIFEST]
        folder = write(tmp_path / str(depth), files | {MANIFEST: manifest.replace(b",}", b"}")})
        answered(folder)


def test_the_signature_of_the_fixture_is_good(place, files):
    assert check(files[MANIFEST], files[SIGNATURE], read_keys(place / "keys")).faults == ()
    assert verify(place / "b", keys=place / "keys").passed
