"""What the engine was asked to reach, and whether a run reached it: pure functions of its results.

A ratio is the peer's median time per iteration over ours, in the same run. The least of the peer's
windows over our median is given beside it: what the ratio is when chance favours the peer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Any]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A requirement and what was measured; `met` is None where nothing was."""

    what: str
    required: str
    measured: str
    met: bool | None
    remark: str = ""


# What is required, and of which peers' rows the fastest counts.
RATIOS = (
    ("leduc", "OpenSpiel C++", ("openspiel",), 300.0),
    ("liars_dice_6", "OpenSpiel C++", ("openspiel",), 60.0),
    ("battleship_small", "OpenSpiel C++", ("openspiel",), 60.0),
    ("leduc", "LiteEFG", ("liteefg", "liteefg-2-threads"), 30.0),
    ("liars_dice_6", "LiteEFG", ("liteefg", "liteefg-2-threads"), 30.0),
    ("dialogue_5e5", "OpenSpiel C++", ("openspiel",), 1000.0),
)
OURS = "csa"
OUR_CFR_PLUS = ("csa", "csa-float32")
LARGE, NANOSECONDS, LARGE_BYTES = "dialogue_2e8", 1.0, 3e9
LARGEST, SHARE_OF_RANGE, LARGEST_SECONDS, LARGEST_BYTES = "dialogue_1e9", 0.01, 900.0, 12e9
LEDUC_EXPLOITABILITY, LEDUC_SECONDS = 1e-3, 0.1
BATCH_RATIO = 30.0
ON_GPU = (("leduc", 0.05), ("liars_dice_6", 0.15))
HUGE, COPY_SHARE = "dialogue_1e10", 0.5


def find(results: Results, kind: str, game: str, engine: str) -> Record | None:
    """Return the record of a job, None where there is none."""
    wanted = (kind, game, engine)
    found = (r for r in results["records"] if (r["kind"], r["game"], r["engine"]) == wanted)
    return next(found, None)


def bar(results: Results) -> list[Row]:
    """Return every requirement with what `results` say about it."""
    return [
        *(_ratio(results, *row) for row in RATIOS),
        *_large(results),
        *_largest(results),
        _leduc(results),
        _batch(results),
        *(_on_gpu(results, *row) for row in ON_GPU),
        _huge(results),
    ]


def moved_bytes(record: Record) -> int:
    """Return the least bytes that an iteration moves: the state read and written, the game read."""
    return int(2 * record["state_bytes"] + record["game_bytes"])


def on_gpu(record: Record) -> bool:
    """Return whether a record of ours was made on a GPU."""
    return not record.get("device", "cpu").startswith("cpu")


def nanoseconds(results: Results, record: Record) -> float:
    """Return nanoseconds per complete history and iteration of a dialogue."""
    return float(1e6 * record["ms"] / results["games"][record["game"]]["histories"])


def timed(results: Results, game: str, engines: Sequence[str]) -> list[Record]:
    """Return the records of `engines` on `game` that have a time per iteration, fastest first."""
    records = (find(results, "speed", game, engine) for engine in engines)
    return sorted((r for r in records if r is not None and "ms" in r), key=lambda r: r["ms"])


def _ratio(
    results: Results, game: str, peer: str, engines: tuple[str, ...], required: float
) -> Row:
    what, wanted = f"{game}, per iteration, against {peer}", f"at least {required:,.0f}x"
    ours, theirs = timed(results, game, (OURS,)), timed(results, game, engines)
    if not ours or not theirs:
        return Row(what, wanted, "not measured", None, _why(results, game, (OURS, *engines)))
    median = theirs[0]["ms"] / ours[0]["ms"]
    least = min(r["ms_least"] for r in theirs) / ours[0]["ms"]
    return Row(
        what,
        wanted,
        f"{median:,.3g}x",
        median >= required,
        f"{theirs[0]['ms']:.4g} against {ours[0]['ms']:.4g} ms; {least:,.3g}x by the least of its "
        "windows",
    )


def _large(results: Results) -> Iterable[Row]:
    time, memory = f"{LARGE}, per history and iteration", f"{LARGE}, peak memory"
    ours = timed(results, LARGE, OUR_CFR_PLUS)
    if not ours:
        why = _why(results, LARGE, OUR_CFR_PLUS)
        yield Row(time, f"at most {NANOSECONDS} ns", "not measured", None, why)
        yield Row(memory, f"under {_gb(LARGE_BYTES)}", "not measured", None, why)
    for record in ours:
        found, bytes_ = nanoseconds(results, record), record["loop_peak_bytes"]
        engine = record["engine"]
        yield Row(
            time, f"at most {NANOSECONDS} ns", f"{found:.3g} ns", found <= NANOSECONDS, engine
        )
        yield Row(memory, f"under {_gb(LARGE_BYTES)}", _gb(bytes_), bytes_ < LARGE_BYTES, engine)


def _largest(results: Results) -> Iterable[Row]:
    what = f"{LARGEST}, NashConv under {SHARE_OF_RANGE:.0%} of the payoff range"
    time, memory = f"at most {LARGEST_SECONDS:.0f} s", f"under {_gb(LARGEST_BYTES)}"
    tried = [r for r in results["records"] if (r["kind"], r["game"]) == ("solve", LARGEST)]
    solved = [r for r in tried if r.get("first_run", {}).get("status") == "target"]
    if not solved:
        measured, met = ("not reached", False) if tried else ("not measured", None)
        why = "; ".join(f"{r['engine']}: {r['status']}" for r in tried)
        yield Row(f"{what}, time", time, measured, met, why)
        yield Row(f"{what}, memory", memory, measured, met, why)
    for record in solved:
        seconds = record["setup_seconds"] + record["first_run"]["seconds"]
        bytes_, run = record["peak_bytes"], record["first_run"]
        remark = f"{record['engine']}, {run['steps']} iterations, NashConv {run['nash_conv']:.3g}"
        yield Row(
            f"{what}, time",
            time,
            f"{seconds:.0f} s",
            seconds <= LARGEST_SECONDS,
            f"{remark}; setup, compiling and certificates included",
        )
        yield Row(f"{what}, memory", memory, _gb(bytes_), bytes_ < LARGEST_BYTES, remark)


def _leduc(results: Results) -> Row:
    what = f"leduc to exploitability {LEDUC_EXPLOITABILITY:g}, after compilation"
    wanted = f"at most {LEDUC_SECONDS} s"
    reached = [
        record
        for record in results["records"]
        if (record["kind"], record["game"]) == ("solve", "leduc")
        and record.get("second_run", {}).get("nash_conv", 1.0) <= 2 * LEDUC_EXPLOITABILITY
    ]
    if not reached:
        return Row(what, wanted, "not measured", None)
    best = min(reached, key=lambda r: r["second_run"]["seconds"])
    run = best["second_run"]
    return Row(
        what,
        wanted,
        f"{run['seconds']:.3g} s",
        run["seconds"] <= LEDUC_SECONDS,
        f"{best['engine']}, {run['steps']} iterations, certificates included",
    )


def _batch(results: Results) -> Row:
    records = [r for r in results["records"] if r["kind"] == "batch" and "batch_ms" in r]
    wanted = f"at most {BATCH_RATIO:.0f}x one"
    if not records:
        return Row("256 priors of one scenario by vmap", wanted, "not measured", None)
    record = records[0]
    ratio = record["batch_ms"] / record["one_ms"]
    return Row(
        f"{record['batch']} priors of {record['game']} by vmap",
        wanted,
        f"{ratio:.3g}x",
        ratio <= BATCH_RATIO,
        f"{record['batch_ms']:.4g} against {record['one_ms']:.4g} ms per iteration",
    )


def _on_gpu(results: Results, game: str, required: float) -> Row:
    what, wanted = f"{game} on a GPU, per iteration", f"at most {required} ms"
    ours = [r for r in timed(results, game, OUR_CFR_PLUS) if on_gpu(r)]
    if not ours:
        return Row(what, wanted, "not measured", None, "no GPU in this run")
    best = ours[0]
    remark = f"{best['engine']}, {best['device']}"
    return Row(what, wanted, f"{best['ms']:.4g} ms", best["ms"] <= required, remark)


def _huge(results: Results) -> Row:
    what = f"{HUGE} on a GPU, share of the measured copy bandwidth"
    wanted = f"at least {COPY_SHARE:.0%}"
    ours = [r for r in timed(results, HUGE, OUR_CFR_PLUS) if on_gpu(r)]
    if not ours:
        return Row(what, wanted, "not measured", None, "no GPU in this run")
    best = ours[0]
    reached = 1000 * moved_bytes(best) / best["ms"] / results["bandwidth"]["device_copy"]
    remark = f"{best['engine']}, {best['device']}"
    return Row(what, wanted, f"{reached:.0%}", reached >= COPY_SHARE, remark)


def _why(results: Results, game: str, engines: Sequence[str]) -> str:
    """Return what stopped the jobs that a row would need."""
    records = (find(results, "speed", game, engine) for engine in engines)
    return "; ".join(
        f"{r['engine']}: {r['status']}" for r in records if r is not None and r["status"] != "ok"
    )


def _gb(count: float) -> str:
    return f"{count / 1e9:.3g} GB"
