"""`python -m csa_games.guard`: verify, decide and replay where nothing but Python is installed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from csa_games.errors import InputError
from csa_games.guard import BundleError, Guard, verify
from csa_games.guard.replay import replay

DONE, UNCHECKED, WRONG_INPUT, NOT_VERIFIED = 0, 1, 2, 3  # exit codes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 done, 1 something could not be checked, 2 wrong input, 3 verification failed.
    """
    parser = argparse.ArgumentParser(prog="python -m csa_games.guard", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="recompute everything that a bundle says")
    ask = commands.add_parser("decide", help="decide the last turn of a history, as JSON")
    again = commands.add_parser("replay", help="check an audit log, make its decisions again")
    for command in (check, ask):
        command.add_argument("folder", type=Path, help="the bundle")
    for command in (check, ask, again):
        command.add_argument(
            "--keys", type=Path, help="a folder of key files: one of them must have signed it"
        )
    ask.add_argument(
        "--history",
        required=True,
        help='JSON: [{"ask": "plain", "signal": "flag", "response": "clarify"}, ...], '
        "the last turn without a response",
    )
    ask.add_argument("--conversation", required=True, help="the identity that draws stick to")
    ask.add_argument(
        "--secret-file", type=Path, help="a file with the key of the draws, its line end left out"
    )
    again.add_argument("log", nargs="+", type=Path, help="every file of the log")
    again.add_argument("--policy", nargs="+", required=True, type=Path, help="the bundles")
    again.add_argument(
        "--secret-file",
        type=Path,
        help="a file with the key of draws and log, without its line end",
    )
    again.add_argument(
        "--anchor", action="append", default=[], help="the hash of a line in the log"
    )
    given = parser.parse_args(arguments)
    try:
        return {"verify": _verify, "decide": _decide, "replay": _replay}[given.command](given)
    except BundleError as error:
        return _fail(NOT_VERIFIED, str(error))
    except InputError as error:
        return _fail(WRONG_INPUT, str(error))


def _verify(given: argparse.Namespace) -> int:
    report = verify(given.folder, given.keys)
    if report.faults:
        return _fail(NOT_VERIFIED, "\n".join(report.faults))
    sys.stdout.write(f"{given.folder}: verified, revision {report.revision}\n")
    by = f", by {', '.join(report.signed_by)}" if report.signed_by else ""
    sys.stdout.write(f"signature: {report.signature}{by}\n")
    return DONE


def _decide(given: argparse.Namespace) -> int:
    try:
        history = json.loads(given.history)
    except (ValueError, RecursionError) as error:
        return _fail(WRONG_INPUT, f"--history: not JSON: {error}")
    decision = Guard.load(given.folder, _secret(given), given.keys).decide(
        history, given.conversation
    )
    sys.stdout.write(json.dumps(decision.as_dict(), indent=2) + "\n")
    return WRONG_INPUT if decision.reason == "ERROR" else DONE


def _replay(given: argparse.Namespace) -> int:
    secret = _secret(given)
    guards = [Guard.load(folder, secret, given.keys) for folder in given.policy]
    found = replay(given.log, guards, secret, anchors=given.anchor)
    if not found.passed:
        more = found.wrong - len(found.faults)
        told = [*map(str, found.faults), *([f"and {more} more faults"] if more else [])]
        return _fail(NOT_VERIFIED, "\n".join(told))
    sys.stdout.write(json.dumps(found.as_dict(), indent=2) + "\n")
    return UNCHECKED if found.gaps else DONE


def _secret(given: argparse.Namespace) -> bytes | None:
    try:
        return given.secret_file.read_bytes().rstrip(b"\r\n") if given.secret_file else None
    except OSError as error:
        raise InputError(f"{given.secret_file}: cannot be read: {error.strerror}") from None


def _fail(code: int, sentences: str) -> int:
    sys.stderr.write(sentences + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
