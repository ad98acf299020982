"""What hosts and the server share: messages become observations, and rulings what a host does.

A host has messages: texts with roles, all of the conversation. A table knows asks and signals. The
user of a host plugs in a *classifier* between them,

    def classify(messages):
        return [{"ask": "plain", "signal": "clear"}, ...]

which is given {"role": "user", "content": "..."} and so on, and returns an observation for each
message of the user, in order. An `ask` or `signal` is a name of the scenario, None, or what one of
the scenario's readers reads: `{"reader": "NAME", "score": 0.83}`. The same messages must give the
same observations: past turns are classified again with every request, and the guard's own past
responses follow from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from csa_games.errors import InputError

PASS, TEXT, STEER, ROUTE, BLOCK = "pass", "text", "steer", "route", "block"

INSTEAD = "I can't answer this here."
"""What a user is told where the host cannot steer the model, and has nothing better to say."""

Message = dict[str, str]
Classifier = Callable[[list[Message]], Any]
"""From messages to an observation for each turn; for the server it may be a coroutine function."""


def classifier_from(named: str) -> Classifier:
    """Return the function that `named`, as "module:function", stands for; `InputError` if none.

    Whatever its module raises when it is imported makes it none, so that it is said in a sentence.
    """
    module, _, function = named.partition(":")
    if not (module and function):
        raise InputError(f"classifier: found {named!r}, expected module:function")
    try:
        found = getattr(import_module(module), function)
    except Exception as error:  # it is somebody else's
        raise InputError(f"classifier: {named}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise InputError(f"classifier: {named}: found {type(found).__name__}, expected a function")
    classify: Classifier = found
    return classify


def plain(messages: object) -> list[Message]:
    """Return `messages` with role and text only: what a classifier is given; never raises.

    Messages of the user with no answer between them are one: what was not answered is still asked.
    What is no text in a content leaves its type in brackets, so that nobody takes a message of an
    image alone for an empty one. What is no message is left out; a role that is no text is none.
    """
    if isinstance(messages, (str, bytes)) or not isinstance(messages, Sequence):
        return []
    found: list[Message] = []
    waiting = None  # the place of what the user has said since the last answer
    for message in messages:
        if not isinstance(message, Mapping):
            continue
        role, content = message.get("role"), text_of(message.get("content"))
        if role == "user":
            if waiting is not None:
                content = found.pop(waiting)["content"] + "\n\n" + content
            waiting = len(found)
        elif role == "assistant":
            waiting = None
        found.append({"role": role if isinstance(role, str) else "", "content": content})
    return found


def text_of(content: object) -> str:
    """Return the text of a message's content: a string, a list of parts, a part, or None."""
    if content is None:
        return ""
    if isinstance(content, Sequence) and not isinstance(content, (str, bytes, bytearray)):
        return "\n".join(map(_part, content))
    return _part(content)


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    text, kind = (part.get("text"), part.get("type")) if isinstance(part, Mapping) else (None, None)
    if isinstance(text, str):
        return text
    return f"[{kind if isinstance(kind, str) else type(part).__name__}]"


def observations(classify: Classifier, messages: object) -> list[dict[str, Any]]:
    """Return an observation for each turn of `messages`, by `classify`; never raises.

    Where the classifier fails, or returns anything else than one observation each, all are missing:
    the guard then goes down its ladder, and the decision says so.
    """
    given = plain(messages)
    try:
        return checked(classify(list(given)), given)
    except Exception:  # whatever somebody's classifier does, there must be an answer
        return missing(given)


def checked(found: Any, given: Sequence[Message]) -> list[dict[str, Any]]:
    """Return asks and signals of what a classifier `found`; raise unless it is one for each turn.

    What else it returned is left out: a response, say, would make the whole history an ERROR.
    """
    seen = [{"ask": observation["ask"], "signal": observation["signal"]} for observation in found]
    if len(seen) != _turns(given):
        raise ValueError(f"found {len(seen)} observations, expected {_turns(given)}")
    return seen


def missing(given: Sequence[Message]) -> list[dict[str, Any]]:
    """Return what stands for the turns of messages that nothing is known about."""
    return [{"ask": None, "signal": None}] * _turns(given)


def _turns(given: Sequence[Message]) -> int:
    """Return how many turns there are: messages of the user, but at least one.

    Without any, something is to be answered all the same: no turn at all would be an ERROR, which
    passes where `on_error` is open.
    """
    return max(1, sum(message["role"] == "user" for message in given))


class Act(NamedTuple):
    """What a host does: a mechanism that it has, and the text for it.

    The text is what the user is told (text, block), what the model is told (steer), or nothing
    (pass); for a route it is what to say where there is nowhere to route to. `response` is the name
    of the response that this carries out. `degraded` is the mechanism that the host lacks, or
    nothing.
    """

    mechanism: str
    text: str
    response: str
    degraded: str


def act(ruling: Any, able: Sequence[str], instead: str = INSTEAD) -> Act:
    """Return what a host that is `able` to do these mechanisms does with a `Ruling`.

    What a host cannot do becomes the next safer thing that it can: a steer is no text for users,
    so they are told `instead`; a route becomes its own text; what no text can be given for is
    blocked, which every host can.
    """
    wanted, text = ruling.mechanism, ruling.text
    if wanted in able or wanted == BLOCK:
        return Act(wanted, text, ruling.enforced, "")
    if TEXT not in able:
        return Act(BLOCK, text if wanted == TEXT else instead, ruling.enforced, wanted)
    said = text if wanted == ROUTE and text else instead
    return Act(TEXT, said, ruling.enforced, wanted)


def steered(messages: Sequence[Any], text: str, place: str) -> list[Any]:
    """Return `messages` with `text` for the model in it; `place` is one of `PLACES`."""
    return PLACES[place](list(messages), text)


def _last(messages: list[Any], text: str) -> list[Any]:
    return [*messages, {"role": "system", "content": text}]


def _first(messages: list[Any], text: str) -> list[Any]:
    if messages and messages[0].get("role") in ("system", "developer"):
        return [_longer(messages[0], text), *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _user(messages: list[Any], text: str) -> list[Any]:
    for k in reversed(range(len(messages))):
        if messages[k].get("role") == "user":
            return [*messages[:k], _longer(messages[k], text), *messages[k + 1 :]]
    return _last(messages, text)


def _longer(message: Mapping[str, Any], text: str) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, list):
        return {**message, "content": [*content, {"type": "text", "text": text}]}
    return {**message, "content": f"{content}\n\n{text}" if content else text}


PLACES: dict[str, Callable[[list[Any], str], list[Any]]] = {
    "last": _last,
    "first": _first,
    "user": _user,
}
"""Where a steer goes: a system message at the end, the one at the start, or the user's message."""


LITELLM_IDENTITY = ("user_api_key_hash", "user_api_key_user_id")
"""What LiteLLM's proxy stamps of its own: the key, else its owner. The end user is the client's
`user`, so whoever fills it in would draw again by a new one, and it has to be asked for."""


def identity(stamps: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the conversation that draws stick to: the first of `names` that a host stamped.

    Its name comes with it, so that no two kinds collide. It must be what a client cannot choose.
    Where there is none, it is the same for everybody: then nobody draws again, but all draw the
    same.
    """
    for name in names:
        if isinstance(stamps.get(name), str) and stamps[name]:
            return f"{name}={stamps[name]}"
    return ""


def note(ruling: Any, done: Act) -> dict[str, Any]:
    """Return what a host may log of a ruling: names and numbers, no text of anybody."""
    return {
        "id": ruling.id,
        "turn": ruling.turn,
        "mode": ruling.mode,
        "verdict": ruling.decision.action,
        "enforced": ruling.enforced,
        "mechanism": done.mechanism,
        "degraded": done.degraded,
        "reason": ruling.decision.reason,
        "revision": ruling.decision.revision,
    }
