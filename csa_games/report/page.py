"""The page: what the template is given."""

import math
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from csa_games import plots
from csa_games.conduct import asks_by, responses_by, typical_conversations
from csa_games.evaluate import histories
from csa_games.evidence import cited, sourced, totals
from csa_games.game import ASSISTANT, Game, Solution
from csa_games.guard.keys import turns_of
from csa_games.operating_points import OPERATING_POINTS, SOURCES
from csa_games.outcomes import OUTCOMES, SHARES
from csa_games.paths import Path, likely_paths
from csa_games.report.answer import sentences
from csa_games.report.certificate import CLASSES, STATUSES, digits_of, guarantee, spoken
from csa_games.report.concepts import concepts
from csa_games.report.rows import Row, for_everyone, most_reached
from csa_games.scenario import Scenario
from csa_games.tree_picture import tree_picture
from csa_games.words import counted, decimal, join, number, percent

ROWS = 40  # of the policy table, and of each intent's in each turn: `for_everyone`
ROWS_OF_INTENT = 6
ROWS_EACH = 25  # of each player's in games that are no dialogues
PATHS = 24
RARE = 1e-3  # of the likeliest path: what is rarer is not drawn
NOTABLE = 0.05  # the probability from which a response is what a row may be looked for by
VISITED = 1e-3  # an intent comes to a row if this share of its conversations does
IN_PLAY = 0.01  # a response is in play if it makes up this share of all answers


@runtime_checkable
class Compared(Protocol):
    """A policy that was compared with others, as `solvers.compare.Row` has it.

    `value` is the assistant's expected payoff against users who make the most of it, `difference`
    that of the first policy subtracted from it, `worst` the least value over the priors that the
    scenario allows, nan without any. `outcomes` has every measure by intent, `whole` every number
    of `csa_games.outcomes.WHOLE`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def difference(self) -> float: ...  # noqa: D102
    @property
    def worst(self) -> float: ...  # noqa: D102
    @property
    def whole(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def outcomes(self) -> Mapping[str, Mapping[str, float]]: ...  # noqa: D102


def report(
    game: Game,
    solution: Solution,
    *,
    provenance: Mapping[str, Any] | None = None,
    comparison: Sequence[Compared] | None = None,
) -> str:
    """Return one HTML page that shows `solution` of `game` and says how far it can be trusted.

    The page stands alone (styles, pictures and a small script that filters tables are inline, and
    nothing is fetched) and depends on nothing but the arguments; without the script it shows all
    the same rows. `provenance` is shown as it is, nested mappings included; a number
    under "target" there is drawn as the gap target. `comparison` has one row per policy, the
    solved one first.
    """
    origin = dict(provenance or {})
    paths = likely_paths(game, solution.policy, PATHS, least=RARE)
    shown: dict[str, Any] = {
        "game": game,
        "solution": solution,
        **frame(filters=game.scenario is not None),
        "concepts": concepts(game, solution),
        "tree": Markup(tree_picture(game, paths)),
        "paths": paths,
        "listed": _listed,
        "rare": RARE,
        "class_words": CLASSES[game.game_class],
        "ending": STATUSES[solution.status],
        "guarantee": guarantee(game, solution),
        "digits": digits_of(solution),
        "spoken": [spoken(solution, player) for player in (0, 1)],
        "convergence": _convergence(solution, origin.get("target")),
        "provenance": list(flat(origin)),
        "comparison": list(comparison or ()),
        "sizes": [
            (name, plex.infosets, _sequences(game, player))
            for player, (name, plex) in enumerate(
                zip(game.names.players, game.form.treeplex, strict=True)
            )
        ],
        "leaves": histories(game),
    }
    if game.scenario is None:
        shown["tables"] = [
            (name, most_reached(game, solution.policy, player, ROWS_EACH))
            for player, name in enumerate(game.names.players)
        ]
        return environment().get_template("game.html").render(shown)
    shown |= _dialogue(game, solution) | {"pareto": _pareto(shown["comparison"])}
    return environment().get_template("dialogue.html").render(shown)


def frame(*, filters: bool) -> dict[str, Any]:
    """Return what every page is framed with: its style, and the script if there is any to run.

    The page's own policy lets a browser run this very script and no other: it holds its hash.
    """
    script = _read("filter.js") if filters else ""
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return {
        "style": Markup(_read("style.css")),
        "script": Markup(script),
        "script_hash": Markup(f"'sha256-{digest}'"),
    }


def _dialogue(game: Game, solution: Solution) -> dict[str, Any]:
    """Return what only the page of a dialogue shows."""
    scenario, policy = game.scenario, solution.policy
    assert scenario is not None
    names = [response.name for response in scenario.responses]
    overall = responses_by(game, policy, ()).get(())
    shares = np.zeros(len(names)) if overall is None else overall.shares
    outcomes = {name: dict(measure(game, policy)) for name, measure in OUTCOMES.items()}
    groups = sourced(scenario)
    strategic = [intent for intent in scenario.intents if intent.behaviour != "kernel"]
    asked = asks_by(game, policy)
    return {
        "scenario": scenario,
        "shares": sorted(zip(names, shares, strict=True), key=lambda pair: -pair[1]),
        "depends_on": [
            what
            for what, matters in (
                ("the turn", scenario.turns > 1),
                ("how it is asked", len([ask for ask in scenario.asks if ask.ends is None]) > 1),
                ("what the classifier signals", len(scenario.signals) > 1),
                ("what was said before", scenario.turns > 1),
            )
            if matters
        ],
        "in_play": int((shares >= IN_PLAY).sum()),
        "turns": [
            (turn, Markup(plots.response_stack(game, policy, turn)), sentences(game, policy, turn))
            for turn in range(1, scenario.turns + 1)
        ],
        "response_keys": list(map(Markup, plots.response_legend(scenario))),
        "ask_keys": list(map(Markup, plots.ask_legend(scenario))),
        "intent_stack": Markup(plots.intent_stack(game, policy)),
        "outcomes": {k: row for k, row in outcomes.items() if any(row.values())},
        "nil": [k for k, row in outcomes.items() if not any(row.values())],
        "share_measures": SHARES,
        "published": SOURCES,
        "asks": [
            (intent, Markup(plots.ask_stack(game, policy, intent.name)))
            for intent in strategic
            if any(key[0] == intent.name for key in asked)
        ],
        "beliefs": [
            (
                turns_of(game.names.infosets[ASSISTANT][infoset]),
                Markup(plots.posterior_picture(game, policy, infoset)),
            )
            for infoset in typical_conversations(game, policy)
        ],
        "table": for_everyone(game, policy, ROWS, ROWS_OF_INTENT),
        "most": ROWS,
        "of_intent": ROWS_OF_INTENT,
        "visited": lambda row: _visited(scenario, row),
        "notable": lambda row: [name for name, p, _ in row.actions if p >= NOTABLE],
        "sourced": groups,
        "totals": totals(groups),
        "cited": cited(scenario, groups),
    }


def _visited(scenario: Scenario, row: Row) -> list[str]:
    """Return the intents that come to `row` often enough to look for it."""
    pairs = zip(scenario.intents, row.visits, strict=True)
    return [intent.name for intent, share in pairs if share >= VISITED]


def _listed(path: Path) -> str:
    """Return the moves of a path as text."""
    return ", ".join(step.action for step in path.steps)


def _pareto(rows: Sequence[Compared]) -> Markup | None:
    """Return the picture of both errors, None where one of them is not defined."""
    exact = [(row.name, row.whole["over-refusal"], row.whole["unsafe compliance"]) for row in rows]
    if not rows or any(math.isnan(rate) for _, *rates in exact for rate in rates):
        return None
    points = [plots.RatePoint(name, (x,) * 3, (y,) * 3, published=False) for name, x, y in exact]
    points += [
        plots.RatePoint(point.name, point.over_refusal, point.unsafe_compliance, published=True)
        for point in OPERATING_POINTS
    ]
    return Markup(plots.pareto(points))


def _convergence(solution: Solution, target: object) -> Markup | None:
    """Return the picture of a run's convergence, None for a run that was hardly checked."""
    if len(plots.convergence_points(solution.history)) < 2:
        return None
    known = float(target) if isinstance(target, int | float) else None
    return Markup(plots.convergence(solution, known))


def environment() -> Environment:
    """Return a jinja environment that escapes everything it is not told to leave alone."""
    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "number": number,
        "decimal": decimal,
        "join_words": join,
    }
    environment.globals |= {"counted": counted}
    return environment


def _read(name: str) -> str:
    return (files("csa_games.report") / name).read_text(encoding="utf-8")


def _sequences(game: Game, player: int) -> int:
    """Return how many sequences are legal, the empty one included."""
    return 1 + sum(map(len, game.names.actions[player]))


def flat(part: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, text) for everything in a nested mapping."""
    for name, value in part.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{above}{name}", ", ".join(map(str, value))
        else:
            yield f"{above}{name}", "not known" if value is None else str(value)
