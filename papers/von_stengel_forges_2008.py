"""Von Stengel and Forges' signalling game: nothing is signalled unless somebody commits.

A sender of good or bad type sends a message that costs nothing, a receiver answers. In equilibrium
messages mean nothing; commitment and correlation each make them mean something.
"""

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

import solvers
from csa_games.build import build
from csa_games.game import Game
from csa_games.rules import Chance, Decision, History, Node, Terminal, from_function, no_child
from papers.bagwell_1995 import commitment
from papers.paper import Claim, Measured, Paper, run

PAYOFFS = {("G", "l"): (4, 10), ("G", "r"): (0, 6), ("B", "l"): (6, 0), ("B", "r"): (0, 6)}
"""Figure 1: type and answer -> what sender and receiver get, whatever the message."""

TYPES, MESSAGES, ANSWERS = ("G", "B"), ("X", "Y"), ("l", "r")
HALF = Fraction(1, 2)


def _paid(kind: str, answer: str) -> Terminal:
    first, second = PAYOFFS[kind, answer]
    return Terminal((Fraction(first), Fraction(second)))


def signalling() -> Game:
    """Return the game of figure 1."""

    def node(history: History) -> Node:
        match history:
            case ():
                return Chance(TYPES, (HALF, HALF), no_child)
            case (kind,):
                return Decision(0, kind, MESSAGES, no_child)
            case (_, message):
                return Decision(1, message, ANSWERS, no_child)
        return _paid(history[0], history[2])

    return build(lambda: from_function(node), "forges")


def mediated() -> Game:
    """Return the game with the published device, which recommends a move to whoever is to make one.

    It draws a message for each type, X or Y with the same probability, and recommends the answer l
    to the message drawn for G. Everybody moves once, so that the device is an extensive-form
    correlated equilibrium if and only if obeying it is a Nash equilibrium of this game.
    """
    draws = tuple("".join(pair) for pair in product(MESSAGES, MESSAGES))

    def node(history: History) -> Node:
        match history:
            case ():
                return Chance(draws, (HALF * HALF,) * len(draws), no_child)
            case (_,):
                return Chance(TYPES, (HALF, HALF), no_child)
            case (draw, kind):
                return Decision(0, f"{kind} told {draw[TYPES.index(kind)]}", MESSAGES, no_child)
            case (draw, _, message):
                told = "l" if message == draw[0] else "r"
                return Decision(1, f"{message} told {told}", ANSWERS, no_child)
        return _paid(history[1], history[3])

    return build(lambda: from_function(node), "forges with a device")


def obedience() -> dict[str, Any]:
    """Return what obeying the device pays, and what anybody would gain by disobeying it."""
    game = mediated()
    first, second = (
        np.array(
            [
                [float(action == label.rpartition(" ")[2]) for action in actions]
                for label, actions in zip(
                    game.names.infosets[player], game.names.actions[player], strict=True
                )
            ]
        )
        for player in (0, 1)
    )
    policy = first, second
    return {
        "value": solvers.value(game, policy).tolist(),
        "gap": solvers.gap(game, policy).tolist(),
    }


def measure(quick: bool) -> Measured:
    """Return an equilibrium, both commitments, and what the device is worth."""
    game = signalling()
    found = solvers.solve(game, "lcp")
    sender = commitment(game, 0)
    by_type = dict(zip(game.names.infosets[0], sender["policy"], strict=True))
    meant = int(np.argmax(by_type["G"]))  # the message that G always sends
    return {
        "equilibrium": {"value": found.value.tolist(), "gap": found.gap.tolist()},
        "sender": sender,
        "receiver": commitment(game, 1),
        "device": obedience(),
        "bad like good": by_type["B"][meant],
        "posterior": by_type["G"][meant] / (by_type["G"][meant] + by_type["B"][meant]),
    }


def claims(measured: Measured) -> list[Claim]:
    """Return what equilibrium, correlation and commitment are worth."""
    figure, example = "figure 1", "the correlated equilibrium of figure 1"
    program = "one linear program per answer of the follower"
    exact = 1e-9
    equilibrium, device = measured["equilibrium"], measured["device"]
    sender, receiver = measured["sender"], measured["receiver"]
    return [
        Claim("sender's payoff in equilibrium", figure, 0, equilibrium["value"][0], exact),
        Claim("receiver's payoff in equilibrium", figure, 6, equilibrium["value"][1], exact),
        Claim("sender's payoff under the device", example, 3.5, device["value"][0], exact),
        Claim("receiver's payoff under the device", example, 6.5, device["value"][1], exact),
        Claim("gain from disobeying the device", example, 0, sum(device["gap"]), exact),
        Claim("sender's payoff when it commits", program, 4, sender["strong"], exact),
        Claim("receiver's payoff then", program, 6, sender["follower"], exact),
        Claim(
            "probability that B sends what G sends",
            program,
            2 / 3,
            measured["bad like good"],
            exact,
        ),
        Claim("belief in G after that message", program, 0.6, measured["posterior"], exact),
        Claim("receiver's payoff when it commits", program, 6, receiver["strong"], exact),
        Claim("sender's payoff then", program, 0, receiver["follower"], exact),
    ]


def remarks(measured: Measured) -> str:
    """Return how the numbers hang together."""
    return (
        "## What it says\n\n"
        "In equilibrium B would copy whatever message makes the receiver answer l, so that no "
        "message does. A device that tells the receiver which message is G's today, and B nothing, "
        "is worth more to both. A sender who commits to a signalling policy takes all of the gain: "
        "the receiver, indifferent at a belief of 0.6, gets what it would get without any "
        f"message. With that tie broken against the sender the same policy is worth "
        f"{measured['sender']['weak']:.3g}; a little less lying gets it nearly 4 without a tie. "
        "The receiver gains nothing from committing here.\n\n"
        "Commitment values are not in the paper. They were computed twice, by the sequence-form "
        "program and by one linear program for each pure strategy of the follower, which is what "
        "the tests repeat."
    )


PAPER = Paper(
    name="von_stengel_forges_2008",
    title="Von Stengel and Forges 2008: a signalling game",
    about=(
        "Costless messages from a sender whose interests differ by type mean nothing in any Nash "
        "equilibrium; an extensive-form correlated equilibrium makes both better off. We add what "
        "each is worth as a leader who commits."
    ),
    sources=(
        "B. von Stengel and F. Forges, Extensive-form correlated equilibrium: definition and "
        "computational complexity, Mathematics of Operations Research 33 (2008), 1002-1022.",
    ),
    measure=measure,
    claims=claims,
    remarks=remarks,
)

if __name__ == "__main__":
    raise SystemExit(run([PAPER]))
