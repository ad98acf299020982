"""Curves whose shape is known in closed form."""

import numpy as np
import pytest

from solvers.continuation import ZERO, follow


def graph(height, slope):
    """Return the system of the curve y = height(x), for points (x, y)."""

    def system(point):
        x, y = point
        return np.array([y - height(x)]), np.array([[-slope(x), 1.0]])

    return system


def cubic(sign=1.0):
    """Return y = sign (x³ - 3x), which turns back at x = -1 and x = 1, where |y| is 2."""
    return graph(lambda x: sign * (x**3 - 3 * x), lambda x: sign * (3 * x**2 - 3))


def traced(system, start, until, most=10_000):
    points = []
    for point in follow(system, np.array(start, float), until=until, first=0.1):
        points.append(point)
        assert len(points) < most
    return np.array(points)


def test_both_turning_points_are_passed():
    points = traced(cubic(), [-3, -18], 10.0)
    x, y = points.T
    assert (np.diff(x) > 0).all()
    np.testing.assert_allclose(y, x**3 - 3 * x, rtol=0, atol=ZERO)
    turns = np.flatnonzero(np.diff(np.sign(np.diff(y))))
    # The points beside a turning point, where the curve is flat, have nearly its height.
    np.testing.assert_allclose(y[turns + 1], [2, -2], rtol=0, atol=0.05)
    assert y[-1] == 10
    assert x[-1] == pytest.approx(max(np.roots([1, 0, -3, -10]).real), abs=1e-9)


def test_the_first_crossing_is_the_end():
    points = traced(cubic(), [-3, -18], 1.9)
    roots = np.sort(np.roots([1, 0, -3, -1.9]).real)
    assert points[-1] == pytest.approx([roots[0], 1.9], abs=1e-9)


def test_the_end_may_be_the_start():
    assert len(traced(cubic(), [-3, -18], -18.0)) == 1


def test_a_curve_that_stops_is_followed_up_to_there():
    def system(point):
        x, y = point
        return np.array([x - y if y < 1 else np.nan]), np.array([[1.0, -1.0]])

    points = traced(system, [0, 0], 2.0)
    assert 1 - 1e-6 < points[-1, 1] < 1


def test_a_curve_that_another_one_crosses_is_followed_straight_on():
    """The equation x (y - 1 - x²) = 0: a line and a parabola, and no rank where they cross."""

    def system(point):
        x, y = point
        return np.array([x * (y - 1 - x**2)]), np.array([[y - 1 - 3 * x**2, x]])

    points = traced(system, [0, 0], 3.0)
    np.testing.assert_array_equal(points[:, 0], 0)
    assert points[-1, 1] == 3


def test_without_equations_the_curve_is_a_line():
    points = traced(lambda point: (np.zeros(0), np.zeros((0, 1))), [0], 5.0)
    assert points[-1] == [5]
    assert (np.diff(points[:, 0]) > 0).all()


def test_more_unknowns_than_one():
    """A helix on a cone: (s cos s, s sin s) at height s, in every direction of the plane."""

    def system(point):
        x, y, s = point
        values = np.array([x - s * np.cos(s), y - s * np.sin(s)])
        slope = np.array(
            [
                [1, 0, s * np.sin(s) - np.cos(s)],
                [0, 1, -s * np.cos(s) - np.sin(s)],
            ]
        )
        return values, slope

    points = traced(system, [0, 0, 0], 20.0)
    s = points[:, 2]
    expected = np.stack([s * np.cos(s), s * np.sin(s), s], axis=1)
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-9)
    assert s[-1] == 20
