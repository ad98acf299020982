"""Annotations are executed while tests run: what does not fit them is refused, at any level."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from annotations import jaxtyped
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError
from known_games import KUHN, game

from csa_games.game import Progress
from csa_games.scenario import read_scenario
from solvers.compare import compare
from solvers.regret import constant

checked = jaxtyped(typechecker=beartype)
WRONG = (BeartypeCallHintViolation, TypeCheckError)


@checked
def plain(number: int) -> str:
    return "fits" if number else None


@checked
def product(a: Float[np.ndarray, "I A"], b: Float[np.ndarray, " A"]) -> Float[np.ndarray, " I"]:
    return a @ b if a.any() else b


@checked
def through(f: Callable[[Float[np.ndarray, " I"]], int] | None, n: int) -> "Below":
    return n


@checked
@dataclass(frozen=True)
class Pair:
    """A number and two vectors of one length."""

    number: int
    rows: tuple[Float[np.ndarray, " I"], Float[np.ndarray, " I"]]


class Below:
    """A class that is not there yet when it is named."""


def test_parameters_and_results_are_checked():
    assert plain(1) == "fits"
    for wrong in ("1", 0):
        with pytest.raises(WRONG):
            plain(wrong)


def test_dimensions_agree_within_a_call_and_with_its_result():
    assert product(np.ones((3, 2)), np.ones(2)).shape == (3,)
    assert product(np.ones((4, 5)), np.ones(5)).shape == (4,)  # every call has its own
    for a, b in ((np.ones((3, 2)), np.ones(3)), (np.zeros((3, 2)), np.ones(2))):
        with pytest.raises(WRONG):
            product(a, b)


def test_a_name_that_is_not_known_yet_leaves_the_others_checked():
    assert through(None, 1) == 1  # jaxtyping allows anything for "Below"
    with pytest.raises(WRONG):
        through(None, "1")


def test_dataclasses_are_checked_when_made():
    assert Pair(1, (np.ones(2), np.ones(2))).number == 1
    for number, rows in (("1", (np.ones(2), np.ones(2))), (1, (np.ones(2), np.ones(3)))):
        with pytest.raises(WRONG):
            Pair(number, rows)


def test_the_code_under_test_is_checked(pytestconfig):
    packages = pytestconfig.getoption("--jaxtyping-packages") or ""
    if "csa_games" not in packages:
        pytest.skip("this run executes no annotations")
    with pytest.raises(WRONG):
        read_scenario(1)
    with pytest.raises(WRONG):
        constant("1")
    with pytest.raises(WRONG):
        Progress("1", 0.0, 0.0)
    with pytest.raises(WRONG):
        compare(game(KUHN), {"a vector": np.ones(6)})
