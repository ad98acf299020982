"""What methods report beyond value and gap: rows for people, numbers for programs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from csa_games.findings import (
        Budgeted,
        Commitment,
        QuantalResponse,
        Refinement,
        Robustness,
    )
    from csa_games.game import Solution

Rows = Iterator[tuple[str, str]]

TIED = 0.01  # by how much, relatively, the worth of a policy may depend on ties unmentioned


def rows(solution: "Solution") -> Rows:
    """Yield a name and a text for everything that `solution` reports."""
    for name, row in ROWS.items():
        if (finding := getattr(solution, name)) is not None:
            yield from row(finding)


def numbers(solution: "Solution") -> dict[str, Any]:
    """Return, by name, the numbers of everything that `solution` reports."""
    found = {}
    for name, derived in DERIVED.items():
        if (finding := getattr(solution, name)) is not None:
            found[name] = asdict(finding) | {key: getattr(finding, key) for key in derived}
            for each in ("loss", "stake"):  # one for each infoset: they are in the run
                found[name].pop(each, None)
    return found


def promise(commitment: "Commitment", players: tuple[str, str]) -> str:
    """Return what a commitment's value means."""
    leader, others = players[commitment.leader], players[1 - commitment.leader]
    tied = commitment.weak < commitment.strong - TIED * max(1.0, abs(commitment.strong))
    hint = " (--nudge 0.001 leaves hardly any)" if tied else ""
    return (
        f"commitment: {leader} expects {commitment.strong:.6g} from {others} who knows the policy "
        f"and breaks ties for it, {commitment.weak:.6g} if ties are broken against it{hint}; no "
        f"policy is worth more than {commitment.bound:.6g} ({commitment.bound_by})"
    )


def _commitment(found: "Commitment") -> Rows:
    yield "optimality gap", f"{found.optimality_gap:.3g}"
    yield (
        "worth of committing",
        f"{found.value_of_commitment:.3g} more than {found.equilibrium:.6g} at policies with "
        f"NashConv {found.equilibrium_gap:.2g}",
    )
    yield (
        "worth of mixing",
        f"{found.value_of_randomisation:.3g} more than {found.pure:.6g} of a pure policy; no pure "
        f"one is worth more than {found.pure_bound:.6g}",
    )


def _quantal(found: "QuantalResponse") -> Rows:
    asked = "" if found.reached == found.rationality else f" of {found.rationality:.6g} asked for"
    yield "rationality", f"{found.reached:.6g}{asked}, in 1/payoff"
    yield "residual", f"{found.residual:.2g} of the logit equations, in logarithms"


def _refinement(found: "Refinement") -> Rows:
    yield (
        "off the path",
        f"gives away {found.worst:.3g} at the worst infoset when hands tremble with "
        f"{found.epsilon:g}",
    )


def _budgeted(found: "Budgeted") -> Rows:
    yield f"{found.objective}", f"at least {found.value:.6g} within the budgets"
    for one in found.budgets:
        yield (
            f"{one.measure} {one.side} {one.bound:g}",
            f"{one.level:.6g} at the worst; one more unit is worth {one.price:.4g} of "
            f"{found.objective}",
        )


def _robustness(found: "Robustness") -> Rows:
    prior = _listed(found.worst_prior)
    yield "in doubt", "; ".join(found.doubts) or "nothing"
    if not (found.worst_kernels or found.worst_channels):
        yield "worst case", f"{found.value:.6g}, with the prior {prior}"
    else:
        yield "guaranteed", f"{found.value:.6g}, whatever the kernels and channels are"
        yield "worst found", f"{found.found:.6g}, with the prior {prior} and what is below"
    if found.gap > 0:
        yield "optimality gap", f"{found.gap:.2g}: no policy has a guarantee that is higher by more"
    if found.worst_weights:
        yield "worst weights", _listed(found.worst_weights)
    for intent, reactions in found.worst_kernels.items():
        for when, row in reactions.items():
            yield f"{intent}, {when}", _listed({ask: p for ask, p in row.items() if p > 0})
    for intent, channel in found.worst_channels.items():
        for ask, row in channel.items():
            yield f"{intent}, {ask}", _listed({signal: p for signal, p in row.items() if p > 0})
    yield (
        "price of it",
        f"{found.price:.4g}: {found.nominal:.6g} if the scenario is right, where "
        f"{found.optimum:.6g} was possible",
    )


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


ROWS: Mapping[str, Callable[[Any], Rows]] = {
    "commitment": _commitment,
    "quantal": _quantal,
    "refinement": _refinement,
    "budgeted": _budgeted,
    "robustness": _robustness,
}
"""Finding -> what is said about it."""

DERIVED: Mapping[str, tuple[str, ...]] = {
    "commitment": ("optimality_gap", "value_of_commitment", "value_of_randomisation"),
    "quantal": (),
    "refinement": ("worst",),
    "budgeted": (),
    "robustness": ("price",),
}
"""Finding -> its properties that are told beside its fields."""
