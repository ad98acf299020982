"""A fake model behind an OpenAI-compatible interface: it answers with what it was sent.

Standard library only, for localhost: it stands in for a model where only the way to it is tried.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

MOST_BYTES = 1 << 20


def answer(request: dict[str, Any]) -> str:
    """Return what the fake model says: its name, and a line for each message that it was sent."""
    given = next(request[name] for name in ("messages", "input", "prompt") if name in request)
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if request.get("instructions"):
        messages = [{"role": "system", "content": request["instructions"]}, *messages]
    lines = [f"{message.get('role')}: {_text(message.get('content'))}" for message in messages]
    return "\n".join([f"This is {request['model']}. It was sent:", *lines])


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", part.get("type"))) for part in content)
    return str(content)


def completion(request: dict[str, Any]) -> dict[str, Any]:
    """Return a completion as the interface has it."""
    message = {"role": "assistant", "content": answer(request)}
    return {
        "id": "fake",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def response(request: dict[str, Any]) -> dict[str, Any]:
    """Return a response, the newer form of a completion."""
    text = {"type": "output_text", "text": answer(request), "annotations": []}
    message = {"type": "message", "id": "fake", "role": "assistant", "status": "completed"}
    return {
        "id": "fake",
        "object": "response",
        "created_at": 0,
        "model": request["model"],
        "status": "completed",
        "output": [{**message, "content": [text]}],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    }


def text_completion(request: dict[str, Any]) -> dict[str, Any]:
    """Return a completion of a prompt, the older form."""
    choice = {"index": 0, "text": answer(request), "finish_reason": "stop", "logprobs": None}
    return {**completion(request), "object": "text_completion", "choices": [choice]}


ANSWERS = {
    "/v1/chat/completions": completion,
    "/v1/completions": text_completion,
    "/v1/responses": response,
}


def chunks(request: dict[str, Any]) -> Iterator[bytes]:
    """Yield the events of a stream of that completion, a line of the answer each."""
    deltas = [{"role": "assistant", "content": ""}]
    deltas += [{"content": line} for line in answer(request).splitlines(keepends=True)]
    for k in range(len(deltas) + 1):
        done = k == len(deltas)
        choice = {
            "index": 0,
            "delta": {} if done else deltas[k],
            "finish_reason": "stop" if done else None,
        }
        event = {
            "id": "fake",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": request["model"],
            "choices": [choice],
        }
        yield b"data: " + json.dumps(event).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


class Handler(BaseHTTPRequestHandler):
    """Answers the paths of `ANSWERS`, and nothing else."""

    def do_POST(self) -> None:
        """Answer a request for a completion."""
        length = int(self.headers.get("Content-Length", 0))
        if self.path not in ANSWERS or length > MOST_BYTES:
            self.send_error(404)
            return
        request = json.loads(self.rfile.read(length))
        streams = bool(request.get("stream"))
        whole = json.dumps(ANSWERS[self.path](request)).encode()
        body = b"".join(chunks(request)) if streams else whole
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if streams else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: whoever started this shows what there is to see."""


@contextmanager
def serving(port: int = 0) -> Iterator[str]:
    """Serve in a thread until the end of the block; yield the address to call it at."""
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()
