"""How fast the server decides, and that it loses nothing: on loopback, client and server together.

    bursts     wrk over 64 connections, in turns against the server and against the same server with
               a handler that reads the body and decides nothing: what HTTP alone takes
    million    wrk again, for 10^6 requests or more; the server's own counters have to agree
    reloads    a client in Python checks every answer while the bundle is swapped 1,000 times

`python -m experiments.guard_server` does all of it and takes some ten minutes on two cores, which
client and server share; wrk is the cheapest client there is, and it is a package of most systems.
"""

import argparse
import asyncio
import itertools
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from csa_games.errors import InputError
from csa_games.files import write_file
from csa_games.guard import Guard
from csa_games.provenance import provenance

FOLDER = Path(__file__).parent / "guard-server"
PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools")
CONNECTIONS = 64
BURST, BURSTS = 6, 4  # seconds; of each of the two
MILLION = 1_000_000
RELOADS, CHECKING = 1_000, 16  # swaps, and connections of the client that checks
CONVERSATIONS = 50
SECRET = b"a secret of the experiment"
PROGRAM = "import sys; from csa_games.cli import main; sys.exit(main())"
EMPTY = "from experiments.guard_server import serve_nothing; serve_nothing()"


# The server.


def bundles(place: Path) -> tuple[Path, Path]:
    """Return two bundles of one sequence: the same policy, exported twice, of other revisions."""
    import solvers
    from csa_games.dialogue import dialogue_game
    from csa_games.override import override
    from csa_games.scenario import builtin_scenarios, read_scenario
    from csa_games.table import tabulate

    scenario = override(read_scenario(builtin_scenarios()["crisis_guidance"]), {"turns": 2})
    game = dialogue_game(scenario)
    table = tabulate(game, solvers.solve(game, "pcfr+", target=1e-4, max_steps=1_000))
    for name in ("one", "other"):
        table.save(place / name, provenance={"export": name})
    return place / "one", place / "other"


def calls(guard: Guard) -> list[dict[str, Any]]:
    """Return calls of one and two turns, in several conversations."""
    terms = guard.terms
    asks = [ask for ask in terms.asks if ask not in terms.ending_asks]
    turns = [{"ask": ask, "signal": signal} for ask in asks for signal in terms.signals]
    histories = [[turn] for turn in turns]
    histories += [[{**turn, "response": "clarify"}, turns[0]] for turn in turns]
    pairs = zip(itertools.cycle(histories), range(CONVERSATIONS), strict=False)
    return [{"history": history, "conversation": f"account {k}"} for history, k in pairs]


def serve_nothing() -> None:
    """Serve the peer: the same gate and server, and a handler that decides nothing."""
    from csa_games.server import Limits, serve
    from csa_games.server.gate import Answer, Gate, Headers
    from csa_games.server.metrics import Metrics

    async def nothing(given: Any, headers: Headers) -> Answer:
        return Answer(200, b"{}")

    async def nobody(*_: Any) -> None:
        raise NotImplementedError

    def started(url: str) -> None:
        sys.stderr.write(f"serving nothing on {url}, \n")
        sys.stderr.flush()

    gate = Gate({"/v1/decide": nothing}, nobody, Metrics(), Limits(), None)
    serve(gate, port=0, drain=0.0, started=started)


@contextmanager
def served(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a process of Python with these words, and the URL it says that it serves on."""
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r" on (http://127\.0\.0\.1:\d+),", line)
        if not found:
            raise InputError(f"the server did not start: {line}{process.stderr.read()}")
        yield process, found[1]
        process.send_signal(signal.SIGTERM)
        if process.wait(30):
            raise InputError(f"the server ended by {process.returncode}")
    finally:
        process.kill()
        process.communicate()


def guarding(bundle: Path, secret: Path) -> list[str]:
    """Return the words that serve a bundle."""
    words = ["guard", "serve", str(bundle), "--port=0", "--drain=0"]
    return ["-c", PROGRAM, *words, f"--secret-file={secret}"]


def peak_bytes(process: subprocess.Popen[str]) -> int | None:
    """Return the most memory that a process has had resident, None where nobody says."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else None


# The client that is fast.

SCRIPT = """
local calls, k = {}, 0
function init()
  local headers = { ["Content-Type"] = "application/json" }
  for line in io.lines(%s) do
    calls[#calls + 1] = wrk.format("POST", "/v1/decide", headers, line)
  end
end
function request()
  k = k %% #calls + 1
  return calls[k]
end
"""


class Burst(NamedTuple):
    """What wrk says: requests, answers that were no 2xx or never came, seconds and latencies.

    `cpu_us` is the processor time that the server took for each request, in microseconds, which
    depends least on what else the machine is doing.
    """

    requests: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_us: float = math.nan

    @property
    def rate(self) -> float:
        """Requests in a second."""
        return self.requests / self.seconds


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """Return the processor time that a process has taken; nan where nobody says."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii")
    except OSError:
        return math.nan
    user, system = stat.rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def niceness() -> int:
    """Return how far this process yields to others, below 0 where they yield; its group counts."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(OSError, IndexError):  # Linux may also weigh sessions against each other
        nice += int(Path("/proc/self/autogroup").read_text(encoding="ascii").split()[-1])
    return nice


def wrk(process: subprocess.Popen[str], url: str, script: Path, seconds: int) -> Burst:
    """Return what wrk measures of a process over `CONNECTIONS` connections."""
    tool = shutil.which("wrk")
    if tool is None:
        raise InputError("wrk is not installed; the packages of most systems have it")
    words = ["--threads=1", f"--connections={CONNECTIONS}", f"--duration={seconds}s", "--latency"]
    before = cpu_seconds(process)
    done = subprocess.run(
        [tool, *words, "--timeout=10s", f"--script={script}", url],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    burst = spoken(done.stdout)
    return burst._replace(cpu_us=1e6 * (cpu_seconds(process) - before) / burst.requests)


UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def spoken(text: str) -> Burst:
    """Return what wrk has written as numbers."""
    total = re.search(r"(\d+) requests in ([\d.]+)(m?s|m),", text)
    latency = dict(re.findall(r"(50|99)%\s+([\d.]+(?:us|ms|s|m))\b", text))
    if total is None or len(latency) < 2:
        raise InputError(f"found no result of wrk in: {text}")
    errors = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    failed = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    )
    errors += sum(map(int, failed.groups())) if failed else 0
    return Burst(
        int(total[1]),
        errors,
        float(total[2]) * UNITS[total[3]] / 1e3,
        *(_milliseconds(latency[share]) for share in ("50", "99")),
    )


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def counted(url: str) -> int:
    """Return how many decisions the server says that it has made."""
    host, port = url.removeprefix("http://").split(":")

    async def read() -> str:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        return text

    found = re.findall(r"^csa_decisions_total\{.*\} (\d+)$", asyncio.run(read()), re.MULTILINE)
    return sum(map(int, found))


# The client that checks.

Expected = Mapping[tuple[str, str], tuple[str, float]]
"""(revision, body of the call) -> the action and the number drawn."""


def expected(guards: Sequence[Guard], asked: Sequence[dict[str, Any]]) -> Expected:
    """Return what each revision answers to each call."""
    answers = {}
    for guard in guards:
        for call in asked:
            decision = guard.decide(call["history"], call["conversation"])
            answers[guard.revision, json.dumps(call)] = decision.action, decision.u
    return answers


def right(status: int, answer: Mapping[str, Any], body: str, answers: Expected) -> bool:
    """Return whether an answer is that of one whole bundle."""
    if status != 200:
        return False
    decision = answer["decision"]
    found = decision["action"], decision["u"]
    return answers.get((decision["revision"], body)) == found


async def reloads(
    process: subprocess.Popen[str],
    url: str,
    link: Path,
    folders: Sequence[Path],
    answers: Expected,
    swaps: int,
) -> dict[str, Any]:
    """Return what became of the calls made while the bundle under `link` changes `swaps` times."""
    host, port = url.removeprefix("http://").split(":")
    bodies = [body for _, body in answers]
    latencies: list[float] = []
    wrong, lost, over = 0, 0, False
    seen = asyncio.Condition()
    latest = ""

    async def client(number: int) -> None:
        nonlocal wrong, lost, latest
        reader, writer = await asyncio.open_connection(host, int(port))
        for body in itertools.islice(itertools.cycle(bodies), number, None):
            if over:
                break
            data = body.encode()
            began = time.perf_counter()
            writer.write(
                b"POST /v1/decide HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(data), data)
            )
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
                answer = json.loads(await reader.readexactly(length))
            except (OSError, asyncio.IncompleteReadError):
                lost += 1
                break
            latencies.append(time.perf_counter() - began)
            wrong += not right(int(head.split(b" ", 2)[1]), answer, body, answers)
            revision = answer["decision"]["revision"]
            if revision != latest:
                latest = revision
                async with seen:
                    seen.notify_all()
        writer.close()

    clients = [asyncio.create_task(client(k)) for k in range(CHECKING)]
    revisions = [Guard.load(folder).revision for folder in folders]
    began = time.perf_counter()
    for swap in range(1, swaps + 1):
        spare = link.with_name("spare")
        spare.symlink_to(folders[swap % 2])
        os.replace(spare, link)
        process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(30), seen:
            await seen.wait_for(lambda swap=swap: latest == revisions[swap % 2])  # type: ignore[misc]
    seconds = time.perf_counter() - began
    over = True
    await asyncio.gather(*clients)
    latencies.sort()
    return {
        "swaps": swaps,
        "seconds": seconds,
        "requests": len(latencies),
        "lost": lost,
        "wrong": wrong,
        "p50_ms": 1e3 * latencies[len(latencies) // 2],
        "p99_ms": 1e3 * latencies[len(latencies) * 99 // 100],
        "most_ms": 1e3 * latencies[-1],
    }


# All of it.


def measured(million: int, swaps: int) -> dict[str, Any]:
    """Return every result, with where it was made."""
    load = os.getloadavg()[0]  # of whatever else the machine is doing
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folders = bundles(place)
        secret = place / "secret"
        secret.write_bytes(SECRET)
        guards = [Guard.load(folder, SECRET) for folder in folders]
        asked = calls(guards[0])
        lines, script = place / "calls", place / "calls.lua"
        lines.write_text("".join(json.dumps(call) + "\n" for call in asked), encoding="ascii")
        script.write_text(SCRIPT % json.dumps(str(lines)), encoding="ascii")
        bursts: dict[str, list[Burst]] = {"guard": [], "empty": []}
        with served(*guarding(folders[0], secret)) as (process, url):
            with served("-c", EMPTY) as (idle, empty):
                for k in range(BURSTS):
                    for what, of, where in (("guard", process, url), ("empty", idle, empty)):
                        bursts[what].append(wrk(of, where, script, BURST))
                        _tell(f"{what}, burst {k + 1} of {BURSTS}: {bursts[what][-1].rate:,.0f}/s")
            rate = statistics.median(burst.rate for burst in bursts["guard"])
            before = counted(url)
            whole = wrk(process, url, script, round(1.2 * million / rate) + 1)
            made = counted(url) - before
            _tell(f"{whole.requests:,} requests: {whole.rate:,.0f}/s, {whole.errors} errors")
            peak = peak_bytes(process)
        link = place / "current"
        link.symlink_to(folders[0])
        with served(*guarding(link, secret)) as (process, url):
            swapped = asyncio.run(
                reloads(process, url, link, folders, expected(guards, asked), swaps)
            )
        _tell(f"{swaps:,} swaps: {swapped['lost']} lost, {swapped['wrong']} wrong")
    tool = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"wrk (\S+)", tool.stdout + tool.stderr)
    return {
        "bursts": {what: [burst._asdict() for burst in each] for what, each in bursts.items()},
        "million": {**whole._asdict(), "decided": made, "peak_bytes": peak},
        "reloads": swapped,
        "wrk": found[1] if found else None,
        "load": load,
        "nice": niceness(),
        "packages": {package: metadata.version(package) for package in PACKAGES},
        "provenance": provenance(),
    }


def report(results: Mapping[str, Any]) -> str:
    """Return the report in Markdown."""
    made, whole, swapped = results["provenance"], results["million"], results["reloads"]
    git = made["git"] or {"commit": "unknown", "dirty": False}
    versions = ", ".join(f"{name} {version}" for name, version in results["packages"].items())
    lines = [
        "# The server on loopback",
        "",
        f"Made by `python -m experiments.guard_server` at commit `{git['commit'][:10]}` on "
        f"{made['cores']} cores of {made['cpu']}, Python {made['python']}, {versions}, "
        f"{made['time']}. The client, wrk {results['wrk']} with one thread and {CONNECTIONS} "
        "connections, shares these cores with the one process of the server. The load average by "
        f"others was {results['load']:.1f} at the start, and the niceness of client and server "
        f"{results['nice']}.",
        "",
        f"`POST /v1/decide` of crisis_guidance with two turns, {len(results['bursts']['guard'])} "
        f"bursts of {BURST} s each in turns; the peer is the same server with a handler that reads "
        "the body and decides nothing. Medians over the bursts, and the range:",
        "",
        "| | requests/s | p50, ms | p99, ms | processor time of the server, µs a request |",
        "|---|---|---|---|---|",
    ]
    for what, name in (("guard", "decides"), ("empty", "decides nothing")):
        each = [Burst(**burst) for burst in results["bursts"][what]]
        cells = (
            _ranged([burst.rate for burst in each], ",.0f"),
            _ranged([burst.p50_ms for burst in each], ".1f"),
            _ranged([burst.p99_ms for burst in each], ".1f"),
            _ranged([burst.cpu_us for burst in each], ".0f"),
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    one = Burst(**{name: whole[name] for name in Burst._fields})
    lines += [
        "",
        f"Then {one.requests:,} requests in one go: {one.rate:,.0f}/s, p50 {one.p50_ms:.1f} ms, "
        f"p99 {one.p99_ms:.1f} ms, {one.cpu_us:.0f} µs, {one.errors} errors; the server counted "
        f"{whole['decided']:,} decisions (those under way at the end count there alone) and had at "
        f"most {(whole['peak_bytes'] or 0) / 1e6:.0f} MB resident.",
        "",
        f"While the bundle was swapped {swapped['swaps']:,} times in {swapped['seconds']:.0f} s, a "
        f"client in Python over {CHECKING} connections compared every answer with what a guard of "
        f"its revision decides: {swapped['requests']:,} requests, {swapped['lost']} lost, "
        f"{swapped['wrong']} wrong; p50 {swapped['p50_ms']:.1f} ms, p99 {swapped['p99_ms']:.1f} "
        f"ms, at most {swapped['most_ms']:.0f} ms.",
    ]
    return "\n".join(lines) + "\n"


def _ranged(numbers: Sequence[float], form: str) -> str:
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def _tell(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")


def main() -> None:
    """Measure and write the results, or only the report again."""
    parser = argparse.ArgumentParser(prog="python -m experiments.guard_server")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--requests", type=int, default=MILLION, help="of the long run")
    parser.add_argument("--reloads", type=int, default=RELOADS, help="swaps of the bundle")
    args = parser.parse_args()
    path = FOLDER / "results.json"
    if args.report:
        results = json.loads(path.read_text(encoding="utf-8"))
    else:
        results = measured(args.requests, args.reloads)
        FOLDER.mkdir(exist_ok=True)
        write_file(path, json.dumps(results, indent=1).encode() + b"\n")
    write_file(FOLDER / "report.md", report(results).encode())


if __name__ == "__main__":
    main()
