"""The application: what is answered under which path."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from csa_games.errors import InputError
from csa_games.guard import Guard
from csa_games.guard.adapters.conversation import Classifier, checked, missing
from csa_games.guard.adapters.webhooks import CONTRACTS, Call, Contract
from csa_games.guard.deployment import MODES, Deployment
from csa_games.server import openapi
from csa_games.server.gate import ASGI, Answer, Endpoint, Gate, Headers, Limits, encoded
from csa_games.server.metrics import CONTENT_TYPE, Metrics, family, sample

LOG = logging.getLogger("csa_games.server")


def app(
    deployment: Deployment,
    *,
    classify: Classifier | None = None,
    accept_observations: bool = False,
    identity: Sequence[str] = (),
    limits: Limits | None = None,
    token: str | None = None,
    playground: bool = False,
) -> Gate:
    """Return the server of `deployment`, an ASGI application.

    `classify` makes observations of the messages that gateways send; it may be a coroutine
    function; others run in threads, several at a time. `accept_observations` takes them from the
    gateway's request where it carries them, which is only safe where no client can write there.
    `identity` replaces what each contract takes for who is answered. `token` has to come with every
    request but those for health; `playground` serves a page to try the policy with, which needs no
    token and so excludes one.
    """
    if playground and token is not None:
        raise InputError("playground: found a token as well; its page could not show one")
    limits, metrics = limits or Limits(), Metrics()
    endpoints: dict[str, Endpoint] = {"/v1/decide": _decide(deployment, metrics)}
    for path, contract in CONTRACTS.items():
        endpoints[path] = _webhook(
            deployment,
            contract._replace(identity=tuple(identity) or contract.identity),
            _observer(classify, accept_observations, limits.seconds, metrics),
            metrics,
        )
    if playground:
        endpoints["/playground/decide"] = _play(deployment)
    inner = FastAPI(
        title="csa-games guard",
        version="1",
        description=openapi.DESCRIPTION,
        # The usual pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    gate = Gate(endpoints, cast(ASGI, inner), metrics, limits, token)
    _pages(inner, gate, deployment, playground)
    openapi.describe(inner, token=token is not None)
    return gate


# What comes with a body.


def _decide(deployment: Deployment, metrics: Metrics) -> Endpoint:
    async def decide(given: Any, headers: Headers) -> Answer:
        if not isinstance(given, dict):
            raise InputError(f"the body: found {type(given).__name__}, expected an object")
        unknown = sorted(given.keys() - {"history", "observations", "conversation", "mode"})
        if unknown:
            raise InputError(
                f"the body: found {unknown[0]!r:.40}, expected history or observations, "
                "conversation, mode"
            )
        if ("history" in given) == ("observations" in given):
            raise InputError("the body: expected history or observations, one of them")
        conversation, mode = given.get("conversation"), given.get("mode")
        if not isinstance(conversation, str) or not conversation:
            raise InputError("conversation: expected a text, of one character or more")
        if mode is not None and (not isinstance(mode, str) or mode not in MODES):
            raise InputError(f"mode: expected one of {', '.join(MODES)}")
        what = "history" if "history" in given else "observations"
        if not isinstance(given[what], list):
            raise InputError(f"{what}: found {type(given[what]).__name__}, expected a list")
        rule = deployment.decide if what == "history" else deployment.follow
        ruling = rule(given[what], conversation, mode)
        metrics.deciding.observe(ruling.latency_ns / 1e9)
        return Answer(200, encoded(ruling.as_dict()))

    return decide


Observe = Callable[[Call], Awaitable[object]]


def _observer(
    classify: Classifier | None, accept: bool, seconds: float, metrics: Metrics
) -> Observe:
    """Return how asks and signals of a call are found.

    They are missing where the classifier fails, is late, or has not one for each message of the
    user: the guard then goes down its ladder, and says so.
    """

    async def observe(call: Call) -> object:
        if accept and call.observations is not None:
            return call.observations
        given = list(call.messages)
        if classify is None:
            return missing(given)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(seconds):
                if inspect.iscoroutinefunction(classify):
                    return checked(await classify(given), call.messages)
                # Checked in the thread, too: what it returns may be a generator.
                return await asyncio.to_thread(lambda: checked(classify(given), call.messages))
        except Exception as error:  # it is somebody else's, and the call must get an answer
            LOG.error("the classifier raised %s", type(error).__name__)
            metrics.unclassified += 1
            return missing(call.messages)
        finally:
            metrics.classifying.observe(time.perf_counter() - began)

    return observe


def _webhook(
    deployment: Deployment, contract: Contract, observe: Observe, metrics: Metrics
) -> Endpoint:
    async def webhook(given: Any, headers: Headers) -> Answer:
        spelled = {name.decode("latin-1"): text.decode("latin-1") for name, text in headers.items()}
        call = contract.read(given, spelled, contract.identity)
        if not call.decides:
            return Answer(200, encoded(contract.answer(given, None)))
        ruling = deployment.follow(await observe(call), call.conversation)
        metrics.deciding.observe(ruling.latency_ns / 1e9)
        return Answer(200, encoded(contract.answer(given, ruling)))

    return webhook


def _play(deployment: Deployment) -> Endpoint:
    """Return decisions for the page: they are not counted, logged or split."""

    async def play(given: Any, headers: Headers) -> Answer:
        guard = deployment.guard
        if not isinstance(given, dict):
            raise InputError(f"the body: found {type(given).__name__}, expected an object")
        if guard is None:
            raise InputError("there is no bundle to try")
        decision = guard.decide(given.get("history"), given.get("conversation"))
        return Answer(200, encoded(decision.as_dict()))

    return play


# What comes without one.


class Health(BaseModel):
    """The process runs."""

    status: str = "ok"


class Ready(BaseModel):
    """Whether requests should be sent here, and if not, why."""

    ready: bool
    revision: str | None
    sequence: int
    why: str | None


class Name(BaseModel):
    """An ask or a response; whether it ends the conversation."""

    name: str
    ends: bool


class Response(Name):
    """How a host carries a response out."""

    mechanism: str
    text: str


class Arm(BaseModel):
    """A bundle in service."""

    arm: str
    revision: str
    sequence: int
    not_after: str | None


class Bundle(BaseModel):
    """What the manifest of the bundle in service says about deciding."""

    name: str
    method: str
    revision: str
    sequence: int
    not_after: str | None
    mode: str
    keyed: bool
    turns: int
    intents: list[str]
    asks: list[Name]
    signals: list[str]
    responses: list[Response]
    arms: list[Arm]
    fault: str | None


def _pages(inner: FastAPI, gate: Gate, deployment: Deployment, playground: bool) -> None:
    """Add what is read from the server."""

    async def wrong(request: Request, error: HTTPException) -> JSONResponse:
        sentences = [f"{request.url.path}: {error.detail}"]
        return JSONResponse({"error": sentences}, error.status_code, error.headers)

    inner.add_exception_handler(HTTPException, cast(Any, wrong))

    @inner.get("/healthz", tags=["operations"])
    async def healthz() -> Health:
        """Say that the process runs."""
        return Health()

    @inner.get("/readyz", tags=["operations"], responses={503: {"model": Ready}})
    async def readyz() -> JSONResponse:
        """Say whether requests should be sent here."""
        guard, why = deployment.guard, None
        if guard is None:
            why = f"no bundle is in service. {deployment.last.fault or ''}".strip()
        if gate.draining:
            why = "the process is about to end"
        ready = Ready(
            ready=why is None,
            revision=guard.revision if guard else None,
            sequence=guard.terms.sequence if guard else 0,
            why=why,
        )
        return JSONResponse(ready.model_dump(), 200 if why is None else 503)

    @inner.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Return counters and histograms in Prometheus's text format."""
        return PlainTextResponse(exposition(deployment, gate), media_type=CONTENT_TYPE)

    @inner.get("/v1/bundle", tags=["decisions"], responses={503: openapi.ERROR})
    async def bundle() -> Bundle:
        """Return what is in service."""
        guard = deployment.guard
        if guard is None:
            raise HTTPException(503, "no bundle is in service")
        return _bundle(deployment, guard)

    if playground:
        page = (files("csa_games.server") / "playground.html").read_text(encoding="utf-8")
        headers = {"content-security-policy": policy_of(page), "cache-control": "no-store"}

        @inner.get("/", include_in_schema=False)
        async def index() -> HTMLResponse:
            return HTMLResponse(page, headers=headers)


def policy_of(page: str) -> str:
    """Return a policy that lets a browser run the page's very script and style, and ask us."""

    def digest(tag: str) -> str:
        inside = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        return f"'sha256-{b64encode(sha256(inside.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {digest('script')}; style-src {digest('style')}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    )


def _bundle(deployment: Deployment, guard: Guard) -> Bundle:
    terms = guard.terms
    return Bundle(
        name=terms.name,
        method=terms.method,
        revision=guard.revision,
        sequence=terms.sequence,
        not_after=terms.not_after,
        mode=deployment.mode,
        keyed=guard.secret is not None,
        turns=terms.turns,
        intents=list(terms.intents),
        asks=[Name(name=name, ends=name in terms.ending_asks) for name in terms.asks],
        signals=list(terms.signals),
        responses=[
            Response(
                name=name,
                ends=name in terms.ending_responses,
                mechanism=guard.responses[name]["mechanism"],
                text=guard.responses[name]["text"],
            )
            for name in terms.responses
        ],
        arms=[
            Arm(
                arm=arm,
                revision=each.revision,
                sequence=each.terms.sequence,
                not_after=each.terms.not_after,
            )
            for arm, each in _arms(deployment)
        ],
        fault=deployment.last.fault,
    )


def _arms(deployment: Deployment) -> list[tuple[str, Guard]]:
    arms = (("stable", deployment.guard), ("canary", deployment.canary))
    return [(arm, guard) for arm, guard in arms if guard is not None]


def exposition(deployment: Deployment, gate: Gate) -> str:
    """Return everything that is counted, in Prometheus's text format."""
    counters, metrics = deployment.counters, gate.metrics
    labels = ("action", "reason", "revision", "arm")
    decisions = [
        sample("csa_decisions_total", dict(zip(labels, kind, strict=True)), count)
        for kind, count in sorted(counters.decisions.items())
    ]
    requests = [
        sample("csa_http_requests_total", {"path": path, "status": str(status)}, count)
        for (path, status), count in sorted(metrics.requests.items())
    ]
    bundles = [
        sample(
            "csa_bundle_info",
            {
                "arm": arm,
                "name": guard.terms.name,
                "revision": guard.revision,
                "sequence": str(guard.terms.sequence),
                "mode": deployment.mode,
            },
            1,
        )
        for arm, guard in _arms(deployment)
    ]

    def single(name: str, kind: str, about: str, value: float | int) -> list[str]:
        return family(name, kind, about, [sample(name, {}, value)])

    def histogram(name: str, about: str, what: Any) -> list[str]:
        return family(name, "histogram", about, what.lines(name))

    lines = [
        *family("csa_decisions_total", "counter", "Decisions, by what the policy says.", decisions),
        *histogram("csa_decide_seconds", "Time that deciding took.", metrics.deciding),
        *histogram("csa_classify_seconds", "Time that the classifier took.", metrics.classifying),
        *histogram("csa_http_seconds", "From the headers to the answer.", metrics.answering),
        *family("csa_http_requests_total", "counter", "Requests, by answer.", requests),
        *family("csa_bundle_info", "gauge", "Bundles in service.", bundles),
        *single(
            "csa_activations_total",
            "counter",
            "Bundles that went into service.",
            counters.activations,
        ),
        *single(
            "csa_reload_failures_total", "counter", "Bundles that were refused.", counters.failures
        ),
        *single(
            "csa_unlogged_total",
            "counter",
            "Decisions that the audit log failed to record.",
            counters.unlogged,
        ),
        *single(
            "csa_classifier_failures_total",
            "counter",
            "Calls that the classifier failed at.",
            metrics.unclassified,
        ),
        *single(
            "csa_requests_in_flight", "gauge", "Requests that are being answered.", gate.in_flight
        ),
        *single("csa_draining", "gauge", "Whether the process is about to end.", +gate.draining),
    ]
    return "\n".join(lines) + "\n"
