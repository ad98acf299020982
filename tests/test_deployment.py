"""A deployment: what is enforced, how bundles change under load, and that it always answers."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bundles import certified, edited_json, files_of, sealed, solved, sql, table, write
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from under_load import switch

from csa_games.errors import InputError
from csa_games.fold import legal_mask
from csa_games.game import ASSISTANT
from csa_games.guard import REASONS, BundleError, Deployment, Guard
from csa_games.guard import deployment as deployment_module
from csa_games.guard.bundle import CARD, FILES, MANIFEST, ROWS
from csa_games.guard.counters import Tally
from csa_games.guard.deployment import MODES, ON_ERROR
from csa_games.guard.keys import turns_of
from csa_games.guard.sampling import scope_of
from csa_games.signing import sign_bundle, write_keys
from csa_games.table import Table, tabulate

SECRET = b"a secret of the tests"
ASKED = [("plain", "flag")]
EMERGENCY = {"action": "hold", "mechanism": "text", "text": "One moment, please."}


@cache
def oneshot(seed: int) -> Table:
    """Return a table of csa_oneshot, of a policy drawn at random that mixes everything."""
    game, _ = solved("csa_oneshot")
    draw = np.random.default_rng(seed)
    legal = [np.asarray(legal_mask(treeplex)) for treeplex in game.form.treeplex]
    weights = [rows * draw.uniform(1, 4, rows.shape) for rows in legal]
    policy = [rows / rows.sum(axis=1, keepdims=True) for rows in weights]
    return tabulate(game, certified(game, (policy[0], policy[1])))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Two bundles of the same scenario: b1 of sequence 1, and b2 of sequence 2."""
    place = tmp_path_factory.mktemp("bundles")
    for number in (1, 2):
        oneshot(number).save(place / f"b{number}", sequence=number)
    return place


@pytest.fixture
def current(bundles, tmp_path):
    """Return a link to b1, which `switch` lets lead elsewhere."""
    link = tmp_path / "current"
    link.symlink_to(bundles / "b1")
    return link


class Kept(list):
    """A log that keeps what it is given."""

    def record(self, ruling, history):
        """Keep both."""
        self.append((ruling, history))


# What is enforced.


def test_enforcing_carries_the_verdict_out(bundles):
    log = Kept()
    deployment = Deployment(bundles / "b1", secret=SECRET, audit=log)
    ruling = deployment.decide(ASKED, "c1")
    decision = Guard.load(bundles / "b1", SECRET).decide(ASKED, "c1")
    assert ruling.decision == decision
    assert (ruling.enforced, ruling.mechanism, ruling.text) == (
        decision.action,
        decision.mechanism,
        decision.text,
    )
    assert (ruling.mode, ruling.arm, ruling.turn, ruling.sequence) == ("enforce", "stable", 1, 1)
    assert ruling.latency_ns > 0
    assert log == [(ruling, deployment.guard.observed(ASKED))]  # names alone, whatever came in
    assert json.loads(json.dumps(ruling.as_dict()))["decision"] == decision.as_dict()


def test_shadows_decide_and_pass(bundles):
    log = Kept()
    deployment = Deployment(bundles / "b1", secret=SECRET, mode="shadow", audit=log)
    ruling = deployment.decide(ASKED, "c1")
    assert ruling.decision == Guard.load(bundles / "b1", SECRET).decide(ASKED, "c1")
    assert (ruling.enforced, ruling.mechanism, ruling.text) == ("pass", "pass", "")
    assert deployment.decide(None, "c1").enforced == "pass"
    assert [kept.mode for kept, _ in log] == ["shadow", "shadow"]
    assert sum(deployment.counters.decisions.values()) == 2


def test_what_is_off_decides_nothing(bundles):
    log = Kept()
    deployment = Deployment(bundles / "b1", secret=SECRET, mode="off", audit=log)
    for ruling in (deployment.decide(ASKED, "c1"), deployment.follow(ASKED, "c1")):
        assert (ruling.enforced, ruling.mechanism, ruling.text) == ("pass", "pass", "")
        assert (ruling.decision.reason, ruling.decision.action) == ("DISABLED", "pass")
        assert ruling.sequence == 1
    assert log == []


@pytest.mark.parametrize(
    ("on_error", "enforced"), [("fallback", "explain"), ("closed", "block"), ("open", "pass")]
)
@pytest.mark.parametrize("mode", MODES)
def test_on_error_holds_for_what_is_no_history(bundles, on_error, enforced, mode):
    deployment = Deployment(bundles / "b1", secret=SECRET, mode=mode, on_error=on_error)
    for history, conversation in (([], "c1"), (ASKED, None), ("text", "c1"), (ASKED, b"c1")):
        for ruling in (
            deployment.decide(history, conversation),
            deployment.follow(history, conversation),
        ):
            assert ruling.enforced == (enforced if mode == "enforce" else "pass")
            assert ruling.mechanism == {"explain": "text"}.get(ruling.enforced, ruling.enforced)
            assert ruling.decision.reason == ("DISABLED" if mode == "off" else "ERROR")
    # A signal that is missing is no error.
    ruling = deployment.decide([("plain", None)], "c1")
    assert ruling.enforced == ("explain" if mode == "enforce" else "pass")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"mode": "loud"}, "mode: found 'loud', expected one of off, shadow, enforce"),
        ({"on_error": "cry"}, "on_error: found 'cry', expected one of fallback, closed, open"),
        ({"canary": ("b2", 1.5)}, "canary: found the share 1.5, expected a number from 0 to 1"),
        ({"secret": b""}, "the secret is bytes, expected bytes, at least one"),
        ({"emergency": {"action": "hold"}}, "emergency: found no text for 'mechanism'"),
        ({"least_sequence": 2}, "found the sequence 1, expected 2 or more"),
    ],
)
def test_wrong_settings_are_refused(bundles, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        Deployment(bundles / "b1", **arguments)


def test_without_a_bundle_there_is_no_deployment(tmp_path):
    with pytest.raises(InputError, match="found no folder there"):
        Deployment(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"manifest\.json: is missing"):
        Deployment(tmp_path / "empty")


def test_the_host_has_a_response_of_its_own(bundles, tmp_path):
    deployment = Deployment(tmp_path / "b", secret=SECRET, emergency=EMERGENCY)
    assert deployment.guard is None
    assert "found no folder there" in deployment.last.fault
    for rule in (deployment.decide, deployment.follow):
        for history in (ASKED, [], None):
            ruling = rule(history, "c1")
            assert (ruling.enforced, ruling.mechanism, ruling.text) == tuple(EMERGENCY.values())
            assert (ruling.decision.reason, ruling.sequence) == ("DEFAULT", 0)
            assert "No bundle is in service" in ruling.decision.explanation
    shutil.copytree(bundles / "b1", tmp_path / "b")
    activation = deployment.reload()
    assert (activation.changed, activation.sequence, activation.fault) == (True, 1, None)
    assert deployment.decide(ASKED, "c1").decision.reason in ("MATCH", "SPLIT")


def test_a_bundle_past_its_time_says_so(tmp_path):
    log = Kept()
    oneshot(1).save(tmp_path / "b", not_after="2020-02-29")
    deployment = Deployment(tmp_path / "b", secret=SECRET, audit=log)
    ruling = deployment.decide(ASKED, "c1")
    fresh = deployment.guard.decide(ASKED, "c1")
    assert (ruling.decision.reason, ruling.enforced) == ("STALE", fresh.action)
    assert ruling.decision.explanation == (
        "The bundle is past its time, 2020-02-29; it still decides, and otherwise the reason were "
        f"SPLIT. {fresh.explanation}"
    )
    same = {"reason": "", "explanation": ""}
    assert ruling.decision.as_dict() | same == fresh.as_dict() | same
    assert deployment.decide([], "c1").decision.reason == "ERROR"
    assert {kind[1] for kind in deployment.counters.decisions} == {"STALE", "ERROR"}
    oneshot(1).save(tmp_path / "c", not_after="2999-12-31")
    assert Deployment(tmp_path / "c").decide(ASKED, "c1").decision.reason == "SPLIT"


def test_the_likeliest_response_is_another_policy(bundles):
    deployment = Deployment(bundles / "b1", secret=SECRET, argmax=True)
    rulings = [deployment.decide(ASKED, f"c{n}") for n in range(50)]
    (action,) = {ruling.enforced for ruling in rulings}
    decision = rulings[0].decision
    assert decision.probabilities[action] == max(decision.probabilities.values()) < 1
    assert (
        f"the likeliest is taken, {action}, which is another policy than the certified one"
        in decision.explanation
    )
    drawn = Deployment(bundles / "b1", secret=SECRET)
    assert len({drawn.decide(ASKED, f"c{n}").enforced for n in range(50)}) > 1


def test_following_rules_on_the_last_turn(tmp_path):
    log = Kept()
    table("guard_cascade").save(tmp_path / "b")
    deployment = Deployment(tmp_path / "b", secret=SECRET, audit=log)
    seen = [("plain", "flag"), ("checked", {"reader": "wildguard", "label": "no"})]
    ruling = deployment.follow(seen, "c1")
    first, second = deployment.guard.follow(seen, "c1")
    assert (ruling.decision, ruling.turn) == (second, 2)
    # The log can be replayed without following: its history has the responses.
    ((_, history),) = log
    assert history == (("plain", "flag", first.action), ("checked", "clear", None))
    assert deployment.guard.decide(history, "c1") == second


def test_a_log_that_fails_silences_nobody(bundles):
    class Full:
        def record(self, ruling, history):
            raise OSError(28, "No space left on device")

    deployment = Deployment(bundles / "b1", secret=SECRET, audit=Full())
    assert deployment.decide(ASKED, "c1").decision.reason == "SPLIT"
    assert deployment.counters.unlogged == 1


# Bundles that change.


def test_reloading_puts_another_bundle_into_service(bundles, current):
    deployment = Deployment(current, secret=SECRET)
    first = deployment.guard
    assert deployment.last == (True, first.revision, 1, None)
    assert deployment.reload() == (False, first.revision, 1, None)
    assert deployment.guard is first  # nothing was swapped
    switch(current, bundles / "b2")
    second = Guard.load(bundles / "b2").revision
    assert deployment.reload() == (True, second, 2, None)
    assert deployment.guard.revision == second
    counters = deployment.counters
    assert (counters.activations, counters.failures) == (2, 0)


def test_going_back_must_be_asked_for(bundles, current):
    switch(current, bundles / "b2")
    deployment = Deployment(current, secret=SECRET)
    switch(current, bundles / "b1")
    refused = deployment.reload()
    assert (refused.changed, refused.sequence) == (False, 2)
    assert "found the sequence 1, expected 2 or more, as the bundle in service" in refused.fault
    assert deployment.decide(ASKED, "c1").sequence == 2
    assert deployment.reload(allow_rollback=True) == (
        True,
        Guard.load(bundles / "b1").revision,
        1,
        None,
    )
    # What the host holds to be the least is never undercut.
    switch(current, bundles / "b2")
    strict = Deployment(current, secret=SECRET, least_sequence=2)
    switch(current, bundles / "b1")
    assert "found the sequence 1, expected 2 or more" in strict.reload(allow_rollback=True).fault
    assert strict.decide(ASKED, "c1").sequence == 2


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def without(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {other: data for other, data in files.items() if other != name}


SWAPPED = (
    "UPDATE assistant SET probability_comply = probability_refuse, "
    "probability_refuse = probability_comply"
)
DAMAGE = {
    **{
        f"a corrupt {name}": lambda files, name=name: files | {name: flipped(files[name])}
        for name in (MANIFEST, *FILES)
    },
    "a truncated file": lambda files: files | {ROWS: files[ROWS][:-4096]},
    "a missing file": lambda files: without(files, CARD),
    "one file more": lambda files: files | {"notes.txt": b"hello"},
    "a newer schema": lambda files: edited_json(
        files, MANIFEST, lambda manifest: manifest["compat"].update(min_reader=99)
    ),
    "another policy than its probes": lambda files: sealed(sql(files, SWAPPED)),
    "no manifest": lambda files: without(files, MANIFEST),
    "nothing": lambda files: {},
    "no folder": lambda files: None,
}
"""Bundles that must not be served, made of one that may be."""


@pytest.mark.parametrize("what", DAMAGE)
def test_a_failed_activation_keeps_the_last_good_bundle(bundles, current, tmp_path, what):
    deployment = Deployment(current, secret=SECRET)
    before = deployment.decide(ASKED, "c1")
    files = DAMAGE[what](files_of(bundles / "b2"))
    if files is not None:
        write(tmp_path / "bad", files)
    switch(current, tmp_path / "bad")
    activation = deployment.reload()
    assert activation.changed is False
    assert (activation.revision, activation.sequence) == (before.decision.revision, 1)
    assert activation.fault == deployment.last.fault
    assert 0 < len(activation.fault) < 2000
    assert deployment.decide(ASKED, "c1").decision == before.decision
    assert deployment.counters.failures == 1
    switch(current, bundles / "b2")  # and the next good one is taken
    assert deployment.reload().sequence == 2


def test_what_is_not_signed_does_not_replace_what_is(bundles, current, tmp_path):
    key, *_ = write_keys(tmp_path / "keys", "site", "hmac", bytes(range(32)))
    with pytest.raises(BundleError, match="signature"):
        Deployment(current, secret=SECRET, keys=tmp_path / "keys")
    signed = tmp_path / "signed"
    shutil.copytree(bundles / "b1", signed)
    sign_bundle(signed, key)
    switch(current, signed)
    deployment = Deployment(current, secret=SECRET, keys=tmp_path / "keys")
    switch(current, bundles / "b2")  # newer, but from nobody
    assert "signature" in deployment.reload().fault
    assert deployment.decide(ASKED, "c1").sequence == 1
    with deployment.watch(0.01), patiently(lambda: deployment.guard.terms.sequence == 2):
        shutil.copytree(bundles / "b2", tmp_path / "newer")
        sign_bundle(tmp_path / "newer", key)
        switch(current, tmp_path / "newer")


# Canaries.


def test_conversations_stay_on_their_arm(bundles):
    share = 0.3
    deployment = Deployment(bundles / "b1", secret=SECRET, canary=(bundles / "b2", share))
    assert (deployment.guard.terms.sequence, deployment.canary.terms.sequence) == (1, 2)
    n = 2000
    arms = {f"c{k}": deployment.decide(ASKED, f"c{k}").arm for k in range(n)}
    for conversation, arm in list(arms.items())[:100]:
        ruling = deployment.follow(ASKED, conversation)
        assert ruling.arm == arm
        assert ruling.sequence == (2 if arm == "canary" else 1)
        guard = deployment.canary if arm == "canary" else deployment.guard
        assert ruling.decision == guard.decide(ASKED, conversation)
    count = Counter(arms.values())
    expected = [share * n, (1 - share) * n]
    assert chisquare([count["canary"], count["stable"]], expected).pvalue > 0.001


def test_which_arm_tells_nothing_about_the_draw(bundles):
    # Canaries draw like all others: were the same bits used twice, their draws would be the low.
    deployment = Deployment(bundles / "b1", secret=SECRET, canary=(bundles / "b2", 0.5))
    draws = [
        ruling.decision.u
        for ruling in (deployment.decide(ASKED, f"c{k}") for k in range(2000))
        if ruling.arm == "canary"
    ]
    counts = np.histogram(draws, bins=10, range=(0, 1))[0]
    assert chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize(("share", "arm"), [(0.0, "stable"), (1.0, "canary")])
def test_all_or_none_are_canaries(bundles, share, arm):
    deployment = Deployment(bundles / "b1", secret=SECRET, canary=(bundles / "b2", share))
    assert {deployment.decide(ASKED, f"c{k}").arm for k in range(200)} == {arm}


def test_a_canary_that_must_not_be_served_is_left_out(bundles, tmp_path):
    files = files_of(bundles / "b2")
    place = write(tmp_path / "canary", files | {ROWS: flipped(files[ROWS])})
    deployment = Deployment(bundles / "b1", secret=SECRET, canary=(place, 1.0))
    assert deployment.canary is None
    assert deployment.last.fault.startswith("The canary: policy.sqlite: found the SHA-256")
    assert deployment.decide(ASKED, "c1").arm == "stable"
    (place / ROWS).write_bytes(files[ROWS])
    assert deployment.reload() == (True, deployment.guard.revision, 1, None)
    assert deployment.decide(ASKED, "c1").arm == "canary"
    (place / ROWS).write_bytes(b"")  # what was good stays
    assert deployment.reload().fault is not None
    assert deployment.decide(ASKED, "c1").arm == "canary"


# Watching.


@contextmanager
def patiently(condition, seconds: float = 20.0):
    """Wait, after what is done inside, until `condition` holds."""
    yield
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.005)


def test_a_watch_finds_what_changes(bundles, current):
    deployment = Deployment(current, secret=SECRET)
    with deployment.watch(0.01):
        with patiently(lambda: deployment.guard.terms.sequence == 2):
            switch(current, bundles / "b2")
        with patiently(lambda: deployment.last.fault is not None):
            switch(current, bundles / "b1")  # going back is nothing that a watch does
        assert deployment.guard.terms.sequence == 2
    assert not any(thread.name == "csa-games watch" for thread in threading.enumerate())


def test_a_watch_misses_no_change_while_it_reads(bundles, current, monkeypatch):
    deployment = Deployment(current, secret=SECRET)
    activate = deployment.reload

    def reload():
        """Be slow: the folder leads elsewhere while it is read, and back at the end."""
        activation = activate()
        if activation.fault is None:
            switch(current, bundles / "b1")
        return activation

    look = deployment_module._looks

    def looks(folder):
        found = look(folder)
        if deployment.guard.terms.sequence == 1:
            switch(current, bundles / "b2")  # after it was looked at, and before it is read
        return found

    monkeypatch.setattr(deployment, "reload", reload)
    monkeypatch.setattr(deployment_module, "_looks", looks)
    monkeypatch.setattr(deployment_module, "SETTLED", 0.0)  # as if the bundles were old
    with deployment.watch(0.01), patiently(lambda: deployment.last.fault is not None):
        pass
    assert deployment.guard.terms.sequence == 2
    assert deployment.last.fault.startswith(f"{current}: found the sequence 1, expected 2 or more")


def test_a_watch_survives_a_folder_that_is_away(bundles, tmp_path):
    place = tmp_path / "b"
    shutil.copytree(bundles / "b1", place)
    deployment = Deployment(place, secret=SECRET)
    watch = deployment.watch(0.01)
    place.rename(tmp_path / "away")
    time.sleep(0.1)
    assert deployment.decide(ASKED, "c1").sequence == 1
    assert deployment.last.fault is None  # nothing was tried
    with patiently(lambda: deployment.guard.terms.sequence == 2):
        shutil.copytree(bundles / "b2", place)  # file by file, the manifest before the rest
    with patiently(lambda: deployment.last.fault is None):
        pass
    watch.stop()
    watch.stop()  # again does nothing


def test_a_watch_does_not_wait_for_a_canary_that_is_away(bundles, current, tmp_path):
    deployment = Deployment(current, secret=SECRET, canary=(tmp_path / "none", 0.5))
    with (
        deployment.watch(0.01),
        patiently(lambda: deployment.guard.terms.sequence == 2),
    ):
        switch(current, bundles / "b2")
    with deployment.watch(0.01), patiently(lambda: deployment.canary is not None):
        shutil.copytree(bundles / "b2", tmp_path / "none")


def test_a_watch_reads_nothing_while_nothing_changes(bundles, current, monkeypatch):
    deployment = Deployment(current, secret=SECRET)
    reloads = []
    monkeypatch.setattr(deployment, "reload", lambda: reloads.append(1))
    with deployment.watch(0.01):
        time.sleep(0.2)
        os.utime(current / MANIFEST)  # another time, the same content
        time.sleep(0.2)
    assert reloads == []


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_watch_has_an_interval(bundles, seconds):
    deployment = Deployment(bundles / "b1", secret=SECRET)
    with pytest.raises(InputError, match="expected a number of seconds above 0"):
        deployment.watch(seconds)


# Under load.


@pytest.fixture(scope="module")
def told(bundles, tmp_path_factory):
    """Return what happened under load, in a process without executed annotations."""
    link = tmp_path_factory.mktemp("load") / "current"
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("under_load.py"), bundles, link],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_thousand_swaps_lose_no_call(told):
    """Every ruling is that of one of two bundles, whole, and there is one for every call."""
    assert told["failed"] == []
    assert told["activations"] == 1001
    assert told["counted"] == told["calls"] == sum(told["seen"].values())
    assert len(told["seen"]) == 2  # both have decided, many times
    assert min(told["seen"].values()) > 50


def test_retries_never_change_the_response(told):
    assert list(told["retried"].values()) == [10_000]
    assert max(told["policy"].values()) < 0.9  # though the row mixes


def test_frequencies_over_conversations_are_the_policy(told):
    names = list(told["policy"])
    drawn = [told["drawn"].get(name, 0) for name in names]
    expected = [10_000 * told["policy"][name] for name in names]
    assert sum(drawn) == 10_000
    assert min(expected) > 5
    assert chisquare(drawn, expected).pvalue > 0.001


def test_counters_count_every_kind(bundles):
    deployment = Deployment(bundles / "b1", secret=SECRET, canary=(bundles / "b2", 0.5))

    def call(k: int) -> None:
        deployment.decide(ASKED, f"c{k}")
        deployment.decide(None, f"c{k}")

    for _ in range(3):  # threads that end leave what they counted
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(call, range(50)))
    counted = deployment.counters.decisions
    again = Counter()
    for _ in range(3):
        for k in range(50):
            for history in (ASKED, None):
                ruling = deployment.decide(history, f"c{k}")
                decision = ruling.decision
                again[decision.action, decision.reason, decision.revision, ruling.arm] += 1
    assert counted == again


def test_threads_that_have_ended_leave_no_entry():
    tally = Tally()
    for _ in range(20):
        thread = threading.Thread(target=tally.add, args=(("a", "b", "c", "d"),))
        thread.start()
        thread.join()
    assert tally.total() == {("a", "b", "c", "d"): 20}
    assert len(tally._threads) <= 2


def test_identities_are_one_of_a_kind(bundles):
    deployments = [Deployment(bundles / "b1", secret=SECRET) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda k: deployments[k % 2].decide(ASKED, "c1").id, range(400)))
    assert len(set(ids)) == 400


@pytest.mark.parametrize("name", ["csa_oneshot", "guard_cascade"])  # test_guard: crisis_guidance
def test_every_state_is_answered_by_the_policy_of_the_solver(tmp_path, name):
    game, solution = solved(name)
    rows = table(name)
    rows.save(tmp_path / "b")
    deployment = Deployment(tmp_path / "b", secret=SECRET)
    responses = [response.name for response in game.scenario.responses]
    policy = dict(
        zip(game.names.infosets[ASSISTANT], np.asarray(solution.policy[ASSISTANT]), strict=True)
    )
    coarse = dict(zip(rows.coarse.keys, rows.coarse.probabilities, strict=True))
    trusted = 0
    for key, trust in zip(rows.exact.keys, rows.exact.trust, strict=True):
        decision = deployment.decide(turns_of(key), "c1").decision
        assert decision.key == key
        found = [decision.probabilities[response] for response in responses]
        if trust == "noise":
            constant = np.array(
                [response == deployment.guard.terms.default for response in responses]
            )
            right = coarse.get(decision.key_used, constant.astype(float))
        else:
            right = policy[key]
            trusted += 1
        assert found == right.tolist()
    assert trusted > 0


# Whatever comes in.

names = st.sampled_from(["plain", "clear", "flag", "comply", "", "~", "\ud800", "\0", "x" * 9999])
anything = st.recursive(
    names | st.text() | st.none() | st.integers() | st.floats() | st.binary() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=3), inner),
    max_leaves=12,
)
emitted = st.dictionaries(
    st.sampled_from(["reader", "score", "label", "probabilities", "refusal"]),
    st.sampled_from(["llama_guard", "safe", "unsafe", True, 0.5]) | anything,
)
turns = st.dictionaries(
    st.sampled_from(["ask", "signal", "response"]), names | emitted | anything
) | st.tuples(names | emitted, names | emitted)


@pytest.fixture(scope="module")
def many(bundles):
    return [
        Deployment(bundles / "b1", secret=SECRET, mode=mode, on_error=on_error, argmax=argmax)
        for mode in MODES
        for on_error in ON_ERROR
        for argmax in (False, True)
    ]


@settings(max_examples=150, deadline=None)
@given(st.lists(turns | anything, max_size=5) | anything, names | anything, st.integers(0, 17))
def test_hostile_input_gets_a_ruling(many, history, conversation, k):
    deployment = many[k]
    for rule in (deployment.decide, deployment.follow):
        ruling = rule(history, conversation)
        assert ruling.decision.reason in REASONS
        assert ruling.enforced in (*deployment.guard.terms.responses, "pass", "block")
        assert ruling.decision == rule(history, conversation).decision
        json.dumps(ruling.as_dict(), allow_nan=False).encode()


def test_scopes_are_those_of_the_guard(bundles):
    deployment = Deployment(bundles / "b1", secret=SECRET)
    assert deployment.decide(ASKED, "c1").decision.scope == scope_of(SECRET, "c1")
