"""Whether a bundle is what it says: its files, its rows, and its certificate, recomputed."""

from __future__ import annotations

import math
import sqlite3
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from csa_games.guard.bundle import (
    CARD,
    GOLDEN,
    MANIFEST,
    PLAYS,
    RESPONSES,
    ROWS,
    SCENARIO,
    SIGNATURE,
    BundleError,
    Terms,
    canonical,
    integrity,
    pairs,
    parse,
    read_files,
    repeated,
    responses_of,
    sha256,
    terms_of,
)
from csa_games.guard.card import card
from csa_games.guard.certificate import (
    Certificate,
    Dialogue,
    MissingRowError,
    Visit,
    certify,
    dialogue_from,
    examine,
    stakes,
    user_states,
)
from csa_games.guard.decide import Guard, responses_from
from csa_games.guard.golden import LEAST_PROBES, faults
from csa_games.guard.keys import coarse_key, turns_of
from csa_games.guard.ladder import find
from csa_games.guard.plays import (
    COARSE,
    DEVIATION,
    NOISE,
    REFINED,
    TRUST,
    TRUSTED,
    Play,
)
from csa_games.guard.signing import check, read_keys
from csa_games.guard.store import Row, Store, margin_of

TOLERANCE = 1e-9  # of the payoff scale, and of probabilities: float64 sums in another order
TOLD = 5  # rows told about per kind of fault; further ones are counted


NO_SIGNATURE, UNCHECKED, GOOD, REFUSED = "none", "not checked", "good", "refused"
SIGNATURES = {
    NO_SIGNATURE: "the bundle has none, and no keys are configured that would require one",
    UNCHECKED: "there is one, but it says nothing: no keys are configured",
    GOOD: "a configured key made it, of these very files",
    REFUSED: "keys are configured, and none of them made it of these files",
}
"""What can be said of the signature of a bundle."""


@dataclass(frozen=True)
class Report:
    """What `verify` found: `faults`, and nothing else wrong; and what it recomputed.

    `certificate` is that of the policy in the rows, `served` that of what the guard makes of it,
    ladder included; None where the faults did not let it get that far. The revision is that of a
    bundle whose files are the ones listed. `signature` is one of `SIGNATURES`, and `signed_by` the
    names of the configured keys that made one.
    """

    revision: str | None
    faults: tuple[str, ...]
    certificate: Certificate | None = None
    served: Certificate | None = None
    signature: str = NO_SIGNATURE
    signed_by: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        certificates = {
            name: None if part is None else part._asdict()
            for name, part in (("certificate", self.certificate), ("served", self.served))
        }
        return {"passed": self.passed, **asdict(self), **certificates}


def verify(folder: Path | str, keys: Path | str | None = None) -> Report:
    """Return what is wrong with the bundle in `folder`, as sentences: found, and expected.

    Checked are the manifest and every file's size and hash; that the rows are those of the digest,
    proper distributions, one for each state that the scenario can reach and no others, and that
    plays are theirs; that reach, posterior, values, margin, trust and the coarser rows are what the
    scenario and the policy make them; value and gap of the policy, and of the policy as the guard
    serves it; the golden probes, the responses and the card. With `keys`, a folder of key files,
    one of them must have signed the bundle; without, a signature is neither needed nor trusted.
    Raises `InputError` when there is no folder, or no key there verifies.
    """
    trusted = None if keys is None else read_keys(keys)
    try:
        files = read_files(folder)
        found = integrity(files)
    except BundleError as error:
        return Report(None, error.faults)
    if found:
        return Report(None, tuple(found))
    revision = sha256(files[MANIFEST])
    signature = UNCHECKED if SIGNATURE in files else NO_SIGNATURE
    signed_by: tuple[str, ...] = ()
    if trusted is not None:
        checked = check(files[MANIFEST], files.get(SIGNATURE), trusted)
        if checked.faults:
            return Report(revision, checked.faults, signature=REFUSED)
        signature, signed_by = GOOD, checked.signed_by
    try:
        report = _verify(files, revision)
    except BundleError as error:
        report = Report(revision, error.faults)
    except (sqlite3.Error, struct.error, UnicodeDecodeError) as error:
        report = Report(revision, (f"{ROWS}: cannot be read: {error}",))
    return replace(report, signature=signature, signed_by=signed_by)


def _verify(files: Mapping[str, Any], revision: str) -> Report:
    manifest = parse(files[MANIFEST])
    terms = terms_of(manifest)
    store = Store(files[ROWS], files[PLAYS], terms)
    guard = Guard(terms, responses_from(files[RESPONSES], terms), store, revision)
    try:
        scenario = parse(files[SCENARIO])
        dialogue = dialogue_from(scenario)
        copies = list(_copies(manifest, files[RESPONSES], scenario))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        fault = f"{SCENARIO}: cannot be read as a scenario: {type(error).__name__}: {error}"
        return Report(revision, (fault,))
    strange = store.strange(TOLD)
    if strange:
        return Report(revision, tuple(strange))
    rows = {row.key: row for row in store.assistant()}
    users = store.user()
    found = [*copies, *_counts(manifest, store, rows, users)]
    found += _few(_distributions(dialogue, rows, users))
    found += _few(_plays(store, rows))
    if found:
        return Report(revision, tuple(found))

    policy = {key: row.probabilities for key, row in rows.items() if row.trust != COARSE}
    visits: list[Visit] = []
    try:
        certificate = certify(dialogue, policy, users, visits.append)
        served = certify(dialogue, _served(terms, store, rows), users)
    except MissingRowError as error:
        found.append(f"{ROWS}: there is no row for {error}, a state that the scenario can reach")
        return Report(revision, tuple(found))
    by_intent = stakes(dialogue)
    epsilon = float(manifest["trust"]["epsilon"])
    examined = {
        key: (loss, stake)
        for key, loss, stake in (examine(dialogue, policy, users, epsilon) if epsilon else ())
    }
    wrong = _few(_rows(manifest, by_intent, rows, visits, examined))
    # Means over rows that are wrong would be wrong as well.
    found += wrong or _few(_coarse(terms, rows))
    scale = sum(p * most for p, most in pairs(dialogue.prior, by_intent))
    found += _certificate("solution", manifest, certificate, scale)
    found += _certificate("served", manifest, served, scale)
    found += _summary(manifest["solution"], certificate, dialogue.game_class, scale)
    found += _few(iter(faults(guard, files[GOLDEN])))
    probes, least = len(files[GOLDEN].splitlines()), min(LEAST_PROBES, len(policy))
    if probes < least:
        found.append(f"{GOLDEN}: found {probes} probes, expected {least} or more")
    found += _card(files[CARD], manifest, scenario, store)
    return Report(revision, tuple(found), certificate, served)


def _few(found: Iterator[str]) -> list[str]:
    """Return the first sentences of `found`, and how many more there are."""
    listed = list(found)
    more = len(listed) - TOLD
    return listed[:TOLD] + ([f"and {more} more like these"] if more > 0 else [])


def _served(terms: Terms, store: Store, rows: Mapping[str, Row]) -> dict[str, Sequence[float]]:
    """Return what the guard plays at each state: its row, or that of the ladder."""
    return {
        key: row.probabilities
        if row.trust != NOISE
        else find(terms, store, turns_of(key)).row.probabilities
        for key, row in rows.items()
        if row.trust != COARSE
    }


def _counts(
    manifest: Mapping[str, Any],
    store: Store,
    rows: Mapping[str, Row],
    users: Mapping[str, Sequence[float]],
) -> Iterator[str]:
    """Check how many rows there are, and that they are the very ones that were exported."""
    digest, said = store.digest(), manifest["rows"]["digest"]
    if digest != said:
        yield f"{ROWS}: found rows of digest {digest}, expected {said}"
    counts = Counter(row.trust for row in rows.values())
    for kind, found in (
        (TRUSTED, counts[TRUSTED]),
        (REFINED, counts[REFINED]),
        (NOISE, counts[NOISE]),
        (DEVIATION, counts[DEVIATION]),
        (COARSE, counts[COARSE]),
        ("user", len(users)),
    ):
        if found != manifest["rows"][kind]:
            yield f"{ROWS}: found {found} {kind} rows, expected {manifest['rows'][kind]}"


def _plays(store: Store, rows: Mapping[str, Row]) -> Iterator[str]:
    """Check that rows play what the file of plays says, and that there are no other plays.

    Every row has one of its own, so there is no other where there are as many.
    """
    if store.plays.count != len(rows):
        yield f"{PLAYS}: found {store.plays.count} plays, expected {len(rows)}, one of each row"
    for key, row in rows.items():
        found = store.plays.find(key)
        expected = Play(key, row.trust, row.own_reach, row.probabilities)
        if found != expected:
            yield f"{PLAYS}: the row {key}: found {found and found[1:]}, expected {expected[1:]}"


def _copies(manifest: Mapping[str, Any], responses: bytes, scenario: Any) -> Iterator[str]:
    """Check what the manifest and responses.json repeat of the scenario."""
    for field, expected in repeated(scenario).items():
        if manifest[field] != expected:
            yield f"{MANIFEST}: {field}: found {manifest[field]}, the scenario says {expected}"
    if responses != canonical(responses_of(scenario)):
        yield f"{RESPONSES}: is not what {SCENARIO} says of the responses"


def _distributions(
    dialogue: Dialogue, rows: Mapping[str, Row], users: Mapping[str, Sequence[float]]
) -> Iterator[str]:
    """Check that every row holds probabilities, and no others than its state allows."""
    for key, row in rows.items():
        if row.trust not in TRUST or (row.trust == COARSE) != key.startswith("~"):
            yield f"{ROWS}: the row {key} is marked {row.trust!r}, which such a row cannot be"
        if not _proper(row.probabilities):
            yield _improper(key, row.probabilities)
    states: dict[str, list[int]] = {}
    for key, legal in user_states(dialogue):
        if key not in users:
            yield f"{ROWS}: there is no row for {key}, a state that the scenario can reach"
            return
        states[key] = legal
    for key, probabilities in users.items():
        if key not in states:
            yield f"{ROWS}: the user row {key} stands for no state that the scenario can reach"
        elif not _proper(probabilities) or any(
            probability != 0 and b not in states[key] for b, probability in enumerate(probabilities)
        ):
            yield _improper(key, probabilities)


def _proper(probabilities: Sequence[float]) -> bool:
    return all(probability >= 0 for probability in probabilities) and _near(
        math.fsum(probabilities), 1.0, 1.0
    )


def _improper(key: str, probabilities: Sequence[float]) -> str:
    return (
        f"{ROWS}: the row {key} holds {list(probabilities)}, expected probabilities of what may be "
        "done there, which sum to 1"
    )


def _near(found: float, expected: float, scale: float) -> bool:
    return abs(found - expected) <= TOLERANCE * scale


def _rows(
    manifest: Mapping[str, Any],
    by_intent: Sequence[float],
    rows: Mapping[str, Row],
    visits: Sequence[Visit],
    examined: Mapping[str, tuple[float, float]],
) -> Iterator[str]:
    """Check what exact rows say beside their probabilities."""
    least_own = float(manifest["trust"]["own_reach"])
    least_share = float(manifest["trust"]["deviation"])
    most_loss = float(manifest["trust"]["loss"])
    reached = {visit.key for visit in visits}
    for key, row in rows.items():
        if row.trust != COARSE and key not in reached:
            yield f"{ROWS}: the row {key} stands for no state that the scenario can reach"
    for visit in visits:
        row, others, most = rows[visit.key], sum(visit.weight), sum(visit.attainable)
        posterior = [weight / others for weight in visit.weight] if others > 0 else None
        values = [value / others for value in visit.values] if others > 0 else None
        scale = _scale(by_intent, posterior, values)
        loss, stake = examined.get(visit.key, (math.nan, math.nan))
        expected: dict[str, tuple[Any, Any, float]] = {
            "own_reach": ([row.own_reach], [visit.own_reach], visit.own_reach),
            "reach": ([row.reach], [visit.own_reach * others], visit.own_reach * others),
            "posterior": (row.posterior, posterior, 1.0),
            "values": (row.values, values, scale),
            "margin": ([row.margin], [margin_of(row.values)], scale),
            "loss": ([row.loss], [None if math.isnan(loss) else loss], sum(by_intent)),
        }
        for what, (found, right, size) in expected.items():
            if not _all_near(found, right, size):
                yield f"{ROWS}: the row {visit.key}: {what}: found {found}, expected {right}"
        trust = TRUSTED
        if visit.own_reach < least_own:
            trust = NOISE
        elif others < least_share * most:
            trust = DEVIATION
        if trust != TRUSTED and loss <= most_loss * stake:
            trust = REFINED
        # Which side of a threshold rounding falls on is nobody's fault.
        on_edge = _near(visit.own_reach, least_own, least_own) or _near(
            others, least_share * most, least_share * most
        )
        on_edge = on_edge or _near(loss, most_loss * stake, sum(by_intent))
        if row.trust != trust and not on_edge:
            yield f"{ROWS}: the row {visit.key} is marked {row.trust!r}, expected {trust!r}"


def _all_near(
    found: Sequence[float | None] | None, expected: Sequence[float | None] | None, scale: float
) -> bool:
    """Return whether both are undefined, or all numbers near each other."""
    if found is None or expected is None:
        return found is expected
    return len(found) == len(expected) and all(
        a is b if a is None or b is None else _near(a, b, scale) for a, b in pairs(found, expected)
    )


def _scale(
    by_intent: Sequence[float], posterior: Sequence[float] | None, values: Sequence[float] | None
) -> float:
    """Return what is at stake given a state: what rounding of its values is measured by."""
    if posterior is None or values is None:
        return 0.0
    return sum(p * most for p, most in pairs(posterior, by_intent)) + max(map(abs, values))


def _coarse(terms: Terms, rows: Mapping[str, Row]) -> Iterator[str]:
    """Check that coarser rows are the reach-weighted means of the trusted ones."""
    members: dict[str, list[Row]] = {}
    for key, row in rows.items():
        if row.trust == TRUSTED:
            for coarse in {coarse_key(turns_of(key), features) for features in terms.rungs}:
                members.setdefault(coarse, []).append(row)
    found = {key for key, row in rows.items() if row.trust == COARSE}
    for key in sorted(found ^ set(members)):
        yield f"{ROWS}: the coarser row {key} is {'made of no row' if key in found else 'missing'}"
    for key in sorted(found & set(members)):
        row, parts = rows[key], members[key]
        total = math.fsum(part.reach for part in parts)
        scale = max(abs(value) for part in parts for value in part.values or ())
        expected = {
            "probabilities": ([part.probabilities for part in parts], 1.0),
            "posterior": ([part.posterior or () for part in parts], 1.0),
            "values": ([part.values or () for part in parts], scale),
        }
        if row.own_reach is not None or not _near(row.reach, total, total):
            yield f"{ROWS}: the coarser row {key}: reach: found {row.reach}, expected {total}"
        if row.loss is not None:
            yield f"{ROWS}: the coarser row {key}: loss: found {row.loss}, expected none"
        if not _all_near([row.margin], [margin_of(row.values)], scale):
            yield (
                f"{ROWS}: the coarser row {key}: margin: found {row.margin}, expected "
                f"{margin_of(row.values)}"
            )
        for what, (numbers, size) in expected.items():
            mean = [
                math.fsum(part.reach * column[k] for part, column in pairs(parts, numbers)) / total
                for k in range(len(numbers[0]))
            ]
            if not _all_near(getattr(row, what), mean, size):
                yield (
                    f"{ROWS}: the coarser row {key}: {what}: found {getattr(row, what)}, "
                    f"expected {mean}"
                )


def _card(data: bytes, manifest: Mapping[str, Any], scenario: Any, store: Store) -> Iterator[str]:
    try:
        expected = card(manifest, scenario, store).encode()
    except (KeyError, TypeError, AttributeError) as error:
        yield f"{SCENARIO}: no card can be made of it: {type(error).__name__}: {error}"
        return
    if data != expected:
        yield f"{CARD}: is not the card that the manifest, the scenario and the rows make"


def _certificate(
    field: str, manifest: Mapping[str, Any], found: Certificate, scale: float
) -> Iterator[str]:
    """Check value and gap in the manifest against what was recomputed."""
    for what, recomputed in found._asdict().items():
        numbers = [float(number) for number in manifest[field][what]]
        if not _all_near(numbers, recomputed, scale):
            yield (
                f"{MANIFEST}: {field}.{what}: found {numbers}, recomputed from {SCENARIO} and "
                f"{ROWS}: {list(recomputed)}"
            )


def _summary(
    said: Mapping[str, Any], found: Certificate, game_class: str, scale: float
) -> Iterator[str]:
    """Check what the manifest says of the solution beside value and gap."""
    recomputed = sum(found.gap)
    if not _near(float(said["nash_conv"]), recomputed, scale):
        yield (
            f"{MANIFEST}: solution.nash_conv: found {said['nash_conv']}, recomputed: {recomputed}"
        )
    if said["class"] != game_class:
        yield (
            f"{MANIFEST}: solution.class: found {said['class']!r}, the scenario's is {game_class!r}"
        )
