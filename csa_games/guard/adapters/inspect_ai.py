"""A solver for Inspect: measure what a table does on a dataset, with any model behind it.

    from csa_games.guard.adapters.inspect_ai import guarded

    table = guarded(bundle="bundle", classifier="my_classifier:classify")
    Task(dataset, solver=table, scorer=...)

`guarded` stands where `generate` would: it decides on the last message of the user, and calls the
model unless the response says otherwise. For a dialogue put one after each message of the user:
`[table, user_message("..."), table]`. What was decided is in the metadata of the sample, under
`csa`, an entry for each turn, so that it can be scored and grouped by.

Who is answered is the sample and its epoch: epochs draw anew, as other users would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from csa_games.errors import InputError
from csa_games.guard.adapters.conversation import (
    BLOCK,
    INSTEAD,
    PASS,
    ROUTE,
    STEER,
    TEXT,
    Act,
    act,
    note,
)
from csa_games.guard.adapters.service import service

PLACES = ("first", "last")
"""Where a steer goes: a system message after those at the start, or at the end."""


def _guarded(
    bundle: str,
    classifier: str,
    *,
    routes: Mapping[str, str] | None = None,
    place: str = "first",
    instead: str = INSTEAD,
    **settings: Any,
) -> Any:
    """Return the solver.

    `routes` names the model that each response routes to, by the response's name; without one, the
    response's text is said. `place` is one of `PLACES`, and a steer is taken out again after the
    model has answered, as no client of a host would see it. `settings` are the other ones of
    `csa_games.guard.adapters.service`. Raises `InputError` for those that are wrong.
    """
    if place not in PLACES:
        raise InputError(f"place: found {place!r}, expected one of {', '.join(PLACES)}")
    asked = service({"bundle": bundle, "classifier": classifier, **settings})
    to_thread = import_module("anyio.to_thread").run_sync
    models = dict(routes or {})

    async def solve(state: Any, generate: Any) -> Any:
        conversation = f"{state.sample_id} in epoch {state.epoch}"
        ruling = await to_thread(asked.rule, _plain(state.messages), conversation)
        able = [PASS, TEXT, STEER, *([ROUTE] if ruling.enforced in models else [])]
        done = act(ruling, able, instead)
        state.metadata.setdefault("csa", []).append(note(ruling, done))
        if done.mechanism == PASS:
            return await generate(state)
        if done.mechanism == STEER:
            return await _steer(state, generate, done.text, place)
        if done.mechanism == ROUTE:
            model = import_module("inspect_ai.model").get_model(models[done.response])
            return _answered(state, await model.generate(state.messages))
        return _say(state, done, instead)

    return solve


def __getattr__(name: str) -> Any:
    if name != "guarded":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()[name] = import_module("inspect_ai.solver").solver("csa_guarded")(_guarded)
    return made


def _plain(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """Return Inspect's messages as all other hosts have them."""
    return [{"role": message.role, "content": _content(message.content)} for message in messages]


def _content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [{"type": part.type, "text": getattr(part, "text", None)} for part in content]


async def _steer(state: Any, generate: Any, text: str, place: str) -> Any:
    """Have the model answer with `text` among what it is given, and nowhere afterwards."""
    told = import_module("inspect_ai.model").ChatMessageSystem(content=text, id="csa steer")
    heads = [k for k, message in enumerate(state.messages) if message.role != "system"]
    where = len(state.messages) if place == "last" or not heads else heads[0]
    state.messages = [*state.messages[:where], told, *state.messages[where:]]
    state = await generate(state)
    state.messages = [message for message in state.messages if message.id != told.id]
    return state


def _say(state: Any, done: Act, instead: str) -> Any:
    """Answer without the model: a text, or what a user is told whose request is blocked."""
    blocked = done.mechanism == BLOCK
    output = import_module("inspect_ai.model").ModelOutput.from_content(
        model="csa_games",
        content=done.text or instead,
        stop_reason="content_filter" if blocked else "stop",
    )
    state = _answered(state, output)
    state.completed = blocked
    return state


def _answered(state: Any, output: Any) -> Any:
    state.output = output
    state.messages.append(output.message)
    return state
