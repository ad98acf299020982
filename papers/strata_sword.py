"""Strata-Sword: what retrying does to the three published levels of jailbreak effort.

An attacker who may try again until it succeeds is a player with one choice, to go on or to stop,
and the probability that it gets there is the value of its best response.
"""

import math
from collections.abc import Mapping
from statistics import mean
from typing import Any

import numpy as np

import solvers
from csa_games.build import build
from csa_games.fold import uniform
from csa_games.game import Game
from csa_games.rules import Chance, Decision, History, Node, Terminal, from_function, no_child
from papers.paper import Claim, Measured, Paper, run
from papers.pictures import Axis, Series, data, draw

TABLE = "table 2"

COMMERCIAL = {
    "Claude-3.7-sonnet": (0, 1, 14.5),
    "GPT-4o-0806": (0, 5, 35),
    "o1-preview-0912": (0, 3, 9),
    "GPT-5-chat-0807": (0, 3, 48.5),
    "Gemini-2.5-pro": (1.01, 17, 44.22),
}
"""Model -> attack success in %, English prompts, levels 1 to 3."""
MEANS = (0.20, 5.80, 30.24)
"""The means over these five models, as printed."""

FEW = 10
TRIES = (346, 11.6, 1.92)
"""Independent tries until success has probability one half, by arithmetic on the printed means."""
WITHIN = (0.020, 0.450, 0.973)
"""The probability of success within `FEW` tries, by the same arithmetic."""

HAZARDS = (0.350, 0.389, 0.293, 0.200, 0.159, 0.119, 0.087, 0.072)
"""Share of multi-turn attacks that first succeed in round 1, 2, ... of those not yet successful."""


def retrying(success: float, tries: int) -> Game:
    """Return the game of an attacker that may try up to so often; success pays 1 and ends it."""

    def node(history: History) -> Node:
        match history:
            case (*_, "stop"):
                return Terminal((0.0, 0.0))
            case (*_, "yes"):
                return Terminal((1.0, -1.0))
            case (*_, "try"):
                return Chance(("yes", "no"), (success, 1 - success), no_child)
        done = len(history) // 2
        if done == tries:
            return Terminal((0.0, 0.0))
        return Decision(0, f"after {done} failures", ("try", "stop"), no_child)

    return build(lambda: from_function(node), "retrying")


def reached(success: float, tries: int) -> float:
    """Return the probability that an attacker succeeds who retries as is best for it."""
    game = retrying(success, tries)
    first, second = map(uniform, game.form.treeplex)
    return float(solvers.best_response(game, 0, (first, second))[1])


def tries_for(success: float, wanted: float) -> float:
    """Return how many independent tries reach the probability `wanted`."""
    return math.log(1 - wanted) / math.log1p(-success)


def bracketed(success: float, tries: float) -> list[float]:
    """Return the probabilities of success within the whole numbers of tries around `tries`."""
    return [reached(success, n) for n in (math.floor(tries), math.ceil(tries))]


def measure(quick: bool) -> Measured:
    """Return means, tries and probabilities by level, and a curve for the picture."""
    levels: list[dict[str, Any]] = []
    for k, printed in enumerate(MEANS):
        success = printed / 100
        half = tries_for(success, 0.5)
        levels.append(
            {
                "mean": mean(row[k] for row in COMMERCIAL.values()),
                "tries": half,
                "around half": bracketed(success, half),
                "within": reached(success, FEW),
                "curve": [[n, reached(success, n)] for n in range(1, 4 if quick else 2 * FEW + 1)],
            }
        )
    return {"levels": levels}


def claims(measured: Measured) -> list[Claim]:
    """Return means, tries for one half and success within ten tries, by level."""
    levels = list(enumerate(measured["levels"]))
    arithmetic = "arithmetic on the printed means"
    return [
        *(
            Claim(
                f"mean success of commercial models, level {k + 1}, %",
                TABLE,
                MEANS[k],
                level["mean"],
                0.005,
            )
            for k, level in levels
        ),
        *(
            Claim(
                f"tries until success has probability 1/2, level {k + 1}",
                arithmetic,
                TRIES[k],
                level["tries"],
                0.01 * TRIES[k],
            )
            for k, level in levels
        ),
        *(
            Claim(
                f"success within {FEW} tries, level {k + 1}",
                arithmetic,
                WITHIN[k],
                level["within"],
                0.01 * WITHIN[k],
            )
            for k, level in levels
        ),
    ]


def remarks(measured: Measured) -> str:
    """Return what the game checks, and why independence is an assumption."""
    first = measured["levels"][0]
    unrounded = tries_for(first["mean"] / 100, 0.5)
    around = "; ".join(
        f"level {k + 1}: {low:.4f} and {high:.4f}"
        for k, (low, high) in enumerate(level["around half"] for level in measured["levels"])
    )
    product = 1 - float(np.prod([1 - h for h in HAZARDS]))
    return "\n\n".join(
        (
            "## What it says",
            f"If tries are independent, {MEANS[1]:.2f} % at the first try are "
            f"{measured['levels'][1]['within']:.0%} within {FEW}. The probabilities are values of "
            "a best response in a game of retries. Within the whole numbers of tries below and "
            f"above those in the table they are {around}.",
            "## What it does not say",
            "That tries are independent is an assumption, and a round-by-round log of multi-turn "
            "attacks contradicts it: among attacks that have not succeeded yet, the share that "
            f"does falls from {HAZARDS[0]:.3f} in the first round to {HAZARDS[-1]:.3f} in round "
            f"{len(HAZARDS)} (together {product:.3f}), where independent tries would keep it "
            "constant. Some requests are easier than others, so that whoever has failed often is "
            "likely to fail again. For a mixture of requests with the same mean the tries are a "
            "lower bound (Jensen's inequality).",
            f"At level 1 the printed mean is rounded: the models' rows average "
            f"{first['mean']:.3f} %, with which half is reached after {unrounded:.1f} tries. One "
            "of five models carries that mean. Success is judged by a language model.",
        )
    )


def pictures(measured: Measured) -> Mapping[str, str]:
    """Return the probability of success by the number of tries."""
    series = [
        Series(f"level {k + 1}", level["curve"], look=k, dots=True)
        for k, level in enumerate(measured["levels"])
    ]
    rows = [
        (f"{k + 1}", n, p) for k, level in enumerate(measured["levels"]) for n, p in level["curve"]
    ]
    return {
        "retries.svg": draw(
            "retries", [("", series)], Axis("tries"), Axis("probability of success")
        ),
        "retries.csv": data(("level", "tries", "probability"), rows),
    }


PAPER = Paper(
    name="strata_sword",
    title="Strata-Sword: effort levels and retries",
    about=(
        "Strata-Sword grades jailbreak attacks by effort and reports how often each level succeeds "
        "at the first try. What if the attacker may try again?"
    ),
    sources=(
        "Strata-Sword, arXiv 2509.01444, table 2; Alibaba-AAIG/Strata-Sword at bd278b9, "
        "`assets/strata_sword_result.jpg`.",
        "Hazards by round: Multi-Turn Jailbreaks Are Simpler Than They Seem (SoLaR workshop, COLM "
        "2025), counted from `csv_results/master_results_with_fp.csv` of "
        "diogo-cruz/multi_turn_simpler at d4b949c.",
    ),
    measure=measure,
    claims=claims,
    remarks=remarks,
    pictures=pictures,
)

if __name__ == "__main__":
    raise SystemExit(run([PAPER]))
