"""What the guard decides, why it says so, and that it always answers."""

import ast
import hashlib
import json
import math
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from bundles import files_of, refined, sealed, solved, sql, store_of, table, veiled, write
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import csa_games.guard
from csa_games.errors import InputError
from csa_games.game import ASSISTANT
from csa_games.guard import REASONS, BundleError, Guard
from csa_games.guard.__main__ import main
from csa_games.guard.bundle import GOLDEN, RESPONSES, ROWS
from csa_games.guard.decide import from_files
from csa_games.guard.keys import Turn, coarse_key, state_key, turns_of, user_key
from csa_games.guard.sampling import TEST_KEY, draw, pick, scope_of
from csa_games.guard.store import _fill_from_file
from csa_games.table import tabulate

SECRET = b"a secret of the tests"
MIXED = "contextualised:clear"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("bundles") / "crisis"
    table("crisis_guidance").save(place)
    return place


@pytest.fixture(scope="module")
def guard(folder):
    return Guard.load(folder, SECRET)


# The policy.


def test_every_trusted_state_is_answered_by_the_policy_of_the_solver(guard):
    game, solution = solved("crisis_guidance")
    exact = table("crisis_guidance").exact
    responses = [response.name for response in game.scenario.responses]
    for n, key in enumerate(game.names.infosets[ASSISTANT]):
        decision = guard.decide(turns_of(key), "c1")
        if exact.trust[n] == "trusted":
            policy = np.asarray(solution.policy[ASSISTANT])[n]
            assert decision.probabilities == dict(zip(responses, policy, strict=True))
            assert (decision.reason, decision.rung) == ("SPLIT", 0)
            assert decision.key == decision.key_used == key
        else:
            assert (decision.reason, decision.rung, decision.key) == ("BACKOFF", 1, key)
            assert decision.key_used == coarse_key(turns_of(key), ["turn", "ask", "signal"])


def test_a_decision_says_everything_that_the_row_says(guard):
    rows = table("crisis_guidance")
    n = rows.exact.keys.index(MIXED)
    decision = guard.decide([("contextualised", "clear")], "c1")
    intents = [intent.name for intent in rows.scenario.intents]
    assert list(decision.posterior) == intents
    assert list(decision.posterior.values()) == rows.exact.posterior[n].tolist()
    assert list(decision.values.values()) == rows.exact.values[n].tolist()
    assert decision.margin == rows.exact.margin[n]
    said = {response.name: response for response in rows.scenario.responses}[decision.action]
    assert (decision.mechanism, decision.text) == (said.mechanism, said.text)
    assert decision.revision == guard.revision
    assert decision.as_dict() == json.loads(json.dumps(decision.as_dict()))


def test_pure_mixed_and_off_path_rows_have_their_reasons(tmp_path):
    rows = tabulate(*veiled())  # solved by linear programming: pure on the path
    rows.save(tmp_path / "b")
    guard = Guard.load(tmp_path / "b", SECRET)
    pure = guard.decide([("plain", "clear")], "c1")
    assert (pure.reason, pure.action, pure.trust) == ("MATCH", "comply", "trusted")
    assert "It always plays comply" in pure.explanation
    off = guard.decide([("veiled", "clear")], "c1")
    assert (off.rung, off.key_used, off.trust) == (0, "veiled:clear", "deviation")
    assert (off.posterior, off.values, off.margin) == (None, None, None)
    assert "Only a user who departs from the solution gets here" in off.explanation


def test_refined_rows_are_served_and_say_so(tmp_path):
    rows = tabulate(*refined())
    rows.save(tmp_path / "b")
    guard = Guard.load(tmp_path / "b", SECRET)
    key = next(k for k, t in zip(rows.exact.keys, rows.exact.trust, strict=True) if t == "refined")
    decision = guard.decide(turns_of(key), "c1")
    assert (decision.rung, decision.key_used, decision.trust) == (0, key, "refined")
    assert "the row is refined, made for the case that hands tremble" in decision.explanation
    count = rows.exact.trust.count("refined")
    assert (
        f"- {count} refined: play of the solution does not" in (tmp_path / "b/CARD.md").read_text()
    )


# The ladder.

PLAIN = ("plain", "clear", "comply")


@pytest.mark.parametrize(
    ("history", "reason", "key", "key_used", "rung", "sentence"),
    [
        ([("nonsense", "flag")], "BACKOFF", None, "~signal=flag", 2, "ask of turn 1 is 'nonsense'"),
        ([("plain", "loud")], "DEFAULT", None, "~", 3, "The signal of turn 1 is 'loud', which is"),
        (
            [("plain", "loud", "comply"), ("plain", "flag")],
            "BACKOFF",
            None,
            "~turn=2,ask=plain,signal=flag",
            1,
            "The signal of turn 1 is 'loud'",
        ),
        (
            [("plain", "clear", "shrug"), ("plain", "flag")],
            "BACKOFF",
            None,
            "~turn=2,ask=plain,signal=flag",
            1,
            "The response of turn 1 is 'shrug'",
        ),
        (
            [PLAIN, PLAIN, ("plain", "unsure")],
            "BACKOFF",
            None,
            "~signal=unsure",
            2,
            "The history has 3 turns, but the scenario ends after turn 2.",
        ),
        (
            [("plain", "clear", "refer"), ("plain", "clear")],
            "DEFAULT",
            "plain:clear>refer/plain:clear",
            "~",
            3,
            "The response refer of turn 1 ended the conversation.",
        ),
        (
            [("leave", "clear")],
            "BACKOFF",
            "leave:clear",
            "~signal=clear",
            2,
            "The ask leave of turn 1 ends the conversation.",
        ),
    ],
)
def test_each_rung_of_the_ladder(guard, history, reason, key, key_used, rung, sentence):
    decision = guard.decide(history, "c1")
    found = (decision.reason, decision.key, decision.key_used, decision.rung)
    assert found == (reason, key, key_used, rung)
    assert sentence in decision.explanation
    rows = table("crisis_guidance")
    if reason == "BACKOFF":
        row = rows.coarse.probabilities[rows.coarse.keys.index(key_used)]
        assert list(decision.probabilities.values()) == row.tolist()
    else:
        assert decision.action == rows.scenario.fallback.response


def test_states_that_the_scenario_holds_impossible_go_down_the_ladder(tmp_path):
    # The row is taken out: as if no user could ever be heard like this.
    table("csa_oneshot").save(tmp_path / "b")
    less = sql(files_of(tmp_path / "b"), "DELETE FROM assistant WHERE key = 'plain:flag'")
    trust = table("csa_oneshot").exact.trust[table("csa_oneshot").exact.keys.index("plain:flag")]
    gone = sealed(less, lambda m: m["rows"].update({trust: m["rows"][trust] - 1}))
    kept = b"".join(
        line + b"\n" for line in gone[GOLDEN].splitlines() if b'"plain:flag"' not in line
    )
    decision = from_files(sealed(gone | {GOLDEN: kept})).decide([("plain", "flag")], "c1")
    assert (decision.reason, decision.key_used) == ("BACKOFF", "~signal=flag")
    assert "The scenario holds this state to be impossible." in decision.explanation


MALFORMED = [
    (None, "The history is of type NoneType, expected a list of turns."),
    ("plain:flag", "The history is of type str, expected a list of turns."),
    (b"plain", "The history is of type bytes"),
    ({"ask": "plain", "signal": "flag"}, "The history is of type dict"),
    (iter([("plain", "flag")]), "expected a list of turns"),
    ([], "The history has no turns, expected at least the one to answer."),
    ([()], "Turn 1 is of type tuple, expected a mapping with ask, signal and response"),
    (["plain"], "Turn 1 is of type str"),
    ([("plain",)], "Turn 1 is of type tuple"),
    ([("plain", "flag", None, None)], "Turn 1 is of type tuple"),
    ([("plain", "flag", 1)], "The response of turn 1 is of type int, expected text."),
    ([("plain", "flag", "refuse")], "Turn 1, the last, has a response already"),
    ([("plain", "flag"), ("plain", "flag")], "Turn 1 has no response, expected one before turn 2."),
]


@pytest.mark.parametrize(("history", "sentence"), MALFORMED)
def test_what_is_no_history_gets_the_constant_response(guard, history, sentence):
    decision = guard.decide(history, "c1")
    assert (decision.reason, decision.action, decision.key) == ("ERROR", "guide", None)
    assert sentence in decision.explanation


@pytest.mark.parametrize("conversation", [None, 1, b"c1", ["c1"], object()])
def test_a_conversation_is_text(guard, conversation):
    decision = guard.decide([("plain", "flag")], conversation)
    assert (decision.reason, decision.action) == ("ERROR", "guide")
    assert f"The conversation is of type {type(conversation).__name__}" in decision.explanation


def test_mappings_lists_and_tuples_say_the_same(guard):
    told = [
        [("plain", "clear", "comply"), ("plain", "flag")],
        [["plain", "clear", "comply"], ["plain", "flag", None]],
        [Turn("plain", "clear", "comply"), Turn("plain", "flag")],
        [
            {"ask": "plain", "signal": "clear", "response": "comply", "text": "so"},
            {"ask": "plain", "signal": "flag"},
        ],
    ]
    assert len({guard.decide(history, "c1").explanation for history in told}) == 1


def test_a_name_cannot_spell_another_key(guard):
    # As text, each of these is the key of a row that exists.
    for history in (
        [("plain:clear>comply/plain", "flag")],
        [("plain", "clear>comply/plain:flag")],
        [("plain", "clear", "comply/plain:flag>comply"), ("plain", "flag")],
    ):
        decision = guard.decide(history, "c1")
        assert decision.key is None
        assert decision.rung > 0
    assert guard.decide([("x,signal=clear", "flag")], "c1").key_used == "~signal=flag"


class Hostile(list):
    """A history whose reading fails."""

    def __init__(self, error):
        super().__init__([("plain", "flag")])
        self.error = error

    def __iter__(self):
        raise self.error


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), MemoryError(), ValueError()])
def test_a_history_that_raises_gets_an_answer(guard, error):
    decision = guard.decide(Hostile(error), "c1")
    assert decision.reason == "ERROR"
    assert f"Reading the history raised {type(error).__name__}." in decision.explanation


def test_a_store_that_fails_gets_an_answer(folder):
    broken = Guard.load(folder, SECRET)
    broken.store.play = lambda key: None  # so that the rows are asked what it is
    broken.store._connection.close()
    decision = broken.decide([("plain", "flag")], "c1")
    assert (decision.reason, decision.action) == ("ERROR", "guide")
    assert "ProgrammingError" in decision.explanation


names = st.sampled_from(
    ["plain", "leave", "clear", "flag", "comply", "refer", "", "~", "\ud800", "\0", "x" * 10_000]
)
cells = names | st.text() | st.none() | st.integers() | st.floats() | st.binary()
turns = (
    st.tuples(names, names)
    | st.tuples(names, names, names)
    | st.lists(cells, max_size=4)
    | st.dictionaries(st.sampled_from(["ask", "signal", "response", "text"]), cells)
    | cells
)
hostile = (
    st.lists(turns, max_size=5)
    | st.recursive(cells, lambda part: st.lists(part) | st.dictionaries(st.text(), part))
    | st.integers(0, 5).map(
        lambda n: [("plain", "clear", "comply")] * n * 100 + [("plain", "flag")]
    )
)


@settings(max_examples=300, deadline=None)
@given(hostile, names | cells)
def test_hostile_input_gets_a_decision(guard, history, conversation):
    decision = guard.decide(history, conversation)
    assert decision.reason in REASONS
    assert decision.action in guard.terms.responses
    assert decision.probabilities[decision.action] > 0
    assert decision == guard.decide(history, conversation)
    json.dumps(decision.as_dict(), allow_nan=False).encode()


# Draws.


def hmac_by_the_book(key, *parts):
    """Return RFC 2104 without the library: H(K ^ opad, H(K ^ ipad, text))."""
    text = b"".join(b"%d:" % len(part) + part for part in parts)
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(x ^ 0x36 for x in block) + text).digest()
    return hashlib.sha256(bytes(x ^ 0x5C for x in block) + inner).hexdigest()


def test_scope_and_draw_are_hmac_by_the_book(guard):
    scope = hmac_by_the_book(SECRET, b"conversation", b"c1")
    assert scope_of(SECRET, "c1") == scope
    parts = (scope.encode(), MIXED.encode(), guard.revision.encode(), b"")
    number = int(hmac_by_the_book(SECRET, *parts)[:16], 16)
    assert draw(SECRET, scope, MIXED, guard.revision, "") == number / 2**64
    decision = guard.decide(turns_of(MIXED), "c1")
    assert (decision.scope, decision.u) == (scope, number / 2**64)


def test_a_scope_decides_as_its_conversation_does(guard):
    for history in ([("contextualised", "clear")], [("plain", "no such signal")], None):
        decision = guard.decide(history, "c1")
        assert guard.decide_in(history, decision.scope) == decision


@pytest.mark.parametrize("scope", [None, 7, b"0" * 64, "", "account 17", "0" * 63, "0" * 64 + "\n"])
def test_what_is_no_scope_is_refused_and_not_told(guard, scope):
    decision = guard.decide_in([("plain", "flag")], scope)
    assert (decision.reason, decision.action, decision.scope) == ("ERROR", "guide", None)
    assert "The scope is not one: expected 64 hexadecimal digits." in decision.explanation
    assert "account 17" not in json.dumps(decision.as_dict())


def test_parts_do_not_run_together():
    assert draw(SECRET, "a", "bc", "r", "") != draw(SECRET, "ab", "c", "r", "")
    assert draw(SECRET, "a", "b", "rs", "") != draw(SECRET, "a", "b", "r", "s")


@pytest.mark.parametrize(
    ("probabilities", "u", "chosen"),
    [
        ([0.25, 0.75], 0.0, 0),
        ([0.25, 0.75], 0.2499, 0),
        ([0.25, 0.75], 0.25, 1),
        ([0.0, 1.0], 0.0, 1),
        ([1.0, 0.0], 1.0, 0),  # 2^64 - 1 over 2^64 rounds to 1
        ([0.5, 0.5 - 1e-10, 0.0], 1.0, 1),
        ([0.0, 0.0, 1.0], 0.5, 2),
    ],
)
def test_the_inverse_of_the_cumulative_distribution(probabilities, u, chosen):
    assert pick(probabilities, u) == chosen


def test_asking_again_never_draws_again(guard, folder):
    history = [("contextualised", "clear")]
    for n in range(50):
        first = guard.decide(history, f"c{n}")
        assert [guard.decide(history, f"c{n}") for _ in range(3)] == [first] * 3
        assert Guard.load(folder, SECRET).decide(history, f"c{n}") == first if n < 3 else True


@pytest.mark.parametrize("key", [MIXED, "contextualised:flag"])
def test_draws_over_conversations_follow_the_policy(folder, guard, key):
    # A row with shares worth testing: any distribution will do to test the draw.
    rows = table("crisis_guidance")
    flat = sealed(
        sql(
            files_of(folder),
            f"UPDATE assistant SET probability_comply = .5, probability_partial = .3, "
            f"probability_clarify = .15, probability_guide = .05, probability_refuse = 0, "
            f"probability_refer = 0 WHERE key = '{key}'",
        )
    )
    store, (terms, responses) = store_of(flat), (guard.terms, guard.responses)
    guard = Guard(terms, responses, store, "r", SECRET)
    n = 4000
    actions = [guard.decide(turns_of(key), f"account {k}").action for k in range(n)]
    names = [response.name for response in rows.scenario.responses][:4]
    assert set(actions) == set(names)
    expected = np.array([0.5, 0.3, 0.15, 0.05]) * n
    assert chisquare([actions.count(name) for name in names], expected).pvalue > 0.001


def test_draws_differ_by_state_conversation_secret_and_revision(folder, guard):
    def u(guard, conversation="c1", history=(("contextualised", "clear"),)):
        return guard.decide(history, conversation).u

    other = Guard.load(folder, b"another")
    numbers = [
        u(guard),
        u(guard, "c2"),
        u(guard, history=[("plain", "clear")]),
        u(other),
        u(Guard(guard.terms, guard.responses, guard.store, "another revision", SECRET)),
    ]
    assert len(set(numbers)) == len(numbers)


def test_impossible_histories_do_not_draw_again(guard):
    # All of these are served by the coarser row of the signal: one draw, whatever is sent.
    numbers = {guard.decide([PLAIN] * n + [("plain", "clear")], "c1").u for n in range(2, 30)} | {
        guard.decide([(f"ask {n}", "clear")], "c1").u for n in range(30)
    }
    assert len(numbers) == 1


def test_without_a_secret_draws_are_those_of_the_published_key_and_say_so(folder, guard):
    open_guard = Guard.load(folder)
    decision = open_guard.decide([("contextualised", "clear")], "c1")
    assert not decision.keyed
    assert decision.scope == scope_of(TEST_KEY, "c1")
    assert decision.u == draw(TEST_KEY, decision.scope, MIXED, open_guard.revision, "")
    assert "anyone can predict this draw" in decision.explanation
    keyed = guard.decide([("contextualised", "clear")], "c1")
    assert keyed.keyed
    assert "predict" not in keyed.explanation


def test_an_empty_secret_is_none(folder):
    with pytest.raises(InputError, match="expected bytes, at least one"):
        Guard.load(folder, b"")


def test_the_secret_is_not_shown(guard):
    assert "secret of the tests" not in repr(guard)


# Explanations.


def test_an_explanation_reads_like_this(folder, guard):
    decision = guard.decide([("plain", "clear", "comply"), ("plain", "unsure")], "c1")
    told = decision.explanation
    assert told.startswith(
        "Turn 2 after plain (clear), comply: the ask is plain, the signal unsure."
    )
    likeliest = max(decision.posterior, key=decision.posterior.get)
    assert f"takes the user to be {likeliest} {decision.posterior[likeliest]:.0%}, " in told
    best, second = sorted(decision.values, key=decision.values.get, reverse=True)[:2]
    assert decision.action == best
    assert f"falls on {best}, worth {decision.values[best]:.4g} over the conversation" in told
    assert f"the best alternative, {second}, is worth {decision.margin:.3g} less." in told
    assert told.endswith(f"Policy crisis_guidance by pcfr+, revision {guard.revision[:12]}.")


def test_every_reason_has_an_explanation():
    assert set(REASONS) == {
        *("MATCH", "SPLIT", "BACKOFF", "DEFAULT", "ERROR", "STALE", "DISABLED"),
    }


# Keys.

words = st.text("abcz019_", min_size=1, max_size=6)
states = st.lists(st.tuples(words, words, words), min_size=1, max_size=4).map(
    lambda turns: (*(Turn(*turn) for turn in turns[:-1]), Turn(*turns[-1][:2]))
)


@given(states)
def test_a_key_tells_its_turns(turns):
    assert turns_of(state_key(turns)) == turns


@given(states, states)
def test_different_states_have_different_keys(first, second):
    assert (state_key(first) == state_key(second)) == (first == second)


def test_keys_are_spelled_like_this():
    turns = [Turn("plain", "clear", "guide"), Turn("plain", "flag")]
    assert state_key(turns) == "plain:clear>guide/plain:flag"
    assert coarse_key(turns, ["turn", "signal"]) == "~turn=2,signal=flag"
    assert coarse_key(turns, []) == "~"
    assert user_key("malicious", [("plain", "guide")]) == "malicious|plain>guide"
    assert user_key("malicious", []) == "malicious|"


# Where it runs.


def test_threads_share_a_guard(guard):
    keys = table("crisis_guidance").exact.keys
    histories = [turns_of(key) for key in keys] * 3
    alone = [guard.decide(history, "c1") for history in histories]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda history: guard.decide(history, "c1"), histories))
    assert together == alone


def test_a_file_that_changes_later_changes_nothing(folder, tmp_path):
    place = write(tmp_path / "b", files_of(folder))
    guard = Guard.load(place, SECRET)
    before = guard.decide([("plain", "flag")], "c1")
    (place / ROWS).write_bytes(b"")
    (place / RESPONSES).unlink()
    assert guard.decide([("plain", "flag")], "c1") == before
    with pytest.raises(BundleError):
        Guard.load(place, SECRET)


def test_rows_are_read_where_sqlite_cannot_deserialise(folder):
    data = (folder / ROWS).read_bytes()
    with (
        closing(sqlite3.connect(":memory:")) as old,
        closing(sqlite3.connect(":memory:")) as new,
    ):
        _fill_from_file(old, data)
        new.deserialize(data)
        query = "SELECT * FROM assistant ORDER BY key"
        assert old.execute(query).fetchall() == new.execute(query).fetchall()


def test_rows_cannot_be_written(guard):
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        guard.store._connection.execute("DELETE FROM assistant")


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("flags", [["-I", "-S"], []])
def test_deciding_needs_the_standard_library_alone(folder, flags):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "before = set(sys.modules)\n"
        "from csa_games.guard import Guard, verify\n"
        "assert verify(sys.argv[2]).passed\n"
        "decision = Guard.load(sys.argv[2], b'k').decide([('plain', 'flag')], 'c1')\n"
        "assert decision.reason == 'SPLIT', decision\n"
        "try: Guard.load(sys.argv[2], 'text')\n"
        "except ValueError as error: assert str(error).startswith('the secret is str, expected')\n"
        "else: raise AssertionError('a text is no secret')\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(loaded - set(sys.stdlib_module_names)))\n"
    )
    done = subprocess.run(
        [sys.executable, *flags, "-c", program, str(ROOT), str(folder)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["csa_games"]


@pytest.mark.parametrize(
    "path", sorted(Path(csa_games.guard.__file__).parent.glob("*.py")), ids=lambda path: path.name
)
def test_its_syntax_is_that_of_python_3_9(path):
    # Platforms run guards on older Pythons than research does.
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    first = {name.partition(".")[0] for name in imported}
    # Signatures by Ed25519 need it, whoever configures such a key.
    lazily = {"cryptography"} if path.name == "signing.py" else set()
    assert first <= set(sys.stdlib_module_names) | {"csa_games"} | lazily
    assert {name for name in imported if name.startswith("csa_games")} <= {
        "csa_games.errors",
        "csa_games.guard",
        *(f"csa_games.guard.{module.stem}" for module in path.parent.glob("*.py")),
    }


# The command line.

HISTORY = json.dumps([{"ask": "plain", "signal": "flag"}])


def test_deciding_from_the_command_line(folder, tmp_path, capsys, guard):
    (tmp_path / "key").write_bytes(SECRET + b"\n")
    arguments = ["decide", str(folder), "--history", HISTORY, "--conversation", "c1"]
    assert main([*arguments, "--secret-file", str(tmp_path / "key")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == guard.decide([("plain", "flag")], "c1").as_dict()


@pytest.mark.parametrize(
    ("history", "place", "code", "sentence"),
    [
        ("[", "b", 2, "--history: not JSON"),
        ("[]", "b", 2, ""),
        (HISTORY, "nowhere", 2, "found no folder there"),
        (HISTORY, "damaged", 3, "policy.sqlite: found "),
    ],
)
def test_exit_codes(folder, tmp_path, capsys, history, place, code, sentence):
    files = files_of(folder)
    write(tmp_path / "b", files)
    write(tmp_path / "damaged", files | {ROWS: files[ROWS][:-1]})
    arguments = ["decide", str(tmp_path / place), "--history", history, "--conversation", "c1"]
    assert main(arguments) == code
    assert sentence in capsys.readouterr().err


def test_a_key_file_that_is_not_there(folder, tmp_path, capsys):
    arguments = ["decide", str(folder), "--history", HISTORY, "--conversation", "c1"]
    assert main([*arguments, "--secret-file", str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_numbers_of_a_decision_are_finite(guard):
    for key in table("crisis_guidance").exact.keys[::17]:
        decision = guard.decide(turns_of(key), "c1")
        assert math.isclose(sum(decision.probabilities.values()), 1)
        assert math.isclose(sum(decision.posterior.values()), 1)
        assert all(map(math.isfinite, decision.values.values()))
