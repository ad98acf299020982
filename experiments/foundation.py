"""Whether the solvers find what is known, and the built-in scenarios are worth solving.

`python -m experiments.foundation` (or `make results`) measures again and writes, into
`experiments/foundation/`: `results.json`, every number of the README with its provenance, and
`policy.svg`, its picture.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import csa_games
import solvers
from csa_games import dialogue
from csa_games.baselines import BASELINES
from csa_games.game import ASSISTANT, Game
from csa_games.guard.verify import verify
from csa_games.interop.openspiel import to_openspiel, to_openspiel_policy
from csa_games.plots import policy_picture
from csa_games.provenance import provenance
from csa_games.table import tabulate
from solvers.compare import compare

FOLDER = Path(__file__).parent / "foundation"

KNOWN = {
    # The value for player 0 (Kuhn 1950; the tests of OpenSpiel and noregret; an exact linear
    # program), and the exploitability of CFR+ after STEPS iterations in the DDCFR repository
    # (commit 0e4de9b, float64, no dead zone).
    "openspiel:kuhn_poker": (-1 / 18, 8.737e-5),
    "openspiel:leduc_poker": (-0.085606424078, 2.571e-4),
    "openspiel:liars_dice(numdice=1,dice_sides=3)": (1 / 9, 4.842e-6),
}
STEPS = 1000


def main() -> None:
    """Measure, and write the results."""
    results = {
        "command": "python -m experiments.foundation",
        "provenance": provenance(),
        "known games": [known(source) for source in KNOWN],
        "scenarios": [scenario("csa_oneshot", 1e-6), scenario("crisis_guidance", 1e-3)],
    }
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    (FOLDER / "results.json").write_text(text + "\n", encoding="utf-8")


def known(source: str) -> dict[str, Any]:
    """Return the value of a game by linear program, and how near two CFR variants come to it."""
    value, exploitability = KNOWN[source]
    game = csa_games.load(source)
    exact = solvers.solve(game, "lp")
    runs = {
        method: solvers.solve(game, method, target=0, max_steps=STEPS)
        for method in ("cfr+", "pcfr+")
    }
    return {
        "game": source.removeprefix("openspiel:"),
        "published": value,
        "published exploitability of cfr+": exploitability,
        "linear program": float(exact.value[0]),
        "steps": STEPS,
        "exploitability": {m: run.history[-1].nash_conv / 2 for m, run in runs.items()},
    }


def scenario(name: str, target: float) -> dict[str, Any]:
    """Return the solution of a scenario beside the baselines, checked by OpenSpiel and a bundle."""
    game = csa_games.load(name)
    assert game.scenario is not None
    solution = solvers.solve(game, "pcfr+", target=target)
    sizes = dialogue.sizes(game.scenario)
    policies = {"solution": solution.policy[ASSISTANT]}
    policies |= {label: baseline(game) for label, baseline in BASELINES.items()}
    if name == "crisis_guidance":
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "policy.svg").write_text(policy_picture(game, solution), encoding="utf-8")
    exact = solvers.solve(game, "lp")
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        tabulate(game, solution).save(bundle)
        start = time.perf_counter()
        report = verify(bundle)
        seconds = time.perf_counter() - start
    return {
        "scenario": name,
        "class": solution.game_class,
        "histories": sizes.histories,
        "infosets": sizes.infosets,
        "target": target,
        "steps": solution.steps,
        "value": solution.value[ASSISTANT],
        "value by linear program": exact.value[ASSISTANT],
        "gap": list(solution.gap),
        "nash_conv": solution.nash_conv,
        "nash_conv by OpenSpiel": nash_conv_there(game, solution.policy),
        "bundle verifies": report.passed,
        "seconds to verify the bundle": round(seconds, 1),
        "guaranteed": {row.name: row.value for row in compare(game, policies)},
    }


def nash_conv_there(game: Game, policy: Any) -> float:
    """Return the NashConv that OpenSpiel's own best response finds in the same game."""
    from open_spiel.python.algorithms import exploitability

    played = to_openspiel(game)
    return float(exploitability.nash_conv(played, to_openspiel_policy(game, policy, played)))


def read_results() -> Mapping[str, Any]:
    """Return the results in the tree."""
    results: dict[str, Any] = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    return results


if __name__ == "__main__":
    main()
