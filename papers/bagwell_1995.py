"""Bagwell's noisy commitment: a leader who is observed with noise, with and without commitment.

Noise however small undoes the advantage of moving first in every pure equilibrium (Bagwell 1995).
A leader who commits to a mixture keeps it, and the noise even adds to it.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

import solvers
from csa_games.build import build
from csa_games.game import Game, Policy
from csa_games.rules import Chance, Decision, History, Node, Terminal, from_function, no_child
from papers.paper import Claim, Measured, Paper, run
from papers.pictures import Axis, Series, data, draw

PAYOFFS = {("S", "S"): (5, 2), ("S", "C"): (3, 1), ("C", "S"): (6, 3), ("C", "C"): (4, 4)}
"""The example of Bagwell 1995: the leader's move and the follower's -> what both get."""

NOISE = Fraction(1, 100)
NOISES = tuple(Fraction(k, 100) for k in (1, 5, 10, 15, 20, 25, 30, 35, 40, 45))


def noisy(noise: Fraction = NOISE) -> Game:
    """Return the game in which the follower sees the wrong move with probability `noise`."""

    def node(history: History) -> Node:
        match history:
            case ():
                return Decision(0, "", ("S", "C"), no_child)
            case ("S",):
                return Chance(("s", "c"), (1 - noise, noise), no_child)
            case ("C",):
                return Chance(("s", "c"), (noise, 1 - noise), no_child)
            case (_, signal):
                return Decision(1, signal, ("S", "C"), no_child)
        first, second = PAYOFFS[history[0], history[2]]
        return Terminal((Fraction(first), Fraction(second)))

    return build(lambda: from_function(node), "bagwell")


def profile(game: Game, lead: float, after_s: float, after_c: float) -> Policy:
    """Return the policies given by probabilities of S: the leader's, the follower's by signal."""
    of = {"s": after_s, "c": after_c}
    rows = [[of[signal], 1 - of[signal]] for signal in game.names.infosets[1]]
    return np.array([[lead, 1 - lead]]), np.array(rows)


def certified(game: Game, policy: Policy) -> dict[str, Any]:
    """Return what `policy` pays both players, and what each would gain by deviating from it."""
    return {
        "value": solvers.value(game, policy).tolist(),
        "gap": solvers.gap(game, policy).tolist(),
    }


def commitment(game: Game, leader: int) -> dict[str, Any]:
    """Return the best commitment of `leader`, by the exact program."""
    solution = solvers.solve(game, "commitment-milp", leader=leader)
    found = solution.commitment
    assert found is not None  # this method makes one
    return {
        "strong": found.strong,
        "weak": found.weak,
        "bound": found.bound,
        "follower": float(solution.value[1 - leader]),
        "policy": np.asarray(solution.policy[leader]).tolist(),
    }


def measure(quick: bool) -> Measured:
    """Return commitments of both players, and the equilibria, certified."""
    game = noisy()
    noises = NOISES[:2] if quick else NOISES
    return {
        "noise": float(NOISE),
        "first": commitment(game, 0),
        "second": commitment(game, 1),
        "pure": certified(game, profile(game, 0, 0, 0)),
        "copying": certified(game, profile(game, 1, 1, 0)),
        "near": certified(game, profile(game, 99 / 100, 1, 24 / 49)),
        "found": solvers.solve(game, "lcp").value.tolist(),
        "by noise": [[float(e), commitment(noisy(e), 0)["strong"]] for e in noises],
    }


def claims(measured: Measured) -> list[Claim]:
    """Return what the equilibria and commitments are worth."""
    known, noise = "Bagwell 1995", measured["noise"]
    derived = "derived below: 5 + noise"
    mixed = "van Damme & Hurkens 1997 (such an equilibrium); its numbers derived"
    exact = 1e-9
    return [
        Claim("leader's payoff in the pure equilibrium", known, 4, measured["pure"]["value"][0], 0),
        Claim("its NashConv", known, 0, sum(measured["pure"]["gap"]), exact),
        Claim(
            "leader's payoff when it commits",
            derived,
            5 + noise,
            measured["first"]["strong"],
            exact,
        ),
        Claim(
            "its probability of S",
            "derived below: 1 - noise",
            1 - noise,
            measured["first"]["policy"][0][0],
            exact,
        ),
        Claim(
            "upper bound that the program proves",
            derived,
            5 + noise,
            measured["first"]["bound"],
            1e-6,
        ),
        Claim(
            "second mover's payoff when it commits",
            "one linear program per answer",
            4,
            measured["second"]["strong"],
            exact,
        ),
        Claim(
            "leader's payoff in the mixed equilibrium near commitment",
            mixed,
            489 / 98,
            measured["near"]["value"][0],
            exact,
        ),
        Claim("its NashConv", mixed, 0, sum(measured["near"]["gap"]), exact),
        *(
            Claim(f"leader's payoff when it commits, noise {e:g}", derived, 5 + e, value, exact)
            for e, value in measured["by noise"][1:]
        ),
    ]


def remarks(measured: Measured) -> str:
    """Return the argument for 5 + noise, and how to read the result."""
    copying = sum(measured["copying"]["gap"])
    return "\n\n".join(
        (
            "## Why",
            "Without noise the leader gets 5: it plays S, the follower sees it and answers S. With "
            "noise e a follower who expects S for sure gains by ignoring the signal (S and copying "
            f"the signal have a NashConv of {copying:.3g} at e = {measured['noise']:g}), and where "
            "the signal is ignored the leader would rather play C. The pure equilibrium is C, C. "
            "A leader who is known to play S with probability 1 - e makes the follower indifferent "
            "after the signal c, where both moves are now equally likely, and S after both signals "
            "is a best answer: the leader gets 5 (1 - e) + 6 e = 5 + e.",
            "Ties are broken for the leader. With ties against it, this very mixture is worth "
            f"{measured['first']['weak']:.3g}; a mixture with slightly more S keeps nearly "
            "5 + e without any tie. The commitment is to a probability, which an observer of one "
            "move cannot verify: it has to be credible in another way, such as being the published "
            "policy of a deployed assistant. The equilibrium that the complementarity solver "
            f"happens to find pays the leader {measured['found'][0]:.4g}.",
        )
    )


def pictures(measured: Measured) -> Mapping[str, str]:
    """Return what commitment and the pure equilibrium are worth, by noise."""
    found = [tuple(point) for point in measured["by noise"]]
    ends = (found[0][0], found[-1][0])
    series = [
        Series("commitment, by program", found, look=0, dots=True),
        Series("5 + noise", [(e, 5 + e) for e in ends], look=0),
        Series("pure equilibrium", [(e, 4.0) for e in ends], look=1),
    ]
    rows = [(e, value, 5 + e, 4.0) for e, value in found]
    headings = ("noise", "commitment", "5 + noise", "pure equilibrium")
    return {
        "noise.svg": draw("bagwell", [("", series)], Axis("noise"), Axis("leader's payoff")),
        "noise.csv": data(headings, rows),
    }


PAPER = Paper(
    name="bagwell_1995",
    title="Bagwell 1995: commitment that is observed with noise",
    about=(
        "A leader moves first, and the follower sees the wrong move with a small probability. In "
        "every pure equilibrium the advantage of moving first is then gone. A commitment to a "
        "mixture keeps it."
    ),
    sources=(
        "K. Bagwell, Commitment and observability in games, Games and Economic Behavior 8 (1995), "
        "271-280.",
        "E. van Damme and S. Hurkens, Games with imperfectly observable commitment, Games and "
        "Economic Behavior 21 (1997), 282-308.",
    ),
    measure=measure,
    claims=claims,
    remarks=remarks,
    pictures=pictures,
)

if __name__ == "__main__":
    raise SystemExit(run([PAPER]))
