"""A deployment and a classifier from the settings that stand in a host's configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from csa_games.errors import InputError
from csa_games.guard.adapters.conversation import Classifier, classifier_from, observations
from csa_games.guard.audit import AuditLog
from csa_games.guard.deployment import Deployment, Ruling

SETTINGS = {
    "bundle": "the folder of the bundle",
    "classifier": "module:function, what makes asks and signals of messages",
    "secret_file": "a file with the key of the draws, its line end left out",
    "keys": "a folder of keys that the bundle must be signed with",
    "mode": "off, shadow or enforce",
    "on_error": "fallback, closed or open",
    "least_sequence": "bundles with a lower sequence are refused",
    "canary": "a folder and a share: another bundle for that share of the conversations",
    "emergency": "action, mechanism and text, for when there is no bundle",
    "audit": "the log to write, {process} in its name standing for the number of the process",
    "watch": "seconds after which to look, again and again, whether the bundle has changed",
}
"""Every setting, all optional but the first two; relative paths start at the working folder."""

REQUIRED = ("bundle", "classifier")


class Service(NamedTuple):
    """What a host asks: a deployment, and the classifier that it is fed by."""

    deployment: Deployment
    classify: Classifier

    def rule(self, messages: object, conversation: str) -> Ruling:
        """Return the ruling on the last message of the user in `messages`; never raises.

        It may take as long as the classifier does: call it from a thread, not from an event loop.
        """
        return self.deployment.follow(observations(self.classify, messages), conversation)


def check(settings: Any) -> None:
    """Raise `InputError` unless `settings` are a mapping by `SETTINGS`, the required among them."""
    if not isinstance(settings, Mapping):
        raise InputError(f"csa: found {type(settings).__name__}, expected settings by name")
    faults = [
        f"csa.{name}: is missing, expected {SETTINGS[name]}"
        for name in REQUIRED
        if not settings.get(name)
    ]
    faults += [
        f"csa.{name}: is no setting, expected one of {', '.join(SETTINGS)}"
        for name in settings
        if name not in SETTINGS
    ]
    if faults:
        raise InputError(*faults)


def service(settings: Any) -> Service:
    """Return the service that `settings`, a mapping by `SETTINGS`, ask for.

    Raises `InputError` for settings that are missing or unknown, and for whatever cannot be used.
    """
    check(settings)
    given = dict(settings)
    bundle, classify = given.pop("bundle"), classifier_from(given.pop("classifier"))
    secret, audit, seconds = (given.pop(name, None) for name in ("secret_file", "audit", "watch"))
    if secret is not None:
        secret = _secret(secret)
    if audit is not None:
        audit = AuditLog(str(audit).replace("{process}", str(os.getpid())), secret=secret)
    deployment = Deployment(bundle, secret=secret, audit=audit, **given)
    if seconds is not None:
        deployment.watch(seconds)  # until the process ends
    return Service(deployment, classify)


def _secret(file: Any) -> bytes:
    try:
        return Path(file).read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise InputError(f"secret_file: {file}: cannot be read: {error.strerror}") from None
