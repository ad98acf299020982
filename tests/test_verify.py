"""Whatever differs from what a bundle says is found, its certificate recomputed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import (
    certified,
    edited_json,
    files_of,
    near,
    refined,
    sealed,
    solved,
    sql,
    table,
    veiled,
    write,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT
from csa_games.guard import BundleError, Guard, certificate, verify
from csa_games.guard.bundle import CARD, FILES, GOLDEN, MANIFEST, RESPONSES, ROWS, SCENARIO
from csa_games.guard.certificate import certify, dialogue_from
from csa_games.override import override
from csa_games.table import tabulate
from solvers.refined import examine

NAMES = ["csa_oneshot", "crisis_guidance"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "crisis"
    table("crisis_guidance").save(folder)
    return folder


@pytest.fixture(scope="module")
def files(bundle):
    return files_of(bundle)


# The certificate.


@pytest.mark.parametrize("name", NAMES)
def test_a_solved_bundle_passes_and_its_certificate_is_that_of_the_solver(name, tmp_path):
    game, solution = solved(name)
    table(name).save(tmp_path / "b")
    report = verify(tmp_path / "b")
    assert report.faults == ()
    assert report.passed
    assert near(report.certificate.value, solvers.value(game, solution.policy))
    assert near(report.certificate.gap, solvers.gap(game, solution.policy))
    assert near(report.served.gap, table(name).served[1])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_value_and_gap_agree_with_the_fold(seed, security):
    game = dialogue_game(random_scenario(seed, security=security))
    policy = random_policy(game, seed)
    rows = tabulate(game, certified(game, policy))
    found = certify(
        dialogue_from(json.loads(game.scenario.model_dump_json())),
        dict(zip(rows.exact.keys, rows.exact.probabilities.tolist(), strict=True)),
        dict(zip(rows.users[0], rows.users[1].tolist(), strict=True)),
    )
    scale = max(1.0, float(np.abs(game.form.leaves.payoff).max()))
    assert near(found.value, solvers.value(game, policy), 1e-12 * scale)
    assert near(found.gap, solvers.gap(game, policy), 1e-12 * scale)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_bundles_of_any_scenario_and_policy_pass(tmp_path_factory, seed):
    game = dialogue_game(random_scenario(seed))
    folder = tmp_path_factory.mktemp("b")
    tabulate(game, certified(game, random_policy(game, seed))).save(folder)
    assert verify(folder).faults == ()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.3]))
def test_what_rows_give_away_by_trembling_hands_agrees_with_the_solvers(
    tmp_path_factory, seed, epsilon
):
    game = dialogue_game(random_scenario(seed))
    solution = certified(game, random_policy(game, seed))
    looked = replace(solution, refinement=examine(game, solution.policy, epsilon))
    rows = tabulate(game, looked)
    found = {
        key: numbers
        for key, *numbers in certificate.examine(
            dialogue_from(json.loads(game.scenario.model_dump_json())),
            dict(zip(rows.exact.keys, rows.exact.probabilities.tolist(), strict=True)),
            dict(zip(rows.users[0], rows.users[1].tolist(), strict=True)),
            epsilon,
        )
    }
    where = [game.names.infosets[ASSISTANT].index(key) for key in rows.exact.keys]
    loss, stake = looked.refinement.loss[ASSISTANT], looked.refinement.stake[ASSISTANT]
    expected = np.column_stack([loss, stake])[where]
    scale = max(1.0, float(np.abs(game.form.leaves.payoff).max()))
    assert near([found[key] for key in rows.exact.keys], expected, 1e-10 * scale)
    folder = tmp_path_factory.mktemp("b")
    rows.save(folder)
    assert verify(folder).faults == ()


def test_the_factored_layout_has_no_rows_of_intents_that_nobody_has(tmp_path):
    # An intent of prior 0 has infosets in that layout, and none in the other.
    game = factored_game(random_scenario(118))
    assert [intent.prior.value for intent in game.scenario.intents] == [1.0, 0.0]
    tabulate(game, certified(game, random_policy(game, 1))).save(tmp_path / "b")
    assert verify(tmp_path / "b").faults == ()


def test_a_refined_bundle_passes_and_its_marks_are_recomputed(tmp_path):
    tabulate(*refined()).save(tmp_path / "b")
    assert verify(tmp_path / "b").faults == ()
    files = files_of(tmp_path / "b")
    noise = "(SELECT min(key) FROM assistant WHERE trust = 'noise')"
    claimed = sealed(
        sql(files, f"UPDATE assistant SET trust = 'refined' WHERE key = {noise}"),
        lambda m: m["rows"].update(refined=m["rows"]["refined"] + 1, noise=m["rows"]["noise"] - 1),
    )
    (fault, *_) = verify(write(tmp_path / "claimed", claimed)).faults
    assert "is marked 'refined', expected 'noise'" in fault
    smaller = sealed(sql(files, f"UPDATE assistant SET loss = 0.0 WHERE key = {noise}"))
    (fault, *_) = verify(write(tmp_path / "smaller", smaller)).faults
    assert "loss: found [0.0], expected [" in fault
    steadier = sealed(files, lambda m: m["trust"].update(epsilon="1e-05"))
    assert any("loss: found" in fault for fault in verify(write(tmp_path / "s", steadier)).faults)
    shaky = files | {MANIFEST: files[MANIFEST].replace(b'"epsilon":"0.01"', b'"epsilon":"1.5"')}
    (fault, *_) = verify(write(tmp_path / "shaky", shaky)).faults
    assert fault == "manifest.json: trust.epsilon: found '1.5', expected a number from 0 to below 1"


def test_a_bundle_whose_states_are_only_reached_by_deviating_users_passes(tmp_path):
    tabulate(*veiled()).save(tmp_path / "b")
    assert verify(tmp_path / "b").faults == ()


def test_numbers_by_turn_and_a_discount_count(tmp_path):
    scenario = override(
        solved("crisis_guidance")[0].scenario,
        {
            "discount": 0.7,
            "payoff.satisfaction.0.values.comply": [1.0, 0.3],
            "payoff.cost.0.values.partial": [0.1, 0.9],
            "payoff.displacement.1.value": [0.2, 2.0],
        },
    )
    game = dialogue_game(scenario)
    tabulate(game, certified(game, random_policy(game, 3))).save(tmp_path / "b")
    report = verify(tmp_path / "b")
    assert report.faults == ()
    plain = certified(*(lambda g: (g, random_policy(g, 3)))(solved("crisis_guidance")[0]))
    assert not near(report.certificate.value, plain.value, 1e-3)


# Files that are not the ones listed.


def flipped(data):
    where = len(data) // 3  # of a manifest, in a hash
    return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]


DAMAGE = {
    "one bit flipped": lambda files, name: files | {name: flipped(files[name])},
    "cut": lambda files, name: files | {name: files[name][:-1]},
    "longer": lambda files, name: files | {name: files[name] + b" "},
    "emptied": lambda files, name: files | {name: b""},
    "missing": lambda files, name: {key: files[key] for key in files if key != name},
}


@pytest.mark.parametrize("damage", sorted(DAMAGE))
@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_damage_to_any_file_is_found_and_refused(files, tmp_path, name, damage):
    folder = write(tmp_path / "b", DAMAGE[damage](files, name))
    report = verify(folder)
    assert report.faults
    # A manifest with another hash in it is told from the file of that hash.
    assert name == MANIFEST or any(fault.startswith(name) for fault in report.faults)
    with pytest.raises(BundleError):
        Guard.load(folder)


def test_a_file_too_many_is_found_and_refused(files, tmp_path):
    folder = write(tmp_path / "b", files | {"notes.txt": b"mine"})
    assert verify(folder).faults == ("notes.txt: is in the folder, but not in the manifest",)
    with pytest.raises(BundleError, match=r"notes\.txt: is in the folder"):
        Guard.load(folder)


def test_a_folder_inside_is_found_and_refused(files, tmp_path):
    folder = write(tmp_path / "b", files)
    (folder / "more").mkdir()
    assert not verify(folder).passed
    with pytest.raises(BundleError, match="found something that is no file"):
        Guard.load(folder)


def test_every_fault_says_what_was_found_and_what_was_expected(files, tmp_path):
    folder = write(tmp_path / "b", DAMAGE["cut"](files, CARD) | {GOLDEN: flipped(files[GOLDEN])})
    (card, golden) = verify(folder).faults
    assert card == f"CARD.md: found {len(files[CARD]) - 1} bytes, expected {len(files[CARD])}"
    assert golden.startswith("golden.jsonl: found the SHA-256 ")


def test_no_folder_is_wrong_input_and_no_finding(tmp_path):
    for look in (verify, Guard.load):
        with pytest.raises(InputError, match="found no folder there, expected a bundle") as caught:
            look(tmp_path / "nowhere")
        assert not isinstance(caught.value, BundleError)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda m: m.update(schema="x"), "schema: found 'x', expected 'csa-games/bundle'"),
        (lambda m: m["compat"].update(min_reader=3), "compat.min_reader: found 3, expected at"),
        (
            lambda m: m["compat"].update(min_reader=1),
            "found 1, expected 2; export the bundle",
        ),
        (lambda m: m.update(key_version=2), "key_version: found 2, expected 1"),
        (lambda m: m.pop("fallback"), "fallback: is missing"),
        (lambda m: m.update(turns="2"), "turns: found '2', expected int"),
        (lambda m: m.update(turns=True), "turns: found True, expected int"),
        (lambda m: m["served"].update(gap=[0.1]), "served.gap[0]: found 0.1, expected a real"),
        (lambda m: m["served"].update(gap=["0.0"]), "served.gap: found ['0.0'], expected two"),
        (lambda m: m["served"].update(gap=["nan"]), "served.gap[0]: found 'nan', expected a real"),
        (lambda m: m["fallback"].update(response="x"), "fallback.response: found 'x', expected"),
        (lambda m: m["fallback"].update(rungs=[["intent"]]), "fallback.rungs[0]: found ['intent']"),
        (lambda m: m.update(asks=["plain", "plain"]), "asks: found ['plain', 'plain'], expected"),
        (lambda m: m.update(asks={}), "asks: found {}, expected a list"),
        (lambda m: m["files"].pop(), "files: found"),
        (lambda m: m.update(hit_policy="ANY"), "hit_policy: found 'ANY', expected 'UNIQUE'"),
        (lambda m: m["sampling"].update(mode="random"), "sampling.mode: found 'random'"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused_with_the_reason(files, tmp_path, edit, sentence):
    folder = write(tmp_path / "b", edited_json(files, MANIFEST, edit))
    assert any(sentence in fault for fault in verify(folder).faults)
    with pytest.raises(BundleError) as caught:
        Guard.load(folder)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("text", [b"[]", b"null", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(files, tmp_path, text):
    folder = write(tmp_path / "b", files | {MANIFEST: text})
    assert not verify(folder).passed
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Guard.load(folder)


def test_a_manifest_that_is_spelled_otherwise_is_refused(files, tmp_path):
    # The same content, another revision: a key twice, or blanks.
    pretty = json.dumps(json.loads(files[MANIFEST]), indent=1).encode()
    doubled = files[MANIFEST].replace(b'"turns":2', b'"turns":3,"turns":2')
    for text, sentence in ((pretty, "not canonical JSON"), (doubled, "has the name 'turns' twice")):
        folder = write(tmp_path / sentence[:3], files | {MANIFEST: text})
        assert sentence in verify(folder).faults[0]
        with pytest.raises(BundleError, match=sentence):
            Guard.load(folder)


# Consistent forgeries: what a forger changes, with every hash and digest made right again.


def swapped(key, one="comply", other="refuse"):
    return (
        f"UPDATE assistant SET probability_{one} = probability_{other}, "
        f"probability_{other} = probability_{one} WHERE key = '{key}'"
    )


FIRST = "contextualised:clear"  # mixes comply and others, so that swapping moves the value

FORGERIES = {
    "a row plays another response": (
        lambda files: sealed(sql(files, swapped(FIRST))),
        "manifest.json: solution.value: found",
    ),
    "a row and the value that was claimed for it": (
        lambda files: sealed(
            sql(files, swapped(FIRST)),
            lambda m: (
                m["solution"].update(value=["-2.0", "2.0"]),
                m["served"].update(value=["-2.0", "2.0"]),
            ),
        ),
        "manifest.json: solution.value: found [-2.0, 2.0], recomputed from",
    ),
    "a smaller gap is claimed": (
        lambda files: sealed(files, lambda m: m["solution"].update(gap=["0.0", "0.0"])),
        "manifest.json: solution.gap: found [0.0, 0.0], recomputed from",
    ),
    "a smaller gap of what is served": (
        lambda files: sealed(files, lambda m: m["served"].update(gap=["0.0", "0.0"])),
        "manifest.json: served.gap: found [0.0, 0.0], recomputed from",
    ),
    "a smaller NashConv": (
        lambda files: sealed(files, lambda m: m["solution"].update(nash_conv="0.0")),
        "manifest.json: solution.nash_conv: found 0.0, recomputed",
    ),
    "another class": (
        lambda files: sealed(files, lambda m: m["solution"].update({"class": "general-sum"})),
        "solution.class: found 'general-sum', the scenario's is 'security'",
    ),
    "the user's policy": (
        lambda files: sealed(
            sql(
                files,
                "UPDATE user SET probability_plain = probability_migrate, "
                "probability_migrate = probability_plain",
            )
        ),
        "manifest.json: solution.value: found",
    ),
    "an illegal ask of the user's": (
        lambda files: sealed(
            sql(files, "UPDATE user SET probability_plain = 2"),
        ),
        "expected probabilities of what may be done there",
    ),
    "a row that sums to 2": (
        lambda files: sealed(
            sql(files, f"UPDATE assistant SET probability_comply = 2 WHERE key = '{FIRST}'")
        ),
        f"policy.sqlite: the row {FIRST} holds [2.0, ",
    ),
    "a negative probability": (
        lambda files: sealed(
            sql(
                files,
                "UPDATE assistant SET probability_comply = -1, probability_partial = "
                "probability_partial + probability_comply + 1 WHERE key = 'plain:flag'",
            )
        ),
        "policy.sqlite: the row plain:flag holds [-1.0, ",
    ),
    "a missing row": (
        lambda files: sealed(
            sql(files, f"DELETE FROM assistant WHERE key = '{FIRST}'"),
            lambda m: m["rows"].update(trusted=m["rows"]["trusted"] - 1),
        ),
        f"policy.sqlite: there is no row for {FIRST}, a state that the scenario can reach",
    ),
    "a missing user row": (
        lambda files: sealed(
            sql(files, "DELETE FROM user WHERE key = 'malicious|'"),
            lambda m: m["rows"].update(user=m["rows"]["user"] - 1),
        ),
        "policy.sqlite: there is no row for malicious|, a state",
    ),
    "a row too many": (
        lambda files: sealed(
            sql(
                files,
                "CREATE TEMP TABLE t AS SELECT * FROM assistant WHERE key = 'plain:flag'",
                "UPDATE t SET key = 'leave:flag'",
                "INSERT INTO assistant SELECT * FROM t",
            ),
            lambda m: m["rows"].update(trusted=m["rows"]["trusted"] + 1),
        ),
        "policy.sqlite: the row leave:flag stands for no state",
    ),
    "a user row too many": (
        lambda files: sealed(
            sql(
                files,
                "CREATE TEMP TABLE t AS SELECT * FROM user WHERE key = 'malicious|'",
                "UPDATE t SET key = 'benign|'",
                "INSERT INTO user SELECT * FROM t",
            ),
            lambda m: m["rows"].update(user=m["rows"]["user"] + 1),
        ),
        "policy.sqlite: the user row benign| stands for no state",
    ),
    "another posterior": (
        lambda files: sealed(
            sql(
                files,
                "UPDATE assistant SET posterior_benign = posterior_malicious, "
                "posterior_malicious = posterior_benign WHERE key = 'plain:flag'",
            )
        ),
        "policy.sqlite: the row plain:flag: posterior: found",
    ),
    "another value of a response": (
        lambda files: sealed(
            sql(files, "UPDATE assistant SET value_comply = 9 WHERE key = 'plain:flag'")
        ),
        "policy.sqlite: the row plain:flag: values: found",
    ),
    "a value that is missing": (
        lambda files: sealed(
            sql(files, "UPDATE assistant SET value_refuse = NULL WHERE key = 'plain:flag'")
        ),
        "policy.sqlite: the row plain:flag: values: found",
    ),
    "a value that is missing in a coarser row": (
        lambda files: sealed(
            sql(files, "UPDATE assistant SET value_refuse = NULL WHERE key = '~signal=flag'")
        ),
        "policy.sqlite: the coarser row ~signal=flag: values: found",
    ),
    "another margin": (
        lambda files: sealed(
            sql(files, "UPDATE assistant SET margin = 9 WHERE key = 'plain:flag'")
        ),
        "policy.sqlite: the row plain:flag: margin: found [9.0]",
    ),
    "another reach": (
        lambda files: sealed(
            sql(files, "UPDATE assistant SET reach = 0.5 WHERE key = 'plain:flag'")
        ),
        "policy.sqlite: the row plain:flag: reach: found [0.5]",
    ),
    "a noisy row that is to be trusted": (
        lambda files: sealed(
            sql(
                files,
                "UPDATE assistant SET trust = 'trusted' WHERE key = "
                "(SELECT min(key) FROM assistant WHERE trust = 'noise')",
            ),
            lambda m: m["rows"].update(
                trusted=m["rows"]["trusted"] + 1, noise=m["rows"]["noise"] - 1
            ),
        ),
        "is marked 'trusted', expected 'noise'",
    ),
    "a mark that does not exist": (
        lambda files: sealed(
            sql(files, "UPDATE assistant SET trust = 'fine' WHERE key = 'plain:flag'"),
            lambda m: m["rows"].update(trusted=m["rows"]["trusted"] - 1),
        ),
        "policy.sqlite: the row plain:flag is marked 'fine'",
    ),
    "a lower threshold of trust": (
        lambda files: sealed(files, lambda m: m["trust"].update(own_reach="1e-30")),
        "expected 'trusted'",
    ),
    "a coarser row": (
        lambda files: sealed(sql(files, swapped("~signal=flag", "clarify", "comply"))),
        "policy.sqlite: the coarser row ~signal=flag: probabilities: found",
    ),
    "a coarser row's margin": (
        lambda files: sealed(
            sql(files, "UPDATE assistant SET margin = 9 WHERE key = '~signal=flag'")
        ),
        "policy.sqlite: the coarser row ~signal=flag: margin: found 9.0",
    ),
    "a coarser row's loss": (
        lambda files: sealed(
            sql(files, "UPDATE assistant SET loss = 0.0 WHERE key = '~signal=flag'")
        ),
        "policy.sqlite: the coarser row ~signal=flag: loss: found 0.0, expected none",
    ),
    "a coarser row's reach": (
        lambda files: sealed(
            sql(files, "UPDATE assistant SET reach = 9 WHERE key = '~signal=flag'")
        ),
        "policy.sqlite: the coarser row ~signal=flag: reach: found 9.0",
    ),
    "a coarser row less": (
        lambda files: sealed(
            sql(files, "DELETE FROM assistant WHERE key = '~signal=flag'"),
            lambda m: m["rows"].update(coarse=m["rows"]["coarse"] - 1),
        ),
        "policy.sqlite: the coarser row ~signal=flag is missing",
    ),
    "a coarser row too many": (
        lambda files: sealed(
            sql(
                files,
                "CREATE TEMP TABLE t AS SELECT * FROM assistant WHERE key = '~signal=flag'",
                "UPDATE t SET key = '~signal=none'",
                "INSERT INTO assistant SELECT * FROM t",
            ),
            lambda m: m["rows"].update(coarse=m["rows"]["coarse"] + 1),
        ),
        "policy.sqlite: the coarser row ~signal=none is made of no row",
    ),
    "counts": (
        lambda files: sealed(files, lambda m: m["rows"].update(noise=0)),
        "noise rows, expected 0",
    ),
    "text in a cell": (
        lambda files: sealed(
            sql(files, "UPDATE assistant SET reach = 'much' WHERE key = 'plain:flag'")
        ),
        "policy.sqlite: the assistant row 'plain:flag': reach: found a cell that is no number",
    ),
    "a view in place of a table": (
        lambda files: sealed(
            sql(
                files,
                "ALTER TABLE assistant RENAME TO hidden",
                "CREATE VIEW assistant AS SELECT * FROM hidden",
            )
        ),
        "policy.sqlite: found the tables",
    ),
    "no SQLite file": (
        lambda files: sealed(files | {ROWS: b"SQLite format 3\0 it is not" * 100}),
        "policy.sqlite: cannot be read",
    ),
    "a prior of the scenario": (
        lambda files: sealed(
            edited_json(
                files,
                SCENARIO,
                lambda s: (
                    s["intents"][0]["prior"].update(value=0.7),
                    s["intents"][1]["prior"].update(value=0.2),
                ),
            )
        ),
        "manifest.json: solution.value: found",
    ),
    "a weight of the scenario": (
        lambda files: sealed(
            edited_json(files, SCENARIO, lambda s: s["weights"]["psi"].update(value=0.5))
        ),
        "manifest.json: solution.value: found",
    ),
    "a gap behind a number that cannot occur": (
        # Tolerances are relative to what is at stake: this must not count as a stake.
        lambda files: sealed(
            edited_json(
                files,
                SCENARIO,
                lambda s: s["payoff"]["satisfaction"].append(
                    {
                        "intents": ["distressed"],
                        "asks": ["disguised"],  # which the distressed never are
                        "values": {"comply": 1e300},
                        "source": "assumption: none",
                    }
                ),
            ),
            lambda m: m["solution"].update(gap=["0.0", "0.0"]),
        ),
        "manifest.json: solution.gap: found [0.0, 0.0], recomputed from",
    ),
    "priors that do not sum to 1": (
        lambda files: sealed(
            edited_json(files, SCENARIO, lambda s: s["intents"][0]["prior"].update(value=0.7))
        ),
        "the probabilities of the prior are [0.7, ",
    ),
    "a classifier that is never heard": (
        lambda files: sealed(
            edited_json(files, SCENARIO, lambda s: s["channel"][0].update(probabilities={}))
        ),
        "the probabilities of the signals of benign on plain are [0.0, 0.0, 0.0]",
    ),
    "a kernel that loses users": (
        lambda files: sealed(
            edited_json(
                files, SCENARIO, lambda s: s["intents"][0]["kernel"]["after"].update(comply={})
            )
        ),
        "the probabilities of the asks of benign after comply in turn 1 are [0.0, ",
    ),
    "more turns than anybody could walk": (
        lambda files: sealed(
            edited_json(files, SCENARIO, lambda s: s.update(turns=50)),
            lambda m: m.update(turns=50),
        ),
        "policy.sqlite: there is no row for malicious|",
    ),
    "more turns than fit in memory": (
        lambda files: sealed(
            edited_json(files, SCENARIO, lambda s: s.update(turns=10**12)),
            lambda m: m.update(turns=10**12),
        ),
        "scenario.json: cannot be read as a scenario: ValueError: turns: found 1000000000000",
    ),
    "a scenario without a title": (
        lambda files: sealed(edited_json(files, SCENARIO, lambda s: s.pop("title"))),
        "scenario.json: no card can be made of it: KeyError: 'title'",
    ),
    "a text in place of a number": (
        lambda files: sealed(
            edited_json(files, SCENARIO, lambda s: s["discount"].update(value="none"))
        ),
        "scenario.json: cannot be read as a scenario: ValueError",
    ),
    "a scenario that is none": (
        lambda files: sealed(edited_json(files, SCENARIO, lambda s: s.pop("payoff"))),
        "scenario.json: cannot be read as a scenario: KeyError: 'payoff'",
    ),
    "a list in place of a scenario": (
        lambda files: sealed(files | {SCENARIO: b"[]"}),
        "scenario.json: cannot be read as a scenario",
    ),
    "the text of a response": (
        lambda files: sealed(
            edited_json(files, RESPONSES, lambda r: r["refuse"].update(text="Gladly."))
        ),
        "responses.json: is not what scenario.json says",
    ),
    "no text of a response": (
        lambda files: sealed(edited_json(files, RESPONSES, lambda r: r["refuse"].pop("text"))),
        "responses.json: refuse.text: is missing",
    ),
    "the constant response": (
        lambda files: sealed(files, lambda m: m["fallback"].update(response="comply")),
        "manifest.json: fallback: found",
    ),
    "the names of the actions, in another order": (
        lambda files: sealed(files, lambda m: m["actions"].reverse()),
        "policy.sqlite: found the tables",
    ),
    "another signal": (
        lambda files: sealed(files, lambda m: m["signals"].reverse()),
        "manifest.json: signals: found",
    ),
    "one golden probe": (
        lambda files: sealed(
            files | {GOLDEN: files[GOLDEN].replace(b'"action":"comply"', b'"action":"refuse"', 1)}
        ),
        "golden.jsonl: line ",
    ),
    "fewer golden probes": (
        lambda files: sealed(files | {GOLDEN: files[GOLDEN].splitlines(True)[0]}),
        "golden.jsonl: found 1 probes, expected 100 or more",
    ),
    "no golden probes": (
        lambda files: sealed(files | {GOLDEN: b""}),
        "golden.jsonl: found no probes, expected some",
    ),
    "golden probes that are none": (
        lambda files: sealed(files | {GOLDEN: b"null\n[]\n{}\nx\n"}),
        "golden.jsonl: line 1: not a probe",
    ),
    "a promise on the card": (
        lambda files: sealed(
            files | {CARD: files[CARD].replace(b"payoff is at least 1", b"payoff is at least 2")}
        ),
        "CARD.md: is not the card",
    ),
}


@pytest.mark.parametrize("forgery", sorted(FORGERIES))
def test_a_consistent_forgery_is_found(files, tmp_path, forgery):
    forge, sentence = FORGERIES[forgery]
    forged = forge(files)
    assert forged != files
    report = verify(write(tmp_path / "b", forged))
    assert any(sentence in fault for fault in report.faults), report.faults


@pytest.mark.parametrize(
    "forgery",
    [
        "a view in place of a table",
        "no SQLite file",
        "no text of a response",
        "one golden probe",
        "no golden probes",
        "golden probes that are none",
        "the names of the actions, in another order",
    ],
)
def test_the_guard_refuses_forgeries_that_it_can_tell_without_the_certificate(
    files, tmp_path, forgery
):
    folder = write(tmp_path / "b", FORGERIES[forgery][0](files))
    with pytest.raises(BundleError):
        Guard.load(folder)


def test_what_only_the_certificate_tells_would_have_been_served(files, tmp_path):
    # A forger who also runs our exporter leaves nothing for hashes and probes to find.
    game, solution = solved("crisis_guidance")
    policy = np.asarray(solution.policy[ASSISTANT]).copy()
    n = table("crisis_guidance").exact.keys.index(FIRST)
    policy[n] = policy[n][::-1]
    tabulate(game, certified(game, (solution.policy[0], policy))).save(tmp_path / "b")
    honest = json.loads(files[MANIFEST])
    forged = sealed(
        files_of(tmp_path / "b"),
        lambda m: m.update(solution=honest["solution"], served=honest["served"]),
    )
    folder = write(tmp_path / "c", forged)
    assert Guard.load(folder).decide([FIRST.split(":")], "c1").reason == "SPLIT"
    faults = verify(folder).faults
    assert any(fault.startswith("manifest.json: solution.value") for fault in faults)
    assert any(fault.startswith("manifest.json: served.gap") for fault in faults)


def test_many_faults_of_a_kind_are_counted(files, tmp_path):
    forged = sealed(sql(files, "UPDATE assistant SET margin = 9"))
    faults = verify(write(tmp_path / "b", forged)).faults
    assert sum("margin: found [9.0]" in fault for fault in faults) == 5
    assert "and 409 more like these" in faults  # of 414


def test_the_report_is_json(bundle):
    report = verify(bundle)
    told = json.loads(json.dumps(report.as_dict()))
    assert told["passed"] is True
    assert told["revision"] == report.revision
    assert told["certificate"]["gap"] == list(report.certificate.gap)


# As a program, with the standard library alone.

ROOT = Path(__file__).parents[1]
PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from csa_games.guard.__main__ import main; "
    "code = main(sys.argv[2:]); "
    "assert not {'numpy', 'jax', 'pydantic', 'scipy'} & set(sys.modules); sys.exit(code)"
)


def run(*arguments):
    """Run `python -m csa_games.guard` where no other package can be imported."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM, str(ROOT), *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def test_verifying_from_the_command_line(bundle, files, tmp_path):
    passed = run("verify", bundle)
    assert (passed.returncode, passed.stderr) == (0, "")
    assert verify(bundle).revision in passed.stdout
    failed = run("verify", write(tmp_path / "b", DAMAGE["cut"](files, ROWS)))
    assert failed.returncode == 3
    assert failed.stderr.startswith("policy.sqlite: found ")
    nowhere = run("verify", tmp_path / "nowhere")
    assert nowhere.returncode == 2
    assert "found no folder there" in nowhere.stderr
