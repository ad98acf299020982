"""`csa guard serve`: the guard as an HTTP server."""

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import Command, Outcome, UnverifiedError
from csa_games.cli.keys import add_keys
from csa_games.cli.output import clean, facts, whole
from csa_games.cli.secret import secret_in
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.guard.adapters.conversation import Classifier
    from csa_games.guard.deployment import Deployment

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(args: argparse.Namespace) -> Outcome:
    """Serve a bundle until the process is told to end; return what was decided."""
    try:
        from csa_games import server
    except ModuleNotFoundError as error:
        raise InputError(
            f"the package {error.name!r} is not installed; csa guard serve needs the extra serve: "
            "pip install 'csa-games[serve]'"
        ) from None

    secret = secret_in(args.secret_file)
    with _audit(args.audit, secret) as log:
        deployment = _deployment(args, secret, log)
        _run(server, args, deployment)
        return _outcome(deployment)


def _run(server: ModuleType, args: argparse.Namespace, deployment: "Deployment") -> None:
    token = _line(args.token_file) if args.token_file else None
    loopback = args.host in LOOPBACK
    gate = server.app(
        deployment,
        classify=None if args.classifier is None else _classifier(args.classifier),
        accept_observations=args.accept_observations,
        identity=args.identity.split(",") if args.identity else (),
        limits=server.Limits(args.max_body, args.max_concurrent, args.timeout),
        token=token,
        playground=loopback and token is None,
    )

    def started(url: str) -> None:
        guard = deployment.guard
        what = f"revision {guard.revision[:12]}" if guard else f"no bundle: {deployment.last.fault}"
        _tell(f"csa: serving {args.bundle} on {url}, {deployment.mode} mode, {what}")
        if deployment.last.fault:
            _tell(f"csa: {deployment.last.fault}")
        if token is None:
            others = f"whoever reaches {args.host} can ask; a --token-file would keep others out"
            _tell(f"csa: the playground is {url}/" if loopback else f"csa: {others}")

    server.serve(
        gate,
        deployment,
        host=args.host,
        port=args.port,
        drain=args.drain,
        watch=args.watch,
        started=started,
    )


def _deployment(args: argparse.Namespace, secret: bytes | None, log: Any) -> "Deployment":
    from csa_games.guard import BundleError
    from csa_games.guard.deployment import Deployment

    try:
        return Deployment(
            args.bundle,
            secret=secret,
            keys=args.keys,
            mode=args.mode,
            on_error=args.on_error,
            canary=_canary(args.canary) if args.canary else None,
            least_sequence=args.least_sequence,
            audit=log,
        )
    except BundleError as error:
        raise UnverifiedError(*error.faults) from None


def _audit(path: str | None, secret: bytes | None) -> AbstractContextManager[Any]:
    """Return the log in a file, to be closed at the end; None where there is none."""
    if path is None:
        return nullcontext()
    from csa_games.guard.audit import AuditLog

    return AuditLog(path, secret=secret)


def _canary(given: str) -> tuple[Path, float]:
    """Return folder and share of `BUNDLE:SHARE`."""
    folder, _, share = given.rpartition(":")
    try:
        return Path(folder), float(share)
    except ValueError:
        raise InputError(
            f"--canary: found {given!r}, expected BUNDLE:SHARE, the share a number from 0 to 1"
        ) from None


def _classifier(given: str) -> "Classifier":
    """Return the classifier of that name, modules in the working folder included."""
    from csa_games.guard.adapters.conversation import classifier_from

    if "" not in sys.path:
        sys.path.insert(0, "")
    return classifier_from(given)


def _line(path: str) -> str:
    """Return the one line in a file."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(text.split()) != 1:
        raise InputError(f"{path}: expected a token, one word of ASCII")
    return text


def _tell(sentence: str) -> None:
    sys.stderr.write(clean(sentence) + "\n")
    sys.stderr.flush()


def _outcome(deployment: "Deployment") -> Outcome:
    counters = deployment.counters
    decisions = [
        {"action": action, "reason": reason, "revision": revision, "arm": arm, "count": count}
        for (action, reason, revision, arm), count in sorted(counters.decisions.items())
    ]
    data = {
        "decisions": decisions,
        "activations": counters.activations,
        "reload_failures": counters.failures,
        "unlogged": counters.unlogged,
    }

    def show(console: "Console") -> None:
        total = sum(counters.decisions.values())
        rows = [
            ("decisions", whole(total)),
            ("activations", whole(counters.activations)),
            ("reload failures", whole(counters.failures)),
        ]
        console.print(facts(rows))

    return Outcome(data, show)


def _arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="the folder of a bundle, or a link to it")
    add("--host", default="127.0.0.1", help="where to listen (default: this machine alone)")
    add("--port", type=int, default=8080, help="0 takes a free one (default: 8080)")
    add("--secret-file", metavar="FILE", help="the key of the draws, its line end left out")
    add_keys(parser)
    add("--mode", choices=("off", "shadow", "enforce"), default="enforce", help="what is done")
    add(
        "--on-error",
        choices=("fallback", "closed", "open"),
        default="fallback",
        help="what is carried out where there is no history to decide on",
    )
    add("--canary", metavar="BUNDLE:SHARE", help="another bundle, for a share of conversations")
    add("--least-sequence", type=int, default=0, metavar="N", help="refuse bundles below it")
    add("--watch", type=float, metavar="SECONDS", help="look that often for another bundle")
    add("--audit", metavar="LOG", help="record every decision there")
    add("--classifier", metavar="MODULE:FUNCTION", help="makes asks and signals of messages")
    add(
        "--accept-observations",
        action="store_true",
        help="take asks and signals that gateways send; safe where no client can write them",
    )
    add("--identity", metavar="FIELDS", help="what of a gateway's stamps says who is answered")
    add("--token-file", metavar="FILE", help="what clients have to send as a bearer token")
    add("--max-body", type=int, default=256 * 1024, metavar="BYTES", help="of a request")
    add("--max-concurrent", type=int, default=1024, metavar="N", help="requests at once")
    add(
        "--timeout",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="for a body to come in, and for the classifier (default: 2)",
    )
    add(
        "--drain",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="answer that long after SIGTERM, while readiness fails (default: 5)",
    )


SERVE = Command(
    "serve a bundle over HTTP: decisions, gateways, health and metrics, and a playground",
    (
        "csa guard serve bundle --secret-file secret.key --watch 5",
        """csa guard serve bundle --classifier my_classifier:classify --mode shadow \\
      --canary next:0.1""",
    ),
    _arguments,
    serve,
)
