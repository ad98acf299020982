"""`csa games` and `csa show`: what there is to solve, and what it is made of."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import Command, Outcome, nothing
from csa_games.cli.memory import available
from csa_games.cli.output import clean, facts, grid, size, whole
from csa_games.cli.source import add_game, source

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from csa_games.dialogue import Sizes, Tables
    from csa_games.evidence import Sourced
    from csa_games.game import Game
    from csa_games.scenario import Intent, Quantity, Scenario

OTHERS = """\
Other games are named by their file or by OpenSpiel:
  csa show my_scenario.toml         a scenario file (csa schema describes them)
  csa solve my_game.efg             a game in Gambit's format
  csa solve openspiel:leduc_poker   a two-player game of OpenSpiel
  csa solve "openspiel:liars_dice(numdice=1,dice_sides=3)"
"""


def list_games(args: argparse.Namespace) -> Outcome:
    """Return the built-in scenarios."""
    from csa_games.dialogue import sizes
    from csa_games.scenario import builtin_scenarios, read_scenario

    scenarios = [read_scenario(path) for path in builtin_scenarios().values()]
    listed: list[dict[str, Any]] = [
        {
            "name": scenario.name,
            "title": scenario.title,
            "question": scenario.question,
            "class": _class(scenario),
            "turns": scenario.turns,
            "sizes": _sizes(sizes(scenario)),
        }
        for scenario in scenarios
    ]

    def show(console: "Console") -> None:
        for game in listed:
            console.print(clean(game["name"]), style="bold")
            console.print(clean(game["title"]) + ". " + clean(game["question"]))
            infosets = game["sizes"]["infosets"]
            console.print(
                f"{game['class']} class; turns {game['turns']}; infosets {infosets[0]:,} + "
                f"{infosets[1]:,}; histories {game['sizes']['histories']:,}\n",
                style="dim",
            )
        console.print(OTHERS, end="", soft_wrap=True)

    return Outcome({"games": listed}, show)


def show_game(args: argparse.Namespace) -> Outcome:
    """Return what a game is made of, and how large it is."""
    from csa_games.dialogue import sizes
    from csa_games.evidence import sourced, totals

    asked = source(args)
    if asked.scenario is None:
        return _built(asked.build(), asked.name)
    scenario, size_of = asked.scenario, sizes(asked.scenario)
    groups = sourced(scenario)
    data = {
        "game": asked.name,
        "class": _class(scenario),
        "scenario": scenario.model_dump(mode="json", exclude_none=True),
        "numbers": totals(groups),
        "numbers_by_source": _by_source(scenario, groups),
        "sizes": _sizes(size_of),
        "available_bytes": available(),
    }
    return Outcome(data, lambda console: _show_scenario(console, scenario, size_of))


def _by_source(scenario: "Scenario", groups: "Sequence[Sourced]") -> Counter[str]:
    """Return how many numbers come from each key of the sources, or from "assumption"."""
    from csa_games.scenario import citation_key

    counts = Counter(dict.fromkeys([*scenario.sources, "assumption"], 0))
    for group in groups:
        counts[citation_key(group.source)] += group.numbers
    return counts


GAMES = Command(
    "list the built-in scenarios, and say how to name other games",
    ("csa games", "csa games --json"),
    nothing,
    list_games,
)

SHOW = Command(
    "show a game: its question, its parts, its numbers and its size, before anything is built",
    (
        "csa show crisis_guidance",
        "csa show crisis_guidance --set turns=4",
        "csa show my_scenario.toml --json",
        "csa show openspiel:kuhn_poker",
    ),
    add_game,
    show_game,
)


def _class(scenario: "Scenario") -> str:
    from csa_games.dialogue import in_security_class

    return "security" if in_security_class(scenario) else "general-sum"


def _sizes(sizes: "Sizes") -> dict[str, Any]:
    return {
        "infosets": sizes.infosets,
        "sequences": sizes.sequences,
        "histories": sizes.histories,
        "bytes": sizes.bytes,
    }


def _built(game: "Game", name: str) -> Outcome:
    """Return the sizes of a game that only its tree tells."""
    from csa_games.evaluate import histories
    from solvers.driver import solving_bytes

    treeplexes = game.form.treeplex
    data = {
        "game": name,
        "name": game.name,
        "class": game.game_class,
        "players": game.names.players,
        "sizes": {
            "infosets": [treeplex.infosets for treeplex in treeplexes],
            "sequences": [
                1 + sum(len(actions) for actions in player) for player in game.names.actions
            ],
            "histories": histories(game),
            "bytes": solving_bytes(game.form),
        },
        "available_bytes": available(),
    }

    def show(console: "Console") -> None:
        sizes: Any = data["sizes"]
        console.print(clean(game.name), style="bold")
        rows = [
            ("players", ", ".join(game.names.players)),
            ("class", game.game_class),
            ("infosets", " + ".join(f"{count:,}" for count in sizes["infosets"])),
            ("sequences", " + ".join(f"{count:,}" for count in sizes["sequences"])),
            ("histories", f"{sizes['histories']:,}"),
            ("memory", f"{_memory(sizes['bytes'])} to solve"),
        ]
        console.print(facts(rows))

    return Outcome(data, show)


def _show_scenario(console: "Console", scenario: "Scenario", sizes: "Sizes") -> None:
    from csa_games.dialogue import tables
    from csa_games.evidence import sourced, totals
    from csa_games.guard.explain import reader_in_words
    from csa_games.guard.signals import reader_from
    from csa_games.intervals import ENDS, rows_at
    from csa_games.words import counted

    table = tables(scenario)
    console.print(clean(f"{scenario.name}: {scenario.title}"), style="bold")
    console.print(clean(scenario.question) + "\n")
    if scenario.notes.strip():
        console.print(clean(" ".join(scenario.notes.split())) + "\n")

    rows: list[tuple[str, ...]] = [
        (intent.name, intent.behaviour, _ranged(intent.prior), intent.description)
        for intent in scenario.intents
    ]
    console.print(_parts(("intent", "behaviour", "prior", ""), rows))
    rows = [
        (ask.name, "" if ask.ends is None else f"ends: {ask.ends}", ask.description)
        for ask in scenario.asks
    ]
    console.print(_parts(("ask", "", ""), rows))
    console.print(_parts(("signal", ""), [(s.name, s.description) for s in scenario.signals]))
    rows = [
        (response.name, response.mechanism, "ends" if response.ends else "", response.description)
        for response in scenario.responses
    ]
    console.print(_parts(("response", "mechanism", "", ""), rows))
    if scenario.readers:
        read = [reader_from(part.model_dump()) for part in scenario.readers]
        readers = [(it.name, f"{it.kind} to {it.gives}", reader_in_words(it)) for it in read]
        console.print(_parts(("reader", "", ""), readers))

    ends = [tables(rows_at(scenario, end)) for end in ENDS]
    if kernels := list(_reactions(scenario, table, *ends)):
        asks = [ask.name for ask in scenario.asks]
        console.print(grid(("intent", *asks), kernels, title="Reactions"), "")
    signals = [signal.name for signal in scenario.signals]
    verdicts = [part.signal[None] for part in (table, *ends)]
    heard = list(_grouped(scenario, table, *verdicts))
    console.print(grid(("intent: asks", *signals), heard, title="Signal probabilities"), "")
    responses = [response.name for response in scenario.responses]
    for component in ("satisfaction", "risk", "cost"):
        cells = list(_grouped(scenario, table, getattr(table, component)))
        title = component.capitalize() + (", times severity" if component == "risk" else "")
        console.print(grid(("intent: asks", *responses), cells, title=title), "")
    migrating = {ask.name for ask in scenario.asks if ask.ends == "migrate"}
    away = [
        (intent.name, _per_turn(table.displacement[:, i]))
        for i, intent in enumerate(scenario.intents)
        if migrating & set(intent.asks)
    ]
    if away:
        console.print(grid(("intent", "on migrating"), away, title="Displacement"), "")
    own = [intent for intent in scenario.intents if intent.weights is not None]
    if own:
        console.print(_own_payoffs(scenario, table, own), "")

    groups = sourced(scenario)
    counts = _by_source(scenario, groups)
    cited: list[tuple[str, ...]] = [
        (name, source.evidence, f"{counts[name]}", source.cite)
        for name, source in scenario.sources.items()
    ]
    cited.append(("assumption", "", f"{counts['assumption']}", ""))
    console.print(_parts(("source", "evidence", "numbers", ""), cited))
    from_where = [(group.field, group.source) for group in groups]
    console.print(_parts(("field", "source of its numbers"), from_where))

    weights, numbers, baselines = scenario.weights, totals(groups), scenario.baselines
    varied: list[tuple[str, Quantity]] = [
        *((name, getattr(weights, name)) for name in type(weights).model_fields),
        *((f"severity of {part.name}", part.severity) for part in scenario.categories),
        ("discount", scenario.discount),
    ]
    ranges = [f"{name} {_ranged(it)}" for name, it in varied if _range(it)]
    console.print(
        facts(
            [
                (
                    "payoff",
                    f"{weights.alpha.value:g} satisfaction - {weights.beta.value:g} risk - "
                    f"{weights.gamma.value:g} cost - {weights.psi.value:g} displacement, "
                    f"{counted(scenario.turns, 'turn')}, discount {scenario.discount.value:g}",
                ),
                *([("intervals", ", ".join(ranges))] if ranges else []),
                (
                    "baselines",
                    f"comply: {baselines.comply}; refuse: {baselines.refuse}; threshold: "
                    + ", ".join(f"{signal} {does}" for signal, does in baselines.threshold.items()),
                ),
                (
                    "numbers",
                    f"{numbers['measured']} measured, {numbers['derived']} derived, "
                    f"{counted(numbers['assumption'], 'assumption')}",
                ),
                ("class", _class(scenario)),
                (
                    "infosets",
                    f"user {whole(sizes.infosets[0])}, assistant {whole(sizes.infosets[1])}",
                ),
                (
                    "sequences",
                    f"user {whole(sizes.sequences[0])}, assistant {whole(sizes.sequences[1])}",
                ),
                ("histories", whole(sizes.histories)),
                ("memory", f"{_memory(sizes.bytes)} to build and solve"),
            ]
        )
    )


def _ranged(quantity: "Quantity") -> str:
    """Return a number and, where it has one, its interval: 0.9 [0.8, 0.97]."""
    return f"{quantity.value:g}" + _range(quantity)


def _range(quantity: "Quantity") -> str:
    """Return the interval of a number; nothing where it has none, or is sure."""
    if (quantity.low is None and quantity.high is None) or quantity.low == quantity.high:
        return ""
    low, high = ("" if end is None else f"{end:g}" for end in (quantity.low, quantity.high))
    return f" [{low}, {high}]"


def _reactions(scenario: "Scenario", *table: "Tables") -> Iterator[tuple[str, ...]]:
    """Yield, for each kernel, the probabilities of its first asks and of those after a response.

    The table is followed by those of the low and the high ends. A number for each turn where they
    differ. Of a kernel with one ask there is nothing to tell.
    """
    asks = range(len(scenario.asks))
    for i, intent in enumerate(scenario.intents):
        if intent.kernel is None or len(intent.asks) == 1:
            continue
        first = [part.opening[i : i + 1] for part in table]
        yield (f"{intent.name}: first", *(_within([row[:, b] for row in first]) for b in asks))
        for r, response in enumerate(scenario.responses):
            if not response.ends and scenario.turns > 1:
                rows = [part.after[: scenario.turns - 1, r, i] for part in table]
                yield (
                    f"{intent.name}: after {response.name}",
                    *(_within([row[:, b] for row in rows]) for b in asks),
                )


def _within(numbers: "Sequence[np.ndarray]") -> str:
    """Return a number, or one for each turn, and its interval, if it and its ends are given."""
    value, *ends = numbers
    if not ends or (ends[0] == ends[1]).all():
        return _per_turn(value)
    short = ", ".join(f"{share:.3g}" for share in dict.fromkeys(value.tolist()))
    return f"{short} [{ends[0].min():.3g}, {ends[1].max():.3g}]"


def _memory(needed: int) -> str:
    """Return how much memory is needed, beside what is available."""
    there = available()
    beside = "" if there is None else f" of the {size(there)} available"
    return f"about {size(needed)}{beside}"


def _parts(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    """Return a table of text columns with a blank line below."""
    from rich.console import Group

    return Group(grid(headings, rows, left=len(headings)), "")


def _grouped(
    scenario: "Scenario", table: "Tables", *cells: "np.ndarray"
) -> Iterator[tuple[str, ...]]:
    """Yield a row per intent and group of its asks with equal numbers; cells [H, T, B, columns].

    They may be followed by the low and the high ends of their intervals.
    """
    talking = [b for b, ask in enumerate(scenario.asks) if ask.ends is None]
    for i, intent in enumerate(scenario.intents):
        groups: dict[bytes, list[int]] = {}
        for b in talking:
            if table.legal[i, b]:
                numbers = b"".join(part[:, i, b].tobytes() for part in cells)
                groups.setdefault(numbers, []).append(b)
        for asks in groups.values():
            names = ", ".join(scenario.asks[b].name for b in asks)
            label = intent.name if len(groups) == 1 else f"{intent.name}: {names}"
            rows = [part[:, i, asks[0]] for part in cells]
            columns = range(rows[0].shape[1])
            yield (label, *(_within([row[:, k] for row in rows]) for k in columns))


def _own_payoffs(scenario: "Scenario", table: "Tables", intents: "Sequence[Intent]") -> "Table":
    """Return what the users want who do not just want the assistant's loss."""
    number = {intent.name: i for i, intent in enumerate(scenario.intents)}
    rows = []
    for intent in intents:
        assert intent.weights is not None
        wants = f"{intent.weights.satisfaction:g} satisfaction + {intent.weights.risk:g} risk"
        if intent.rationality is not None:
            wants += f", rationality {intent.rationality.value:g}"
        effort = table.effort[:, number[intent.name]]
        rows.append((intent.name, wants, *(_per_turn(effort[:, b]) for b in range(len(effort[0])))))
    asks = [ask.name for ask in scenario.asks]
    return grid(("intent", "own payoff", *asks), rows, left=2, title="Own payoff, less effort")


def _per_turn(numbers: "np.ndarray") -> str:
    """Return one number, or one for each turn where they differ."""
    same = (numbers == numbers[0]).all()
    return f"{numbers[0]:g}" if same else ", ".join(f"{number:g}" for number in numbers)
