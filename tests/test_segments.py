"""Segment sums against a loop, on numpy and on JAX."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csa_games.segments import segment_sum, segments

assignments = st.integers(1, 9).flatmap(
    lambda number: st.tuples(
        st.just(number), st.lists(st.integers(0, number - 1), max_size=60).map(tuple)
    )
)


def loop(segment_of, values, number):
    total = [0.0] * number
    for segment, value in zip(segment_of, values, strict=True):
        total[segment] += value
    return np.array(total)


@settings(deadline=None, max_examples=100)
@given(assignments, st.integers(0, 2**32 - 1))
def test_sums_equal_a_loop(assignment, seed):
    number, segment_of = assignment
    # Small integers, so that every order of summation gives the same float.
    values = np.random.default_rng(seed).integers(-9, 10, len(segment_of)).astype(np.float64)
    plan = segments(np.array(segment_of, dtype=np.int64), number)
    expected = loop(segment_of, values, number)
    np.testing.assert_array_equal(segment_sum(plan, values), expected)


def test_empty_segments_are_zero():
    plan = segments(np.array([4, 4, 1]), 6)
    np.testing.assert_array_equal(segment_sum(plan, np.array([1.0, 2.0, 5.0])), [0, 5, 0, 0, 3, 0])


def test_no_values_at_all():
    plan = segments(np.zeros(0, dtype=np.int64), 3)
    np.testing.assert_array_equal(segment_sum(plan, np.zeros(0)), np.zeros(3))


def test_padding_at_most_doubles_the_reads():
    segment_of = np.repeat(np.arange(40), np.arange(40))
    plan = segments(segment_of, 40)
    assert sum(rows.size for rows in plan.bins) < 2 * len(segment_of)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(dtype):
    plan = segments(np.array([0, 2, 2]), 3)
    assert segment_sum(plan, np.ones(3, dtype)).dtype == dtype


def test_the_order_of_summation_is_fixed():
    """Values of very different size: any other order would change the last bits."""
    rng = np.random.default_rng(0)
    values = rng.uniform(size=5000) * 10.0 ** rng.integers(-12, 12, 5000)
    plan = segments(rng.integers(0, 50, 5000), 50)
    with jax.enable_x64(True):
        total = jax.jit(segment_sum)
        first, second = (np.asarray(total(plan, values)) for _ in range(2))
    assert first.dtype == np.float64
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, segment_sum(plan, values), rtol=1e-9)
