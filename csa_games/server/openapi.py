"""What the server says of itself: the description of what comes with a body, by hand.

Bodies are not read by FastAPI, so their schemas stand here; everything else it finds out itself.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from csa_games.guard.decide import REASONS
from csa_games.guard.deployment import MODES

DESCRIPTION = (
    "Decides from a verified table how to respond, and says why. Only names of the scenario come "
    "in by /v1/decide; the paths of gateways take their messages, which a classifier reads."
)

Schema = dict[str, Any]


def describe(inner: FastAPI, *, token: bool) -> None:
    """Make `inner` describe the paths that it does not answer itself."""

    def document() -> Schema:
        if inner.openapi_schema is None:
            found = get_openapi(
                title=inner.title,
                version=inner.version,
                description=inner.description,
                routes=inner.routes,
            )
            found["paths"] |= {path: {"post": about} for path, about in _posts().items()}
            schemas = found.setdefault("components", {}).setdefault("schemas", {})
            schemas |= {"Error": _error(), "Decision": _decision(), "Ruling": _ruling()}
            if token:
                found["components"]["securitySchemes"] = {
                    "token": {"type": "http", "scheme": "bearer"}
                }
                found["security"] = [{"token": []}]
            inner.openapi_schema = found
        return inner.openapi_schema

    inner.openapi = document  # type: ignore[method-assign]


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _body(schema: Schema, example: Any = None) -> Schema:
    content: Schema = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"application/json": content}


ERROR: dict[str, Any] = {"description": "Not now, and why.", "content": _body(_reference("Error"))}

REFUSALS = {
    "400": "No JSON, or not of this schema.",
    "401": "The token is missing or another.",
    "405": "Another method than POST.",
    "408": "The body did not come in.",
    "413": "The body is too large.",
    "415": "The body is not said to be JSON.",
    "503": "Too many requests at once; Retry-After says when to come again.",
}


def _post(summary: str, about: str, tag: str, request: Schema, answer: Schema) -> Schema:
    refusals = {
        status: {"description": words, "content": _body(_reference("Error"))}
        for status, words in REFUSALS.items()
    }
    refusals["503"]["headers"] = {"Retry-After": {"schema": {"type": "string"}}}
    return {
        "summary": summary,
        "description": about,
        "tags": [tag],
        "requestBody": {"required": True, "content": request},
        "responses": {"200": {"description": "The answer.", "content": answer}, **refusals},
    }


TEXT: Schema = {"type": "string"}
NUMBERS: Schema = {"type": "object", "additionalProperties": {"type": "number"}}


def _object(properties: Schema, required: list[str] | None = None, **more: Any) -> Schema:
    needed = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": needed, **more}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _error() -> Schema:
    return _object({"error": _list(TEXT)}, description="What was wrong, in sentences.")


def _decision() -> Schema:
    return _object(
        {
            "action": TEXT,
            "mechanism": TEXT,
            "text": TEXT,
            "reason": {"enum": list(REASONS)},
            "explanation": TEXT,
            "probabilities": NUMBERS,
            "posterior": _nullable(NUMBERS),
            "values": _nullable(NUMBERS),
            "margin": _nullable({"type": "number"}),
            "trust": TEXT,
            "key": _nullable(TEXT),
            "key_used": TEXT,
            "rung": {"type": "integer"},
            "scope": _nullable(TEXT),
            "u": {"type": "number"},
            "keyed": {"type": "boolean"},
            "revision": TEXT,
        },
        description="The verdict: what the policy says, and everything needed to see why.",
    )


def _ruling() -> Schema:
    return _object(
        {
            "decision": _reference("Decision"),
            "enforced": {
                **TEXT,
                "description": "The response to carry out, or pass or block where it is no "
                "response of the policy.",
            },
            "mechanism": {"enum": ["pass", "text", "steer", "route", "block"]},
            "text": TEXT,
            "mode": {"enum": list(MODES)},
            "arm": {"enum": ["stable", "canary"]},
            "id": TEXT,
            "turn": {"type": "integer"},
            "sequence": {"type": "integer"},
            "latency_ns": {"type": "integer"},
        },
        description="What the host is to do, beside the verdict.",
    )


def _turns(responses: bool) -> Schema:
    cell: Schema = {
        "description": "A name of the scenario; what a classifier emitted, with its reader; or "
        "null, where there is none. Anything else is decided by the ladder.",
    }
    names = {"ask": cell, "signal": cell}
    if responses:
        names["response"] = {"description": "What was answered; of the last turn, nothing."}
    return _list(
        {
            "description": "A turn. A list with what is none gets the reason ERROR.",
            "anyOf": [{"type": "object", "properties": names}, {}],
        }
    )


def _posts() -> dict[str, Schema]:
    decide = {
        "conversation": {
            **TEXT,
            "minLength": 1,
            "description": "Who is answered: an identity that the client cannot choose.",
        },
        "mode": {
            **_nullable({"enum": list(MODES)}),
            "description": "Another mode than the server's, for this decision alone.",
        },
    }
    history, observations = _turns(True), _turns(False)
    either = {
        "oneOf": [
            _object({name: turns, **decide}, [name, "conversation"], additionalProperties=False)
            for name, turns in (("history", history), ("observations", observations))
        ]
    }
    message = _object({"role": TEXT, "content": {}}, ["role"])
    return {
        "/v1/decide": _post(
            "Decide the last turn of a conversation",
            "`history` has what was answered in earlier turns; `observations` has not, and what "
            "the policy answered is filled in.",
            "decisions",
            _body(
                either,
                {
                    "history": [
                        {"ask": "plain", "signal": "flag", "response": "clarify"},
                        {"ask": "plain", "signal": "clear"},
                    ],
                    "conversation": "account 17",
                },
            ),
            _body(_reference("Ruling")),
        ),
        "/beta/litellm_basic_guardrail_api": _post(
            "LiteLLM's generic guardrail",
            "Who is answered is what the proxy stamps: by default the first of "
            "user_api_key_hash and user_api_key_user_id.",
            "gateways",
            _body(
                _object(
                    {
                        "input_type": {"enum": ["request", "response"]},
                        "texts": _nullable(_list(TEXT)),
                        "structured_messages": _nullable(_list(message)),
                        "request_data": _nullable({"type": "object"}),
                        "additional_provider_specific_params": _nullable({"type": "object"}),
                    },
                    [],
                ),
                {
                    "input_type": "request",
                    "texts": ["How do I reset my router?"],
                    "structured_messages": [
                        {"role": "user", "content": "How do I reset my router?"}
                    ],
                    "request_data": {"user_api_key_hash": "88dc28d0f030c55ed4ab77ed8faf0981"},
                },
            ),
            _body(
                _object(
                    {
                        "action": {"enum": ["NONE", "BLOCKED", "GUARDRAIL_INTERVENED"]},
                        "blocked_reason": TEXT,
                        "texts": _list(TEXT),
                    },
                    ["action"],
                    additionalProperties=False,
                )
            ),
        ),
        "/request": _post(
            "agentgateway's webhook, before the model",
            "Who is answered is the header x-csa-conversation, which the gateway has to set.",
            "gateways",
            _body(
                _object({"body": _object({"messages": _list(message)})}),
                {"body": {"messages": [{"role": "user", "content": "How do I do this?"}]}},
            ),
            _body(_action()),
        ),
        "/response": _post(
            "agentgateway's webhook, after the model",
            "Answers pass: the policy decides on what is asked.",
            "gateways",
            _body(
                _object({"body": _object({"choices": _list({})})}),
                {"body": {"choices": [{"message": {"role": "assistant", "content": "Like so."}}]}},
            ),
            _body(_action()),
        ),
        "/portkey": _post(
            "Portkey's webhook guardrail",
            "Portkey takes no answer within its timeout for a verdict of true: it fails open. Who "
            "is answered is metadata.csa_conversation, else metadata._user.",
            "gateways",
            _body(
                _object(
                    {
                        "eventType": {"enum": ["beforeRequestHook", "afterRequestHook"]},
                        "request": _nullable(
                            _object(
                                {
                                    "json": _nullable(
                                        _object({"messages": _nullable(_list(message))}, [])
                                    )
                                },
                                [],
                            )
                        ),
                        "metadata": _nullable({"type": "object"}),
                    },
                    [],
                ),
                {
                    "eventType": "beforeRequestHook",
                    "request": {"json": {"messages": [{"role": "user", "content": "How?"}]}},
                    "metadata": {"_user": "u-17"},
                },
            ),
            _body(
                _object(
                    {"verdict": {"type": "boolean"}, "transformedData": {"type": "object"}},
                    ["verdict"],
                    additionalProperties=False,
                )
            ),
        ),
    }


def _action() -> Schema:
    action = _object({"body": {}, "status_code": {"type": "integer"}, "reason": TEXT}, [])
    return _object({"action": action})
