"""Bayesian persuasion: the prosecutor and the judge, as a commitment to a signalling policy.

The sender of a signalling game who commits before it learns the state is Kamenica and Gentzkow's
sender; its value is the concave closure of what it gets at each belief of the receiver.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

import solvers
from csa_games.build import build
from csa_games.game import Game
from csa_games.rules import Chance, Decision, History, Node, Terminal, from_function, no_child
from papers.bagwell_1995 import commitment
from papers.paper import Claim, Measured, Paper, run
from papers.pictures import Axis, Series, data, draw
from solvers.reaction import answered

PRIOR = Fraction(3, 10)
PRIORS = tuple(Fraction(k, 20) for k in range(1, 20))
STATES = ("guilty", "innocent")


def courtroom(prior: Fraction = PRIOR) -> Game:
    """Return the game: a prosecutor who wants a conviction, a judge who wants to be right."""

    def node(history: History) -> Node:
        match history:
            case ():
                return Chance(STATES, (prior, 1 - prior), no_child)
            case (state,):
                return Decision(0, state, ("g", "i"), no_child)
            case (_, signal):
                return Decision(1, signal, ("convict", "acquit"), no_child)
        state, _, verdict = history
        right = (state == "guilty") == (verdict == "convict")
        return Terminal((Fraction(verdict == "convict"), Fraction(right)))

    return build(lambda: from_function(node), "courtroom")


def signalled(game: Game, guilty: float, innocent: float) -> float:
    """Return the probability of conviction when the state sends "g" with these probabilities."""
    of = {"guilty": guilty, "innocent": innocent}
    rows = np.array([[of[state], 1 - of[state]] for state in game.names.infosets[0]])
    return float(solvers.value(game, answered(game, 0, rows, "for"))[0])


def best(prior: Fraction) -> dict[str, Any]:
    """Return the best commitment at this prior, and what the signal "convict" leads to."""
    game = courtroom(prior)
    found = commitment(game, 0)
    rows = dict(zip(game.names.infosets[0], found["policy"], strict=True))
    convicting = int(np.argmax(rows["guilty"]))
    of_guilty, of_innocent = (rows[state][convicting] for state in STATES)
    weight = float(prior) * of_guilty
    return found | {
        "prior": float(prior),
        "guilty": of_guilty,
        "innocent": of_innocent,
        "posterior": weight / (weight + float(1 - prior) * of_innocent),
    }


def measure(quick: bool) -> Measured:
    """Return the best signals over priors, and the two plain ones at the paper's."""
    game = courtroom()
    return {
        "best": best(PRIOR),
        "no information": signalled(game, 1.0, 1.0),
        "full information": signalled(game, 1.0, 0.0),
        "cheap talk": float(solvers.solve(game, "lcp").value[0]),
        "by prior": [
            [float(p), best(p)["strong"], signalled(courtroom(p), 1.0, 1.0)]
            for p in (PRIORS[:2] if quick else PRIORS)
        ],
    }


def closure(prior: float) -> float:
    """Return the concave closure: convicted at beliefs of one half and more, 2 p up to there."""
    return min(2 * prior, 1.0)


def claims(measured: Measured) -> list[Claim]:
    """Return the example of the paper's introduction, and its concave closure."""
    intro, exact = "introduction", 1e-9
    found = measured["best"]
    worst = max(abs(value - closure(p)) for p, value, _ in measured["by prior"])
    return [
        Claim("share convicted under the best signal", intro, 0.6, found["strong"], exact),
        Claim("signal g from the guilty", intro, 1, found["guilty"], exact),
        Claim("signal g from the innocent", intro, 3 / 7, found["innocent"], exact),
        Claim("belief in guilt after g", intro, 0.5, found["posterior"], exact),
        Claim("share convicted without information", intro, 0, measured["no information"], exact),
        Claim(
            "share convicted with full information", intro, 0.3, measured["full information"], exact
        ),
        Claim(
            "judge's share of right verdicts under the best signal",
            "derived: that without information",
            0.7,
            found["follower"],
            exact,
        ),
        Claim(
            "share convicted without commitment",
            "derived: cheap talk says nothing here",
            0,
            measured["cheap talk"],
            exact,
        ),
        Claim(
            "largest difference from the concave closure over priors",
            "concavification: min(2 p, 1)",
            0,
            worst,
            exact,
        ),
    ]


def remarks(measured: Measured) -> str:
    """Return how persuasion is a commitment, and what its value rests on."""
    return (
        "## What it says\n\n"
        "The program knows nothing of beliefs or concave closures: it searches over the sender's "
        "realisation plans, and finds them. The judge, indifferent after g, convicts: a tie broken "
        "for the sender. Broken against it, the same policy convicts "
        f"{measured['best']['weak']:.0%} of all defendants, and slightly fewer wrong signals keep "
        "nearly all of the value without a tie. Without commitment the message is cheap talk, and "
        "worth nothing."
    )


def pictures(measured: Measured) -> Mapping[str, str]:
    """Return the share convicted by prior, with and without persuasion."""
    rows = [(p, value, closure(p), plain) for p, value, plain in measured["by prior"]]
    series = [
        Series("best signal, by program", [row[:2] for row in rows], look=0, dots=True),
        Series("concave closure", [(row[0], row[2]) for row in rows], look=0),
        Series("no information", [(row[0], row[3]) for row in rows], look=1, dots=True),
    ]
    headings = ("prior", "best signal", "concave closure", "no information")
    return {
        "persuasion.svg": draw(
            "persuasion", [("", series)], Axis("prior of guilt"), Axis("share convicted")
        ),
        "persuasion.csv": data(headings, rows),
    }


PAPER = Paper(
    name="kamenica_gentzkow_2011",
    title="Kamenica and Gentzkow 2011: Bayesian persuasion",
    about=(
        "A prosecutor who chooses what to investigate, and must report what it finds, gets a judge "
        "with a prior of 0.3 to convict 60 % of all defendants. The same number as a Stackelberg "
        "value: the sender commits to how it signals each state."
    ),
    sources=(
        "E. Kamenica and M. Gentzkow, Bayesian persuasion, American Economic Review 101 (2011), "
        "2590-2615.",
    ),
    measure=measure,
    claims=claims,
    remarks=remarks,
    pictures=pictures,
)

if __name__ == "__main__":
    raise SystemExit(run([PAPER]))
