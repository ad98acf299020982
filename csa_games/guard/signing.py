"""Who released a bundle: an in-toto Statement about its files in a DSSE envelope.

The statement names the SHA-256 of every file, `manifest.json` included, and repeats revision and
sequence. What is signed is `DSSEv1 len type len body`, so that neither type nor body can be taken
for another. Kinds of key:

    ed25519   RFC 8032, by the package `cryptography` (the extra `sign`): the secret half signs, the
              public half verifies and cannot sign
    hmac      HMAC-SHA256, RFC 2104, by the standard library: one secret does both, so any verifier
              can also sign, and a good signature says only that somebody with the secret made it

Kind and key come from the verifier's own key files, never from the envelope: it has no field for an
algorithm, and its keyid only says which of the configured keys to try. Where keys are configured, a
bundle without a signature is refused. One good signature by one configured key is enough; others in
the same envelope may be by keys that this verifier does not have, and are not looked at.

Envelopes are stricter than DSSE asks for: canonical JSON, standard base64, no other fields. So
there is one spelling of each, and a changed byte has nowhere to hide.

Sources: DSSE protocol and envelope v1.0 (secure-systems-lab/dsse), in-toto Statement v1
(in-toto/attestation).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from csa_games.errors import InputError
from csa_games.guard.bundle import MANIFEST, SIGNATURE, canonical, is_canonical, parse, sha256
from csa_games.guard.shapes import Maybe, Text, misfits, short

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
PREDICATE = "urn:csa-games:bundle:1"

ED25519, HMAC = "ed25519", "hmac"
KINDS = {
    ED25519: "a pair: the secret half signs, the public half verifies (needs cryptography)",
    HMAC: "one secret that signs and verifies: any verifier can also sign",
}
"""Kinds of key, with what they mean."""

SECRET, PUBLIC = "secret", "public"
KEY_BYTES = 32  # of an Ed25519 half, and of what an HMAC secret has at least
MOST_BYTES = 1_000_000  # of an envelope; those of a bundle have some 1,000
MOST_SIGNATURES = 64

BASE64 = Text(r"[A-Za-z0-9+/]*={0,2}", "standard base64")
NAME = Text(r"[a-z0-9][a-z0-9._-]{0,63}", "a name of a-z, 0-9, '.', '_' and '-'")

ENVELOPE: dict[str, Any] = {
    "payloadType": PAYLOAD,
    "payload": BASE64,
    "signatures": [{"keyid": Maybe(str), "sig": BASE64}],
}
"""What signature.dsse.json holds."""

SUBJECT: list[Any] = [{"name": str, "digest": {"sha256": str}}]

KEY: dict[str, Any] = {
    "schema": "csa-games/key",
    "name": NAME,
    "kind": Text(f"{ED25519}|{HMAC}", f"{ED25519} or {HMAC}"),
    "half": Text(f"{SECRET}|{PUBLIC}", f"{SECRET} or {PUBLIC}"),
    "key": BASE64,
}
"""What a key file holds."""


@dataclass(frozen=True)
class Key:
    """A key to sign or verify with. The `material` of a secret one must not get out."""

    name: str
    kind: str
    half: str
    material: bytes = field(repr=False)

    @property
    def keyid(self) -> str:
        """A text that both halves of a pair have, and that gives nothing of a secret away.

        That of a pair is the SHA-256 of its public half.
        """
        if self.kind == HMAC:
            return hmac.new(self.material, b"csa-games keyid", hashlib.sha256).hexdigest()
        return sha256(_public(self))

    @property
    def told(self) -> str:
        """The key in an error: its name, kind and where its keyid begins."""
        return f"{self.name} ({self.kind}, keyid {self.keyid[:16]})"


class Checked(NamedTuple):
    """Whether the signature holds: what is wrong with it, or the names of the keys that made it."""

    faults: tuple[str, ...]
    signed_by: tuple[str, ...]


# Keys.


def new_keys(name: str, kind: str, seed: bytes) -> tuple[Key, ...]:
    """Return the secret half made of `seed`, 32 random bytes, and the public one of a pair.

    Raises `InputError` for another kind or name, and where `cryptography` is not installed.
    """
    if kind not in KINDS:
        raise InputError(f"found keys of kind {kind!r}, expected one of {', '.join(KINDS)}")
    if not re.fullmatch(NAME.pattern, name):
        raise InputError(f"found the name {short(name)} for a key, expected {NAME.said}")
    secret = Key(name, kind, SECRET, seed)
    _check_length(secret, name)
    return (secret,) if kind == HMAC else (secret, Key(name, kind, PUBLIC, _public(secret)))


def key_file(key: Key) -> bytes:
    """Return the content of the file of `key`: canonical JSON and a line end."""
    code = _encoded(key.material)
    fields = {"name": key.name, "kind": key.kind, "half": key.half, "key": code}
    return canonical({"schema": KEY["schema"], **fields}) + b"\n"


def read_key(path: Path | str) -> Key:
    """Return the key in the file at `path`; InputError where there is none, or it is unusable."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = parse(file.read(MOST_BYTES))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{path}: not a key file: {error}") from None
    found = list(misfits(KEY, content))
    if found or set(content) != set(KEY):
        others = [f"found {', '.join(content)}, expected {', '.join(KEY)}"]
        raise InputError(*(f"{path}: not a key file: {fault}" for fault in found or others))
    key = Key(content["name"], content["kind"], content["half"], _decoded(content["key"], path))
    _check_length(key, path)
    if key.kind == HMAC and key.half == PUBLIC:
        raise InputError(f"{path}: found a public half of kind {HMAC}, which has none")
    if key.kind == ED25519:
        _ed25519(key.name)  # better now than at the first signature
    return key


def read_keys(folder: Path | str) -> tuple[Key, ...]:
    """Return the keys that verify, of all files *.json in `folder`, sorted by name of the file.

    Secret halves of pairs are passed over: they sign. Raises `InputError` where a file is no key,
    or none of them verifies: whoever configures keys must not end up without any.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: found no folder there, expected one of key files")
    every = [read_key(path) for path in sorted(folder.glob("*.json"))]
    keys = tuple(key for key in every if key.kind == HMAC or key.half == PUBLIC)
    if not keys:
        raise InputError(
            f"{folder}: found no key to verify with, expected a public half (*.{PUBLIC}.json) or a "
            f"secret of kind {HMAC}"
        )
    return keys


def _check_length(key: Key, where: Path | str) -> None:
    size, least = len(key.material), KEY_BYTES
    if size < least or (key.kind == ED25519 and size != least):
        more = "" if key.kind == ED25519 else " or more"
        raise InputError(f"{where}: found a key of {size} bytes, expected {least}{more}")


def _decoded(text: str, where: Path | str) -> bytes:
    """Return the bytes of a base64 text that is spelled as its bytes are."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if base64.b64encode(data).decode() != text:
        raise InputError(f"{where}: found {short(text)}, expected standard base64")
    return data


# Envelopes.


def pae(kind: str, body: bytes) -> bytes:
    """Return the pre-authentication encoding of DSSE: what is signed of a payload and its type."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


def statement(manifest: bytes) -> dict[str, Any]:
    """Return the statement about the bundle with this `manifest`, one that `integrity` has passed.

    Its subjects are the files by name: the manifest, and those that it lists.
    """
    content = parse(manifest)
    hashes = {entry["name"]: entry["sha256"] for entry in content["files"]}
    hashes[MANIFEST] = sha256(manifest)
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": hashes[name]}} for name in sorted(hashes)],
        "predicateType": PREDICATE,
        "predicate": {
            "name": content["name"],
            "revision": hashes[MANIFEST],
            "sequence": content["sequence"],
        },
    }


def sign(manifest: bytes, key: Key, envelope: bytes | None = None) -> bytes:
    """Return the envelope of the bundle with this `manifest`, signed by `key`.

    The signatures of `envelope`, one of the same bundle, are kept, but for an earlier one by this
    key. The same arguments give the same bytes: Ed25519 and HMAC draw nothing. Raises `InputError`
    for a key that cannot sign and an envelope that cannot be added to.
    """
    payload = canonical(statement(manifest))
    kept = []
    if envelope is not None:
        content, faults = _opened(envelope)
        if not faults and _decoded(content["payload"], SIGNATURE) != payload:
            faults = [f"{SIGNATURE}: the statement is not that of this bundle"]
        if faults:
            raise InputError(*faults)
        kept = [part for part in content["signatures"] if part.get("keyid") != key.keyid]
    if key.half != SECRET:
        raise InputError(f"the key {key.told} is a public half, expected a secret one, which signs")
    made = {"keyid": key.keyid, "sig": _encoded(_signature(key, pae(PAYLOAD, payload)))}
    signatures = sorted([*kept, made], key=lambda part: (part.get("keyid") or "", part["sig"]))
    return canonical(
        {"payloadType": PAYLOAD, "payload": _encoded(payload), "signatures": signatures}
    )


def check(manifest: bytes, envelope: bytes | None, keys: Sequence[Key]) -> Checked:
    """Return whether `envelope` is signed by one of `keys` and is about the bundle of `manifest`.

    The manifest is one that `integrity` has passed, so that its hashes are those of the files.
    """
    if envelope is None:
        return _refused(f"is missing, but keys are configured: expected one by {_any(keys)}")
    content, faults = _opened(envelope)
    if faults:
        return Checked(tuple(faults), ())
    payload = _decoded(content["payload"], SIGNATURE)
    message = pae(PAYLOAD, payload)
    good, wrong, strangers = [], [], []
    for k, part in enumerate(content["signatures"]):
        keyid, sig = part.get("keyid"), _decoded(part["sig"], SIGNATURE)
        tried = [key for key in keys if keyid is None or keyid == key.keyid]
        by = [key.name for key in tried if _holds(key, message, sig)]
        good += by
        if not tried:
            strangers.append(f"signatures[{k}]: found the keyid {str(keyid)[:64]!r}")
        elif not by:
            wrong.append(f"signatures[{k}]: is not what {_any(tried)} makes of this statement")
    if not good:
        found = "; ".join([*wrong, *strangers]) or "found no signatures"
        return _refused(f"{found}, expected one by {_any(keys)}")
    # Only now: what nobody has signed is not worth reading.
    different = _differences(payload, statement(manifest))
    return Checked(tuple(f"{SIGNATURE}: {fault}" for fault in different), tuple(sorted(set(good))))


def _differences(payload: bytes, expected: dict[str, Any]) -> list[str]:
    """Return where a signed statement is not that of the bundle."""
    try:
        said = parse(payload)
    except ValueError as error:
        return [f"the statement is not JSON: {error}"]
    if said == expected:
        return []
    if not isinstance(said, dict):
        return [f"the statement is {short(said)}, expected fields"]
    found = []
    one, other = _flat(said), _flat(expected)
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            found.append(
                f"the statement is about another bundle: {name}: found {short(one.get(name))}, "
                f"expected {short(other.get(name))}"
            )
    if any(misfits({"subject": SUBJECT}, said)):
        return [*found, "the statement has no name and SHA-256 of each file"]
    signed, real = _hashes(said["subject"]), _hashes(expected["subject"])
    for name in sorted({*signed, *real}):
        if signed.get(name) != real.get(name):
            found.append(
                f"it signs {name} with the SHA-256 {signed.get(name, 'none')}, the bundle has "
                f"{real.get(name, 'none')}"
            )
    return found or ["the statement is spelled otherwise than that of this bundle"]


def _flat(said: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a statement but its subject, those of the predicate by themselves."""
    about = said.get("predicate")
    parts = about if isinstance(about, dict) else {"": about}
    rest = {name: said[name] for name in said if name not in ("subject", "predicate")}
    return rest | {f"predicate.{name}": part for name, part in parts.items()}


def _hashes(subject: Sequence[Any]) -> dict[str, str]:
    return {entry["name"]: entry["digest"]["sha256"] for entry in subject}


def _opened(envelope: bytes) -> tuple[dict[str, Any], list[str]]:
    """Return the content of an envelope, or why it is none."""
    if len(envelope) > MOST_BYTES:
        return {}, [f"{SIGNATURE}: found more than {MOST_BYTES} bytes"]
    try:
        content = parse(envelope)
    except ValueError as error:
        return {}, [f"{SIGNATURE}: not a JSON file: {error}"]
    found = list(misfits(ENVELOPE, content))
    if not found:
        parts = content["signatures"]
        known = set(content) == set(ENVELOPE) and all({*part} <= {"keyid", "sig"} for part in parts)
        if not known:
            found.append("found other fields than payloadType, payload, signatures, keyid and sig")
        elif not is_canonical(content, envelope):
            found.append("is not canonical JSON: expected sorted keys, no blanks, each key once")
        elif len(parts) > MOST_SIGNATURES:
            found.append(f"found {len(parts)} signatures, expected at most {MOST_SIGNATURES}")
        else:
            for text in (content["payload"], *(part["sig"] for part in parts)):
                try:
                    _decoded(text, "base64")
                except InputError as error:
                    found.append(str(error))
    return {} if found else content, [f"{SIGNATURE}: {fault}" for fault in found]


def _refused(fault: str) -> Checked:
    return Checked((f"{SIGNATURE}: {fault}",), ())


def _any(keys: Sequence[Key]) -> str:
    return " or ".join(key.told for key in keys)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


# What signs and what verifies.


def _signature(key: Key, message: bytes) -> bytes:
    if key.kind == HMAC:
        return hmac.new(key.material, message, hashlib.sha256).digest()
    return bytes(
        _ed25519(key.name).Ed25519PrivateKey.from_private_bytes(key.material).sign(message)
    )


def _holds(key: Key, message: bytes, signature: bytes) -> bool:
    """Return whether `signature` is what the secret half of `key` makes of `message`."""
    if key.kind == HMAC:
        return hmac.compare_digest(_signature(key, message), signature)
    from cryptography.exceptions import InvalidSignature

    public = _ed25519(key.name).Ed25519PublicKey.from_public_bytes(_public(key))
    try:
        public.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _public(key: Key) -> bytes:
    """Return the public half of a pair."""
    if key.half == PUBLIC:
        return key.material
    secret = _ed25519(key.name).Ed25519PrivateKey.from_private_bytes(key.material)
    return bytes(secret.public_key().public_bytes_raw())


def _ed25519(name: str) -> Any:
    """Return the module of Ed25519; InputError where it is not installed."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise InputError(
            f"the key {name} is of kind {ED25519}, which needs the package cryptography: install "
            f"csa-games[sign], or use a key of kind {HMAC}"
        ) from None
    return ed25519
