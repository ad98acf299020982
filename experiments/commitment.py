"""How good gradient ascent is as a commitment solver: against exact ones, and at scale.

`python -m experiments.commitment` takes ten minutes on two cores and writes
`experiments/commitment/results.json` and `report.md`. Two questions:

- On matrix games with random payoffs the optimum is known, by one linear program for each answer of
  the follower (Conitzer & Sandholm 2006), which shares no code with the solvers. How often is
  ascent within 1 % of it?
- On dialogues of growing size, how long does it take, and how far from its upper bound is it?
"""

import argparse
import json
import resource
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog

import solvers
from csa_games.build import build
from csa_games.dialogue import sizes
from csa_games.factored import factored_game
from csa_games.files import write_file
from csa_games.game import Game
from csa_games.provenance import provenance
from csa_games.rules import Decision, History, Node, Terminal, from_function, no_child
from csa_games.scenario import Scenario, scenario_from
from experiments.speed.games import ASSUMED, Shape, dialogue_of

FOLDER = Path(__file__).parent / "commitment"
GAMES, ACTIONS = 200, 3
NEAR = 0.01  # of the leader's payoff range
SHAPES = (Shape(2, 3, 3, 6), Shape(3, 3, 3, 6), Shape(4, 3, 3, 6))
STEPS = {2: 1_000, 3: 1_000, 4: 500}
"""Steps of the ascent by the number of turns."""


def matrix_game(payoffs: Float[np.ndarray, "2 R C"], name: str) -> Game:
    """Return the game in which the column player does not see the row."""
    _, rows, columns = payoffs.shape

    def node(history: History) -> Node:
        match history:
            case ():
                return Decision(0, "", tuple(f"r{i}" for i in range(rows)), no_child)
            case (_,):
                return Decision(1, "", tuple(f"c{j}" for j in range(columns)), no_child)
        row, column = (int(label[1:]) for label in history)
        first, second = payoffs[:, row, column].tolist()
        return Terminal((first, second))

    return build(lambda: from_function(node), name)


def optimum(payoffs: Float[np.ndarray, "2 R C"]) -> float:
    """Return the value of commitment for the rows, ties for them: one program for each column."""
    ours, theirs = payoffs
    best = -np.inf
    for j in range(ours.shape[1]):
        found = linprog(
            -ours[:, j],
            A_ub=(theirs - theirs[:, [j]]).T,
            b_ub=np.zeros(theirs.shape[1]),
            A_eq=np.ones((1, len(ours))),
            b_eq=[1.0],
        )
        best = max(best, -found.fun) if found.status == 0 else best
    return float(best)


def shortfall(seed: int, steps: int) -> float:
    """Return what ascent misses in the random game of `seed`, as a share of the payoff range."""
    payoffs = np.random.default_rng(seed).integers(-9, 10, (2, ACTIONS, ACTIONS)).astype(float)
    game = matrix_game(payoffs, f"random {seed}")
    found = solvers.solve(game, "commitment-gradient", leader=0, max_steps=steps).commitment
    assert found is not None  # this method makes one
    return (optimum(payoffs) - found.strong) / float(np.ptp(payoffs[0]))


def mixed(shape: Shape) -> Scenario:
    """Return a dialogue whose malicious users act for themselves, and dual-use ones are hostile."""
    content = dialogue_of(shape, "mixed").model_dump(mode="json", exclude_none=True)
    for intent in content["intents"]:
        if intent["name"] == "malicious":
            weights = {"satisfaction": 1.0, "risk": 1.0, "source": ASSUMED}
            intent |= {"behaviour": "rational", "weights": weights}
    asks = [ask["name"] for ask in content["asks"]]
    effort = {ask: 0.05 * k if ask.startswith("ask") else 0.0 for k, ask in enumerate(asks)}
    content["payoff"]["effort"] = [{"intents": ["malicious"], "values": effort, "source": ASSUMED}]
    return scenario_from(content, "mixed")


def scale(shape: Shape, steps: int) -> dict[str, Any]:
    """Return what ascent finds in the dialogue of `shape`, its time, and the memory so far."""
    scenario = mixed(shape)
    begin = perf_counter()
    game = factored_game(scenario)
    solution = solvers.solve(game, "commitment-gradient", max_steps=steps)
    seconds = perf_counter() - begin
    found = solution.commitment
    assert found is not None  # this method makes one
    return asdict(found) | {
        "turns": shape.turns,
        "histories": sizes(scenario).histories,
        "steps": solution.steps,
        "seconds": seconds,
        "optimality_gap": found.optimality_gap,
        "value_of_commitment": found.value_of_commitment,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def measured(games: int, shapes: Iterable[Shape], steps: int | None = None) -> dict[str, Any]:
    """Return both experiments' results; `steps` replaces the usual numbers of steps."""
    missed = [shortfall(seed, steps or 1_000) for seed in range(games)]
    sys.stderr.write(f"{games} matrix games are done\n")
    rows = []
    for shape in shapes:
        rows.append(scale(shape, steps or STEPS[shape.turns]))
        sys.stderr.write(f"{rows[-1]['histories']:,} histories: {rows[-1]['seconds']:.0f} s\n")
    return {"missed": missed, "scale": rows, "provenance": provenance()}


def report(results: dict[str, Any]) -> str:
    """Return the report in Markdown."""
    made, missed = results["provenance"], np.array(results["missed"])
    git = made["git"] or {"commit": "unknown", "dirty": False}
    lines = [
        "# Commitment by gradient ascent",
        "",
        f"Made by `python -m experiments.commitment` at commit `{git['commit'][:10]}` on "
        f"{made['cores']} cores of {made['cpu']}, Python {made['python']}, jax "
        f"{made['packages']['jax']}, {made['time']}.",
        "",
        f"In {np.mean(missed <= NEAR):.1%} of {len(missed)} random matrix games with {ACTIONS} "
        f"actions each, ascent is within {NEAR:.0%} of the optimum (of the leader's payoff range); "
        f"in {np.sum(missed < -1e-9)} of them it is above, which would be a fault of one of the "
        f"two; the worst misses {missed.max():.0%}.",
        "",
        "Dialogues with kernels, hostile and rational users. The bound is the relaxation of "
        "`solvers.bounds`; weak is the value when ties are broken against the assistant.",
        "",
        "| turns | histories | steps | seconds | peak memory, GB | value | weak | bound | gap | "
        "more than the equilibrium policy |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["scale"]:
        lines.append(
            f"| {row['turns']} | {row['histories']:,} | {row['steps']:,} | {row['seconds']:.0f} | "
            f"{row['peak_bytes'] / 1e9:.2f} | {row['strong']:.4f} | {row['weak']:.4f} | "
            f"{row['bound']:.4f} | {row['optimality_gap']:.4f} | {row['value_of_commitment']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the results, or only the report again."""
    parser = argparse.ArgumentParser(prog="python -m experiments.commitment")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    args = parser.parse_args()
    path = FOLDER / "results.json"
    if args.report:
        results = json.loads(path.read_text(encoding="utf-8"))
    else:
        results = measured(GAMES, SHAPES)
        FOLDER.mkdir(exist_ok=True)
        write_file(path, json.dumps(results, indent=1).encode() + b"\n")
    write_file(FOLDER / "report.md", report(results).encode())


if __name__ == "__main__":
    main()
