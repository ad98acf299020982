"""How long it takes to fit a scenario to a million conversations, and how much memory.

`python -m experiments.calibration_speed` draws 10^6 conversations of 8 events from a scenario whose
users never leave, writes them as logs without the types of two intents, and runs `csa fit` on them
with these two as latent intents, in a process of its own. Another process takes the stages one by
one. The logs, some 700 MB, go to a temporary folder and are deleted; with `--logs DIR` they stay
there, and those that are there already are not drawn again. `--only` measures one of the two, and
leaves what is known of the other.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, TypeVar

import numpy as np

from csa_games.calibration.log import Conversation, write_jsonl
from csa_games.calibration.simulate import conversations, simulate
from csa_games.files import write_file
from csa_games.override import override
from csa_games.provenance import provenance
from csa_games.scenario import Scenario, builtin_scenarios, read_scenario, scenario_from

FOLDER = Path(__file__).parent / "calibration-speed"
BASE, LATENT = "crisis_guidance", ("benign", "distressed")
COUNT, EVENTS, SEED = 10**6, 8, 7
PIECE = 50_000  # conversations in a log
MOST_SECONDS, MOST_BYTES = 60, 3 * 10**9
PROGRAM = "import sys; from csa_games.cli import main; sys.exit(main())"
STAGES = "from experiments.calibration_speed import tell_stages; tell_stages()"
MAPPING = f"""
format = 1
name = "drawn_log"
cite = "Conversations drawn from {BASE}, in which nobody leaves."
design = "population"
latent = {json.dumps(LATENT)}
"""

Result = TypeVar("Result")


def truth() -> Scenario:
    """Return the scenario that conversations are drawn from: `EVENTS` turns, and nobody leaves."""
    base = override(read_scenario(builtin_scenarios()[BASE]), {"turns": EVENTS})
    content = base.model_dump(mode="json", exclude_none=True)
    ending = {ask["name"] for ask in content["asks"] if ask.get("ends")}
    for intent in content["intents"]:
        for row in intent.get("kernel", {}).get("after", {}).values():
            for ask in ending & row.keys():
                del row[ask]
            row |= {ask: p / sum(row.values()) for ask, p in row.items()}
    return scenario_from(content, f"{BASE} in which nobody leaves")


def drawn(begin: int, end: int) -> Iterator[Conversation]:
    """Yield conversations of `EVENTS` events by number, without a type if it is a latent one."""
    scenario = truth()
    asks = np.array([ask.ends is None for ask in scenario.asks], np.float64)
    goes_on = np.array([not response.ends for response in scenario.responses], np.float64)
    shape = (EVENTS, len(asks), len(scenario.signals), len(goes_on))
    codes = simulate(
        scenario,
        end - begin,
        np.random.default_rng([SEED, begin]),
        responses=np.broadcast_to(goes_on / goes_on.sum(), shape),
        asks={
            part.name: np.tile(asks / asks.sum(), (EVENTS, 1))
            for part in scenario.intents
            if part.kernel is None
        },
    )
    for number, one in enumerate(conversations(codes, scenario), begin):
        hidden = {"type": None} if one.type in LATENT else {}
        yield one.model_copy(update={"id": f"c{number}", **hidden})


def logs_in(folder: Path, count: int) -> list[Path]:
    """Return the logs of `count` conversations in `folder`; those that are missing are drawn."""
    paths = []
    for begin in range(0, count, PIECE):
        end = min(begin + PIECE, count)
        paths.append(folder / f"{begin}-{end}.jsonl")
        if not paths[-1].exists():
            write_jsonl(paths[-1], drawn(begin, end))
    return paths


def commanded(folder: Path, count: int) -> dict[str, Any]:
    """Return what `csa fit` takes for the logs of `count` conversations in `folder`."""
    words = ("fit", *map(str, logs_in(folder, count)), "--map", str(_mapping(folder)))
    said, took = _process(
        *("-c", PROGRAM, *words, "--base", BASE, "-o", str(folder / "fitted.toml"), "--json")
    )
    told = json.loads(said)
    if told["conversations"] != count or told["events"] != count * EVENTS:
        raise RuntimeError(f"fitted to {told['events']} events, expected {count * EVENTS}")
    return took | {"farthest": farthest(told["estimates"])}


def staged(folder: Path, count: int) -> dict[str, Any]:
    """Return what each stage takes of a fit to these logs."""
    said, _ = _process("-c", STAGES, str(_mapping(folder)), *map(str, logs_in(folder, count)))
    found: dict[str, Any] = json.loads(said)
    return found


PARTS = {"command": commanded, "stages": staged}


def measured(part: str, folder: Path, count: int) -> dict[str, Any]:
    """Return what a part finds of `count` conversations, whose logs are in `folder`."""
    logs = logs_in(folder, count)
    return {
        "provenance": provenance(),
        "seed": SEED,
        "conversations": count,
        "events": count * EVENTS,
        "bytes": sum(log.stat().st_size for log in logs),
        "load_before": os.getloadavg()[0],
        "found": PARTS[part](folder, count),
        "load_after": os.getloadavg()[0],
    }


def _mapping(folder: Path) -> Path:
    path = folder / "map.toml"
    path.write_text(MAPPING, encoding="utf-8")
    return path


def farthest(estimates: Mapping[str, Mapping[str, Mapping[str, float]]]) -> float:
    """Return the largest distance of an estimated reaction from the truth."""
    away = [
        abs(estimates[f"intents.{intent.name}.kernel.after.{response}"][ask]["value"] - p)
        for intent in truth().intents
        if intent.kernel is not None
        for response, row in intent.kernel.after.items()
        if isinstance(row, dict)
        for ask, p in row.items()
    ]
    return max(away)


def tell_stages() -> None:
    """Print seconds of each stage of a fit by the mapping and to the logs named, as JSON."""
    from csa_games.calibration.check import surveyed
    from csa_games.calibration.codes import coder
    from csa_games.calibration.fitted import fit, fittable, fitted_toml
    from csa_games.calibration.latent import Shown, compared, contexts, told
    from csa_games.calibration.log import lines
    from csa_games.calibration.mapping import read_mapping

    mapping, *logs = sys.argv[1:]
    base, reading = read_scenario(builtin_scenarios()[BASE]), read_mapping(mapping)
    wanted, draw = fittable(base, reading), np.random.default_rng(0)
    gathered = Shown(contexts(base, wanted, reading.latent))
    found: dict[str, Any] = {}

    def timed(stage: str, work: Callable[[], Result]) -> Result:
        wall, core = perf_counter(), process_time()
        result = work()
        found[stage] = {"wall": perf_counter() - wall, "cpu": process_time() - core}
        return result

    timed("read", lambda: sum(1 for log in logs for _ in lines(log)))
    _, counts = timed(
        "read and count", lambda: surveyed(logs, coder(reading, base), wanted, None, gathered.add)
    )
    latent = timed("expectation-maximisation", lambda: told(base, wanted, gathered, draw))
    timed("numbers of kinds compared", lambda: compared(gathered, draw))
    timed("estimates", lambda: fitted_toml(fit(base, reading, wanted, counts, latent=latent)))
    json.dump(found, sys.stdout)


def _process(*words: str) -> tuple[bytes, dict[str, float]]:
    """Return what a Python process says, and its seconds and the most memory it held."""
    start = perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as pipe:
        said = pipe.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{words[-1]}: ended with {process.returncode}")
    return said, {
        "wall": perf_counter() - start,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,  # bytes; Linux counts in KiB
    }


def markdown(results: Mapping[str, Any]) -> str:
    """Return the page, of results of both parts."""
    run, stages = results["command"], results["stages"]["found"]
    command = run["found"]
    rows = [
        ("seconds on the wall", f"{MOST_SECONDS}", f"{command['wall']:.1f}"),
        ("GB of memory", f"{MOST_BYTES / 1e9:g}", f"{command['peak'] / 1e9:.2f}"),
    ]
    return "\n".join(
        [
            "# A million conversations",
            "",
            f"`csa fit` on {run['conversations']:,} conversations and {run['events']:,} events "
            f"({run['bytes'] / 1e6:.0f} MB of JSON lines), drawn from `{BASE}`, in which nobody "
            f"leaves; {' and '.join(LATENT)} users have no type and are told apart by expectation-"
            "maximisation. From start to exit, in one process:",
            "",
            "| | at most | found |",
            "| --- | --- | --- |",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            f"It took {command['cpu']:.1f} s of the cores' time. No reaction was estimated farther "
            f"than {command['farthest']:.3f} from the truth.",
            "",
            "## Stages",
            "",
            "In another process, once modules are imported; XLA compiles within the stages that "
            "use it. What is read first is read once more to be counted.",
            "",
            "| stage | s on the wall | s of the cores |",
            "| --- | --- | --- |",
            *(
                f"| {stage} | {took['wall']:.1f} | {took['cpu']:.1f} |"
                for stage, took in stages.items()
            ),
            "",
            "## Where",
            "",
            "| part | when | commit | Python | NumPy | JAX | processor | load average |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *(f"| {' | '.join((part, *_made(results[part])))} |" for part in PARTS),
            "",
            "`python -m experiments.calibration_speed`. The load average counts what else ran on "
            "the same cores.",
            "",
        ]
    )


def _made(run: Mapping[str, Any]) -> tuple[str, ...]:
    made = run["provenance"]
    return (
        made["time"],
        made["git"]["commit"][:12] + (" and changes" if made["git"]["dirty"] else ""),
        made["python"],
        made["packages"]["numpy"],
        made["packages"]["jax"],
        f"{made['cpu']}, {made['cores']} cores, {made['platform']}",
        f"{run['load_before']:.1f} to {run['load_after']:.1f}",
    )


def main() -> None:
    """Measure, and write the results and, once there are those of both parts, the report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.calibration_speed")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help="conversations")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="where logs are kept")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    with TemporaryDirectory() as folder:
        for part in (args.only,) if args.only else PARTS:
            results[part] = measured(part, args.logs or Path(folder), args.count)
            write_file(path, json.dumps(results, indent=1).encode() + b"\n")
    if results.keys() >= PARTS.keys():
        write_file(args.out / "report.md", markdown(results).encode())


if __name__ == "__main__":
    main()
