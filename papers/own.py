"""Our own paper: the factored layout, the security class, and what the experiments found.

`python -m papers.own` writes `papers/csa-games/README.md` from the results in the tree, `--check`
says whether it is what they give. Nothing is measured here, and no number is typed: what was
measured is in the folders of `experiments/`, each with where it was made.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from csa_games.dialogue import Sizes, sizes
from csa_games.files import write_file
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario
from csa_games.words import number, percent
from experiments.commitment import NEAR
from experiments.experiment import PROVENANCE, read_rows
from experiments.questions import EXPERIMENTS
from experiments.speed.bar import bar
from papers.paper import FOLDER, table

PAGE = FOLDER / "csa-games" / "README.md"
RESULTS = FOLDER.parent / "experiments"
SCENARIO = "crisis_guidance"
FOUND = ("atlas", "refusal-first", "rationality", "drift", "disguise", "guard-economics", "horizon")


def page() -> str:
    """Return the paper in Markdown."""
    speed = _json(RESULTS / "speed" / "results" / "results.json")
    return (
        "\n\n".join(
            [
                "# Which response to an intent one cannot see: exact policies for dialogue games",
                *_summary(),
                *_game(),
                *_layout(),
                *_security(),
                *_speed(speed),
                *_commitment(_json(RESULTS / "commitment" / "results.json")),
                *_findings(),
                *_limits(),
            ]
        )
        + "\n"
    )


def _summary() -> list[str]:
    foundation = _foundation()
    guaranteed = foundation["guaranteed"]
    plain = {name: x for name, x in guaranteed.items() if name != "solution"}
    best = max(plain, key=lambda name: plain[name])
    return [
        "An assistant sees a message and a noisy verdict about it, not why it was sent. We treat a "
        "conversation as an extensive-form game over latent intents, in which some users follow "
        "measured habits and others do what hurts most, or what serves them best, and compute "
        "policies with certificates. Two observations make that practical. Where everybody who "
        "chooses is adversarial, the game is zero-sum up to a constant, however many kinds of "
        "harmless users there are, so that regret minimisation finds the policy that is also the "
        "best commitment. And the public part of a conversation is a regular grid, so that the "
        "game never has to be enumerated.",
        f"In the built-in scenario `{SCENARIO}` ({foundation['histories']:,} histories) the "
        f"solution secures {number(guaranteed['solution'])} a conversation against users who know "
        f"it, to a gap of {number(foundation['nash_conv'])}; the best plain policy, {best}, "
        f"secures {number(plain[best])}.",
    ]


def _game() -> list[str]:
    return [
        "## The game",
        "Nature draws an intent θ with probability p(θ). In turn t the user asks b, or leaves or "
        "migrates by an ask of that kind; a classifier emits a signal s with probability "
        "σ(s | θ, b), which the assistant alone sees; the assistant responds a, and some responses "
        "end the conversation. Asks and responses are public. The assistant's payoff adds over "
        "turns: α satisfaction − β risk − γ cost, less ψ displacement where users migrate. An "
        "intent is *adversarial* (minimises that payoff), *rational* (maximises its own), "
        "*quantal* (a logit response to its own) or a *kernel* (fixed probabilities of the next "
        "ask given the last response).",
    ]


def _layout() -> list[str]:
    scenario = read_scenario(builtin_scenarios()[SCENARIO])
    rows = []
    for turns in range(1, 6):
        size: Sizes = sizes(override(scenario, {"turns": turns}))
        rows.append(
            (
                f"{turns}",
                f"{size.histories:,}",
                f"{size.sequences[1]:,}",
                f"{size.sequences[0]:,}",
                f"{size.histories / sum(size.sequences):.1f}",
            )
        )
    return [
        "## The factored layout",
        "Write u for a public history (asks and responses so far), s for a history of signals. The "
        "assistant's realisation plan is x[u, s, a], the users' y[u, a, θ], and the likelihood of "
        "a signal history, Λ[u, s, θ], is a product over turns. All leaves of a turn enter both "
        "players' gradients through two batched matrix products:",
        "- users: Σ_s x[u, s, a] Λ[u, s, θ] · U_user[u, a, θ]\n"
        "- assistant: Σ_θ p(θ) y[u, a, θ] U_assistant[u, a, θ] Λ[u, s, θ]",
        "because payoffs do not depend on signals once the intent, the asks and the responses are "
        "given. Public histories form a regular grid, so that parents and children are a reshape: "
        "nothing is gathered or scattered, and memory grows with the sequences of the two players, "
        f"not with histories. In `{SCENARIO}`, counted:",
        table(
            (
                "turns",
                "histories",
                "sequences of the assistant",
                "of the users",
                "histories per sequence",
            ),
            rows,
        ),
        "The layout is checked against the explicit one, leaf by leaf, on every scenario small "
        "enough to expand, and against OpenSpiel's best response on the same game.",
    ]


def _security() -> list[str]:
    return [
        "## The security class",
        "**Proposition.** Let every intent be adversarial or a kernel. Then the game is zero-sum "
        "up to a constant; an assistant's policy of an equilibrium maximises what it secures "
        "against all behaviours of the adversarial intents, and is an optimal commitment.",
        "*Proof.* Kernel intents decide nothing, so their payoff may be chosen at will: let it be "
        "minus the assistant's. Then payoffs sum to zero at every leaf. By perfect recall the "
        "sequence form gives a bilinear payoff over two treeplexes, which are compact and convex, "
        "and von Neumann's theorem gives max min = min max. The left side is what a policy that is "
        "announced secures, which is what a commitment is worth when followers minimise; an "
        "equilibrium policy attains it. ∎",
        "Averages of regret minimisers therefore converge to an optimal commitment, and the gap "
        "that is reported bounds what is left. With rational or quantal intents nothing of this "
        "holds: the gap is measured and promises nothing else, and commitments are computed by "
        "other means, with an upper bound.",
    ]


def _speed(results: Mapping[str, Any]) -> list[str]:
    made = results["provenance"]
    rows = [
        (row.what, row.required, row.measured, "yes" if row.met else "**no**")
        for row in bar(dict(results))
        if row.met is not None
    ]
    met = sum(row[-1] == "yes" for row in rows)
    return [
        "## Speed",
        f"What was asked for before the engine was built, and what came of it on {made['cores']} "
        f"cores of {made['cpu']}; {met} of {len(rows)} were met. All peers ran on the same cores "
        "in the same race; the whole of it is in "
        "[experiments/speed](../../experiments/speed/results/speed.md).",
        table(("requirement", "required", "measured", "met"), rows),
    ]


def _commitment(results: Mapping[str, Any]) -> list[str]:
    missed = np.array(results["missed"])
    largest = max(results["scale"], key=lambda row: row["histories"])
    return [
        "## Commitment by ascent",
        f"Where users act for themselves, ascent through annealed logit reactions is within "
        f"{percent(NEAR)} of the optimum on {percent(float(np.mean(missed <= NEAR)))} of "
        f"{len(missed)} random matrix games whose optimum one linear program per answer gives. On "
        f"a dialogue of {largest['histories']:,} histories with habitual, hostile and rational "
        f"users it ends at {number(largest['strong'])} after {largest['seconds']:.0f} s, and no "
        f"policy is worth more than {number(largest['bound'])} "
        "([experiments/commitment](../../experiments/commitment/report.md)).",
    ]


def _findings() -> list[str]:
    told = [
        "## Findings",
        "Each is the answer of one experiment, in its own words; the rows, the pictures and where "
        "they were made stand in its folder. They are statements about scenarios: payoffs are "
        "modelling choices, and most reactions of users have never been measured.",
    ]
    for name in FOUND:
        experiment = EXPERIMENTS[name]
        rows = read_rows(RESULTS / name)
        told.append(f"### {experiment.question}")
        told += experiment.answer(rows)
        label = next(iter(experiment.charts(rows)))
        told.append(f"![{name}](../../experiments/{name}/figures/{label}.svg)")
        told.append(
            f"[Report](../../experiments/{name}/report.md), made at commit `{_commit(name)}`."
        )
    return told


def _limits() -> list[str]:
    return [
        "## What is not shown",
        "Nothing here was tried on people. A policy is optimal in its scenario, and the scenario "
        "says who may be talking, how they react and what outcomes are worth; the files mark what "
        "of that is measured, derived and assumed. Kernels do not learn, classifiers err "
        "independently from turn to turn given the intent and the ask, and a response is a "
        "strategy, not a text. Published rates that enter come from benchmarks, whose mix is not "
        "that of any deployment.",
    ]


def _foundation() -> Mapping[str, Any]:
    rows = _json(RESULTS / "foundation" / "results.json")["scenarios"]
    found: Mapping[str, Any] = next(row for row in rows if row["scenario"] == SCENARIO)
    return found


def _commit(name: str) -> str:
    made = _json(RESULTS / name / PROVENANCE)["made on"]
    return ", ".join(sorted({(one["git"] or {"commit": "unknown"})["commit"][:10] for one in made}))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or say whether it is what the results give; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m papers.own")
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args(arguments).check:
        same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
        if not same:
            sys.stdout.write(f"{PAGE.parent.name}/{PAGE.name} is not what the results give\n")
        return int(not same)
    PAGE.parent.mkdir(exist_ok=True)
    write_file(PAGE, page().encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
