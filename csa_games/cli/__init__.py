"""The command line, `csa`: one file for each group of commands.

Only this folder of `csa_games` knows the solvers. Whatever a command needs is imported when it
runs, because a guard that decides should not wait for JAX.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from csa_games.cli.bench import BENCH
from csa_games.cli.check import DOCTOR, SCHEMA
from csa_games.cli.command import (
    DONE,
    FAILED_INPUT,
    FAILED_VERIFICATION,
    INTERRUPTED,
    Commands,
    Outcome,
    UnverifiedError,
    parser,
)
from csa_games.cli.compare import COMPARE
from csa_games.cli.diff import DIFF
from csa_games.cli.doubt import DOUBT
from csa_games.cli.effect import EFFECT
from csa_games.cli.efg import EFG
from csa_games.cli.evaluate import EVALUATE
from csa_games.cli.experiment import EXPERIMENT
from csa_games.cli.fit import FIT
from csa_games.cli.frontier import FRONTIER
from csa_games.cli.games import GAMES, SHOW
from csa_games.cli.guard import GUARD
from csa_games.cli.keys import KEYS, SIGN
from csa_games.cli.output import clean, write_json, write_text
from csa_games.cli.solve import SOLVE
from csa_games.cli.sweep import SWEEP
from csa_games.cli.table import EXPORT, REPORT, VERIFY
from csa_games.cli.worth import WORTH
from csa_games.errors import InputError

COMMANDS: Commands = {
    "games": GAMES,
    "show": SHOW,
    "solve": SOLVE,
    "compare": COMPARE,
    "frontier": FRONTIER,
    "worth": WORTH,
    "fit": FIT,
    "evaluate": EVALUATE,
    "effect": EFFECT,
    "doubt": DOUBT,
    "sweep": SWEEP,
    "experiment": EXPERIMENT,
    "report": REPORT,
    "export": EXPORT,
    "verify": VERIFY,
    "diff": DIFF,
    "sign": SIGN,
    "keys": KEYS,
    "guard": GUARD,
    "efg": EFG,
    "bench": BENCH,
    "schema": SCHEMA,
    "doctor": DOCTOR,
}
"""Every command, in the order of the help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `csa` with the arguments `argv` and return its exit code.

    0 done, 1 a check failed, 2 the command or a file is wrong, 3 verification failed, 4 the asked
    target was not reached, 130 interrupted before there was a result.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    code = DONE
    try:
        outcome = _outcome(words)
        code = outcome.code
        if "--json" not in words:
            write_text(outcome.show)
        elif outcome.data is not None:
            write_json(outcome.data)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _say(INTERRUPTED, "interrupted before there was a result")
    except ModuleNotFoundError as error:
        return _say(
            FAILED_INPUT,
            f"the package {error.name!r} is not installed; install csa-games with what it depends "
            "on, or use python -m csa_games.guard, which depends on nothing",
        )
    except BrokenPipeError:  # whoever read, has read enough
        _abandon_output()
    except OSError as error:
        _abandon_output()
        return _say(FAILED_INPUT, f"standard output: {error.strerror or error}")
    return code


def _outcome(words: Sequence[str]) -> Outcome:
    """Run the command and return what it found; for wrong input, what was wrong."""
    code = FAILED_INPUT
    try:
        args = parser(COMMANDS).parse_args(words)
        with redirect_stdout(sys.stderr):  # libraries that print do not disturb what is piped
            return args.command.run(args)
    except SystemExit:  # argparse has printed what was asked for, the help or the version
        return Outcome(None, lambda _: None)
    except UnverifiedError as error:
        code, faults = FAILED_VERIFICATION, error.faults
    except InputError as error:
        faults = error.faults
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        faults = (f"{where}{error.strerror or error}",)
    except MemoryError:
        faults = ("this machine has not enough memory for that",)
    return Outcome({"error": faults}, lambda _: None, _say(code, *faults))


def _say(code: int, *sentences: str) -> int:
    """Write `sentences` to standard error and return `code`."""
    sys.stderr.writelines(f"csa: {clean(sentence)}\n" for sentence in sentences)
    return code


def _abandon_output() -> None:
    """Let what is still buffered go nowhere, or Python would complain about it at its end."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
