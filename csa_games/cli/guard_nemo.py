"""`csa guard nemo`: a configuration folder for NeMo Guardrails, of a bundle."""

import argparse
from pathlib import Path

from csa_games.cli.command import Command, Outcome, UnverifiedError
from csa_games.cli.keys import add_keys
from csa_games.cli.output import clean

PATHS = ("secret_file", "keys")
NAMES = ("classifier", *PATHS, "mode", "on_error")


def write(args: argparse.Namespace) -> Outcome:
    """Write the folder that a host loads."""
    from csa_games.guard import BundleError
    from csa_games.guard.adapters import nemo

    settings = {name: getattr(args, name) for name in NAMES if getattr(args, name) is not None}
    # The host may start anywhere.
    settings |= {name: str(Path(settings[name]).absolute()) for name in PATHS if name in settings}
    try:
        revision = nemo.write_folder(args.bundle, args.folder, settings)
    except BundleError as error:
        raise UnverifiedError(*error.faults) from None
    data = {"bundle": args.bundle, "folder": args.folder, "revision": revision}
    told = f"the configuration is in {args.folder}, revision {revision}"
    return Outcome(data, lambda console: console.print(clean(told), soft_wrap=True))


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle")
    parser.add_argument("folder", metavar="DIR", help="the folder to write, which is not there yet")
    parser.add_argument(
        "--classifier",
        required=True,
        metavar="MODULE:FUNCTION",
        help="makes asks and signals of messages",
    )
    parser.add_argument(
        "--secret-file", metavar="FILE", help="the key of the draws, its line end left out"
    )
    add_keys(parser)
    parser.add_argument("--mode", choices=("off", "shadow", "enforce"), help="what is done")
    parser.add_argument(
        "--on-error",
        choices=("fallback", "closed", "open"),
        help="what is carried out where there is no history to decide on",
    )


NEMO = Command(
    "write a configuration folder for NeMo Guardrails, the bundle inside",
    ("csa guard nemo bundle rails --classifier mine:classify --secret-file key",),
    _arguments,
    write,
)
