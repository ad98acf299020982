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

    place      where a steer goes: last (the default), first or user; some backends take no
               system message but the first
    routes     the model that each response routes to, by the response's name
    instead    what the user is told where the model can be neither steered nor routed
    identity   what the proxy stamps on requests and draws stick to, the first of them that is
               there; the default is the hash of the key

LiteLLM skips a guardrail whose settings are wrong and starts without it, if told so by a
`ValueError`; this one raises `RefusedError`, which stops the proxy.

Nothing but the last step needs LiteLLM, and it is imported with `CSAGuard`, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from csa_games.errors import InputError
from csa_games.guard.adapters.conversation import (
    BLOCK,
    INSTEAD,
    PASS,
    PLACES,
    ROUTE,
    STEER,
    TEXT,
    Act,
    act,
    identity,
    note,
    steered,
)
from csa_games.guard.adapters.service import service

STAMPED = ("user_api_key_hash",)
"""Who is answered, unless `identity` says otherwise: whoever holds the key."""

OWN = ("place", "routes", "instead", "identity")


class RefusedError(RuntimeError):
    """Settings that the proxy must not start with."""


class Hook:
    """What the guardrail does, apart from its host."""

    def __init__(self, settings: object, event_hook: object) -> None:
        try:
            _check_mode(event_hook)
            if not isinstance(settings, Mapping):
                raise InputError(f"csa: found {type(settings).__name__}, expected settings by name")
            self._service = service({k: v for k, v in settings.items() if k not in OWN})
            self._place = settings.get("place", "last")
            if self._place not in PLACES:
                raise InputError(
                    f"csa.place: found {self._place!r}, expected one of {', '.join(PLACES)}"
                )
            self._routes = _texts("routes", settings.get("routes", {}), Mapping)
            self._instead = settings.get("instead", INSTEAD)
            self._identity = _texts("identity", settings.get("identity", STAMPED), Sequence)
        except InputError as error:
            raise RefusedError(str(error)) from None

    async def apply(self, guardrail: Any, inputs: Any, request: Any, kind: str) -> Any:
        """Carry out the ruling on `request`: return `inputs`, or raise what `guardrail` raises."""
        if kind != "request":
            return inputs
        ruling = await asyncio.to_thread(
            self._service.rule, _messages(inputs), identity(_stamps(request), self._identity)
        )
        able = [PASS, TEXT, STEER]
        if ruling.enforced in self._routes and guardrail._get_session_id_from_request_data(request):
            able.append(ROUTE)
        done = act(ruling, able, self._instead)
        if done.mechanism == STEER and not self._steer(guardrail, request, done.text):
            done = act(ruling, [PASS, TEXT], self._instead)
        if done.mechanism == TEXT:
            guardrail.raise_passthrough_exception(
                violation_message=done.text, request_data=request, detection_info=note(ruling, done)
            )
        if done.mechanism == ROUTE:
            guardrail.raise_sensitive_data_route_exception(
                route_to_model=self._routes[done.response],
                request_data=request,
                detection_info=note(ruling, done),
            )
        if done.mechanism == BLOCK:
            raise _blocked(done, self._instead)
        return inputs

    def _steer(self, guardrail: Any, request: Any, text: str) -> bool:
        """Put `text` into the request, and return whether the model will see it."""
        messages = request.get("messages")
        if self._place == "last" or request.get("input") is not None or not messages:
            return bool(guardrail.inject_advisory_message(request, text))
        request["messages"] = steered(messages, text, self._place)
        return True
