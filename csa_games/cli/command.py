"""What a command is, and the parser made of a table of them."""

import argparse
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, NoReturn

from csa_games.cli.output import Show
from csa_games.errors import InputError

DONE, FAILED_CHECK, FAILED_INPUT, FAILED_VERIFICATION, MISSED_TARGET = range(5)
INTERRUPTED = 130  # as shells say it


@dataclass(frozen=True)
class Outcome:
    """What a command found: for programs (None: nothing), for people, and as an exit code."""

    data: Mapping[str, Any] | None
    show: Show
    code: int = DONE


class UnverifiedError(InputError):
    """A bundle that does not hold what it says."""


@dataclass(frozen=True)
class Command:
    """A command: one line about it, examples for its help, its arguments, and what it does."""

    summary: str
    examples: tuple[str, ...]
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Outcome]


@dataclass(frozen=True)
class Group:
    """Commands that share a first word."""

    summary: str
    commands: Mapping[str, Command]


Commands = Mapping[str, Command | Group]

EPILOG = """\
exit codes:
  0 done   1 a check failed   2 the command or a file is wrong
  3 verification failed   4 the asked target was not reached

csa COMMAND --help shows the arguments of a command, with examples.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are sentences like all others."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; {self.prog} --help shows what is expected")


class _Version(argparse.Action):
    """Print the version; reading it takes a moment, so not before it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        try:
            found = metadata.version("csa-games")
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            found = "(not installed)"
        sys.stdout.write(f"csa-games {found}\n")
        parser.exit()


def parser(commands: Commands) -> argparse.ArgumentParser:
    """Return the parser of `csa`; parsed arguments carry their `command`."""
    top = _Parser(
        prog="csa",
        description="Game-theoretic response planning for constructive AI safety.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    _add(top, commands)
    return top


def _add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    choices = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for name, command in commands.items():
        if isinstance(command, Group):
            group = choices.add_parser(
                name, help=command.summary, description=command.summary, allow_abbrev=False
            )
            _add(group, command.commands)
            continue
        examples = "\n".join(f"  {example}" for example in command.examples)
        own = choices.add_parser(
            name,
            help=command.summary,
            description=textwrap.fill(command.summary, 78),
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.arguments(own)
        own.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
        own.set_defaults(command=command)


def nothing(parser: argparse.ArgumentParser) -> None:
    """Add no arguments."""
