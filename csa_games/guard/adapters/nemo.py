"""A configuration folder for NeMo Guardrails, generated from a bundle, and the action it calls.

    config.yml   an input rail: the flow `csa policy`
    rails.co     the flow: ask for the ruling, then let pass, say a text and stop, or steer
    actions.py   the settings, and the action `csa_decide`
    bundle/      the bundle, so that the folder is whole

Texts of the scenario never stand in Colang, whose strings know no escape for some of them (and
are templates besides): they reach the flow in a variable, as they are, whatever is in them.

The host says who is answered in its context, under `csa_conversation`:

    messages = [{"role": "context", "content": {"csa_conversation": "account 17"}}, ...]

An action that is missing or fails ends in the host's own error message: the model is not called.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from csa_games.errors import InputError
from csa_games.guard.adapters.conversation import (
    BLOCK,
    INSTEAD,
    PASS,
    STEER,
    TEXT,
    act,
    note,
    steered,
)
from csa_games.guard.adapters.service import check, service
from csa_games.guard.decide import Guard

ACTION, CONVERSATION = "csa_decide", "csa_conversation"

CONFIG = """\
# Add your models, and other rails beside this one. It decides before any of them is called.
models: []

rails:
  input:
    flows:
      - csa policy
"""

RAILS = """\
# The policy %s, revision %s, responds by
#
%s
#
# A text or a block ends the turn; a steer goes into the message that the model is given.

define subflow csa policy
  $csa = execute csa_decide
  if $csa["mechanism"] == "steer"
    $user_message = $csa["message"]
  else
    if $csa["mechanism"] != "pass"
      $csa_text = $csa["text"]
      create event StartUtteranceBotAction(script=$csa_text)
      stop
"""

ACTIONS = '''\
"""The action of the flow `csa policy`: what the bundle beside this file says."""

from pathlib import Path

from csa_games.guard.adapters.nemo import action

csa_decide = action(
    {
        "bundle": Path(__file__).parent / "bundle",
%s
    }
)
'''


def write_folder(bundle: Path | str, folder: Path | str, settings: Mapping[str, Any]) -> str:
    """Write the configuration into `folder`, which must not be there, and return the revision.

    `settings` are those of `csa_games.guard.adapters.service` but the bundle, of which a copy goes
    into the folder; relative paths among them start at the working folder of the host. Raises
    `InputError` for settings that are wrong, `BundleError` for a bundle that must not be served,
    and `OSError`.
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder}: is there already, expected the name of a new folder")
    given = {**settings, "bundle": str(bundle)}
    check(given)
    guard = Guard.load(bundle, keys=settings.get("keys"))
    folder.mkdir(parents=True)
    shutil.copytree(bundle, folder / "bundle")
    for name, text in texts(guard, settings).items():
        (folder / name).write_text(text, encoding="utf-8")
    return guard.revision


def texts(guard: Guard, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what is in each file of the folder but the bundle."""
    how = [f"#   {name}: {what['mechanism']}" for name, what in guard.responses.items()]
    # Values are written as Python spells them, so that any of them survives.
    lines = [f"        {name!r}: {value!r}," for name, value in settings.items()]
    return {
        "config.yml": CONFIG,
        "rails.co": RAILS % (guard.terms.name, guard.revision, "\n".join(how)),
        "actions.py": ACTIONS % "\n".join(lines),
    }


def action(settings: Mapping[str, Any]) -> Any:
    """Return the action of the flow, as NeMo Guardrails registers it; `InputError` as `service`."""
    asked = service(settings)

    async def csa_decide(context: Any = None, events: Any = None, **_: object) -> dict[str, Any]:
        context = context or {}
        conversation = context.get(CONVERSATION)
        ruling = await asyncio.to_thread(
            asked.rule, messages(events or []), conversation if conversation else ""
        )
        done = act(ruling, [PASS, TEXT, STEER])
        said = done.text or INSTEAD
        if done.mechanism in (TEXT, BLOCK):
            await _stream(said)
        return {
            **note(ruling, done),
            "text": said,
            "message": _told(context.get("user_message", ""), done.text),
        }

    return import_module("nemoguardrails.actions").action(is_system_action=True, name=ACTION)(
        csa_decide
    )


def messages(events: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the conversation in the host's `events`: what users said, and what they were told."""
    said = {"UtteranceUserActionFinished": "final_transcript", "StartUtteranceBotAction": "script"}
    return [
        {
            "role": "user" if "User" in event["type"] else "assistant",
            "content": event.get(said[event["type"]]),
        }
        for event in events
        if event["type"] in said
    ]


def _told(message: Any, text: str) -> Any:
    """Return the user's message with `text` for the model."""
    (told,) = steered([{"role": "user", "content": message}], text, "user")
    return told["content"]


async def _stream(text: str) -> None:
    """Send `text` to whoever reads the answer as it comes; the flow itself sends it whole."""
    handler = import_module("nemoguardrails.context").streaming_handler_var.get()
    if handler is not None:
        await handler.push_chunk(text)
