"""The server as a process: it listens, changes bundles while it answers, and ends in order."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from csa_games.errors import InputError
from csa_games.guard.deployment import Deployment
from csa_games.server.gate import Gate

HEAD = 64 * 1024  # bytes of a request's line and headers
FINISH = 10  # seconds for what is in flight when the server stops listening
IDLE = 75  # seconds that a connection may wait for its next request: gateways keep theirs


class _Protocol(HttpToolsProtocol):
    """HTTP whose headers have an end."""

    _head = 0

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
        if self._head > HEAD and not self.transport.is_closing():
            self.send_400_response("The headers are too large.")

    def on_headers_complete(self) -> None:
        self._head = -HEAD  # what follows in the same piece of data is its body
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head = -HEAD
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head = 0
        super().on_message_complete()


class _Server(uvicorn.Server):
    """A server whose signals are handled below: uvicorn would end by the signal, not by 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(
    gate: Gate,
    deployment: Deployment | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    drain: float = 5.0,
    watch: float | None = None,
    started: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve `gate` until the process is told to end; `started` is called with the URL.

    SIGTERM drains: for `drain` seconds readiness fails while requests are still answered, each with
    `Connection: close`, so that whoever balances load can turn away; then the server stops
    listening and finishes what is in flight. A second one, or SIGINT, ends the waiting. `watch` is
    how often, in seconds, the bundles of `deployment` are looked at; SIGHUP reads them at once.
    `port` 0 is a free one. Raises `InputError` where nobody can listen there.
    """
    config = uvicorn.Config(
        cast(Any, gate),
        host=host,
        port=port,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=FINISH,
    )
    server = _Server(config)
    watching = deployment.watch(watch) if deployment and watch else nullcontext()
    with watching, asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        if not runner.run(_serve(server, gate, deployment, drain, started)):
            raise InputError(f"{host}:{port}: cannot listen there; is the port taken?")


async def _serve(
    server: _Server,
    gate: Gate,
    deployment: Deployment | None,
    drain: float,
    started: Callable[[str], None],
) -> bool:
    """Serve to the end, and return whether there was anything to listen on."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True

    def end() -> None:
        if gate.draining or drain <= 0:
            stop()
        else:
            gate.draining = True
            loop.call_later(drain, stop)

    def reload() -> None:
        if deployment is not None:
            loop.run_in_executor(None, deployment.reload)

    actions = {"SIGTERM": end, "SIGINT": stop, "SIGHUP": reload}
    handlers = {}
    for name, act in actions.items():
        if hasattr(signal, name):  # not every system has SIGHUP

            def handle(_: int, __: FrameType | None, act: Callable[[], None] = act) -> None:
                loop.call_soon_threadsafe(act)

            number = getattr(signal, name)
            handlers[number] = signal.signal(number, handle)
    try:
        serving = asyncio.create_task(_listen(server))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            gc.freeze()  # what is here stays: looking for garbage in it would make requests wait
            started(_url(server))
        return await serving
    finally:
        gc.unfreeze()
        for number, handler in handlers.items():
            signal.signal(number, handler)


async def _listen(server: _Server) -> bool:
    try:
        await server.serve()
    except SystemExit:  # how uvicorn says that it cannot, having logged why
        return False
    return True


def _url(server: _Server) -> str:
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
