"""`csa schema` and `csa doctor`: what a scenario file may hold, and whether this machine works."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from csa_games.cli.command import DONE, FAILED_CHECK, Command, Outcome, nothing
from csa_games.cli.output import facts
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

KUHN_VALUE = -1 / 18  # Kuhn 1950, to the first player
KUHN_TARGET = 1e-3


def print_schema(args: argparse.Namespace) -> Outcome:
    """Return the JSON Schema of scenario files, or of what a bundle holds."""
    from csa_games.schemas import SCHEMAS

    if args.of not in SCHEMAS:
        raise InputError(f"--of: there is no schema of {args.of!r}; there are {', '.join(SCHEMAS)}")
    schema = SCHEMAS[args.of]()
    text = json.dumps(schema, indent=2)
    return Outcome(schema, lambda console: console.print(text, soft_wrap=True))


def examine(args: argparse.Namespace) -> Outcome:
    """Return what this runs on and whether it computes what it should."""
    import solvers  # noqa: F401 - with JAX imported, its devices are part of the provenance
    from csa_games.provenance import provenance

    found = {name: _tried(check) for name, check in CHECKS.items()}
    about = provenance()
    well = all(not fault for fault in found.values())
    data = about | {"checks": {name: fault or "ok" for name, fault in found.items()}, "ok": well}

    def show(console: "Console") -> None:
        packages = ((name, str(version)) for name, version in about["packages"].items())
        git = about["git"]
        commit = git["commit"][:12] + (" with changes" if git["dirty"] else "") if git else "none"
        rows = [
            *packages,
            ("python", about["python"]),
            ("commit", commit),
            ("platform", about["platform"]),
            ("processor", f"{about['cpu']}, {about['cores']} cores"),
            ("devices", ", ".join(about["devices"] or [])),
        ]
        console.print(facts(rows))
        console.print()
        console.print(facts((name, fault or "ok") for name, fault in found.items()))

    return Outcome(data, show, DONE if well else FAILED_CHECK)


def _float64() -> str:
    """Say what is wrong with float64 on the device, if anything is."""
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        third = 1 / jnp.asarray(3.0)
        return "" if float(third) == 1 / 3 else f"1/3 is {float(third)!r} on the device"


def _kuhn() -> str:
    """Say what is wrong with the solution of Kuhn poker, if anything is."""
    import csa_games
    import solvers

    solution = solvers.solve(csa_games.load("openspiel:kuhn_poker"), target=KUHN_TARGET)
    error = abs(float(solution.value[0]) - KUHN_VALUE)
    if solution.status == "target" and error <= KUHN_TARGET:
        return ""
    return f"its value is {solution.value[0]:.6g} (expected -1/18), status {solution.status}"


def _guard() -> str:
    """Say whether the guard needs more than the standard library."""
    program = (
        "import sys, csa_games.guard; "
        "print(*sorted({'numpy', 'jax', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        return f"it cannot be imported: {done.stderr.strip().splitlines()[-1]}"
    return f"it imports {done.stdout.strip()}" if done.stdout.strip() else ""


CHECKS: dict[str, Callable[[], str]] = {
    "float64": _float64,
    "solving Kuhn poker": _kuhn,
    "guard without numpy and JAX": _guard,
}
"""What `csa doctor` tries: functions that return what is wrong, or nothing."""


def _tried(check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception as error:  # whatever it is, the doctor reports it and looks further
        return f"{type(error).__name__}: {error}"


def _schema_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--of",
        default="scenario",
        metavar="WHAT",
        help="scenario (the default), manifest, responses, probe, signature or key; or bundle, all "
        "of a bundle's JSON files by name",
    )


SCHEMA = Command(
    "print the JSON Schema of scenario files, or of what a bundle holds",
    ("csa schema > scenario.schema.json", "csa schema --of manifest > manifest.schema.json"),
    _schema_arguments,
    print_schema,
)

DOCTOR = Command(
    "show versions and devices, and check that this installation computes what it should",
    ("csa doctor", "csa doctor --json"),
    nothing,
    examine,
)
