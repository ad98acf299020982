"""What three gateways send to a guard over HTTP, and what they take as its answer.

    LiteLLM       POST /beta/litellm_basic_guardrail_api   its generic guardrail
    agentgateway  POST /request, POST /response            its guardrail webhook
    Portkey       POST /portkey                            its webhook guardrail, at a path of ours

A contract is a pair of pure functions: `read` makes a `Call` of a parsed body, `answer` makes the
body of our answer of a ruling. Gateways send texts only, so asks and signals come from a classifier
that the operator plugs in, or from the call itself (`Call.observations`), which is only to be
believed where no client can write it.

A gateway fails by its own rules, whatever ours are: LiteLLM closed unless told otherwise,
agentgateway as its `failure_mode` says, and **Portkey open**: no answer within its timeout (3 s)
counts as a verdict of true. Keep the classifier well below that.

None of them has a way to answer 200 with a text of ours. What a response comes to:

    mechanism  LiteLLM                        agentgateway           Portkey
    pass       NONE                           pass                   verdict true
    steer      texts: the steer added to the  mask: a system         transformedData: a system
               last one, or to each prompt    message added last     message added last
    text       texts: the last message made   reject: the text,      transformedData: the last
               an instruction to say it       with status 403        message made an instruction
    block      BLOCKED, which is HTTP 400     reject, status 403     verdict false
    route      as text, or as block where there is none: none of them can be told a model

What is said through an instruction is said by the model, in its own words if it likes; exact words
need an adapter inside the host. Answers of the model (LiteLLM's `input_type` "response",
agentgateway's `/response`, Portkey's `afterRequestHook`) always pass: the policy decides on what is
asked, before the model is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from csa_games.errors import InputError
from csa_games.guard.adapters.conversation import LITELLM_IDENTITY, Message, identity, plain
from csa_games.guard.bundle import parse

CONVERSATION, OBSERVATIONS = "x-csa-conversation", "x-csa-observations"
"""Headers for agentgateway, whose bodies hold messages alone; the gateway has to set both anew."""

SAY = "Answer with the following text, word for word, and with nothing else:"
STEER = "Instruction by the operator of this service, to be followed in the answer:"
WITHHELD = "(withheld)"
BLOCKED = "This request is not answered."


class Call(NamedTuple):
    """What a gateway asks: `decides` is false for an answer of the model, which passes.

    `messages` are {"role": ..., "content": text}, the oldest first. `conversation` is who is
    answered; nothing where the gateway does not say, and then all who ask draw the same.
    `observations` are the asks and signals that the call carries, None without any.
    """

    decides: bool
    messages: tuple[Message, ...]
    conversation: str
    observations: object | None


@runtime_checkable
class Enforced(Protocol):
    """Of a ruling, what a gateway has to carry out."""

    @property
    def enforced(self) -> str: ...  # noqa: D102
    @property
    def mechanism(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102


class Contract(NamedTuple):
    """`read` (body, headers, identity) and `answer` (body, ruling), for one path.

    Headers have names in lower case. `identity` names what the gateway stamps, the first of them
    that is there being who is answered; what the client chose, such as a session id, is not among
    them, for a new id would draw anew. `read` raises `InputError` for what is not of the contract;
    `answer` takes a body that `read` took, and None where there was nothing to decide.
    """

    read: Callable[[Any, Mapping[str, str], Sequence[str]], Call]
    answer: Callable[[Any, Enforced | None], dict[str, Any]]
    identity: tuple[str, ...] = ()


def read_litellm(body: Any, headers: Mapping[str, str], names: Sequence[str]) -> Call:
    """Return the call in a body of LiteLLM's generic guardrail.

    Texts without messages are prompts, which nobody has answered: one turn, judged together.
    Observations may stand in `additional_provider_specific_params.csa`.
    """
    _expect(body, "", dict)
    kind = body.get("input_type", "request")
    if kind not in ("request", "response"):
        raise InputError(f"input_type: found {kind!r:.40}, expected 'request' or 'response'")
    texts = _expect(body.get("texts") or [], "texts", list)
    for k, text in enumerate(texts):
        _expect(text, f"texts[{k}]", str)
    structured = _expect(body.get("structured_messages") or [], "structured_messages", list)
    stamped = _expect(body.get("request_data") or {}, "request_data", dict)
    params = "additional_provider_specific_params"
    extra = _expect(body.get(params) or {}, params, dict)
    return Call(
        decides=kind == "request",
        messages=_messages(structured, "structured_messages")
        or tuple(plain([{"role": "user", "content": text} for text in texts])),
        conversation=identity(stamped, names),
        observations=_observations(extra.get("csa"), f"{params}.csa"),
    )


def answer_litellm(body: Any, ruling: Enforced | None) -> dict[str, Any]:
    """Return what LiteLLM's generic guardrail takes as our answer."""
    if ruling is None or ruling.mechanism == "pass":
        return {"action": "NONE"}
    texts = list(body.get("texts") or [])
    if texts and ruling.text and ruling.mechanism == "steer":
        # Prompts are each answered; of messages, what follows the last text is.
        first = len(texts) - 1 if body.get("structured_messages") else 0
        texts[first:] = [f"{text}\n\n{STEER} {ruling.text}" for text in texts[first:]]
        return {"action": "GUARDRAIL_INTERVENED", "texts": texts}
    if texts and ruling.text and ruling.mechanism in ("text", "route"):
        # There have to be as many texts as before, or the gateway does not apply them.
        first = _first_of_last(body.get("structured_messages") or [], len(texts))
        texts[first:] = [WITHHELD] * (len(texts) - first)
        texts[-1] = f"{SAY}\n\n{ruling.text}"
        return {"action": "GUARDRAIL_INTERVENED", "texts": texts}
    return {"action": "BLOCKED", "blocked_reason": _said(ruling)}


def read_agentgateway_request(body: Any, headers: Mapping[str, str], names: Sequence[str]) -> Call:
    """Return the call in a body of agentgateway's `/request`; the rest is in headers."""
    given = _expect(_expect(body, "", dict).get("body"), "body", dict)
    messages = _messages(_expect(given.get("messages"), "body.messages", list), "body.messages")
    return Call(
        decides=True,
        messages=messages,
        conversation=headers.get(CONVERSATION, ""),
        observations=_observations(headers.get(OBSERVATIONS), OBSERVATIONS),
    )


def read_agentgateway_response(body: Any, headers: Mapping[str, str], names: Sequence[str]) -> Call:
    """Return the call in a body of agentgateway's `/response`: nothing to decide."""
    _expect(
        _expect(_expect(body, "", dict).get("body"), "body", dict).get("choices"),
        "body.choices",
        list,
    )
    return Call(decides=False, messages=(), conversation="", observations=None)


def answer_agentgateway(body: Any, ruling: Enforced | None) -> dict[str, Any]:
    """Return what agentgateway takes as our answer.

    It tells its three actions apart by their fields alone, so a rejection always has its status.
    """
    if ruling is None:
        return {"action": {}}
    if ruling.mechanism == "pass":
        return {"action": {"reason": ruling.enforced}}
    if ruling.mechanism == "steer" and ruling.text:
        messages = [*body["body"]["messages"], {"role": "system", "content": ruling.text}]
        return {"action": {"body": {"messages": messages}, "reason": ruling.enforced}}
    return {"action": {"body": _said(ruling), "status_code": 403, "reason": ruling.enforced}}


def read_portkey(body: Any, headers: Mapping[str, str], names: Sequence[str]) -> Call:
    """Return the call in a body of Portkey's webhook guardrail.

    Identity and observations stand in its `metadata`, whose values are texts: `csa` is JSON.
    """
    _expect(body, "", dict)
    event = body.get("eventType", "beforeRequestHook")
    if event not in ("beforeRequestHook", "afterRequestHook"):
        raise InputError(
            f"eventType: found {event!r:.40}, expected 'beforeRequestHook' or 'afterRequestHook'"
        )
    metadata = _expect(body.get("metadata") or {}, "metadata", dict)
    request = _expect(body.get("request") or {}, "request", dict)
    given = _expect(request.get("json") or {}, "request.json", dict)
    where = "request.json.messages"
    messages = _messages(_expect(given.get("messages") or [], where, list), where)
    if not messages and isinstance(request.get("text"), str):
        messages = ({"role": "user", "content": request["text"]},)
    return Call(
        decides=event == "beforeRequestHook",
        messages=messages,
        conversation=identity(metadata, names),
        observations=_observations(metadata.get("csa"), "metadata.csa"),
    )


def answer_portkey(body: Any, ruling: Enforced | None) -> dict[str, Any]:
    """Return what Portkey's webhook guardrail takes as our answer."""
    if ruling is None or ruling.mechanism == "pass":
        return {"verdict": True}
    given = (body.get("request") or {}).get("json") or {}
    messages = given.get("messages")
    if not messages or not ruling.text or ruling.mechanism not in ("steer", "text", "route"):
        return {"verdict": False}
    if ruling.mechanism == "steer":
        messages = [*messages, {"role": "system", "content": ruling.text}]
    else:
        said = {"role": "user", "content": f"{SAY}\n\n{ruling.text}"}
        messages = [*messages[: _last_of_user(messages)], said]
    return {
        "verdict": True,
        "transformedData": {"request": {"json": {**given, "messages": messages}}},
    }


CONTRACTS = {
    "/beta/litellm_basic_guardrail_api": Contract(
        read_litellm,
        answer_litellm,
        # Where one key serves many people, and your own service, not they, fills in `user`, the
        # end user should come first.
        LITELLM_IDENTITY,
    ),
    "/request": Contract(read_agentgateway_request, answer_agentgateway),
    "/response": Contract(read_agentgateway_response, answer_agentgateway),
    # Metadata are what the caller of the gateway sends: enforce them by its API keys.
    "/portkey": Contract(read_portkey, answer_portkey, ("csa_conversation", "_user")),
}
"""Every contract by the path that its gateway calls."""


_KINDS = (("an object", dict), ("a list", list), ("a text", str))


def _expect(value: Any, where: str, kind: type) -> Any:
    """Return `value` if it is of that kind of JSON value."""
    if not isinstance(value, kind):
        expected = next(words for words, known in _KINDS if known is kind)
        raise InputError(
            f"{where or 'the body'}: found {type(value).__name__}, expected {expected}"
        )
    return value


def _messages(given: Sequence[Any], where: str) -> tuple[Message, ...]:
    """Return the role and the text of each message, as `plain` has them."""
    for k, message in enumerate(given):
        _expect(message, f"{where}[{k}]", dict)
        _expect(message.get("role"), f"{where}[{k}].role", str)
    return tuple(plain(given))


def _texts(content: Any) -> list[str]:
    """Return the texts in the content of a message: itself, or those of its parts."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return [text for text in texts if isinstance(text, str)]


def _last_of_user(messages: Sequence[Any]) -> int:
    """Return the place of the last message by the user; 0 where there is none."""
    places = [k for k, message in enumerate(messages) if message.get("role") == "user"]
    return places[-1] if places else 0


def _first_of_last(messages: Sequence[Any], count: int) -> int:
    """Return which of `count` texts is the first of the user's last message and what follows it.

    It is 0, so that all are withheld, where the texts are not just those of the messages.
    """
    texts = [len(_texts(message.get("content"))) for message in messages]
    return sum(texts[: _last_of_user(messages)]) if sum(texts) == count else 0


def _observations(found: Any, where: str) -> object | None:
    """Return asks and signals that came as JSON values, or as a text of JSON."""
    if isinstance(found, str):
        try:
            return parse(found.encode("utf-8", "surrogatepass"))
        except ValueError as error:
            raise InputError(f"{where}: not JSON: {error}") from None
    return found


def _said(ruling: Enforced) -> str:
    """Return what somebody reads whose request is not answered by the model."""
    return (
        ruling.text if ruling.mechanism in ("text", "route", "block") and ruling.text else BLOCKED
    )
