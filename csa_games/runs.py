"""A run on disk: a solution with everything needed to read it again, one folder for each.

    run.json       what was solved and how: the game (a scenario in full), method, options, status,
                   certificate, provenance
    solution.npz   both policies [I, A], value [2] and gap [2], every float64 bit for bit; what a
                   refined policy gives away at each infoset
    history.csv    step, seconds, nash_conv of every check
    game.efg       a copy of the file, where the game came from one

A run is there entirely or not at all, and stands alone: files that change or vanish later do not
touch it.
"""

import csv
import hashlib
import io
import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from csa_games.errors import InputError
from csa_games.evaluate import expected
from csa_games.factored import factored_game
from csa_games.findings import FINDINGS, Refinement
from csa_games.fold import legal_mask
from csa_games.folders import write_folder
from csa_games.game import Game, GameClass, Policy, Progress, Solution, Status
from csa_games.interop.efg_read import read_efg
from csa_games.loading import load
from csa_games.provenance import provenance
from csa_games.scenario import Scenario, scenario_from

RECORD, ARRAYS, HISTORY, TREE = "run.json", "solution.npz", "history.csv", "game.efg"
COLUMNS = ("step", "seconds", "nash_conv")
ROUNDING = 1e-9  # how far sums may be off: another numpy adds in another order


@dataclass(frozen=True)
class Run:
    """A saved solution with its game. `source` is the name the game was asked for by."""

    source: str
    game: Game
    solution: Solution
    options: Mapping[str, Any]
    provenance: Mapping[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Game(_Part):
    source: str
    name: str
    scenario: dict[str, Any] | None = None
    scenario_sha256: str | None = None


class _Solution(_Part):
    method: str
    status: Status
    steps: int
    seconds: float
    game_class: GameClass = Field(alias="class")
    dead_zone: float
    value: tuple[float, float]  # here for people: solution.npz is what counts
    gap: tuple[float, float]
    nash_conv: float


class _Record(_Part):
    """The content of run.json."""

    format: Literal["csa-games run 1"]
    game: _Game
    solution: _Solution
    findings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    options: dict[str, Any]
    provenance: dict[str, Any]


def save_run(
    folder: Path | str,
    game: Game,
    solution: Solution,
    *,
    source: str,
    options: Mapping[str, Any] | None = None,
    tree: bytes | None = None,
) -> Path:
    """Write `solution` of `game` as a run and return its folder, with links resolved.

    `source` is what `csa_games.load` takes, of a file its name only; `options` are JSON values, and
    `tree` is the content of the `.efg` file that the game came from. A run that is there already is
    replaced, and kept if writing fails. Raises `InputError` as `check_place` does, and `OSError`
    when the disk refuses.
    """
    folder = check_place(folder)
    content = _content(game, solution, source, options or {})
    if tree is not None:
        content[TREE] = tree
    write_folder(folder, content)
    return folder


def check_place(folder: Path | str) -> Path:
    """Return `folder` with links resolved, after checking that a run may be written there.

    The folders above are made. Raises `InputError` when they cannot be written to, and when the
    place is taken by anything but a run, which nobody meant to lose.
    """
    folder = Path(folder).resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file, expected a folder to write the run to")
        if folder.exists():
            others = sorted(path.name for path in folder.iterdir() if path.name not in _FILES)
            if others:
                raise InputError(
                    f"{folder} holds {', '.join(others[:5])}, which are not parts of a run; "
                    "expected an earlier run, an empty folder or a new name"
                )
        probe = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}") from None
    return folder


def read_run(folder: Path | str) -> Run:
    """Return the run in `folder`, its game built again from what the run itself holds.

    Raises `InputError` when the folder is no run or a damaged one: files that are missing or cannot
    be read, a scenario that is not the one recorded, policies that are not of this game or not
    worth what is recorded.
    """
    folder = Path(folder)
    if not (folder / RECORD).is_file():
        raise InputError(f"{folder} is no run: it has no {RECORD}")
    record = _record(folder / RECORD)
    game = _game(folder, record.game)
    arrays = _arrays(folder / ARRAYS)
    policy = (arrays["policy_0"], arrays["policy_1"])
    _check_policy(folder / ARRAYS, game, policy)
    _check_value(folder / ARRAYS, game, policy, arrays["value"])
    kept = record.solution
    solution = Solution(
        game=game.name,
        method=kept.method,
        policy=policy,
        value=arrays["value"],
        gap=arrays["gap"],
        steps=kept.steps,
        seconds=kept.seconds,
        status=kept.status,
        game_class=kept.game_class,
        dead_zone=kept.dead_zone,
        history=_history(folder / HISTORY),
        refinement=_refinement(folder / ARRAYS),
        **_findings(folder / RECORD, record.findings),
    )
    if game.game_class != kept.game_class:
        raise InputError(
            f"{folder / RECORD}: the class is {kept.game_class!r}, but the game is in the class "
            f"{game.game_class!r}"
        )
    return Run(record.game.source, game, solution, record.options, record.provenance)


_FILES = (RECORD, ARRAYS, HISTORY, TREE)
_SHAPES = {"policy_0": 2, "policy_1": 2, "value": 1, "gap": 1}  # name -> axes


def _content(
    game: Game, solution: Solution, source: str, options: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return the files of a run, name -> content."""
    scenario = None if game.scenario is None else _plain(game.scenario)
    record = {
        "format": "csa-games run 1",
        "game": {"source": source, "name": game.name}
        | ({} if scenario is None else {"scenario": scenario, "scenario_sha256": _hash(scenario)}),
        "solution": {
            "method": solution.method,
            "status": solution.status,
            "steps": solution.steps,
            "seconds": solution.seconds,
            "class": solution.game_class,
            "dead_zone": float(solution.dead_zone),
            "value": [float(number) for number in solution.value],
            "gap": [float(number) for number in solution.gap],
            "nash_conv": solution.nash_conv,
        },
        "findings": {
            name: asdict(getattr(solution, name))
            for name in FINDINGS
            if name != "refinement" and getattr(solution, name) is not None
        },
        "options": {
            # JSON has no infinity, the seconds of a run without a limit
            name: None if value in (math.inf, -math.inf) else value
            for name, value in options.items()
        },
        "provenance": provenance(),
    }
    arrays = io.BytesIO()
    numbers = {
        "policy_0": solution.policy[0],
        "policy_1": solution.policy[1],
        "value": solution.value,
        "gap": solution.gap,
    } | _losses(solution.refinement)
    np.savez_compressed(
        arrays,
        allow_pickle=False,
        **{name: np.asarray(part, np.float64) for name, part in numbers.items()},
    )
    history = io.StringIO()
    rows = csv.writer(history, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows((check.step, check.seconds, check.nash_conv) for check in solution.history)
    return {
        RECORD: json.dumps(record, indent=2, allow_nan=False).encode() + b"\n",
        ARRAYS: arrays.getvalue(),
        HISTORY: history.getvalue().encode(),
    }


def _plain(scenario: Scenario) -> dict[str, Any]:
    content: dict[str, Any] = scenario.model_dump(mode="json", exclude_none=True)
    return content


def _hash(content: dict[str, Any]) -> str:
    """Return the SHA-256 of `content` as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _record(path: Path) -> _Record:
    try:
        content = json.loads(path.read_bytes())
        return _Record.model_validate(_tuples(content))
    except ValidationError as error:
        faults = (
            f"{path}: {'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        )
        raise InputError(*faults) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file: {error}") from None


def _losses(refinement: Refinement | None) -> dict[str, np.ndarray]:
    """Return a refinement, a number per infoset, as arrays of `ARRAYS`."""
    if refinement is None:
        return {}
    numbers = {"epsilon": np.asarray(refinement.epsilon), "gap": refinement.gap}
    for name, parts in (("loss", refinement.loss), ("stake", refinement.stake)):
        numbers |= {f"{name}_{player}": part for player, part in enumerate(parts)}
    return {f"refinement_{name}": part for name, part in numbers.items()}


def _refinement(path: Path) -> Refinement | None:
    """Return what `_losses` wrote, None where it did not."""
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        if "refinement_epsilon" not in file:
            return None
        try:
            epsilon, gap, *parts = (
                np.asarray(file[f"refinement_{name}"], np.float64)
                for name in ("epsilon", "gap", "loss_0", "loss_1", "stake_0", "stake_1")
            )
            return Refinement(float(epsilon), gap, (parts[0], parts[1]), (parts[2], parts[3]))
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path}: the refinement cannot be read: {error}") from None


def _findings(path: Path, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a method reported beyond value and gap, by its name in `Solution`."""
    found: dict[str, Any] = {}
    for name, content in kept.items():
        if name not in FINDINGS or name == "refinement":
            raise InputError(
                f"{path}: findings: found {name!r}, expected some of {', '.join(FINDINGS)}"
            )
        try:
            found[name] = TypeAdapter(FINDINGS[name]).validate_json(json.dumps(content))
        except ValidationError as error:
            faults = (
                f"{path}: findings.{name}.{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
                for fault in error.errors(include_url=False)
            )
            raise InputError(*faults) from None
    return found


def _tuples(content: Any) -> Any:
    """Return the JSON value with the two pairs of a record as tuples, which JSON does not have."""
    if isinstance(content, dict) and isinstance(content.get("solution"), dict):
        solution = content["solution"]
        pairs = {name: solution.get(name) for name in ("value", "gap")}
        spelled = {k: tuple(v) if isinstance(v, list) else v for k, v in pairs.items()}
        return content | {"solution": solution | spelled}
    return content


def _game(folder: Path, kept: _Game) -> Game:
    """Build the game of a run again."""
    if kept.scenario is not None:
        if _hash(kept.scenario) != kept.scenario_sha256:
            raise InputError(
                f"{folder / RECORD}: the scenario is not the one that was solved: its SHA-256 is "
                f"{_hash(kept.scenario)}, recorded is {kept.scenario_sha256}"
            )
        return factored_game(scenario_from(kept.scenario, f"{folder / RECORD}: game.scenario"))
    if (folder / TREE).exists():
        return replace(read_efg(folder / TREE), name=kept.name)
    return load(kept.source)


def _arrays(path: Path) -> dict[str, Float[np.ndarray, "..."]]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in _SHAPES}
    except Exception as error:  # damaged archives raise whatever zipfile, zlib and numpy think of
        raise InputError(f"{path} cannot be read: {error}") from None
    for name, axes in _SHAPES.items():
        found = arrays[name]
        if found.dtype != np.float64 or found.ndim != axes or not np.isfinite(found).all():
            raise InputError(
                f"{path}: {name} is {found.dtype} of the shape {found.shape}, expected finite "
                f"float64 numbers with {axes} axes"
            )
    for name in ("value", "gap"):
        if arrays[name].shape != (2,):
            raise InputError(f"{path}: {name} has the shape {arrays[name].shape}, expected (2,)")
    return arrays


def _check_policy(path: Path, game: Game, policy: Policy) -> None:
    for player, treeplex in enumerate(game.form.treeplex):
        rows, legal = policy[player], np.asarray(legal_mask(treeplex))
        if rows.shape != legal.shape:
            raise InputError(
                f"{path}: policy_{player} has the shape {rows.shape}, but {game.name} has "
                f"{treeplex.infosets} infosets and {treeplex.width} actions for that player"
            )
        off = (np.where(legal, rows < 0, rows != 0)).any(axis=-1)
        off |= np.abs(rows.sum(axis=-1) - 1) > ROUNDING
        if off.any():
            wrong = int(np.argmax(off))
            label = game.names.infosets[player][wrong]
            raise InputError(
                f"{path}: policy_{player} at infoset {label!r} is {rows[wrong].tolist()}, "
                "expected probabilities of its actions that sum to 1"
            )


def _check_value(path: Path, game: Game, policy: Policy, recorded: Float[np.ndarray, "2"]) -> None:
    """Check that the policies are worth what was recorded: they were made for this very game."""
    for player, payoff in enumerate(game.form.leaves.payoff):
        worth = expected(game, policy, np.asarray(payoff))
        scale = max(1.0, float(np.abs(payoff).max()))
        if abs(worth - recorded[player]) > ROUNDING * scale:
            raise InputError(
                f"{path}: the policies are worth {worth:.12g} to player {player} of {game.name}, "
                f"but {recorded[player]:.12g} is recorded; the game is not the one that was solved"
            )


def _history(path: Path) -> tuple[Progress, ...]:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file: {error}") from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise InputError(f"{path}: line 1: expected the columns {', '.join(COLUMNS)}")
    checks = []
    for line, row in enumerate(rows[1:], start=2):
        try:
            step, seconds, nash_conv = row
            checks.append(Progress(int(step), float(seconds), float(nash_conv)))
        except ValueError:
            raise InputError(
                f"{path}: line {line}: found {row}, expected a whole number and two numbers"
            ) from None
    return tuple(checks)
