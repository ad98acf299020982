"""Regret matching by hand, and discounts against the formulas of the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from solvers.regret import VARIANTS, Variant, at, constant, discount, regret_matching

LEGAL = np.array([[True, True, True], [True, True, False]])


def matched(regret, legal, dead_zone=0.0):
    """Return the policy [I, A] of regrets [I, A]; rows have actions first."""
    return regret_matching(regret.T, legal.T, dead_zone).T


def test_in_proportion_to_positive_regrets():
    regret = np.array([[3.0, -2.0, 1.0], [0.5, 0.5, 0.0]])
    np.testing.assert_array_equal(matched(regret, LEGAL), [[0.75, 0, 0.25], [0.5, 0.5, 0.0]])


def test_uniform_over_legal_actions_without_positive_regrets():
    regret = np.array([[-3.0, -2.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(matched(regret, LEGAL), [[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]])


def test_illegal_actions_are_never_played():
    regret = np.array([[0.0, 0.0, 1.0], [1.0, 3.0, 100.0]])
    np.testing.assert_array_equal(matched(regret, LEGAL)[1], [0.25, 0.75, 0])


def test_the_dead_zone_counts_noise_as_zero():
    noise = np.array([[1e-17, 0.0, 3e-17], [1e-17, 1.0, 0.0]])
    np.testing.assert_array_equal(matched(noise, LEGAL, 1e-12), [[1 / 3, 1 / 3, 1 / 3], [0, 1, 0]])
    np.testing.assert_array_equal(matched(noise, LEGAL, 0.0)[0], [0.25, 0, 0.75])
    edge = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])  # an entry on the edge counts as zero
    np.testing.assert_array_equal(matched(edge, LEGAL, 1.0)[0], [0, 1, 0])


@settings(deadline=None, max_examples=100)
@given(
    arrays.arrays(np.float64, (4, 3), elements=st.floats(-1e6, 1e6)),
    arrays.arrays(bool, (4, 3)),
    st.floats(0, 10),
)
def test_rows_are_policies(regret, legal, dead_zone):
    legal[:, 0] = True
    policy = matched(regret, legal, dead_zone)
    assert (policy >= 0).all()
    assert (policy[~legal] == 0).all()
    np.testing.assert_allclose(policy.sum(axis=-1), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(dtype):
    regret = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]], dtype)
    assert matched(regret, LEGAL, 1e-8).dtype == dtype
    with jax.enable_x64(True):
        assert matched(jnp.asarray(regret), jnp.asarray(LEGAL), 1e-8).dtype == dtype


def factors(variant, t, horizon=1000.0):
    """Return the discounts of a positive and of a negative regret in iteration `t`."""
    return discount(variant, np.array([[1.0, -1.0]]), float(t), horizon)[0]


@pytest.mark.parametrize("t", [2, 3, 10, 1000])
def test_discounts_of_the_papers(t):
    k = t - 1
    linear = k / (k + 1)  # Brown & Sandholm 2019: R <- R + t r, divided by t
    np.testing.assert_allclose(factors(VARIANTS["lcfr"], t), [linear, linear], rtol=1e-15)
    # Brown & Sandholm 2019, DCFR(3/2, 0, 2): negative regrets are halved.
    np.testing.assert_allclose(
        factors(VARIANTS["dcfr"], t), [k**1.5 / (k**1.5 + 1), 0.5], rtol=1e-15
    )
    assert factors(VARIANTS["dcfr+"], t)[0] == pytest.approx(k**1.5 / (k**1.5 + 1.5), rel=1e-15)
    assert factors(VARIANTS["pdcfr+"], t)[0] == pytest.approx(k**2.3 / (k**2.3 + 1), rel=1e-15)


@pytest.mark.parametrize("name", ["cfr", "cfr+", "pcfr+", "sapcfr+", "hs-pcfr+"])
@pytest.mark.parametrize("t", [1, 2, 1000])
def test_undiscounted_rows_discount_nothing(name, t):
    np.testing.assert_array_equal(factors(VARIANTS[name], t), [1, 1])


def test_the_first_iteration_is_finite_for_negative_exponents():
    variant = Variant(gamma=constant(1.0), alpha=constant(1.0), beta=constant(-2.0), discount=1.0)
    assert np.isfinite(factors(variant, 1)).all()


def test_schedules_are_linear_in_t():
    assert at((30.0, 25.0), 0.0) == 30
    assert at((30.0, 25.0), 0.5) == 27.5
    assert at((30.0, 25.0), 1.0) == 25
    # DCFR with alpha_t = 1 + 3 t / n and beta_t = -1 - 2 t / n, at t = 500 of n = 1000.
    hs = Variant(gamma=(15.0, 10.0), alpha=(1.0, 4.0), beta=(-1.0, -3.0), discount=1.0)
    expected = [499**2.5 / (499**2.5 + 1), 499**-2.0 / (499**-2.0 + 1)]
    np.testing.assert_allclose(factors(hs, 500), expected, rtol=1e-12)


def test_rows_share_one_structure_and_differ():
    structures = {jax.tree.structure(variant) for variant in VARIANTS.values()}
    assert len(structures) == 1
    kinds = {tuple(map(type, jax.tree.leaves(variant))) for variant in VARIANTS.values()}
    assert len(kinds) == 1  # an int among the floats would cost a compilation
    assert len(set(VARIANTS.values())) == len(VARIANTS)
