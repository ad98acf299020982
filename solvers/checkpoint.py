"""Checkpoints: how far a run of the CFR family has come, on disk, so that it can be resumed.

A checkpoint is one file in a folder of its own. It is written beside and then renamed, so whatever
kills a run, the last complete checkpoint is there. Its content, in this order:

    csa-games checkpoint 2      the format and its version, in a line
    {"run": ..., ...}           a line of JSON: which run it is of, how far it has come, and the
                                names of the arrays that follow
    arrays                      one after another as `numpy.save` writes them, without pickle
    32 bytes                    the SHA-256 of everything before

A run is resumed only where it would go on with the same bits: same game, method and horizon, same
versions of the packages, same kind of machine. Changes of the code within one version, as in a
checkout under work, are not noticed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np
from jaxtyping import Float

from csa_games.errors import InputError
from csa_games.files import remove_unfinished, replacing
from csa_games.fold import Rows
from csa_games.game import Game, Progress, SequenceForm
from csa_games.provenance import provenance
from solvers.cfr import State

NAME = "checkpoint.csa"
KIND = b"csa-games checkpoint "
FIRST_LINE = KIND + b"2\n"
DIGEST_BYTES = hashlib.sha256().digest_size
CHUNK = 2**24  # bytes read at a time

PACKAGES = ("csa-games", "jax", "jaxlib", "numpy")
"""The packages that make the bits of a run."""


@dataclass(frozen=True)
class Checked:
    """An average policy that was checked, as rows, wherever those are: tables would be copies."""

    rows: tuple[Rows, Rows]  # float64
    value: Float[np.ndarray, "2"]
    gap: Float[np.ndarray, "2"]
    steps: int

    @property
    def nash_conv(self) -> float:
        """The sum of both players' gaps, in payoff units."""
        return float(self.gap[0] + self.gap[1])


@dataclass(frozen=True)
class Reached:
    """How far a run has come: all that the rest of it depends on.

    `best` is the best policy checked so far (None before the first check), `history` the checks,
    and `seconds` what all processes together have spent.
    """

    state: State
    best: Checked | None
    history: tuple[Progress, ...]
    seconds: float


def identity(game: Game, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes the bits of a run, as JSON values: two runs with equal ones are the same.

    `options` are the options of `solvers.driver.solve` that the iterations depend on.
    """
    here = provenance()
    return {
        "game": game.name,
        "form": fingerprint(game.form),
        "method": method,
        **options,
        "packages": {name: here["packages"][name] for name in PACKAGES},
        **{name: here[name] for name in ("platform", "cpu", "cores", "devices")},
    }


def fingerprint(form: SequenceForm) -> str:
    """Return the SHA-256 of the structure of `form` and of every array in it, in hexadecimal."""
    leaves, structure = jax.tree.flatten(form)
    digest = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        array = np.asarray(leaf)
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write(folder: Path | str, run: Mapping[str, Any], reached: Reached) -> None:
    """Write how far the run with the identity `run` has come; it must have been checked once.

    The arrays go from the device to the disk one by one. Raises `OSError` when the disk refuses;
    the checkpoint before is then still there.
    """
    best = reached.best
    assert best is not None
    arrays = _named("state", reached.state) | _named("best", best.rows)
    header = {
        "run": run,
        "seconds": reached.seconds,
        "best": {
            "steps": best.steps,
            "value": [float(number) for number in best.value],
            "gap": [float(number) for number in best.gap],
        },
        "history": [[check.step, check.seconds, check.nash_conv] for check in reached.history],
        "arrays": list(arrays),
    }
    with replacing(Path(folder) / NAME) as file:
        digested = _Digested(file)
        digested.write(FIRST_LINE)
        digested.write(json.dumps(header, allow_nan=False).encode() + b"\n")
        for array in arrays.values():
            np.lib.format.write_array(digested, np.asarray(array), allow_pickle=False)
        file.write(digested.digest.digest())


def read(folder: Path | str, run: Mapping[str, Any], like: State) -> Reached | None:
    """Return how far the run with the identity `run` has come, None where it has not begun.

    `folder` is made if it is not there. `like` has the structure, shapes and dtypes of the state;
    the arrays returned are numpy's. Raises `InputError` when there is a checkpoint that is damaged,
    of another format or of another run, and `OSError` when it cannot be read.
    """
    path = Path(folder) / NAME
    if path.parent.exists() and not path.parent.is_dir():
        raise InputError(f"{folder} is a file, expected a folder to keep checkpoints in")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        remove_unfinished(path)
        return None
    with path.open("rb") as file:
        _check_content(path, file)
        header = json.loads(file.readline())
        _check_run(path, header["run"], run)
        arrays = {
            name: np.lib.format.read_array(file, allow_pickle=False) for name in header["arrays"]
        }
    expected = _named("state", like) | _named("best", like.plan_sum)
    kinds = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    if kinds != {name: (part.shape, part.dtype) for name, part in expected.items()}:
        raise InputError(f"{path} holds arrays of other shapes than this version of the solver has")
    remove_unfinished(path)
    state = [arrays[name] for name in _named("state", like)]
    rows = [arrays[name] for name in _named("best", like.plan_sum)]
    best = header["best"]
    return Reached(
        state=jax.tree.unflatten(jax.tree.structure(like), state),
        best=Checked(
            rows=jax.tree.unflatten(jax.tree.structure(like.plan_sum), rows),
            value=_pair(best["value"]),
            gap=_pair(best["gap"]),
            steps=best["steps"],
        ),
        history=tuple(Progress(*check) for check in header["history"]),
        seconds=header["seconds"],
    )


class _Digested:
    """A file being written, and the SHA-256 of what has been written to it so far."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)


def _check_content(path: Path, file: BinaryIO) -> None:
    """Check that `file` is a whole checkpoint; leave it at its second line."""
    first = file.readline(100)
    if not first.startswith(KIND):
        raise InputError(f"{path} is no checkpoint: it begins with {first[:20]!r}")
    if first != FIRST_LINE:
        raise InputError(
            f"{path} begins with {first!r}, expected {FIRST_LINE!r}: it is damaged, or was written "
            "by another version of csa-games"
        )
    digest, left = hashlib.sha256(), path.stat().st_size - DIGEST_BYTES
    file.seek(0)
    while left > 0 and (data := file.read(min(CHUNK, left))):
        digest.update(data)
        left -= len(data)
    if file.read() != digest.digest():
        raise InputError(
            f"{path} is damaged or cut short: its content does not have the SHA-256 at its end; "
            "remove it to start again"
        )
    file.seek(len(FIRST_LINE))


def _check_run(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that a checkpoint is of the run `expected`; list everything that differs."""
    names = [name for name in expected if found.get(name) != expected[name]]
    if "method" in names and "parameters" in names:
        names.remove("parameters")
    if names:
        raise InputError(
            *(
                f"{path} is of another run: its {LABELS.get(name, name)} is {found.get(name)!r}, "
                f"that of this run is {expected[name]!r}"
                for name in names
            ),
            "a run is resumed only where it goes on with the same bits: repeat it as it was, or "
            "name another folder",
        )


LABELS = {
    "form": "game, by its tree and payoffs (SHA-256),",
    "max_steps": "max_steps, the horizon,",
    "dead_zone": "dead zone",
    "parameters": "rule",
    "packages": "software",
    "cpu": "processor",
    "cores": "number of cores",
}
"""What `_check_run` calls the entries of an identity that need more words."""


def _named(what: str, tree: State | tuple[Rows, Rows]) -> dict[str, Any]:
    """Return the leaves of `tree` by their path, such as "state.regret[0][1]"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {f"{what}{jax.tree_util.keystr(path)}": leaf for path, leaf in leaves}


def _pair(numbers: list[float]) -> Float[np.ndarray, "2"]:
    return np.array(numbers, np.float64)
