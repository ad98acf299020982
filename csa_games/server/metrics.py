"""What Prometheus reads: counters and histograms in its text format, version 0.0.4.

Written by hand, as it is a page of code: the format is lines of `name{label="value"} number`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

DECIDING = (10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 5e-3, 25e-3, 0.1)
ANSWERING = (100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds of the bins, in seconds."""


class Histogram:
    """How many observations there were in each bin, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count `value`."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str) -> Iterator[str]:
        """Yield the histogram in the text format."""
        total = 0
        for bound, count in zip((*map(repr, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            yield sample(f"{name}_bucket", {"le": bound}, total)
        yield sample(f"{name}_sum", {}, self.sum)
        yield sample(f"{name}_count", {}, total)


class Metrics:
    """What the server itself counts; the deployment counts its decisions."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.answering = Histogram(ANSWERING)
        self.deciding = Histogram(DECIDING)
        self.classifying = Histogram(ANSWERING)
        self.unclassified = 0

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count an answered request; `path` is one of finitely many."""
        self.requests[path, status] += 1
        self.answering.observe(seconds)


def sample(name: str, labels: Mapping[str, str], value: float | int) -> str:
    """Return one line of the text format."""
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}"


def family(name: str, kind: str, about: str, lines: Iterator[str] | Sequence[str]) -> list[str]:
    """Return a metric with its `# HELP` and `# TYPE`."""
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *lines]


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
