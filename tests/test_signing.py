"""Signatures hold by the standards' own words, follow the configured keys, and nothing else."""

import base64
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import ed25519_by_hand
import pytest
from bundles import files_of, table, write

from csa_games.cli import main
from csa_games.errors import InputError
from csa_games.guard import BundleError, Guard, verify
from csa_games.guard.__main__ import main as guard_main
from csa_games.guard.bundle import FILES, MANIFEST, SIGNATURE, canonical
from csa_games.guard.signing import (
    KINDS,
    check,
    key_file,
    new_keys,
    pae,
    read_key,
    read_keys,
    sign,
    statement,
)
from csa_games.signing import sign_bundle, write_keys

SEEDS = {name: hashlib.sha256(name.encode()).digest() for name in ("release", "other", "site")}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "b"
    table("csa_oneshot").save(folder, sequence=3)
    return files_of(folder)


@pytest.fixture
def bundle(files, tmp_path):
    return write(tmp_path / "b", files)


@pytest.fixture
def keys(tmp_path):
    """Return a folder with both halves of a pair, `release`, and nothing else."""
    write_keys(tmp_path / "keys", "release", "ed25519", SEEDS["release"])
    return tmp_path / "keys"


def secret(keys: Path, name: str = "release") -> Path:
    return keys / f"{name}.secret.json"


def both(folder, keys):
    """Return the faults that `verify` finds, after seeing that a guard loads iff there are none."""
    report = verify(folder, keys=keys)
    if report.passed:
        assert Guard.load(folder, keys=keys).revision == report.revision
    else:
        with pytest.raises(BundleError) as caught:
            Guard.load(folder, keys=keys)
        assert caught.value.faults[0] in report.faults
    return report.faults


def content(folder):
    return json.loads((folder / SIGNATURE).read_bytes())


# By the standards.


def test_what_is_signed_is_that_of_the_dsse_protocol():
    # The example of the protocol, https://github.com/secure-systems-lab/dsse, protocol.md.
    found = pae("http://example.com/HelloWorld", b"hello world")
    assert found == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    # Lengths are of bytes, in UTF-8.
    assert pae("ä", b"") == b"DSSEv1 2 \xc3\xa4 0 "


RFC_8032 = [  # section 7.1, tests 1 to 3: secret, public, message, signature
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf"
        "9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
        "1d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984d"
        "c6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_pairs_and_the_check_by_hand_are_those_of_rfc_8032(seed, public, message, signature):
    pair = new_keys("release", "ed25519", bytes.fromhex(seed))
    assert pair[1].material == bytes.fromhex(public)
    told = [bytes.fromhex(part) for part in (public, message, signature)]
    assert ed25519_by_hand.holds(*told)
    told[2] = bytes([told[2][0] ^ 1]) + told[2][1:]
    with pytest.raises((AssertionError, ValueError)):  # R may be no point, then
        assert ed25519_by_hand.holds(*told)


def test_a_signed_bundle_is_signed_by_the_words_of_the_standards(bundle, keys):
    sign_bundle(bundle, secret(keys))
    envelope = content(bundle)
    assert set(envelope) == {"payload", "payloadType", "signatures"}
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    payload = base64.b64decode(envelope["payload"])
    message = b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload
    public = json.loads((keys / "release.public.json").read_bytes())
    (signature,) = envelope["signatures"]
    material = base64.b64decode(public["key"])
    assert ed25519_by_hand.holds(material, message, base64.b64decode(signature["sig"]))
    assert signature["keyid"] == hashlib.sha256(material).hexdigest()
    # in-toto Statement v1: https://github.com/in-toto/attestation, spec/v1/statement.md.
    said = json.loads(payload)
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert {part["name"]: part["digest"] for part in said["subject"]} == {
        name: {"sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files_of(bundle).items()
        if name != SIGNATURE
    }
    revision = hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()
    assert said["predicate"] == {"name": "csa_oneshot", "revision": revision, "sequence": 3}
    assert said["predicateType"] == "urn:csa-games:bundle:1"


def hmac_by_the_book(key: bytes, text: bytes) -> bytes:
    """RFC 2104: H((K xor opad) || H((K xor ipad) || text)), keys being no longer than a block."""
    block = key.ljust(64, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    return hashlib.sha256(outer + hashlib.sha256(inner + text).digest()).digest()


def test_an_hmac_is_that_of_the_book(bundle, tmp_path):
    write_keys(tmp_path / "k", "site", "hmac", SEEDS["site"])
    sign_bundle(bundle, tmp_path / "k" / "site.secret.json")
    envelope = content(bundle)
    payload = base64.b64decode(envelope["payload"])
    message = b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload
    (signature,) = envelope["signatures"]
    assert base64.b64decode(signature["sig"]) == hmac_by_the_book(SEEDS["site"], message)
    assert both(bundle, tmp_path / "k") == ()


# What the keys decide.


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_signed_by_a_configured_key_is_loaded(bundle, tmp_path, kind):
    write_keys(tmp_path / "k", "release", kind, SEEDS["release"])
    sign_bundle(bundle, tmp_path / "k" / "release.secret.json")
    report = verify(bundle, keys=tmp_path / "k")
    assert (report.faults, report.signature, report.signed_by) == ((), "good", ("release",))
    assert both(bundle, tmp_path / "k") == ()


def test_where_keys_are_configured_an_unsigned_bundle_is_refused(bundle, keys):
    assert both(bundle, None) == ()
    (fault,) = both(bundle, keys)
    assert fault.startswith("signature.dsse.json: is missing, but keys are configured: expected")
    assert "release (ed25519, keyid " in fault
    assert verify(bundle, keys=keys).signature == "refused"


def test_without_keys_a_signature_is_neither_needed_nor_trusted(bundle, keys):
    assert verify(bundle).signature == "none"
    sign_bundle(bundle, secret(keys))
    assert verify(bundle).signature == "not checked"
    (bundle / SIGNATURE).write_bytes(b"nonsense")
    report = verify(bundle)
    assert (report.faults, report.signature, report.signed_by) == ((), "not checked", ())
    Guard.load(bundle)


def test_another_key_is_refused_and_named(bundle, keys, tmp_path):
    write_keys(tmp_path / "more", "other", "ed25519", SEEDS["other"])
    sign_bundle(bundle, secret(tmp_path / "more", "other"))
    (fault,) = both(bundle, keys)
    keyid = read_key(secret(tmp_path / "more", "other")).keyid
    assert f"signatures[0]: found the keyid '{keyid}', expected one by release" in fault


def test_an_algorithm_in_the_envelope_changes_nothing(files, keys):
    # The public half of a pair as the secret of an HMAC: whoever lets the envelope choose the
    # algorithm takes it for a signature by the pair.
    pair = read_keys(keys)
    payload = canonical(statement(files[MANIFEST]))
    forged = hmac_by_the_book(pair[0].material, pae("application/vnd.in-toto+json", payload))
    envelope = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"sig": base64.b64encode(forged).decode()}],
    }
    (fault,) = check(files[MANIFEST], canonical(envelope), pair).faults
    assert "signatures[0]: is not what release (ed25519" in fault
    for where in (envelope, envelope["signatures"][0]):
        where["alg"] = "hmac"
        (fault,) = check(files[MANIFEST], canonical(envelope), pair).faults
        assert "other fields" in fault
        del where["alg"]


def test_a_keyid_only_says_which_key_to_try(files, keys):
    pair = read_keys(keys)
    envelope = json.loads(sign(files[MANIFEST], read_key(secret(keys))))
    del envelope["signatures"][0]["keyid"]
    assert check(files[MANIFEST], canonical(envelope), pair) == ((), ("release",))
    # With another key's signature, the right keyid helps nobody.
    other = sign(files[MANIFEST], new_keys("other", "ed25519", SEEDS["other"])[0])
    envelope = json.loads(other)
    envelope["signatures"][0]["keyid"] = pair[0].keyid
    assert check(files[MANIFEST], canonical(envelope), pair).faults


def test_one_good_signature_is_enough_and_others_are_kept(bundle, keys, tmp_path):
    more = tmp_path / "more"
    write_keys(more, "other", "ed25519", SEEDS["other"])
    write_keys(more, "site", "hmac", SEEDS["site"])
    for path in (secret(keys), secret(more, "other"), secret(more, "site"), secret(keys)):
        sign_bundle(bundle, path)
    assert len(content(bundle)["signatures"]) == 3  # one each
    assert both(bundle, keys) == both(bundle, more) == ()
    assert verify(bundle, keys=more).signed_by == ("other", "site")
    # A stranger's beside it may be anything, a bad one by a configured key as well.
    envelope = content(bundle)
    for part in envelope["signatures"]:
        if part["keyid"] != read_key(secret(keys)).keyid:
            part["sig"] = "AAAA"
    (bundle / SIGNATURE).write_bytes(canonical(envelope))
    assert both(bundle, keys) == ()
    (fault,) = both(bundle, more)
    assert fault.count("is not what") == 2
    sign_bundle(bundle, secret(more, "site"), replace=True)
    assert len(content(bundle)["signatures"]) == 1
    assert both(bundle, keys) != () == both(bundle, more)


def test_a_signature_of_another_bundle_is_refused_and_says_where(files, tmp_path, keys):
    bundle = write(tmp_path / "b", files)
    table("csa_oneshot").save(tmp_path / "older", sequence=2, sign=secret(keys))
    (bundle / SIGNATURE).write_bytes((tmp_path / "older" / SIGNATURE).read_bytes())
    faults = both(bundle, keys)
    assert any(
        "another bundle: predicate.sequence: found 2, expected 3" in fault for fault in faults
    )
    assert any("it signs manifest.json with the SHA-256" in fault for fault in faults)
    with pytest.raises(InputError, match="the statement is not that of this bundle"):
        sign_bundle(bundle, secret(keys))
    sign_bundle(bundle, secret(keys), replace=True)
    assert both(bundle, keys) == ()


def test_exports_are_signed_and_the_same_bytes_each_time(files, tmp_path, keys):
    for name in ("a", "b"):
        table("csa_oneshot").save(tmp_path / name, sequence=3, sign=secret(keys))
    made = files_of(tmp_path / "a")
    assert made == files_of(tmp_path / "b")
    # The signature is beside: revision and files are those of the unsigned bundle.
    assert {name: made[name] for name in made if name != SIGNATURE} == files
    table("csa_oneshot").save(tmp_path / "a", sequence=4)
    assert sorted(files_of(tmp_path / "a")) == sorted([MANIFEST, *FILES])


def test_a_bundle_that_is_not_whole_is_not_signed(files, tmp_path, keys):
    bundle = write(tmp_path / "b", files | {"CARD.md": b"another"})
    with pytest.raises(BundleError, match=r"CARD\.md: found 7 bytes"):
        sign_bundle(bundle, secret(keys))
    assert not (bundle / SIGNATURE).exists()


def test_signing_leaves_nothing_else_in_the_bundle_at_any_time(bundle, keys, monkeypatch):
    # A file that the manifest does not list would make a guard refuse the bundle.
    seen = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (seen.append(verify(bundle).passed), real(file)))
    sign_bundle(bundle, secret(keys))
    assert seen
    assert all(seen)
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


# Key files.


def test_secret_files_are_for_their_owner_only_and_nothing_is_overwritten(tmp_path):
    first, second = write_keys(tmp_path, "release", "ed25519", SEEDS["release"])
    before = first.read_bytes(), second.read_bytes()
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    for name, kind in (("release", "ed25519"), ("release", "hmac")):
        with pytest.raises(InputError, match=r"release\.secret\.json: is there already"):
            write_keys(tmp_path, name, kind, SEEDS["other"])
    first.unlink()
    with pytest.raises(InputError, match=r"release\.public\.json: is there already"):
        write_keys(tmp_path, "release", "ed25519", SEEDS["other"])
    assert [path.name for path in tmp_path.iterdir()] == ["release.public.json"]
    assert second.read_bytes() == before[1]


def test_keys_that_cannot_be_finished_are_not_there(tmp_path, monkeypatch):
    calls = []

    def full(file):
        calls.append(file)
        if len(calls) == 3:  # the file and its folder, then the second file
            raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_keys(tmp_path, "release", "ed25519", SEEDS["release"])
    assert list(tmp_path.iterdir()) == []


def test_halves_are_read_as_written_and_share_a_keyid(tmp_path):
    paths = write_keys(tmp_path, "release", "ed25519", SEEDS["release"])
    assert tuple(map(read_key, paths)) == new_keys("release", "ed25519", SEEDS["release"])
    assert len({read_key(path).keyid for path in paths}) == 1
    assert read_keys(tmp_path) == (read_key(paths[1]),)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_not_shown(kind, tmp_path, capsys):
    (path, *_) = write_keys(tmp_path, "release", kind, SEEDS["release"])
    key = read_key(path)
    main(["keys", "show", str(path)])
    shown = repr(key) + key.told + key.keyid + capsys.readouterr().out
    assert key.keyid in shown
    code = base64.b64encode(SEEDS["release"]).decode()
    assert code not in shown
    assert SEEDS["release"].hex() not in shown
    assert code in path.read_text()


def key_content(**changes):
    (key, *_) = new_keys("release", "hmac", SEEDS["release"])
    return json.dumps(json.loads(key_file(key)) | changes).encode()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not a key file: "),
        (b"[]", "not a key file: found [], expected fields"),
        (key_content(schema="x"), "schema: found 'x', expected 'csa-games/key'"),
        (key_content(kind="none"), "kind: found 'none', expected ed25519 or hmac"),
        (key_content(kind=["hmac"]), "kind: found ['hmac'], expected ed25519 or hmac"),
        (key_content(half="public"), "found a public half of kind hmac, which has none"),
        (key_content(name="../x"), "name: found '../x', expected a name of"),
        (key_content(key="AAAA"), "found a key of 3 bytes, expected 32 or more"),
        (key_content(key="A"), "found 'A', expected standard base64"),
        (key_content(key="?"), "key: found '?', expected standard base64"),
        (key_content(alg="none"), "alg, expected schema, name, kind, half, key"),
        (
            key_content(kind="ed25519", key=base64.b64encode(b"x" * 33).decode()),
            "found a key of 33 bytes, expected 32",
        ),
        (key_content()[:-1] + b', "kind": "hmac"}', "it has the name 'kind' twice"),
    ],
)
def test_what_is_no_key_file_is_wrong_input(bundle, tmp_path, data, sentence):
    folder = tmp_path / "k"
    folder.mkdir()
    (folder / "x.json").write_bytes(data)
    for use in (read_keys, lambda keys: verify(bundle, keys=keys)):
        with pytest.raises(InputError) as caught:
            use(folder)
        assert sentence in str(caught.value).replace("\n", " ")
        assert str(folder) in str(caught.value)
        assert not isinstance(caught.value, BundleError)


def test_whoever_configures_keys_does_not_end_up_without_any(bundle, keys, tmp_path):
    with pytest.raises(InputError, match="found no folder there, expected one of key files"):
        Guard.load(bundle, keys=tmp_path / "nowhere")
    (keys / "release.public.json").unlink()  # the half that is left signs
    with pytest.raises(InputError, match="found no key to verify with"):
        Guard.load(bundle, keys=keys)


def test_keys_of_other_kinds_and_names_are_not_made(tmp_path):
    with pytest.raises(InputError, match="found keys of kind 'rsa', expected one of ed25519, hmac"):
        write_keys(tmp_path, "release", "rsa", SEEDS["release"])
    with pytest.raises(InputError, match=r"found the name '\.\./x' for a key"):
        write_keys(tmp_path, "../x", "hmac", SEEDS["release"])
    with pytest.raises(InputError, match="found a key of 8 bytes, expected 32"):
        write_keys(tmp_path, "release", "hmac", b"tooshort")
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_a_pair_is_refused_with_the_reason(bundle, tmp_path):
    write_keys(tmp_path / "pair", "release", "ed25519", SEEDS["release"])
    write_keys(tmp_path / "site", "site", "hmac", SEEDS["site"])
    sign_bundle(bundle, tmp_path / "site" / "site.secret.json")
    program = (
        "import sys; sys.modules['cryptography'] = None; from csa_games.guard import Guard\n"
        "Guard.load(sys.argv[1], keys=sys.argv[2])\n"
        "try: Guard.load(sys.argv[1], keys=sys.argv[3])\n"
        "except ValueError as error: print(error)"
    )
    arguments = [bundle, tmp_path / "site", tmp_path / "pair"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "which needs the package cryptography: install csa-games[sign]" in done.stdout


# The command line.


def test_the_commands(bundle, tmp_path, capsys):
    keys, place = str(tmp_path / "k"), str(bundle)

    def run(*words, program=main):
        code = program(words)
        found = capsys.readouterr()
        return code, found.out + found.err

    code, text = run("keys", "new", "release", "-o", keys)
    assert code == 0
    assert "release.secret.json signs: keep it secret" in text
    assert run("keys", "new", "release", "-o", keys)[0] == 2
    code, text = run("verify", place, "--keys", keys)
    assert code == 3
    assert "is missing, but keys are configured" in text
    assert run("sign", place, "--key", f"{keys}/release.public.json")[0] == 2
    assert run("sign", place, "--key", f"{keys}/release.secret.json")[0] == 0
    code, text = run("verify", place, "--keys", keys, "--json")
    found = json.loads(text)
    assert (code, found["signature"], found["signed_by"]) == (0, "good", ["release"])
    assert "signature     not checked" in run("verify", place)[1]
    code, text = run("verify", place, "--keys", keys, program=guard_main)
    assert code == 0
    assert "signature: good, by release" in text

    history = '[["plain", "flag"]]'
    asking = ("decide", place, "--history", history, "--conversation", "c")
    for words, program in (("guard", *asking), main), (asking, guard_main):
        assert run(*words, "--keys", keys, program=program)[0] == 0
        (bundle / SIGNATURE).rename(tmp_path / "away")
        code, text = run(*words, "--keys", keys, program=program)
        assert code == 3
        assert "is missing, but keys are configured" in text
        assert run(*words, "--keys", place, program=program)[0] == 2  # its files are no keys
        (tmp_path / "away").rename(bundle / SIGNATURE)
