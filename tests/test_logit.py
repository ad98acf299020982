"""The logit rule: against scipy's soft maximum, in numpy and in JAX, and at its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from csa_games.logit import given_reach, log_soft, soft


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    logits = draw.normal(scale=600, size=(2, 4, 5))
    legal = draw.random((2, 4, 5)) < 0.7
    legal[:, 0] = True
    return logits, legal


@pytest.mark.parametrize("where", [np.asarray, jnp.asarray])
def test_it_is_the_soft_maximum_of_what_is_legal(rows, where):
    logits, legal = rows
    with jax.enable_x64(True):
        found = np.asarray(soft(where(logits), where(legal)))
        logs = np.asarray(log_soft(where(logits), where(legal)))
    masked = np.where(legal, logits, -np.inf)
    assert found == pytest.approx(softmax(masked, axis=1), abs=1e-15)
    assert logs[legal] == pytest.approx(log_softmax(masked, axis=1)[legal], rel=1e-13)
    assert logs[legal].min() < -800  # where the probability itself is 0
    assert (found[~legal] == 0).all()
    assert (logs[~legal] == 0).all()


def test_derivatives_are_those_of_the_soft_maximum(rows):
    logits, legal = rows[0][1:, :, 3:] / 600, rows[1][1:, :, 3:]
    with jax.enable_x64(True):
        slope = jax.jacobian(lambda x: soft(x, legal))(jnp.asarray(logits))
        curve = jax.hessian(lambda x: log_soft(x, legal).sum())(jnp.asarray(logits))
    p = softmax(np.where(legal, logits, -np.inf), axis=1)[0, :, 0]
    assert np.asarray(slope)[0, :, 0, 0, :, 0] == pytest.approx(np.diag(p) - np.outer(p, p))
    count = legal[0, :, 0].sum()
    assert np.asarray(curve)[0, :, 0, 0, :, 0] == pytest.approx(
        -count * (np.diag(p) - np.outer(p, p))
    )


def test_values_are_given_that_somebody_leads_there():
    q = np.array([[[2.0, 3.0, 1e-310], [4.0, 5.0, 0.0]]])
    reached = np.array([[0.5, 0.0, 1e-310]])
    assert given_reach(q, reached).tolist() == [[[4.0, 0.0, 1.0], [8.0, 0.0, 0.0]]]
    assert given_reach(q, reached, 1e-290).tolist() == [[[4.0, 0.0, 0.0], [8.0, 0.0, 0.0]]]
