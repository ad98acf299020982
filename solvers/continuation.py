"""Following a curve of solutions: n equations in n + 1 unknowns, round turning points as well.

The curve is y(s) with F(y(s)) = 0, F: R^(n+1) -> R^n. A step of length h predicts along the tangent
t, F'(y) t = 0, and corrects by Newton's method in the hyperplane through the prediction that is
orthogonal to t (pseudo-arclength). No coordinate is the parameter, so that one which turns back on
the way does no harm. The length of the steps follows from three signs of how curved the curve is:
how far off the prediction was, how fast Newton's method converged, and how much the tangent turned
(Allgower & Georg 1990, chapter 6). A step that looks bad in any of them is halved, which makes a
jump to another curve unlikely; nothing proves that there was none.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Vector = Float[np.ndarray, " M"]
"""A point or a direction; M = n + 1."""

System = Callable[[Vector], tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n M"]]]
"""A point -> (F, its derivative) there. What is not finite says that there is no F."""

ZERO = 1e-10  # a point is on the curve where no equation is off by more
CORRECTIONS = 8  # the most of a step
OFF, RATE, TURN = 0.1, 0.1, 0.2
"""What a step is made for: a first correction of this share of its length, a second one of this
share of the first, a tangent turned by this angle in radians. Steps twice as bad are rejected."""
SHORTEST = 1e-9  # of a step, relative to how far from the origin it is made


class _Step(NamedTuple):
    point: Vector
    tangent: Vector
    bad: float  # 1 for a step as it should be, below 1 for a better one


def follow(system: System, start: Vector, *, until: float, first: float) -> Iterator[Vector]:
    """Yield points of the curve from `start` on, in the direction in which the last unknown grows.

    The iteration ends at the first point where the last unknown is `until`, exactly; or before it
    when no step is short enough to get on, which happens where the derivative loses its rank or
    `system` is not finite. `start` must be on the curve, and its last unknown below `until` unless
    it is the end too; `first` is by how much the last unknown grows in the first step.
    """
    yield start
    if start[-1] >= until:
        return
    point, upward = start, np.eye(1, len(start), len(start) - 1)[0]
    tangent = _tangent(system(start)[1], upward)
    if tangent is None:
        return
    length = first / tangent[-1]
    while point[-1] < until:
        step = _step(system, point, tangent, length, until)
        if step is None or step.bad > 2:
            length /= 2
            if length < SHORTEST * (1 + np.linalg.norm(point)):
                return
            continue
        point, tangent = step.point, step.tangent
        length /= max(step.bad, 0.5)
        yield point


def _step(
    system: System, point: Vector, tangent: Vector, length: float, until: float
) -> _Step | None:
    """Return a step of `length`, or one that ends where the last unknown is `until` if it can."""
    rest = until - point[-1]
    ends = tangent[-1] * length >= rest
    plane = tangent
    if ends:
        length = rest / tangent[-1]
        plane = np.eye(1, len(point), len(point) - 1)[0]
    new = point + length * tangent
    if ends:
        new[-1] = until
    sizes: list[float] = []
    while True:
        values, slope = system(new)
        if not (np.isfinite(values).all() and np.isfinite(slope).all()):
            return None
        if np.abs(values).max(initial=0) <= ZERO:
            break
        change = _solved(slope, plane, np.append(-values, 0.0))
        if change is None or len(sizes) == CORRECTIONS:
            return None
        sizes.append(float(np.linalg.norm(change)))
        if len(sizes) > 1 and sizes[-1] >= sizes[-2]:
            return None
        new = new + change
        if ends:
            new[-1] = until  # up to rounding it is
    turned = _tangent(slope, tangent)
    # A step that passes the end is made again, shorter, until one of them ends there.
    if turned is None or (new[-1] >= until and not ends):
        return None
    angle = math.acos(min(1.0, float(tangent @ turned)))
    off = sizes[0] / length if sizes else 0.0
    rate = sizes[1] / sizes[0] if len(sizes) > 1 else 0.0
    return _Step(new, turned, max(math.sqrt(off / OFF), math.sqrt(rate / RATE), angle / TURN))


def _tangent(slope: Float[np.ndarray, "n M"], before: Vector) -> Vector | None:
    """Return the direction of length 1 in which nothing changes, on the side of `before`.

    At a simple bifurcation, where the determinant changes its sign, this goes straight on.
    """
    found = _solved(slope, before, np.eye(1, len(before), len(before) - 1)[0])
    return None if found is None else found / np.linalg.norm(found)


def _solved(slope: Float[np.ndarray, "n M"], plane: Vector, right: Vector) -> Vector | None:
    """Return the solution of [slope; plane] x = right, None where there is not one."""
    try:
        found = np.linalg.solve(np.vstack([slope, plane]), right)
    except np.linalg.LinAlgError:
        return None
    return found if np.isfinite(found).all() else None
