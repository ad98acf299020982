"""A guardrail of the LiteLLM proxy: each request is decided on before the model is called.

    guardrails:
      - guardrail_name: csa
        litellm_params:
          guardrail: csa_games.guard.adapters.litellm.CSAGuard
          mode: pre_call
          default_on: true
          csa:
            bundle: bundles/current
            classifier: my_classifier:classify
            secret_file: secret.key
            mode: shadow

Under `csa` stand the settings of `csa_games.guard.adapters.service`, and

    place      where a steer goes: into the system message at the start (first, the default), into
               one of its own at the end (last), which some backends refuse, or into the user's
    routes     the model that each response routes to, by the response's name
    instead    what the user is told where the model can be neither steered nor routed
    identity   what the proxy stamps on requests and draws stick to, the first of them that is
               there; the default is the hash of the key, else its owner

LiteLLM skips a guardrail whose settings are wrong and starts without it, if told so by a
`ValueError`; this one raises `RefusedError`, which stops the proxy.

Nothing but the last step needs LiteLLM, and it is imported with `CSAGuard`, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from csa_games.errors import InputError
from csa_games.guard.adapters.conversation import (
    BLOCK,
    INSTEAD,
    LITELLM_IDENTITY,
    PASS,
    PLACES,
    ROUTE,
    STEER,
    TEXT,
    act,
    identity,
    note,
    steered,
)
from csa_games.guard.adapters.service import service

STAMP = "user_api_key_"
"""How names begin that the proxy alone can stamp: it drops them from what clients send."""

OWN = {
    "place": "first",
    "routes": {},
    "instead": INSTEAD,
    "identity": list(LITELLM_IDENTITY),
}
"""The settings of this host, and what they are unless set."""


class RefusedError(RuntimeError):
    """Settings that the proxy must not start with."""


class Hook:
    """What the guardrail does, apart from its host; raises `RefusedError` for wrong settings."""

    def __init__(self, settings: object, event_hook: object) -> None:
        try:
            _check_mode(event_hook)
            if not isinstance(settings, Mapping):
                raise InputError(f"csa: found {type(settings).__name__}, expected settings by name")
            own = {**OWN, **{name: settings[name] for name in OWN if name in settings}}
            _check(own)
            self._place, self._routes, self._instead, self._identity = own.values()
            self._service = service({k: v for k, v in settings.items() if k not in OWN})
        except InputError as error:
            raise RefusedError(str(error)) from None
        except Exception as error:  # a value of another type, say, that something stumbled over
            raise RefusedError(f"csa: {type(error).__name__}: {error}") from error

    async def apply(self, guardrail: Any, inputs: Any, request: Any, input_type: str) -> Any:
        """Carry out the ruling on `request`: return `inputs`, or raise what `guardrail` raises."""
        if input_type != "request":
            return inputs
        # In a thread: a classifier may take long, and the proxy has one loop for all requests.
        ruling = await asyncio.to_thread(
            self._service.rule, _messages(inputs), identity(_stamps(request), self._identity)
        )
        able = [PASS, TEXT, STEER, *([ROUTE] if ruling.enforced in self._routes else [])]
        done = act(ruling, able, self._instead)
        if done.mechanism == ROUTE:
            with suppress(ValueError):  # LiteLLM does not route what names no conversation
                guardrail.raise_sensitive_data_route_exception(
                    route_to_model=self._routes[done.response],
                    request_data=request,
                    detection_info=note(ruling, done),
                )
            done = act(ruling, [PASS, TEXT], self._instead)
        if done.mechanism == TEXT:
            guardrail.raise_passthrough_exception(
                violation_message=done.text,
                request_data=request,
                detection_info=note(ruling, done),
            )
        if done.mechanism == BLOCK:
            raise import_module("fastapi").HTTPException(
                status_code=400,
                detail={"error": done.text or self._instead, "id": ruling.id},
            )
        if done.mechanism == STEER:
            return _told(inputs, request, done.text, self._place)
        return inputs


def guardrail_class(base: type) -> type:
    """Return `CSAGuard` over `base`, which is LiteLLM's `CustomGuardrail`."""

    class CSAGuard(base):  # type: ignore[misc]
        """The guardrail that LiteLLM makes of an entry of its configuration."""

        def __init__(self, csa: Any = None, event_hook: Any = None, **options: Any) -> None:
            self._hook = Hook(csa, event_hook)
            # The table decides at every turn anew where to route.
            options["sticky_session_routing"] = False
            super().__init__(event_hook=event_hook, **options)

        async def apply_guardrail(
            self, inputs: Any, request_data: Any, input_type: str, logging_obj: Any = None
        ) -> Any:
            """Return `inputs` if the model is to be called, and raise otherwise."""
            return await self._hook.apply(self, inputs, request_data, input_type)

    return CSAGuard


def __getattr__(name: str) -> Any:
    if name != "CSAGuard":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    host = import_module("litellm.integrations.custom_guardrail")
    made = globals()[name] = guardrail_class(host.CustomGuardrail)
    return made


def _check_mode(event_hook: object) -> None:
    """Raise unless the proxy asks before the model is called, and at no other time."""
    hooks = event_hook if isinstance(event_hook, list) else [event_hook]
    named = [getattr(hook, "value", hook) for hook in hooks]
    if named != ["pre_call"]:
        raise InputError(
            f"mode: found {named}, expected pre_call: the policy decides before the model is "
            "called. To decide and let everything pass, set csa.mode to shadow"
        )


def _check(own: Mapping[str, Any]) -> None:
    """Raise for settings of this host that are none."""
    if own["place"] not in list(PLACES):
        raise InputError(f"csa.place: found {own['place']!r}, expected one of {', '.join(PLACES)}")
    routes, names = own["routes"], own["identity"]
    if not (isinstance(routes, Mapping) and all(isinstance(to, str) for to in routes.values())):
        raise InputError(f"csa.routes: found {routes!r}, expected models by response")
    if not (isinstance(own["instead"], str) and own["instead"]):
        raise InputError(f"csa.instead: found {own['instead']!r}, expected a text")
    if not (
        isinstance(names, list) and names and all(str(name).startswith(STAMP) for name in names)
    ):
        raise InputError(
            f"csa.identity: found {names!r}, expected names that begin with {STAMP}: what clients "
            "send under other names is theirs to choose"
        )


def _messages(inputs: Mapping[str, Any]) -> Any:
    """Return the messages of a request; of one that has texts only, which are prompts, just one."""
    prompts = "\n\n".join(inputs.get("texts") or [])
    return inputs.get("structured_messages") or [{"role": "user", "content": prompts}]


def _told(
    inputs: Mapping[str, Any], request: Mapping[str, Any], text: str, place: str
) -> dict[str, Any]:
    """Return `inputs` with `text` for the model, which LiteLLM writes into the request.

    What is written into the request here instead would be lost again for the Responses API. A
    system message at the end would be lost for Anthropic's; what reaches us are the messages of
    the request themselves for chat completions only, and only those keep one.
    """
    told, sent = inputs.get("structured_messages"), request.get("messages")
    if not told:
        return {**inputs, "texts": [f"{part}\n\n{text}" for part in inputs.get("texts") or ()]}
    if place == "last" and not (isinstance(sent, list) and sent and told[-1] is sent[-1]):
        place = "first"
    return {**inputs, "structured_messages": steered(told, text, place)}


def _stamps(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the proxy stamped on a request; by its route it is in one of two places."""
    found: dict[str, Any] = {}
    for place in ("litellm_metadata", "metadata"):
        stamped = request.get(place)
        if isinstance(stamped, Mapping):
            found.update({name: value for name, value in stamped.items() if value is not None})
    return found
