"""`csa keys` and `csa sign`: keys, and signatures of bundles that are there already."""

import argparse
import secrets
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import Command, Group, Outcome, UnverifiedError
from csa_games.cli.output import clean, facts

if TYPE_CHECKING:
    from rich.console import Console


def new(args: argparse.Namespace) -> Outcome:
    """Make a key, or the two halves of a pair, of the random numbers of this machine."""
    from csa_games.guard.signing import KEY_BYTES, read_key
    from csa_games.signing import write_keys

    files = write_keys(args.out, args.name, args.kind, secrets.token_bytes(KEY_BYTES))
    keyid = read_key(files[0]).keyid
    data = {"name": args.name, "kind": args.kind, "keyid": keyid, "files": list(map(str, files))}
    halves = (
        f"{files[0]} signs: keep it secret",
        f"{files[1]} verifies: give it to whoever has to check"
        if len(files) > 1
        else "it also verifies: whoever checks with it can sign, too",
    )

    def show(console: "Console") -> None:
        for half in halves:
            console.print(clean(half), soft_wrap=True)
        console.print(facts([("keyid", keyid)]))

    return Outcome(data, show)


def show(args: argparse.Namespace) -> Outcome:
    """Return what a key file is about, but not the key."""
    from csa_games.guard.signing import KINDS, read_key

    key = read_key(args.file)
    data = {"name": key.name, "kind": key.kind, "half": key.half, "keyid": key.keyid}
    rows = [*data.items(), ("means", KINDS[key.kind])]
    return Outcome(data, lambda console: console.print(facts(rows)))


def sign(args: argparse.Namespace) -> Outcome:
    """Add a signature to a bundle, or put one in the place of all others."""
    from csa_games.guard import BundleError
    from csa_games.signing import sign_bundle

    try:
        key = sign_bundle(args.bundle, args.key, replace=args.replace)
    except BundleError as error:
        raise UnverifiedError(*error.faults) from None
    data: dict[str, Any] = {"bundle": args.bundle, "name": key.name, "keyid": key.keyid}
    sentence = f"{args.bundle} is signed by {key.name}, keyid {key.keyid}"
    return Outcome(data, lambda console: console.print(clean(sentence), soft_wrap=True))


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Add the argument that makes a signature necessary."""
    parser.add_argument(
        "--keys",
        metavar="DIR",
        help="a folder of key files: one of them must have signed the bundle",
    )


def _new_arguments(parser: argparse.ArgumentParser) -> None:
    from csa_games.guard.signing import ED25519, KINDS

    parser.add_argument("name", metavar="NAME", help="what the key is called, such as release-2026")
    parser.add_argument(
        "--kind",
        choices=tuple(KINDS),
        default=ED25519,
        help="; ".join(f"{kind}: {words}" for kind, words in KINDS.items()),
    )
    parser.add_argument(
        "-o", "--out", required=True, metavar="DIR", help="the folder to write the key files to"
    )


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="KEYFILE", help="a key file")


def _sign_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle")
    parser.add_argument("--key", required=True, metavar="KEYFILE", help="a secret key file")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="drop the signatures that are there, which otherwise are kept",
    )


KEYS = Group(
    "make and show the keys that bundles are signed with",
    {
        "new": Command(
            "make a key; nothing is overwritten",
            (
                "csa keys new release-2026 -o keys",
                "csa keys new site-7 --kind hmac -o keys",
            ),
            _new_arguments,
            new,
        ),
        "show": Command(
            "say what a key file is about, without the key itself",
            ("csa keys show keys/release-2026.public.json",),
            _show_arguments,
            show,
        ),
    },
)

SIGN = Command(
    "sign a bundle without exporting it again; its files and its revision stay as they are",
    (
        "csa sign bundle --key keys/release-2026.secret.json",
        "csa sign bundle --key keys/release-2027.secret.json --replace",
    ),
    _sign_arguments,
    sign,
)
