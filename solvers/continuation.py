"""Following a curve of solutions: n equations in n + 1 unknowns, round turning points as well.

The curve is y(s) with F(y(s)) = 0, F: R^(n+1) -> R^n. A step of length h predicts along the tangent
t, F'(y) t = 0, and corrects by Newton's method in the hyperplane through the prediction that is
orthogonal to t (pseudo-arclength). No coordinate is the parameter, so that one which turns back on
the way does no harm. The length of the steps follows from three signs of how curved the curve is:
how far off the prediction was, how fast Newton's method converged, and how much the tangent turned
(Allgower & Georg 1990, chapter 6).

Along a curve without bifurcations the determinant of [F'(y); t] keeps its sign. A step that changes
it has jumped to another curve, or to another part of this one, and is made again with half of its
length; only when it changes sign on a tiny step too has the curve been crossed by another one, as
happens in symmetric problems, and is followed straight on. With both precautions jumps are rare,
but nothing proves that there was none.
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
OFF, RATE, TURN = 0.05, 0.05, 0.1
"""What a step is made for: a first correction of this share of its length, a second one of this
share of the first, a tangent turned by this angle in radians. Steps twice as bad are rejected."""

SHORTEST = 1e-9  # of a step, relative to how far from the origin it is made
TINY = 1e-3  # in the same unit, a step that is believed when it changes the determinant's sign


class _Place(NamedTuple):
    point: Vector
    tangent: Vector
    sign: float  # of the determinant


class _Step(NamedTuple):
    place: _Place
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
    upward = np.eye(1, len(start), len(start) - 1)[0]
    here = _place(start, system(start)[1], upward)
    if here is None:
        return
    length = first / here.tangent[-1]
    while here.point[-1] < until:
        unit = 1 + float(np.linalg.norm(here.point))
        step = _step(system, here, length, until)
        crossed = step is not None and step.place.sign != here.sign
        if step is None or step.bad > 2 or (crossed and length > TINY * unit):
            length /= 2
            if length < SHORTEST * unit:
                return
            continue
        here = step.place
        length /= max(step.bad, 0.5)
        yield here.point


def _step(system: System, here: _Place, length: float, until: float) -> _Step | None:
    """Return a step of `length`, or one that ends where the last unknown is `until` if it can."""
    point, tangent, _ = here
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
    there = _place(new, slope, tangent)
    # A step that passes the end is made again, shorter, until one of them ends there.
    if there is None or (new[-1] >= until and not ends):
        return None
    angle = math.acos(min(1.0, float(tangent @ there.tangent)))
    off = sizes[0] / length if sizes else 0.0
    rate = sizes[1] / sizes[0] if len(sizes) > 1 else 0.0
    return _Step(there, max(math.sqrt(off / OFF), math.sqrt(rate / RATE), angle / TURN))


def _place(point: Vector, slope: Float[np.ndarray, "n M"], before: Vector) -> _Place | None:
    """Return `point` with its tangent, of length 1 and on the side of the one `before`."""
    found = _solved(slope, before, np.eye(1, len(before), len(before) - 1)[0])
    if found is None:
        return None
    tangent = found / np.linalg.norm(found)
    sign = np.linalg.slogdet(np.vstack([slope, tangent]))[0]
    return _Place(point, tangent, float(sign))


def _solved(slope: Float[np.ndarray, "n M"], plane: Vector, right: Vector) -> Vector | None:
    """Return the solution of [slope; plane] x = right, None where there is not one."""
    try:
        found = np.linalg.solve(np.vstack([slope, plane]), right)
    except np.linalg.LinAlgError:
        return None
    return found if np.isfinite(found).all() else None
