"""The gate: every request comes through here, and those with a body are answered here.

A decision takes microseconds, so what surrounds it counts: bodies are read, limited and answered by
plain ASGI, and only what has no body goes on to FastAPI.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from csa_games.errors import InputError
from csa_games.server.metrics import Metrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Mapping[bytes, bytes]

LOG = logging.getLogger("csa_games.server")
JSON = b"application/json"
OPEN = frozenset(("/healthz", "/readyz"))
"""Paths for whoever watches over the process; they tell nothing and need no token."""


@dataclass(frozen=True)
class Limits:
    """What a client may ask of the server.

    `body` is in bytes, of a request's body. `concurrent` is how many requests with a body may be in
    flight; further ones are told to come again. `seconds` is how long a body may take to come in,
    and how long the classifier may take for it.
    """

    body: int = 256 * 1024
    concurrent: int = 1024
    seconds: float = 2.0


class Answer(NamedTuple):
    """A status and a body of JSON."""

    status: int
    body: bytes


Endpoint = Callable[[Any, Headers], Awaitable[Answer]]
"""From a parsed body and the headers to an answer; `InputError` becomes a 400."""


class RefusedError(Exception):
    """A request that is not let in: its status, a sentence, and headers of the answer."""

    def __init__(self, status: int, why: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(why)
        self.status, self.why, self.headers = status, why, headers


CLOSE = (b"connection", b"close")
OTHER = "other"  # the path of what is not found: clients must not make up metrics


class Gate:
    """The application: `endpoints` by path for requests with a body, `inner` for all others.

    `draining` is set when the process is about to end: readiness fails, requests are still
    answered, and clients are told to leave. `in_flight` is how many requests with a body there are.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        inner: ASGI,
        metrics: Metrics,
        limits: Limits,
        token: str | None,
    ) -> None:
        self.endpoints = endpoints
        self.inner = inner
        self.metrics = metrics
        self.limits = limits
        self.draining = False
        self.in_flight = 0
        self._bearer = None if token is None else b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self.inner(scope, receive, send)
        path = scope["path"]
        endpoint = self.endpoints.get(path)
        began = time.perf_counter()
        headers = dict(scope["headers"])
        extra: tuple[tuple[bytes, bytes], ...] = (CLOSE,) if self.draining else ()
        try:
            self._let_in(path, headers)
            if endpoint is None:
                return await self._pass_on(scope, receive, send, extra)
            if scope["method"] != "POST":
                raise RefusedError(405, f"{path} takes POST", (b"allow", b"POST"))
            answer = await self._exchange(endpoint, scope, headers, receive)
        except RefusedError as refused:
            answer = Answer(refused.status, errors(refused.why))
            extra += refused.headers
        except _GoneError:
            return None
        known = path if endpoint else OTHER
        self.metrics.request(known, answer.status, time.perf_counter() - began)
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [
                    (b"content-type", JSON),
                    (b"content-length", b"%d" % len(answer.body)),
                    *extra,
                ],
            }
        )
        await send({"type": "http.response.body", "body": answer.body})

    def _let_in(self, path: str, headers: Headers) -> None:
        if self._bearer is None or path in OPEN:
            return
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._bearer):
            raise RefusedError(
                401,
                "expected the header Authorization: Bearer, with the server's token",
                (b"www-authenticate", b"Bearer"),
            )

    async def _exchange(
        self, endpoint: Endpoint, scope: Scope, headers: Headers, receive: Receive
    ) -> Answer:
        """Return the answer of `endpoint` to the body of a request."""
        if self.in_flight >= self.limits.concurrent:
            raise RefusedError(
                503,
                f"{self.in_flight} requests are being answered; come again",
                (b"retry-after", b"1"),
                CLOSE,
            )
        self.in_flight += 1
        try:
            kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
            if kind != JSON:  # also keeps pages of other sites from sending anything unasked
                raise RefusedError(415, "expected the header Content-Type: application/json", CLOSE)
            _only_once(scope["headers"])
            return await endpoint(parsed(await self._body(headers, receive)), headers)
        except InputError as error:
            return Answer(400, errors(*error.faults))
        except (RefusedError, _GoneError):
            raise
        except Exception as error:
            # The message may hold what somebody wrote, which is nobody's business here.
            LOG.error("%s raised %s", scope["path"], type(error).__name__)
            return Answer(500, errors("something went wrong in the server"))
        finally:
            self.in_flight -= 1

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        most = self.limits.body
        said = headers.get(b"content-length", b"0")
        if said.isdigit() and int(said[:20]) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(self.limits.seconds):
                message = await receive()
                body: bytes = message.get("body", b"")
                while message.get("more_body") and len(body) <= most:
                    message = await receive()
                    body += message.get("body", b"")
        except TimeoutError:
            raise RefusedError(
                408, f"the body did not come in within {self.limits.seconds:g} s", CLOSE
            ) from None
        if message["type"] == "http.disconnect":
            raise _GoneError
        if len(body) > most:
            raise _too_large(most)
        return body

    async def _pass_on(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        extra: tuple[tuple[bytes, bytes], ...],
    ) -> None:
        """Let FastAPI answer, and count it."""
        began = time.perf_counter()

        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                known = scope.get("route") is not None
                path = scope["path"] if known else OTHER
                self.metrics.request(path, message["status"], time.perf_counter() - began)
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        await self.inner(scope, receive, counted)


class _GoneError(Exception):
    """The client went away before its request was here."""


def _too_large(most: int) -> RefusedError:
    return RefusedError(413, f"the body is larger than {most} bytes", CLOSE)


def _only_once(headers: list[tuple[bytes, bytes]]) -> None:
    """Refuse a header of ours that comes twice: one of them may be the client's own."""
    ours = [name for name, _ in headers if name.startswith(b"x-csa-")]
    if len(set(ours)) < len(ours):
        raise RefusedError(400, "a header x-csa-... came twice, expected it once", CLOSE)


def _refuse(number: str) -> Any:
    raise ValueError(f"{number} is no number")


_DECODE = json.JSONDecoder(parse_constant=_refuse).decode
_ENCODE = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def parsed(body: bytes) -> Any:
    """Return the JSON value in `body`; `InputError` also for NaN, infinities and deep nesting."""
    try:
        return _DECODE(body.decode("utf-8"))
    except RecursionError:
        raise InputError("the body: not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"the body: not JSON: {error}") from None


def encoded(value: Any) -> bytes:
    """Return `value` as JSON, in ASCII."""
    return _ENCODE(value).encode("ascii")


def errors(*sentences: str) -> bytes:
    """Return the body of an answer that says what is wrong."""
    return encoded({"error": sentences})
