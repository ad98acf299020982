"""What is raced, in which order, and the file that the results are kept in."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from csa_games.dialogue import sizes
from csa_games.files import write_file
from csa_games.provenance import provenance
from experiments.speed.bar import LARGEST, LARGEST_SECONDS, LEDUC_EXPLOITABILITY, SHARE_OF_RANGE
from experiments.speed.games import DIALOGUES, OPENSPIEL, dialogue, payoff_range
from experiments.speed.job import Job
from experiments.speed.race import Record, cores, race, track_of
from experiments.speed.racers import METHODS
from experiments.speed.report import RACED, files

GAMES = (*OPENSPIEL, *DIALOGUES)
ON_CPU = tuple(game for game in GAMES if game != "dialogue_1e10")
FOLLOWED_LARGE = ("csa", "csa-pcfr+", "openspiel", "liteefg", "scipy")
FOLLOWED = ("csa", "csa-pcfr+", "openspiel", "openspiel-jax", "liteefg", "noregret", "scipy")
SECONDS, QUICK_SECONDS = 8.0, 1.5  # the budget of a job
FOLLOWED_SECONDS = 30.0
LIMIT = 400.0  # seconds that a process may take, setup included


def speed_jobs(
    games: Sequence[str], engines: Sequence[str] = RACED, seconds: float = SECONDS
) -> Iterator[Job]:
    """Yield the jobs that time iterations; a game's engines run one right after the other."""
    for game in games:
        for engine in engines:
            yield Job(engine, game, "speed", track_of(game), seconds, LIMIT, cores())


def all_jobs(games: Sequence[str] = ON_CPU) -> list[Job]:
    """Return the jobs of the whole experiment that are about `games`, in their order."""
    near = 2 * LEDUC_EXPLOITABILITY  # as NashConv
    small_share = SHARE_OF_RANGE * payoff_range(dialogue(LARGEST))

    def job(engine: str, game: str, kind: str, seconds: float, target: float, limit: float) -> Job:
        return Job(engine, game, kind, track_of(game), seconds, limit, cores(), target)

    jobs = [
        *speed_jobs(games),
        *(job(name, "leduc", "gap", FOLLOWED_SECONDS, near, LIMIT) for name in FOLLOWED),
        *(
            job(name, "dialogue_5e5", "gap", FOLLOWED_SECONDS, 1e-2, LIMIT)
            for name in FOLLOWED_LARGE
        ),
        *(job(name, "leduc", "solve", FOLLOWED_SECONDS, near, LIMIT) for name in METHODS),
        *(
            job(name, LARGEST, "solve", LARGEST_SECONDS, small_share, 1.5 * LARGEST_SECONDS)
            for name in ("csa", "csa-float32", "csa-pcfr+")
        ),
        job("csa", "dialogue_1e4", "batch", 0.0, 0.0, LIMIT),
    ]
    return [job for job in jobs if job.game in games]


def measured(
    jobs: Iterable[Job],
    command: str,
    moved: Mapping[str, float | str],
    say: Callable[[str], object],
    keep: Callable[[dict[str, Any]], object] = lambda _: None,
) -> dict[str, Any]:
    """Return the results of `jobs`, JSON values; `keep` is given them after each job as well.

    `moved` are the bandwidths measured, if any were, and `say` hears what is going on.
    """
    wanted = list(jobs)
    results: dict[str, Any] = {
        "command": command,
        "bandwidth": dict(moved),
        "provenance": provenance(),
        "cores": list(cores()),
        "games": {game: _described(game) for game in dict.fromkeys(job.game for job in wanted)},
        "records": [],
    }
    records: list[Record] = results["records"]
    for record in race(wanted, say):
        records.append(record)
        keep(results)
    return results


def save(results: dict[str, Any], folder: Path) -> None:
    """Write the results and their report into `folder`."""
    keep(results, folder)
    for name, content in files(results).items():
        write_file(folder / name, content)


def keep(results: dict[str, Any], folder: Path) -> None:
    """Write the results alone into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    write_file(folder / "results.json", text.encode() + b"\n")


def read(folder: Path) -> dict[str, Any]:
    """Return the results in `folder`."""
    results: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return results


def _described(game: str) -> dict[str, Any]:
    if game in OPENSPIEL:
        return {"openspiel": OPENSPIEL[game]}
    scenario = dialogue(game)
    size = sizes(scenario)
    return {
        "histories": size.histories,
        "infosets": size.infosets,
        "payoff_range": payoff_range(scenario),
    }
