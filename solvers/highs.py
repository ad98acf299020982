"""Linear and mixed-integer programs in HiGHS: passing them, running them, reporting on the search.

The callers know what the variables mean; here are only numbers. HiGHS has absolute tolerances, so
payoffs come at scale 1.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from csa_games.game import Progress, Status

REPORT_SECONDS = 0.5  # between two reports of a search


def passed(
    rows: sparse.csr_array,
    cost: Float[np.ndarray, " V"],
    *,
    variables: tuple[Float[np.ndarray, " V"], Float[np.ndarray, " V"]],
    between: tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]],
    integral: Bool[np.ndarray, " V"] | None = None,
    tolerance: float,
    seconds: float = math.inf,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """Return a HiGHS solver that holds a program to be maximised.

    `variables` are the least and the most of the V variables, `between` those of the R rows,
    infinite where there is no bound. `tolerance` is that of feasibility, primal, dual and integral.
    """
    import highspy  # slow to import, and only needed here

    model = highspy.HighsLp()
    model.num_row_, model.num_col_ = rows.shape
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = cost
    model.col_lower_, model.col_upper_ = variables
    model.row_lower_, model.row_upper_ = between
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = rows.indptr
    model.a_matrix_.index_ = rows.indices
    model.a_matrix_.value_ = rows.data
    if integral is not None and integral.any():
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        model.integrality_ = [kinds[int(flag)] for flag in integral]
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.silent()
    for kind in ("primal", "dual", "mip"):
        solver.setOptionValue(f"{kind}_feasibility_tolerance", tolerance)
    solver.setOptionValue("threads", 1)  # one order of work, the same result
    if math.isfinite(seconds):
        solver.setOptionValue("time_limit", max(float(seconds), 0.0))
    for name, value in options.items():
        solver.setOptionValue(name, value)
    solver.passModel(model)
    return solver


def run(solver: Any) -> Status | None:
    """Run `solver` and return how it ended, None where that is none of a search's ends.

    Ctrl-C stops the search and keeps what it has found.
    """
    import highspy

    with suppress(KeyboardInterrupt):
        solver.HandleKeyboardInterrupt = True
        solver.solve()
    names: dict[Any, Status] = {
        highspy.HighsModelStatus.kOptimal: "exact",
        highspy.HighsModelStatus.kTimeLimit: "seconds",
        highspy.HighsModelStatus.kSolutionLimit: "max_steps",  # as HiGHS calls its limit of nodes
        highspy.HighsModelStatus.kInterrupt: "interrupted",
    }
    return names.get(solver.getModelStatus())


def complaint(solver: Any) -> str:
    """Return in HiGHS's words how `solver` ended."""
    return str(solver.modelStatusToString(solver.getModelStatus()))


def variables(solver: Any) -> Float[np.ndarray, " V"] | None:
    """Return the best feasible variables that `solver` found, None where it found none."""
    import highspy

    found = solver.getInfo().primal_solution_status
    if found != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    return np.array(solver.getSolution().col_value)


def hold(solver: Any, fixed: Float[np.ndarray, " V"]) -> None:
    """Hold those variables that are not nan in `fixed` at what they are there."""
    held = np.flatnonzero(~np.isnan(fixed)).astype(np.int32)
    solver.changeColsBounds(len(held), held, fixed[held], fixed[held])


def report(solver: Any, scale: float, progress: Callable[[Progress], object]) -> None:
    """Tell `progress` of the search: nodes, seconds, and the gap that is left, times `scale`.

    A KeyboardInterrupt that it raises ends the search as Ctrl-C does.
    """
    due = 0.0

    def tell(event: Any) -> None:
        nonlocal due
        found = event.data_out
        if found.running_time < due:
            return
        due = found.running_time + REPORT_SECONDS
        gap = scale * abs(found.mip_dual_bound - found.mip_primal_bound)
        try:
            progress(Progress(int(found.mip_node_count), found.running_time, float(gap)))
        except KeyboardInterrupt:
            solver.cancelSolve()

    solver.cbMipInterrupt.subscribe(tell)
