"""Histories that are read at once: the answer is the ladder's, whatever comes in."""

import dataclasses
from enum import Enum

import pytest
from bundles import unsolved
from hypothesis import given, settings
from hypothesis import strategies as st

from csa_games.guard import Guard
from csa_games.guard.keys import state_key, turns_of
from csa_games.guard.ladder import MalformedError, turns_from
from csa_games.guard.quick import Speller

ENDS = {"leave", "migrate", "refer"}  # of crisis_guidance, asks and a response


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    place = tmp_path_factory.mktemp("bundles") / "crisis"
    unsolved().save(place)
    return Guard.load(place, b"a secret of the tests")


@pytest.fixture(scope="module")
def slow(guard):
    """Return the same guard without any history that is read at once."""
    other = dataclasses.replace(guard)
    vars(other)["_speller"] = Speller(dataclasses.replace(guard.terms, turns=0))
    return other


asks = st.sampled_from(["plain", "contextualised", "leave", "nonsense", ""])
signals = st.sampled_from(["clear", "unsure", "flag", "loud"])
responses = st.sampled_from(["comply", "guide", "refer", "shrug"])
odd = st.none() | st.integers() | st.text(max_size=2) | st.lists(st.integers(), max_size=3)
cells = st.tuples(asks, signals, responses | st.none())
turns = (
    cells
    | cells.map(list)
    | cells.map(lambda turn: turn[:2])
    | cells.map(lambda turn: dict(zip(("ask", "signal", "response"), turn, strict=True)))
    | st.tuples(asks, signals).map(lambda seen: {"ask": seen[0], "signal": seen[1], "text": "so"})
    | st.tuples(asks | odd, signals | odd, responses | odd)
    | odd
)
proper = st.lists(st.tuples(asks, signals, responses), max_size=2).flatmap(
    lambda past: st.tuples(asks, signals).map(lambda last: [*past, last])
)
histories = proper | proper.map(tuple) | st.lists(turns, max_size=4) | odd


@settings(max_examples=400, deadline=None)
@given(histories)
def test_it_makes_no_difference(guard, slow, history):
    assert guard.decide(history, "c1") == slow.decide(history, "c1")


@settings(max_examples=400, deadline=None)
@given(histories)
def test_a_key_is_spelled_for_histories_in_order_and_no_others(guard, history):
    try:
        told = turns_from(guard.terms, history)
    except MalformedError:
        assert guard._speller.key(history) is None
        return
    names = {name for turn in told.turns for name in turn}
    right = not told.why and len(told.turns) <= guard.terms.turns and not names & ENDS
    assert guard._speller.key(history) == (state_key(told.turns) if right else None)


def test_every_state_is_spelled(guard):
    for key in unsolved().exact.keys:
        history = [turn if turn.response else turn[:2] for turn in turns_of(key)]
        assert guard._speller.key(history) == key


class Signal(str, Enum):  # noqa: UP042 - as hosts on older Pythons have it
    """What a host's own classifier says."""

    FLAG = "flag"


class Response(str):
    """A text that is more than that."""


def test_subclasses_of_text_are_text(guard, slow):
    history = [("plain", "flag", Response("guide")), ("plain", Signal.FLAG)]
    plain = guard.decide([("plain", "flag", "guide"), ("plain", "flag")], "c1")
    assert plain.key == "plain:flag>guide/plain:flag"
    assert guard.decide(history, "c1") == slow.decide(history, "c1") == plain


class Unhashable:
    """What raises when a name is looked up by it."""

    def __hash__(self):
        raise RuntimeError("no")


def test_what_cannot_be_looked_up_is_for_the_ladder(guard, slow):
    history = [("plain", Unhashable())]
    assert guard.decide(history, "c1").reason == "DEFAULT"
    assert guard.decide(history, "c1") == slow.decide(history, "c1")
