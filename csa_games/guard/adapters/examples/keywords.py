"""A toy classifier, by keywords: enough to see a host at work, and good for nothing else.

A real one is a model whose errors were measured: its rates are the channel of the scenario.
"""

from __future__ import annotations

KEYWORDS = {"attack": "attack", "worried": "worry", "expert": "hard"}
"""The signal of `desk.toml` for each word."""


def classify(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the observation of each message of the user, by the words in it."""
    return [_observe(message["content"]) for message in messages if message["role"] == "user"]


def _observe(text: str) -> dict[str, str]:
    words = text.lower()
    if "story" in words:
        return {"ask": "story", "signal": "doubt"}
    found = [signal for word, signal in KEYWORDS.items() if word in words]
    return {"ask": "plain", "signal": found[0] if found else "clear"}
